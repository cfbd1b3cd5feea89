"""Quality of failure labels, as rows: precision and recall of each state against three truths.

Run: ``python -m experiments.labels <folder of ozone>``; see `benchmarks.label_quality` for the truths.
"""

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmarks import label_quality
from benchmarks.label_quality import SEEDS
from benchmarks.label_truth import FIT_SEEDS
from experiments.rows import RESULTS, Row, libraries, number, write

FILE = "labels.json"


def rows_of(found: Sequence[label_quality.Row]) -> Iterator[Row]:
    """Two rows of each state: precision over what was labelled so, recall over what was so."""
    for one in found:
        about = {"experiment": "labels", "set": one.truth, "project": one.view, "method": one.state}
        about |= {"failures": one.failures, "labelled": one.labelled, "unknown_rate": number(one.unknown)}
        yield {**about, "measure": "precision", **_bounds(one.precision, one.precision_low, one.precision_high)}
        yield {**about, "measure": "recall", **_bounds(one.recall, one.recall_low, one.recall_high)}


def _bounds(*values: float | None) -> Row:
    rounded = (None if value is None else number(value) for value in values)
    return dict(zip(("value", "low", "high"), rounded, strict=True))


def judge(ozone: Path, results: Path = RESULTS) -> dict[str, Any]:
    """Measure labels and write what was found."""
    about = {"fit_seeds": list(FIT_SEEDS), "judged_seeds": list(SEEDS), "libraries": libraries()}
    found = {"about": about, "rows": list(rows_of(label_quality.rows(ozone)))}
    write(results / FILE, found)
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge the labels of Ozone and of simulated histories."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ozone", type=Path, help="folder with the history of Apache Ozone")
    judge(parser.parse_args(arguments).ozone)


if __name__ == "__main__":
    main()
