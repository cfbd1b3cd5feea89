"""A project that is new: the shared `test_selection` of other projects against the best simple rule, on real histories.

Run: ``python -m experiments.cold_start <history folder> ...``

Protocol: each project is left out once. The model is chosen, fitted and calibrated on the others, as the pipeline does
for all projects as one, and orders the tests of the one left out, of which it knows nothing but the features of its
rows. Only the first 60 % of the runs of a project are looked at, of whichever: the last 40 % judge other things. Two
spans are reported: all of these runs, and the beginning up to the failing run with which a model of its own is near.

The histories are of different years, and some have made-up times. Living projects run side by side, so each project's
runs are spread evenly over one span before the periods are cut; features are built before, from the real times.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
import pandas as pd

from experiments.histories import opened, read_tables
from experiments.rows import RESULTS, Row, libraries, write
from experiments.test_selection import MODEL, OPTIONS, VIEWS, compare, judged_period, learn, ranked
from ml import training
from ml.features import Context, Queries, build
from ml.models import load_model
from ml.spec import EPOCH, Interval, ModelSpec
from ml.stages.all_projects import joined

EXPERIMENT = "cold_start"
LEARNED_SHARE = 0.6  # of the span: the rest is where the pipeline would judge the shared model
DAY = timedelta(days=1)
BLOCK = 10
NEEDED_RUNS = 60  # failing ones, before a project can have a model of its own


def first_part(folder: Path) -> pd.DataFrame:
    """Feature frame of the first 60 % of a history's runs, built without the others."""
    tables = read_tables(folder)
    end = judged_period(tables["runs"]).start or EPOCH
    early = tables["runs"].loc[tables["runs"]["started_at"] < pd.Timestamp(end)]
    known = {name: table.loc[table["run_id"].isin(early["run_id"])] for name, table in tables.items()}
    with opened(known | {"runs": early}) as engine:
        frame = build(engine, Queries.training(folder.name, as_of=end), Context())
    return frame.loc[frame["known_at"] < end]


def side_by_side(frame: pd.DataFrame) -> pd.DataFrame:
    """The rows with their runs spread evenly, in their order, over one day from the epoch on."""
    order = frame["started_at"].rank(method="dense").to_numpy(np.float64)
    start = pd.Timestamp(EPOCH) + pd.to_timedelta((order - 1) / order.max() * DAY.total_seconds(), unit="s").round("us")
    return frame.assign(started_at=start, known_at=start)


def leave_out(spec: ModelSpec, frames: Mapping[str, pd.DataFrame], name: str) -> Iterator[Row]:
    """Rows of one project that the others know nothing of."""
    others = joined(side_by_side(frame) for other, frame in frames.items() if other != name)
    learned = learn(spec, others, Interval(EPOCH + LEARNED_SHARE * DAY, None))
    table = ranked(spec, frames[name], {MODEL: learned.model})
    about = {"set": name, "chosen": learned.model.name if learned.model else None, "refused": learned.refused}
    for span, rows in {"all": table, "beginning": beginning(table)}.items():
        for view in VIEWS:
            yield from ({**about, "span": span, **row} for row in compare(rows, view, BLOCK))


def beginning(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows up to the failing run number `NEEDED_RUNS`."""
    runs = training.runs_of(rows.assign(known_at=rows["started_at"]))
    failing = runs.loc[runs["is_failing"], "started_at"]
    return rows if len(failing) <= NEEDED_RUNS else rows.loc[rows["started_at"] <= failing.iloc[NEEDED_RUNS - 1]]


def measure(folders: Sequence[Path]) -> dict[str, object]:
    """All that is reported: about (of the sets) and rows, ready for JSON."""
    frames, spec = {}, load_model("test_selection")
    for folder in folders:
        frames[folder.name] = first_part(folder)
        print(f"{folder.name}: {len(frames[folder.name])} merged results", flush=True)
    rows = [{"experiment": EXPERIMENT, **row} for name in frames for row in leave_out(spec, frames, name)]
    sizes = {name: len(training.runs_of(frame)) for name, frame in frames.items()}
    return {"about": {"runs": sizes, "seed": OPTIONS.seed, "libraries": libraries()}, "rows": rows}


def main(arguments: Sequence[str] | None = None) -> None:
    """Leave each of the given histories out once."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", help="history folders of Parquet tables, two or more")
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the JSON file")
    given = parser.parse_args(arguments)
    found = measure(given.folders)
    write(given.results / f"{EXPERIMENT}.json", found)


if __name__ == "__main__":
    main()
