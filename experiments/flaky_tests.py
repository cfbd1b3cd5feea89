"""Triage of failures: the model of `ml.models.flaky_tests` against its baselines, on the last 40 % of a history's runs.

Run: ``python -m experiments.flaky_tests --history <history folder> ...``

Protocol: runs in the order in which they became known. The first 60 % are for learning and for every choice, the last
40 % are judged once. What is learned from is labelled as it was known when the judged period began, so nothing of it
is weighed by later runs; the answers of the judged period are the labels at the end of the history. Only failures with
a settled label count, on either side. Of the first 60 %, 65 % are fitted on, 15 % calibrated on, and the candidate and
the threshold of F1 are chosen on the rest, as in the pipeline.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa

from experiments.histories import NUMBERS, TABLES
from ml import metrics, training
from ml.engine import Engine, open_engine
from ml.features import Context, Queries
from ml.models import load_model
from ml.spec import Interval, Objective, Split
from ml.training import FitOptions, Fitted, Yardstick

RESULTS = Path(__file__).parent / "results" / "flaky_tests.json"
LEARNED_SHARE = 0.6
OPTIONS = FitOptions(seed=1, threads=2)
SPEC = load_model("flaky_tests")
MEASURES = ("auc", "pr_auc", "brier", "ece", "f1", "quadratic_score_all")


def register(engine: Engine, tables: dict[str, pd.DataFrame]) -> None:
    """Give the engine a history as frames."""
    for name, texts in TABLES.items():
        types = dict.fromkeys(texts, pa.string()) | NUMBERS[name]
        table = pa.Table.from_pandas(tables[name][list(types)], schema=pa.schema(types.items()), preserve_index=False)
        engine.register_frame(name, table)


def border_of(engine: Engine) -> datetime:
    """Moment at which `LEARNED_SHARE` of the runs with results were known."""
    known = engine.fetch(
        "SELECT MAX(COALESCE(finished_at, started_at)) AS known_at FROM runs "
        "WHERE run_id IN (SELECT run_id FROM test_results) GROUP BY run_id ORDER BY known_at"
    )["known_at"]
    moment: datetime = known.iloc[int(len(known) * LEARNED_SHARE)].to_pydatetime()
    return moment


def rows_of(tables: dict[str, pd.DataFrame]) -> tuple[pd.DataFrame, datetime]:
    """Failures up to the border as labelled then, and later ones as labelled at the end; and the border."""
    project = str(tables["runs"]["project"].iloc[0])
    with open_engine("duckdb", threads=2) as engine:
        register(engine, tables)
        border = border_of(engine)
        then, now = (
            SPEC.build(engine, Queries.training(project, as_of=moment), Context()) for moment in (border, None)
        )
    rows = [then.loc[then["started_at"] < border], now.loc[now["started_at"] >= border]]
    return pd.concat(rows, ignore_index=True), border


def measure(name: str, rows: pd.DataFrame, border: datetime) -> Iterator[dict[str, Any]]:
    """Rows of one history: the chosen model and every baseline on the judged period."""
    split = training.split_by_time(training.runs_of(rows), Interval(border, None))
    fitted = training.fit_candidates(SPEC, rows, split, OPTIONS)
    chosen = training.with_threshold(SPEC, training.choose(SPEC, fitted, rows, split, OPTIONS), rows, split)
    tune, test = training.period_rows(rows, split, "validate"), training.period_rows(rows, split, "test")
    block = training.period_block(SPEC, rows, split, "test")
    about = {"experiment": "flaky_tests", "set": name, "project": str(rows["project"].iloc[0]), "chosen": chosen.name}
    about |= {"learned": int((rows["started_at"] < border).sum()), "failures": len(test)}
    about |= {"runs": int(test["run_id"].nunique()), "flaky_rate": round(float(test["failed"].mean()), 4)}
    then, now = (_scores(chosen, (rows, split), part) for part in (tune, test))
    for method, scores in now.items():
        limit = metrics.best_threshold(tune["failed"], then[method]["probability"])
        found = training.evaluate(test.join(scores), "test", Yardstick(Objective.PROBABILITY, block, limit))
        for key in MEASURES:
            value = found[f"test.{key}"]
            bounds = {"value": round(value.value, 4), "low": round(value.low, 4), "high": round(value.high, 4)}
            yield {**about, "method": method, "measure": key, **bounds}


def _scores(chosen: Fitted, learned: tuple[pd.DataFrame, Split], rows: pd.DataFrame) -> dict[str, pd.DataFrame]:
    return {
        "model": training.predict(chosen.estimator, rows),
        **training.baseline_scores(SPEC, *learned, rows),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure the histories given, print what was found, and write all rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--history", type=Path, action="append", required=True, help="history folder of Parquet tables")
    parser.add_argument("--out", type=Path, default=RESULTS, help="where the rows go")
    given = parser.parse_args(arguments)
    found: list[dict[str, Any]] = []
    for folder in given.history:
        tables = {name: pd.read_parquet(folder / f"{name}.parquet") for name in TABLES}
        found += measure(folder.name, *rows_of(tables))
        given.out.parent.mkdir(exist_ok=True)
        given.out.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    for row in found:
        print("{set} {method}: {measure} {value:.3f} [{low:.3f}, {high:.3f}]".format(**row))
    print({name: found[0][name] for name in ("chosen", "learned", "failures", "runs", "flaky_rate")})


if __name__ == "__main__":
    main()
