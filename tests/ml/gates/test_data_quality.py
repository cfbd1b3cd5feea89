import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pandas as pd
import pytest

from ml.gates import QualityEvidence, judge
from ml.spec import Check, Interval, Status, Verdict
from tests.ml.gates.gates_builders import SPLIT, TEST_START, thresholds


def batches(*rows: tuple[float, int, int]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["score", "result_count", "rejected_count"])


GOOD = QualityEvidence(
    batches=batches((1.0, 900, 0), (0.9, 90, 10)),
    train_rows=5_000,
    train_failures=100,
    test_rows=2_000,
    test_failing_runs=25,
    null_rates={"age": 0.0, "churn": 1.0},
    contract_violations=0,
    clock="history",
    freshness_h=None,
    split=SPLIT,
    labels_known_at={name: TEST_START - timedelta(hours=1) for name in ("fit", "calibrate", "validate")},
)


def verdict(**changes: object) -> Verdict:
    return judge("data_quality", replace(GOOD, **changes), thresholds())


def check(judged: Verdict, name: str) -> Check:
    return next(one for one in judged.checks if one.name == name)


def test_good_evidence_passes_with_every_number_recorded() -> None:
    judged = verdict()
    assert judged.status is Status.PASS
    assert {one.name: one.measured for one in judged.checks} == {
        "batch_score": pytest.approx(0.99),
        "low_batch_share": 0.0,
        "rejected_rate": pytest.approx(0.01),
        "contract_violations": 0.0,
        "train_rows": 5_000.0,
        "train_failures": 100.0,
        "test_rows": 2_000.0,
        "failing_runs": 25.0,
        "mean_null_rate": 0.5,
        "empty_feature_share": 0.5,
        "freshness_clocks": 0.0,
        "period_overlaps": 0.0,
        "late_label_periods": 0.0,
    }


@pytest.mark.parametrize(
    ("name", "changes", "measured"),
    [
        ("batch_score", {"batches": batches((0.7, 50, 0), (0.9, 50, 0))}, 0.8),
        ("low_batch_share", {"batches": batches((1.0, 98, 0), (0.5, 1, 0))}, 0.5),
        ("rejected_rate", {"batches": batches((1.0, 90, 10))}, 0.1),
        ("contract_violations", {"contract_violations": 1}, 1),
        ("train_rows", {"train_rows": 999}, 999),
        ("train_failures", {"train_failures": 29}, 29),
        ("test_rows", {"test_rows": 199}, 199),
        ("mean_null_rate", {"null_rates": {"a": 0.9, "b": 0.8}}, 0.85),
        ("empty_feature_share", {"null_rates": dict.fromkeys("abcd", 1.0) | {"e": 0.0}}, 0.8),
        ("freshness_h", {"clock": "wall", "freshness_h": 49.0}, 49.0),
    ],
)
def test_each_check_fails_on_its_own_number(name: str, changes: dict[str, object], measured: float) -> None:
    judged = verdict(**changes)
    assert judged.status is Status.FAIL
    assert check(judged, name).measured == pytest.approx(measured)
    assert not check(judged, name).passed


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("batch_score", {"batches": batches()}),
        ("rejected_rate", {"batches": batches((1.0, 0, 0))}),
        ("low_batch_share", {"batches": batches((math.nan, 10, 0), (1.0, 10, 0))}),
        ("contract_violations", {"contract_violations": None}),
        ("train_rows", {"train_rows": None}),
        ("failing_runs", {"test_failing_runs": None}),
        ("mean_null_rate", {"null_rates": {}}),
        ("empty_feature_share", {"null_rates": {"a": math.nan}}),
        ("freshness_h", {"clock": "wall"}),
        ("late_label_periods", {"labels_known_at": {"fit": TEST_START, "calibrate": None}}),
    ],
)
def test_a_missing_number_is_an_error(name: str, changes: dict[str, object]) -> None:
    judged = verdict(**changes)
    assert judged.status is Status.ERROR
    assert (check(judged, name).measured, check(judged, name).passed) == (None, False)


def test_too_few_failing_runs_are_an_error_with_both_numbers() -> None:
    judged = verdict(test_failing_runs=12)
    assert judged.status is Status.ERROR
    assert check(judged, "failing_runs").detail == "needs 20, has 12"


def test_a_replay_says_that_freshness_is_not_judged() -> None:
    said = check(verdict(), "freshness_clocks")
    assert (said.threshold, said.detail[:13]) == (None, "reported only")


def test_fresh_data_pass_by_the_wall_clock() -> None:
    judged = verdict(clock="wall", freshness_h=5.0)
    assert (judged.status, check(judged, "freshness_h").measured) == (Status.PASS, 5.0)


def test_periods_that_overlap_or_are_open_are_named() -> None:
    late = Interval(SPLIT.validate.start, TEST_START + timedelta(seconds=1))
    assert check(verdict(split=replace(SPLIT, validate=late)), "period_overlaps").detail == "validate reaches into test"
    endless = replace(SPLIT, fit=Interval(None, None))
    assert check(verdict(split=endless), "period_overlaps").detail == "fit reaches into calibrate"


def test_a_label_learnt_at_the_start_of_the_test_is_late() -> None:
    known = GOOD.labels_known_at | {"validate": TEST_START}
    judged = verdict(labels_known_at=known)
    assert judged.status is Status.FAIL
    assert "validate at 2026-06-01 00:00" in check(judged, "late_label_periods").detail


def test_the_champion_must_not_have_seen_the_test_period() -> None:
    assert check(verdict(champion_split=SPLIT), "champion_overlaps").passed
    seen = replace(SPLIT, calibrate=Interval(TEST_START, datetime(2026, 6, 3, tzinfo=UTC)))
    judged = verdict(champion_split=seen)
    assert judged.status is Status.FAIL
    assert "calibrate" in check(judged, "champion_overlaps").detail


def test_time_zones_are_compared_as_moments() -> None:
    east = timezone(timedelta(hours=2))
    known = dict.fromkeys(("fit", "calibrate", "validate"), datetime(2026, 6, 1, 1, 59, tzinfo=east))
    assert verdict(labels_known_at=known).status is Status.PASS
