import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest

from ml.gates import RankingEvidence, compare, judge, route
from ml.gates.contest import Contest, choose_block_length, hold_contest
from ml.metrics import block_resamples, interval
from ml.spec import Check, Interval, Status, Verdict
from tests.ml.gates.gates_builders import SPLIT, TEST_END, TEST_START, ranking, thresholds, varied

LIMITS = thresholds().statistical
FIRST, THIRD, SIXTH = varied(1), varied(3, seed=2), varied(6, seed=3)


def verdict(evidence: RankingEvidence) -> Verdict:
    return judge("statistical", evidence, thresholds())


def check(judged: Verdict, name: str) -> Check:
    return next(one for one in judged.checks if one.name == name)


def names(judged: Verdict) -> list[str]:
    return [one.name for one in judged.checks]


# -- routes ------------------------------------------------------------------------------------------------------------
def test_without_a_champion_the_baselines_are_enough() -> None:
    judged = verdict(ranking({"candidate": FIRST, "decay": THIRD}))
    assert judged.status is Status.PASS
    assert route(judged) == "first"
    assert names(judged) == [
        "test_period_reuse",
        "rows_outside_test_period",
        "failing_runs",
        "lead_over_baseline:decay",
        "route",
        "pr_auc_lift",
        "change_recall",
    ]


def test_a_better_model_takes_the_better_route() -> None:
    judged = verdict(ranking({"candidate": FIRST, "champion": THIRD, "decay": SIXTH}))
    assert judged.status is Status.PASS
    assert route(judged) == "better"
    lead = check(judged, "better:lead_over_champion")
    # Third instead of first among ten is 0.2 of APFD; the bound lies below the mean and well above the limit.
    assert 0.1 < lead.measured < 0.2
    assert lead.threshold == LIMITS.min_improvement


def test_the_same_model_again_is_refused_and_the_closed_refresh_is_said() -> None:
    judged = verdict(ranking({"candidate": FIRST, "champion": FIRST, "decay": THIRD}))
    assert judged.status is Status.FAIL
    assert route(judged) == "none"
    assert check(judged, "better:lead_over_champion").measured == 0.0
    assert check(judged, "refresh:champion_age_days").threshold is None


def test_who_takes_over_from_the_shared_model_has_to_be_better_whatever_drifted() -> None:
    evidence = ranking({"candidate": FIRST, "champion": FIRST, "anchor": FIRST, "decay": THIRD})
    judged = verdict(replace(evidence, is_shared=True, has_drift=True, champion_age_days=400.0))
    assert (judged.status, route(judged)) == (Status.FAIL, "none")
    assert not check(judged, "better:lead_over_champion").passed
    assert "only better wins" in check(judged, "refresh:own_champions").detail
    ahead = replace(ranking({"candidate": FIRST, "champion": THIRD, "decay": SIXTH}), is_shared=True)
    assert (verdict(ahead).status, route(verdict(ahead))) == (Status.PASS, "better")


@pytest.mark.parametrize("opening", [{"champion_age_days": 31.0}, {"has_drift": True}])
def test_an_old_champion_or_drift_opens_the_refresh(opening: dict[str, object]) -> None:
    same = {"candidate": FIRST, "champion": FIRST, "anchor": FIRST, "decay": THIRD}
    judged = verdict(ranking(same, **opening))
    assert (judged.status, route(judged)) == (Status.PASS, "refresh")
    assert check(judged, "better:lead_over_champion").detail.startswith("reported only, against 0.002")


def test_a_refresh_must_hold_against_the_anchor_too() -> None:
    slipped = {"candidate": THIRD, "champion": THIRD, "anchor": FIRST, "decay": SIXTH}
    judged = verdict(ranking(slipped, has_drift=True))
    assert (judged.status, route(judged)) == (Status.FAIL, "none")
    assert check(judged, "refresh:lead_over_champion").passed
    assert not check(judged, "refresh:lead_over_anchor").passed


def test_a_refresh_without_an_anchor_is_an_error_but_the_better_route_needs_none() -> None:
    same = {"candidate": FIRST, "champion": FIRST, "decay": THIRD}
    judged = verdict(ranking(same, has_drift=True))
    assert judged.status is Status.ERROR
    assert "'score:anchor' was not given" in check(judged, "refresh:lead_over_anchor").detail
    better = {"candidate": FIRST, "champion": THIRD, "decay": SIXTH}
    assert verdict(ranking(better, has_drift=True)).status is Status.PASS


def test_an_unknown_age_is_an_error_only_where_it_would_decide() -> None:
    same = {"candidate": FIRST, "champion": FIRST, "decay": THIRD}
    assert verdict(ranking(same, champion_age_days=None)).status is Status.ERROR
    better = {"candidate": FIRST, "champion": THIRD, "decay": SIXTH}
    assert verdict(ranking(better, champion_age_days=None)).status is Status.PASS


# -- baselines, floors, periods ----------------------------------------------------------------------------------------
def test_every_baseline_must_be_beaten() -> None:
    ranks = {"candidate": THIRD, "champion": SIXTH, "decay": SIXTH, "recent": FIRST}
    judged = verdict(ranking(ranks, baselines=("decay", "recent")))
    assert judged.status is Status.FAIL
    assert check(judged, "lead_over_baseline:decay").passed
    assert not check(judged, "lead_over_baseline:recent").passed


def test_a_model_equal_to_a_baseline_does_not_beat_it() -> None:
    judged = verdict(ranking({"candidate": FIRST, "decay": FIRST}))
    assert (check(judged, "lead_over_baseline:decay").measured, judged.status) == (0.0, Status.FAIL)


def test_floors_fail_on_a_ranking_that_only_beats_a_bad_baseline() -> None:
    judged = verdict(ranking({"candidate": SIXTH, "decay": [10] * 40}))
    assert judged.status is Status.FAIL
    assert check(judged, "lead_over_baseline:decay").passed
    assert check(judged, "change_recall").measured == 0.0
    assert not check(judged, "pr_auc_lift").passed


def test_a_period_that_promoted_before_is_refused_with_the_reason() -> None:
    used = (Interval(TEST_START - timedelta(days=9), TEST_START + timedelta(seconds=1)),)
    judged = verdict(ranking({"candidate": FIRST, "decay": THIRD}, used_periods=used))
    assert judged.status is Status.FAIL
    reuse = check(judged, "test_period_reuse")
    assert (reuse.measured, reuse.passed) == (1.0, False)
    assert "has promoted before: 2026-05-23 00:00 to 2026-06-01 00:00" in reuse.detail


@pytest.mark.parametrize("used", [Interval(None, TEST_START), Interval(TEST_END, None)])
def test_a_period_that_only_touches_a_used_one_is_fresh(used: Interval) -> None:
    judged = verdict(ranking({"candidate": FIRST, "decay": THIRD}, used_periods=(used,)))
    assert judged.status is Status.PASS


@pytest.mark.parametrize("test", [Interval(TEST_START + timedelta(hours=2), TEST_END), Interval(None, TEST_START)])
def test_rows_outside_the_named_period_are_refused(test: Interval) -> None:
    judged = verdict(ranking({"candidate": FIRST, "decay": THIRD}, split=replace(SPLIT, test=test)))
    assert judged.status is Status.FAIL
    outside = check(judged, "rows_outside_test_period").measured
    assert outside == (20.0 if test.start else 400.0)


# -- missing numbers ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("runs", [0, 1, 19])
def test_too_few_runs_are_an_error_with_both_numbers(runs: int) -> None:
    evidence = ranking({"candidate": FIRST, "decay": THIRD})
    rows = evidence.rows.iloc[: runs * 10]
    judged = verdict(replace(evidence, rows=rows))
    assert judged.status is Status.ERROR
    assert f"needs 20 runs with failures, has {runs}" in check(judged, "failing_runs").detail
    assert route(judged) == "none"


@pytest.mark.parametrize(
    ("column", "name"),
    [
        ("score:candidate", "failing_runs"),
        ("score:champion", "better:lead_over_champion"),
        ("probability:candidate", "pr_auc_lift"),
    ],
)
def test_a_missing_score_is_an_error_that_names_its_column(column: str, name: str) -> None:
    evidence = ranking({"candidate": FIRST, "champion": THIRD, "decay": SIXTH})
    rows = evidence.rows.copy()
    rows.loc[7, column] = math.nan
    judged = verdict(replace(evidence, rows=rows))
    assert judged.status is Status.ERROR
    assert (check(judged, name).measured, check(judged, name).passed) == (None, False)
    assert f"1 of 400 values of '{column}'" in check(judged, name).detail


def test_a_baseline_may_leave_a_new_test_without_a_score_but_not_all() -> None:
    evidence = ranking({"candidate": FIRST, "decay": THIRD})
    rows = evidence.rows.copy()
    rows.loc[7, "score:decay"] = math.nan
    assert verdict(replace(evidence, rows=rows)).status is Status.PASS
    rows["score:decay"] = math.nan
    assert verdict(replace(evidence, rows=rows)).status is Status.ERROR


def test_no_baseline_is_an_error() -> None:
    judged = verdict(ranking({"candidate": FIRST}, baselines=()))
    assert judged.status is Status.ERROR
    assert check(judged, "lead_over_baselines").detail == "no baseline was given to compare with"


def test_a_candidate_that_ties_every_test_is_not_promoted() -> None:
    evidence = ranking({"candidate": FIRST, "champion": THIRD, "decay": THIRD})
    tied = evidence.rows.assign(**{"score:candidate": 0.5, "probability:candidate": 0.1})
    judged = verdict(replace(evidence, rows=tied))
    assert judged.status is Status.FAIL
    assert check(judged, "pr_auc_lift").measured == pytest.approx(1.0)


# -- resampling --------------------------------------------------------------------------------------------------------
def test_the_order_of_rows_changes_nothing() -> None:
    evidence = ranking({"candidate": FIRST, "champion": THIRD, "decay": SIXTH})
    shuffled = replace(evidence, rows=evidence.rows.sample(frac=1, random_state=3))
    assert verdict(shuffled) == verdict(evidence)


def test_the_block_length_is_the_longest_asked_for_and_fits_four_times() -> None:
    wave = np.sin(np.arange(200) / 10)
    calm = np.ones(200)
    assert choose_block_length([calm], 400, LIMITS) == LIMITS.min_block_length
    assert choose_block_length([calm, wave], 400, LIMITS) > 15
    assert choose_block_length([wave], 40, LIMITS) == 10
    assert choose_block_length([calm[:5]], 400, LIMITS) == LIMITS.default_block_length


def test_earlier_rows_alone_choose_the_block_length() -> None:
    swings = [1 + 8 * (i // 20 % 2) for i in range(120)]
    calm = varied(3, runs=120)
    evidence = ranking({"candidate": calm, "decay": varied(6, runs=120, seed=4)})
    wild = ranking({"candidate": swings, "decay": varied(6, runs=120, seed=4)})
    assert hold_contest(evidence, LIMITS).block_length == 8
    assert hold_contest(replace(evidence, earlier=wild.earlier), LIMITS).block_length > 12
    assert hold_contest(replace(evidence, rows=wild.rows), LIMITS).block_length == 8
    assert hold_contest(replace(evidence, earlier=evidence.earlier.iloc[:0]), LIMITS).block_length == 10


def test_compare_gives_the_numbers_of_the_verdict() -> None:
    evidence = ranking({"candidate": FIRST, "champion": THIRD, "decay": SIXTH})
    found = compare(evidence, LIMITS)
    judged = verdict(evidence)
    assert (found.metric, found.run_count, list(found.means)) == ("apfd", 40, ["candidate", "champion", "decay"])
    assert found.leads["champion"].low == check(judged, "better:lead_over_champion").measured
    assert found.means["candidate"].value == pytest.approx(1 - (np.mean(FIRST) - 0.5) / 10)


def test_compare_of_nothing_is_empty() -> None:
    evidence = ranking({"candidate": FIRST, "decay": THIRD})
    assert compare(replace(evidence, rows=evidence.rows.iloc[:0]), LIMITS).means == {}


# -- how often chance passes -------------------------------------------------------------------------------------------
def autoregressive(count: int, rho: float, rng: np.random.Generator) -> Sequence[float]:
    values = [rng.normal()]
    for step in rng.normal(size=count - 1) * math.sqrt(1 - rho**2):
        values.append(rho * values[-1] + step)
    return values


def lower_bound(late: np.ndarray, early: np.ndarray, seed: int) -> float:
    length = choose_block_length([early], len(late), LIMITS)
    contest = Contest(
        run_ids=tuple(str(run) for run in range(len(late))),
        values={"candidate": late, "champion": np.zeros(len(late))},
        change_recall=np.ones(len(late)),
        failing_count=len(late),
        missing={},
        resamples=block_resamples(len(late), length, 300, seed),
        block_length=length,
        confidence=LIMITS.confidence,
    )
    return contest.lead("champion").low


@pytest.mark.parametrize(("runs", "iid_at_least"), [(20, 0.07), (40, 0.07), (100, 0.07)])
def test_equal_models_pass_no_more_often_than_stated_where_an_iid_bootstrap_does(
    runs: int, iid_at_least: float
) -> None:
    rng = np.random.default_rng(20260101)
    passes = iid_passes = 0
    histories = 400
    for history in range(histories):
        early, late = (np.array(autoregressive(count, 0.4, rng)) for count in (60, runs))
        passes += lower_bound(late, early, history) > 0
        iid_passes += interval(late, block_resamples(runs, 1, 300, history), LIMITS.confidence).low > 0
    # The stated rate is 5 %; two standard errors of 400 histories are 2 %.
    assert passes / histories <= 0.06
    assert iid_passes / histories >= iid_at_least


def test_a_truly_better_model_passes_most_of_the_time() -> None:
    rng = np.random.default_rng(20260101)
    pairs = [(np.array(autoregressive(60, 0.4, rng)), np.array(autoregressive(60, 0.4, rng))) for _ in range(100)]
    # Better by one standard deviation of the per-run difference.
    assert sum(lower_bound(late + 1, early, seed) > 0 for seed, (early, late) in enumerate(pairs)) >= 95


def test_the_whole_gate_refuses_equal_models_that_trade_places() -> None:
    rng = np.random.default_rng(5)
    promoted = 0
    for _ in range(25):
        ranks = {
            name: np.clip(np.round(3 + np.array(autoregressive(40, 0.4, rng))), 1, 10).astype(int).tolist()
            for name in ("candidate", "champion")
        }
        judged = verdict(ranking(ranks | {"decay": [8] * 40}))
        promoted += route(judged) == "better"
    assert promoted <= 2
