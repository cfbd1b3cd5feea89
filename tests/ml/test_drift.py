"""Drift: silent on chance, also where rows come in runs; loud on material change; honest about too little data."""

import json
import math
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ml.drift import DriftRule, Subject, measure_drift
from ml.spec import DriftReport, Interval

pytestmark = pytest.mark.slow

COLUMNS = ["rate", "count", "seconds", "rare"]
SUBJECT = Subject(
    "test_selection",
    "apache/ozone",
    Interval(datetime(2019, 8, 1, tzinfo=UTC), datetime(2019, 9, 1, tzinfo=UTC)),
    Interval(datetime(2019, 10, 1, tzinfo=UTC), None),
)


def _rows(seed: int, count: int = 2_000) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "rate": rng.beta(0.3, 8, count),
            "count": rng.poisson(3, count).astype(float),
            "seconds": np.where(rng.random(count) < 0.2, np.nan, rng.lognormal(2, 2, count)),
            "rare": (rng.random(count) < 0.02).astype(float),
        }
    )


def _measure(reference: pd.DataFrame, current: pd.DataFrame, rule: DriftRule | None = None) -> DriftReport:
    return measure_drift(reference, current, COLUMNS, SUBJECT, rule)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_two_samples_of_one_distribution_do_not_drift(seed: int) -> None:
    report = _measure(_rows(seed), _rows(100 + seed))
    assert (report.status, report.drifted, report.html) == ("no_drift", (), "")
    assert set(report.columns) == set(COLUMNS)
    assert not report.is_drift


def test_shifted_columns_are_named_and_make_drift_with_a_page() -> None:
    moved = _rows(2).assign(count=lambda rows: rows["count"] + 1, seconds=lambda rows: rows["seconds"] * 3)
    report = _measure(_rows(1), moved)
    assert (report.status, report.drifted, report.share_drifted) == ("drift", ("count", "seconds"), 0.5)
    assert report.is_drift
    assert "<html" in report.html
    assert "Kolmogorov-Smirnov D" in report.html


def test_one_shifted_column_of_four_is_named_but_is_no_drift_of_the_model() -> None:
    report = _measure(_rows(1), _rows(2).assign(count=lambda rows: rows["count"] + 1))
    assert (report.status, report.drifted, report.share_drifted, report.html) == ("no_drift", ("count",), 0.25, "")


def test_a_distance_is_the_share_of_rows_that_moved() -> None:
    old = pd.DataFrame({"x": [0.0] * 500 + [1.0] * 500})
    new = pd.DataFrame({"x": [0.0] * 250 + [1.0] * 750})
    assert measure_drift(old, new, ["x"], SUBJECT).columns == {"x": pytest.approx(0.25)}


def test_a_significant_but_tiny_shift_is_below_the_minimum_effect() -> None:
    rng = np.random.default_rng(3)
    old, new = (pd.DataFrame({"x": rng.normal(shift, 1, 20_000)}) for shift in (0.0, 0.05))
    assert measure_drift(old, new, ["x"], SUBJECT).drifted == ()
    assert measure_drift(old, new, ["x"], SUBJECT, DriftRule(min_effect=0.01)).drifted == ("x",)


def test_a_change_in_what_is_missing_is_drift() -> None:
    report = _measure(_rows(1), _rows(2).assign(seconds=np.nan, count=np.nan))
    assert report.drifted == ("count", "seconds")
    assert report.columns["seconds"] == pytest.approx(0.8, abs=0.05)


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_fifty_runs_of_one_distribution_do_not_drift_though_all_rows_of_a_run_are_alike(seed: int) -> None:
    report = _measure(_in_runs(seed, 400), _in_runs(100 + seed, 50))
    assert report.drifted == ()


def test_fifty_runs_with_larger_changes_do_drift() -> None:
    larger = _in_runs(2, 50)
    larger[COLUMNS] = larger[COLUMNS] + 50
    assert set(_measure(_in_runs(1, 400), larger).drifted) == set(COLUMNS)


def _in_runs(seed: int, runs: int) -> pd.DataFrame:
    """Thirty rows per run, all with the values of their run."""
    per_run = _rows(seed, runs).assign(run_id=[f"run {number}" for number in range(runs)])
    return per_run.loc[per_run.index.repeat(30)].reset_index(drop=True)


def test_constant_and_empty_columns_lie_at_distance_zero() -> None:
    old = _rows(1).assign(count=7.0, rare=np.nan)
    report = _measure(old, _rows(2).assign(count=7.0, rare=np.nan))
    assert (report.columns["count"], report.columns["rare"]) == (0.0, 0.0)


def test_a_constant_that_becomes_another_has_moved_entirely() -> None:
    report = _measure(_rows(1).assign(count=7.0), _rows(2).assign(count=8.0))
    assert report.columns["count"] == 1.0


def test_infinite_values_and_flags_are_numbers_too() -> None:
    old = _rows(1).assign(count=np.inf, rare=lambda rows: rows["rare"] > 0)
    new = _rows(2).assign(count=-np.inf, rare=lambda rows: rows["rare"] > 0)
    assert _measure(old, new).columns["count"] == 1.0


@pytest.mark.parametrize(("old", "new"), [(0, 2_000), (2_000, 0), (199, 2_000), (2_000, 199)])
def test_too_few_rows_are_said_to_be_too_few(old: int, new: int) -> None:
    report = _measure(_rows(1, old), _rows(2, new))
    assert (report.status, report.columns, report.drifted) == ("not_enough_data", {}, ())
    assert math.isnan(report.share_drifted)
    assert not report.is_drift


def test_no_columns_are_not_enough_data() -> None:
    assert measure_drift(_rows(1), _rows(2), [], SUBJECT).status == "not_enough_data"


def test_the_same_rows_give_the_same_report_also_when_sampled() -> None:
    rule = DriftRule(max_rows=300)
    first, second = (_measure(_rows(1), _rows(2), rule) for _ in range(2))
    assert first == second


def test_the_report_carries_its_subject_and_numbers_that_json_can_hold() -> None:
    report = _measure(_rows(1), _rows(2))
    assert (report.model, report.project, report.threshold) == ("test_selection", "apache/ozone", 0.3)
    assert (report.reference, report.current) == (SUBJECT.reference, SUBJECT.current)
    assert json.loads(json.dumps(report.columns, allow_nan=False)) == report.columns
