"""What an experiment leaves behind: rows of numbers in ``experiments/results``, one line each."""

import json
import math
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ml.spec import Measure

RESULTS = Path(__file__).parent / "results"
LIBRARIES = ("duckdb", "numpy", "pandas", "scikit-learn", "scipy")
DIGITS = 4
# Fewer runs have no interval: blocks of them would be all of them, and look certain.
LEAST_RUNS = 20
LEAST_BLOCKS = 4
Row = dict[str, Any]


def figures(measure: Measure, runs: int = LEAST_RUNS) -> Row:
    """Value and 95 % interval, ready for JSON; None where a number, or an interval of so few runs, has no meaning."""
    low, high = (measure.low, measure.high) if runs >= LEAST_RUNS else (math.nan, math.nan)
    return {"value": number(measure.value), "low": number(low), "high": number(high)}


def block_within(block: int, runs: int) -> int:
    """Block length of which at least four fit into the runs."""
    return max(1, min(block, runs // LEAST_BLOCKS))


def number(value: float) -> float | None:
    """Rounded to what is reported; None for NaN and infinity."""
    return round(float(value), DIGITS) if math.isfinite(value) else None


def libraries() -> dict[str, str]:
    """Versions of the libraries that the numbers depend on."""
    return {name: version(name) for name in LIBRARIES}


def write(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document; of its lists, every entry takes one line, so that a change of one shows as one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [f"{json.dumps(name)}: {_lines(part)}" for name, part in document.items()]
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")


def _lines(part: Any) -> str:
    if not isinstance(part, list):
        return json.dumps(part, allow_nan=False)
    return "[\n " + ",\n ".join(json.dumps(row, allow_nan=False) for row in part) + "\n]"
