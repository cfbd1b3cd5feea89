"""The four gates on a model of probabilities: a row per run, a proper score per run, decisions at a threshold."""

import math
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pandas as pd
import pytest

from ml.errors import SettingsError
from ml.gates import (
    ConsistencyEvidence,
    RankingEvidence,
    RuleOutcome,
    StabilityEvidence,
    compare,
    judge,
    load_thresholds,
)
from ml.spec import MERGED_RESULT, Check, Objective, RuleKind, Status, Verdict
from tests.ml.gates.gates_builders import SHIPPED, SPLIT, TEST_START

LIMITS = load_thresholds(SHIPPED, "build_risk")
RUNS = 120


def runs(start: datetime = TEST_START, failing: float = 0.4, **skill: float) -> pd.DataFrame:
    """One row per run, an hour apart; a contestant's probability is right by `skill` of the way from the base rate."""
    draw = np.random.default_rng(5)
    failed = draw.random(RUNS) < failing
    table = pd.DataFrame(
        {
            "project": "ozone",
            "run_id": [f"run-{i:04d}" for i in range(RUNS)],
            "variant": "*",
            "test_id": "*",
            "started_at": pd.to_datetime([start + timedelta(hours=i) for i in range(RUNS)]).as_unit("us"),
            "failed": failed,
            "previous_failed": False,
            "duration_s": 1.0,
            "slice:event": np.where(np.arange(RUNS) % 2, "push", "pull_request"),
        }
    )
    for name, share in skill.items():
        # Right on so many runs that probabilities of 0.9 and 0.1 are honest ones.
        told = np.where(draw.random(RUNS) < 0.9, failed, ~failed)
        table[f"probability:{name}"] = 0.4 + share * (np.where(told, 0.9, 0.1) - 0.4)
        table[f"score:{name}"] = table[f"probability:{name}"]
        table[f"chosen:{name}"] = table[f"probability:{name}"] >= 0.5
    return table


def evidence(**changes: object) -> RankingEvidence:
    skill = {"candidate": 1.0, "champion": 0.4, "decay": 0.1}
    rows = runs(**skill)
    refits = {f"{kind}:refit_{n}": rows[f"{kind}:candidate"] for kind in ("score", "probability") for n in (1, 2)}
    given: dict[str, object] = {
        "rows": rows.assign(**refits),
        "earlier": runs(datetime(2026, 5, 2, tzinfo=TEST_START.tzinfo), **skill),
        "baselines": ("decay",),
        "split": SPLIT,
        "used_periods": (),
        "seed": 7,
        "budget": 0.3,
        "has_champion": True,
        "champion_age_days": 3.0,
        "objective": Objective.PROBABILITY,
    }
    return RankingEvidence(**{**given, **changes})


def check(verdict: Verdict, name: str) -> Check:
    return next(one for one in verdict.checks if one.name == name)


def test_better_probabilities_pass_and_every_run_counts() -> None:
    verdict = judge("statistical", evidence(), LIMITS)
    assert verdict.status is Status.PASS
    assert check(verdict, "route").detail == "better"
    failing = int(evidence().rows["failed"].sum())
    assert check(verdict, "failing_runs").measured == failing
    assert f"over {RUNS} runs" in check(verdict, "lead_over_baseline:decay").detail
    assert "called risky" in check(verdict, "change_recall").detail
    comparison = compare(evidence(), LIMITS.statistical)
    assert (comparison.metric, comparison.run_count) == ("quadratic_score", RUNS)
    rows = evidence().rows
    error = (rows["probability:candidate"] - rows["failed"]) ** 2
    assert comparison.means["candidate"].value == pytest.approx(1 - error.mean())


def test_an_equal_model_is_not_better() -> None:
    rows = evidence().rows
    same = {f"{kind}:champion": rows[f"{kind}:candidate"] for kind in ("score", "probability", "chosen")}
    verdict = judge("statistical", evidence(rows=rows.assign(**same)), LIMITS)
    assert verdict.status is Status.FAIL
    assert check(verdict, "better:lead_over_champion").measured == 0


@pytest.mark.parametrize("failed", [True, False])
def test_one_outcome_alone_promotes_nobody(failed: bool) -> None:
    one = evidence(rows=evidence().rows.assign(failed=failed))
    assert judge("statistical", one, LIMITS).status is not Status.PASS
    assert judge("stability", StabilityEvidence(one, ("refit_1", "refit_2")), LIMITS).status is Status.ERROR


def test_a_missing_probability_is_an_error() -> None:
    rows = evidence().rows
    for name in ("candidate", "champion", "decay"):
        broken = evidence(rows=rows.assign(**{f"probability:{name}": math.nan}))
        assert judge("statistical", broken, LIMITS).status is Status.ERROR, name


def test_a_metric_of_another_objective_is_a_wrong_setting() -> None:
    with pytest.raises(SettingsError, match="'apfd' does not measure a probability; right: quadratic_score"):
        judge("statistical", evidence(), load_thresholds(SHIPPED, "test_selection"))


def test_a_steady_model_passes_and_a_slice_that_lost_is_named() -> None:
    refits = ("refit_1", "refit_2")
    verdict = judge("stability", StabilityEvidence(evidence(), refits), LIMITS)
    assert verdict.status is Status.PASS
    assert {one.name for one in verdict.checks if one.name.startswith("slice")} == {
        "slice:event=push",
        "slice:event=pull_request",
    }
    rows = evidence().rows
    pushed = rows["slice:event"] == "push"
    worse = rows["probability:candidate"].where(~pushed, 1 - rows["probability:candidate"])
    lost = judge(
        "stability", StabilityEvidence(evidence(rows=rows.assign(**{"probability:candidate": worse})), refits), LIMITS
    )
    assert not check(lost, "slice:event=push").passed
    assert check(lost, "slice:event=pull_request").passed


def test_advice_is_compared_as_it_was_given() -> None:
    rows = evidence().rows
    scores = rows["score:candidate"].to_numpy()
    given = ConsistencyEvidence(
        rows=rows,
        again=scores,
        reloaded=scores,
        served=rows[MERGED_RESULT].assign(score=scores),
        rules={"r": RuleOutcome(RuleKind.SAME, scores, scores)},
        contract_violations=0,
        budget=0.3,
        has_champion=True,
        objective=Objective.PROBABILITY,
    )
    flipped = float((rows["chosen:candidate"] != rows["chosen:champion"]).mean())
    assert check(judge("consistency", given, LIMITS), "flipped_share").measured == pytest.approx(flipped)
    assert check(judge("consistency", given, LIMITS), "rank_correlation").measured == pytest.approx(
        rows["score:candidate"].corr(rows["score:champion"], method="spearman")
    )
    missing = replace(given, rows=rows.drop(columns="chosen:champion"))
    assert judge("consistency", missing, LIMITS).status is Status.ERROR
