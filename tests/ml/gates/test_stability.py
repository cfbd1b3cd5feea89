import math
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pandas as pd
import pytest

from ml.errors import NotEnoughData
from ml.gates import StabilityEvidence, judge
from ml.gates.contest import hold_contest, strongest_baseline
from ml.gates.slices import loss_tests, suites
from ml.gates.stability import worst_window_ratio
from ml.metrics import block_resamples, brier, holm
from ml.spec import WEIGHT, Check, Status, Verdict
from tests.ml.gates.gates_builders import ranked_rows, ranking, stability, thresholds, varied

FIRST, THIRD, SIXTH = varied(1), varied(3, seed=2), varied(6, seed=3)
REFITS = ("refit_1", "refit_2")
STEADY = {"candidate": FIRST, "refit_1": FIRST, "refit_2": [*FIRST[:-1], 3], "champion": THIRD, "decay": SIXTH}
GOOD = stability(STEADY, REFITS)


def verdict(evidence: StabilityEvidence) -> Verdict:
    return judge("stability", evidence, thresholds())


def check(judged: Verdict, name: str) -> Check:
    return next(one for one in judged.checks if one.name == name)


def with_rows(**columns: object) -> StabilityEvidence:
    return replace(GOOD, ranking=replace(GOOD.ranking, rows=GOOD.ranking.rows.assign(**columns)))


def test_a_steady_model_passes_with_every_number_recorded() -> None:
    judged = verdict(GOOD)
    assert judged.status is Status.PASS
    assert [one.name for one in judged.checks] == [
        "failing_runs",
        "brier",
        "brier_ratio",
        "ece",
        "brier_increase",
        "ece_increase",
        "worst_window_ratio",
        "refit_spread",
        "slice:variant=linux",
        "slice:variant=windows",
        "slice:suite=core",
        "slice:suite=web",
    ]


def test_a_bad_fortnight_fails_the_windows() -> None:
    broken = [1] * 30 + [9] * 10
    judged = verdict(stability(STEADY | {"candidate": broken, "refit_1": broken, "refit_2": broken}, REFITS))
    assert judged.status is Status.FAIL
    # Ranks 1 and 9 of ten are 0.95 and 0.15 of APFD.
    assert check(judged, "worst_window_ratio").measured == pytest.approx(0.15 / 0.75)


def test_refits_that_differ_fail() -> None:
    judged = verdict(stability(STEADY | {"refit_2": [4] * 40, "candidate": [1] * 40, "refit_1": [1] * 40}, REFITS))
    assert judged.status is Status.FAIL
    assert check(judged, "refit_spread").measured == pytest.approx(0.3)


def test_a_slice_that_gets_worse_fails_although_the_whole_gets_better() -> None:
    # Even runs fail in even tests (suite web), odd runs in odd ones (core).
    champion = [3] * 40
    candidate = [1 if run % 2 == 0 else 4 for run in range(40)]
    ranks = {"candidate": candidate, "refit_1": candidate, "refit_2": candidate, "champion": champion, "decay": SIXTH}
    judged = verdict(stability(ranks, REFITS))
    assert judged.status is Status.FAIL
    core = check(judged, "slice:suite=core")
    assert (core.passed, core.measured) == (False, 0.0)
    assert "against champion; lead -0.1000 over n=20 runs" in core.detail
    assert check(judged, "slice:suite=web").passed


def test_a_loss_within_the_margin_is_allowed() -> None:
    rows = GOOD.ranking.rows.assign(**{"score:champion": GOOD.ranking.rows["score:candidate"]})
    judged = verdict(replace(GOOD, ranking=replace(GOOD.ranking, rows=rows)))
    assert all(one.measured == 1.0 for one in judged.checks if one.name.startswith("slice:"))


def test_a_small_slice_is_reported_with_its_n_and_not_judged() -> None:
    rows = GOOD.ranking.rows
    few = np.where(rows["run_id"] < "run-0005", "windows", "linux")
    small = check(verdict(with_rows(variant=few)), "slice:variant=windows")
    assert (small.threshold, small.passed) == (None, True)
    assert small.detail.startswith("reported only, n=5 of the 20 runs needed")


def test_unlisted_small_slices_are_counted() -> None:
    judged = verdict(with_rows(variant=GOOD.ranking.rows["run_id"]))
    listed = [one for one in judged.checks if one.name.startswith("slice:variant=")]
    assert len(listed) == thresholds().stability.max_reported_slices
    assert check(judged, "slices_not_listed").measured == 40 - len(listed)


def test_test_age_is_a_slice_where_it_is_known() -> None:
    number = GOOD.ranking.rows["test_id"].str[-1].astype(int)
    judged = verdict(with_rows(test_age_days=np.where(number < 5, 3.0, np.where(number < 9, 300.0, np.nan))))
    assert check(judged, "slice:test_age=new").threshold is not None
    assert check(judged, "slice:test_age=old").detail.startswith("reported only, n=16")
    assert check(judged, "slice:test_age=unknown").detail.startswith("reported only, n=4")


@pytest.mark.parametrize(
    ("name", "probability"),
    [("brier", 0.9), ("brier_ratio", 0.5), ("ece", 0.3), ("brier_increase", 0.2), ("ece_increase", 0.2)],
)
def test_a_badly_calibrated_model_fails(name: str, probability: float) -> None:
    champion = GOOD.ranking.rows["probability:candidate"]
    judged = verdict(with_rows(**{"probability:candidate": probability, "probability:champion": champion}))
    assert judged.status is Status.FAIL
    assert not check(judged, name).passed
    assert check(judged, "brier").measured == pytest.approx(0.1 * (1 - probability) ** 2 + 0.9 * probability**2)
    assert check(judged, "ece").measured == pytest.approx(abs(probability - 0.1))


def test_without_a_champion_slices_are_held_against_the_baseline_that_was_strongest_before() -> None:
    ranks = {"candidate": FIRST, "refit_1": FIRST, "refit_2": FIRST, "decay": SIXTH, "recent": THIRD}
    evidence = stability(ranks, REFITS, baselines=("decay", "recent"))
    judged = verdict(evidence)
    assert judged.status is Status.PASS
    assert "against recent" in check(judged, "slice:suite=core").detail
    limits = thresholds().statistical
    swapped = ranked_rows(ranks | {"decay": THIRD, "recent": SIXTH}, start=datetime(2026, 5, 2, tzinfo=UTC))
    before = replace(evidence.ranking, earlier=swapped)
    assert strongest_baseline(before, limits, hold_contest(before, limits)) == "decay"
    nothing = replace(evidence.ranking, earlier=swapped.iloc[:0])
    assert strongest_baseline(nothing, limits, hold_contest(nothing, limits)) == "recent"


# -- missing numbers ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(
    ("name", "evidence"),
    [
        ("refit_spread", replace(GOOD, refits=())),
        ("refit_spread", replace(GOOD, refits=("refit_1",))),
        ("refit_spread", replace(GOOD, refits=("refit_1", "refit_7"))),
        ("failing_runs", with_rows(**{"score:candidate": math.nan})),
        ("slices", with_rows(**{"score:champion": math.nan})),
        ("brier", with_rows(**{"probability:candidate": math.nan})),
        ("ece_increase", with_rows(**{"probability:champion": math.nan})),
        ("brier_ratio", with_rows(failed=False)),
        ("failing_runs", with_rows(run_id="one")),
    ],
)
def test_a_missing_number_is_an_error(name: str, evidence: StabilityEvidence) -> None:
    judged = verdict(evidence)
    assert judged.status is Status.ERROR
    assert not check(judged, name).passed


def test_no_rows_at_all_are_an_error_without_a_crash() -> None:
    judged = verdict(replace(GOOD, ranking=replace(GOOD.ranking, rows=GOOD.ranking.rows.iloc[:0])))
    assert judged.status is Status.ERROR
    assert all(one.measured is None for one in judged.checks)


# -- parts -------------------------------------------------------------------------------------------------------------
def test_holm_by_hand() -> None:
    # Sorted .01 .02 .03 times 3, 2, 1, never falling.
    assert holm([0.03, 0.01, 0.02]) == pytest.approx([0.04, 0.03, 0.04])
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_one_bad_slice_among_many_is_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(3)
    leads = {f"s{i}": rng.normal(0, 0.05, size=60) for i in range(40)}
    leads["bad"] = rng.normal(-0.1, 0.05, size=60)
    tests = loss_tests(leads, block_resamples(60, 5, 500, 1), margin=0.03)
    p = dict(zip((one.name for one in tests), holm([one.p_value for one in tests]), strict=True))
    assert [name for name, value in p.items() if value < 0.05] == ["bad"]


def test_a_constant_lead_is_judged_without_a_spread() -> None:
    resamples = block_resamples(30, 3, 200, 1)
    tests = loss_tests({"lost": np.full(30, -0.2), "kept": np.full(30, -0.01)}, resamples, margin=0.03)
    assert [one.p_value for one in tests] == [0.0, 1.0]


def test_worst_window_by_hand() -> None:
    assert worst_window_ratio(np.array([1.0, 1.0, 0.5, 0.5]), 2) == pytest.approx(0.5 / 0.75)
    with pytest.raises(NotEnoughData, match="needs 4 runs"):
        worst_window_ratio(np.array([1.0, 1.0, 1.0]), 2)
    with pytest.raises(NotEnoughData, match="mean above zero"):
        worst_window_ratio(np.zeros(4), 2)


@pytest.mark.parametrize(
    ("test_ids", "expected"),
    [
        (["org.acme.core.A", "org.acme.web.B", "org.acme.web.deep.C"], ["core", "web", "web"]),
        (["tests/api/test_a.py::x", "tests/db/test_b.py::y"], ["api", "db"]),
        (["org.acme.A", "org.acme.B"], ["acme", "acme"]),
        (["alone"], ["alone"]),
        (["a", "b"], ["a", "b"]),
        (["org.acme.core.A"], ["core"]),
        ([], []),
    ],
)
def test_suite_is_the_first_segment_that_differs(test_ids: list[str], expected: list[str]) -> None:
    assert suites(pd.Series(test_ids, dtype=object)).tolist() == expected


def test_the_ranking_evidence_is_left_as_it_was() -> None:
    evidence = ranking(STEADY)
    before = evidence.rows.copy()
    verdict(StabilityEvidence(evidence, REFITS))
    pd.testing.assert_frame_equal(evidence.rows, before)


def test_calibration_takes_each_row_for_the_results_that_it_stands_for() -> None:
    rows = GOOD.ranking.rows
    failed = rows["failed"].to_numpy(bool)
    judged = verdict(with_rows(**{WEIGHT: np.where(failed, 1.0, 4.0)}))
    repeated = pd.concat([rows, *[rows[~failed]] * 3])
    truth, probability = repeated["failed"].to_numpy(bool), repeated["probability:candidate"].to_numpy()
    rate = truth.mean()
    assert check(judged, "brier").measured == pytest.approx(brier(truth, probability))
    assert check(judged, "brier_ratio").measured == pytest.approx(brier(truth, probability) / (rate * (1 - rate)))
