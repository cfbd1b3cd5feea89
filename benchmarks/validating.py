"""Rows held against their contracts: `ml.validation` against Pandera's own lazy validation of the same schemas."""

import warnings
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from pandera.errors import SchemaErrors

from benchmarks.histories import PROJECT, TABLES, frames
from benchmarks.pairing import Contender, Pairing, Unequal
from ml.schemas import LAKE_TABLES, RejectedRows, columns
from ml.spec import Batch
from ml.validation import Validated, validate

RUNS = 1_200
QUICK_RUNS = 20
BATCH = Batch("first", "simulator", PROJECT, "", 1)
BAD_SHARE = 0.01
SCHEMAS = {name: LAKE_TABLES[name].to_schema() for name in TABLES}
Rows = dict[str, set[int]]


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """A clean history, and the same one with one bad row in a hundred results."""
    clean = frames(QUICK_RUNS if quick else RUNS)
    for name, tables in (("clean", clean), (f"{BAD_SHARE:.0%} bad", {**clean, "test_results": _spoilt(clean)})):
        rows = sum(len(table) for table in tables.values())
        yield Pairing(
            family=name,
            size=f"{rows:,} rows",
            count=rows,
            unit="rows",
            ours=Contender("ml.validation.validate", lambda tables=tables: partial(_ours, tables)),
            peer=Contender("Pandera validate(lazy=True)", lambda tables=tables: partial(_pandera, tables)),
            check=_check,
            note="ours also reads raw types, finds orphans and duplicate keys, and writes rejected rows with reasons",
        )


def _spoilt(tables: dict[str, pd.DataFrame]) -> pd.DataFrame:
    results = tables["test_results"].copy()
    bad = np.random.default_rng(1).choice(len(results), max(3, round(BAD_SHARE * len(results))), replace=False)
    for part, (column, value) in enumerate((("duration_s", -1.0), ("outcome", "exploded"), ("test_id", " "))):
        results.loc[bad[part::3], column] = value
    return results


def _ours(tables: dict[str, pd.DataFrame]) -> Validated:
    refused = pd.DataFrame(columns=columns(RejectedRows))
    return validate(tables, refused, BATCH, tables["runs"]["started_at"].max().to_pydatetime())


def _pandera(tables: dict[str, pd.DataFrame]) -> Rows:
    """Numbers of the rows that fail, per table; the index of each table is 0, 1, 2, ..."""
    failing: Rows = {}
    for name, table in tables.items():
        failing[name] = set()
        try:
            with warnings.catch_warnings():
                # Pandera joins its report from parts that may be all null, which pandas announces to treat otherwise
                warnings.simplefilter("ignore", FutureWarning)
                SCHEMAS[name].validate(table, lazy=True)
        except SchemaErrors as errors:
            failing[name] = set(errors.failure_cases["index"].astype("int64"))
    return failing


def _check(ours: Validated, peer: Rows) -> str:
    """As many refused rows of each table; which ones follows from the reasons."""
    lines = ours.rejected["contract"].value_counts()
    for name in TABLES:
        if lines.get(name, 0) != len(peer[name]):
            raise Unequal(f"{name}: {lines.get(name, 0)} rows refused by ours, {len(peer[name])} by the peer")
    return f"{len(ours.rejected):,} rows refused by both"
