import math
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from ml.gates import ConsistencyEvidence, RuleOutcome, judge
from ml.gates.consistency import flipped_share, population_stability, rank_correlation
from ml.spec import MERGED_RESULT, Check, RuleKind, Status, Verdict
from tests.ml.gates.gates_builders import ranked_rows, thresholds

ROWS = ranked_rows({"candidate": [1, 2, 3], "champion": [1, 2, 4]})
SCORES = ROWS["score:candidate"].to_numpy()
# two of the runs, and a test that no judged row has
SERVED = pd.concat(
    [
        ROWS.loc[ROWS["run_id"].isin(sorted(set(ROWS["run_id"]))[:2]), [*MERGED_RESULT, "score:candidate"]].rename(
            columns={"score:candidate": "score"}
        ),
        pd.DataFrame({"run_id": ["another"], "variant": ["linux"], "test_id": ["unknown"], "score": [0.5]}),
    ],
    ignore_index=True,
)
UP = RuleOutcome(RuleKind.NOT_LOWER, np.array([0.1, 0.2]), np.array([0.1, 0.3]))
GOOD = ConsistencyEvidence(
    rows=ROWS,
    again=SCORES.copy(),
    reloaded=SCORES + 5e-10,
    served=SERVED,
    rules={"failed more recently": UP},
    contract_violations=0,
    budget=0.3,
    has_champion=True,
)


def verdict(**changes: object) -> Verdict:
    return judge("consistency", replace(GOOD, **changes), thresholds())


def check(judged: Verdict, name: str) -> Check:
    return next(one for one in judged.checks if one.name == name)


def with_value(column: str, value: float) -> pd.DataFrame:
    rows = ROWS.copy()
    rows.loc[4, column] = value
    return rows


def shared(probability: float) -> pd.DataFrame:
    return ROWS.assign(**{"probability:candidate": probability})


def opposite() -> pd.DataFrame:
    return ROWS.assign(**{"score:champion": -ROWS["score:candidate"]})


def rule(kind: RuleKind, before: list[float], after: list[float]) -> dict[str, object]:
    return {"rules": {"r": RuleOutcome(kind, np.array(before), np.array(after))}}


def test_a_model_that_is_like_itself_and_close_to_the_champion_passes() -> None:
    judged = verdict()
    assert judged.status is Status.PASS
    assert [one.name for one in judged.checks] == [
        "repeat_difference",
        "reload_difference",
        "serve_difference",
        "nonfinite_scores",
        "probability_violations",
        "contract_violations",
        "rule:failed more recently",
        "rank_correlation",
        "psi",
        "flipped_share",
    ]


@pytest.mark.parametrize(
    ("name", "changes", "measured"),
    [
        ("repeat_difference", {"again": SCORES + 2e-9}, 2e-9),
        ("reload_difference", {"reloaded": SCORES - 0.5}, 0.5),
        ("serve_difference", {"served": SERVED.assign(score=SERVED["score"] + 0.25)}, 0.25),
        ("probability_violations", {"rows": with_value("probability:candidate", 1.01)}, 1),
        ("contract_violations", {"contract_violations": 3}, 3),
        ("rule:r", rule(RuleKind.SAME, [0.1, 0.2], [0.1, 0.2001]), 0.5),
        ("rule:r", rule(RuleKind.NOT_LOWER, [0.1, 0.2], [0.0, 0.3]), 0.5),
        ("rule:r", rule(RuleKind.NOT_HIGHER, [0.1, 0.2], [0.2, 0.3]), 1.0),
        ("rank_correlation", {"rows": opposite()}, -1.0),
        ("flipped_share", {"rows": opposite()}, 0.6),
        ("psi", {"rows": shared(0.2)}, 18.09),
    ],
)
def test_each_check_fails_on_its_own_number(name: str, changes: dict[str, object], measured: float) -> None:
    judged = verdict(**changes)
    assert judged.status is Status.FAIL
    assert check(judged, name).measured == pytest.approx(measured, rel=0.05)
    assert not check(judged, name).passed


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("repeat_difference", {"rows": with_value("score:candidate", math.nan)}),
        ("repeat_difference", {"again": SCORES[:-1]}),
        ("repeat_difference", {"again": np.where(SCORES > 0.5, np.nan, SCORES)}),
        ("reload_difference", {"reloaded": np.empty(0)}),
        ("serve_difference", {"served": SERVED.iloc[:0]}),
        ("serve_difference", {"served": SERVED.assign(score=math.nan)}),
        ("nonfinite_scores", {"rows": ROWS.drop(columns="score:candidate")}),
        ("probability_violations", {"rows": ROWS.drop(columns="probability:candidate")}),
        ("contract_violations", {"contract_violations": None}),
        ("rules", {"rules": {}}),
        ("rule:r", rule(RuleKind.SAME, [], [])),
        ("rule:r", rule(RuleKind.SAME, [0.1], [math.nan])),
        ("rule:r", rule(RuleKind.SAME, [0.1], [0.1, 0.2])),
        ("rank_correlation", {"rows": ROWS.drop(columns="score:champion")}),
        ("rank_correlation", {"rows": ROWS.assign(**{"score:champion": 0.5})}),
        ("psi", {"rows": with_value("probability:champion", math.nan)}),
        ("flipped_share", {"rows": with_value("score:champion", math.nan)}),
        ("psi", {"rows": ROWS.iloc[:0], "again": np.empty(0), "reloaded": np.empty(0)}),
    ],
)
def test_a_missing_number_is_an_error(name: str, changes: dict[str, object]) -> None:
    judged = verdict(**changes)
    assert judged.status is Status.ERROR
    assert (check(judged, name).measured, check(judged, name).passed) == (None, False)


def test_a_score_that_is_not_a_number_is_counted() -> None:
    assert check(verdict(rows=with_value("score:candidate", math.nan)), "nonfinite_scores").measured == 1.0


def test_without_a_champion_the_rules_alone_are_judged_and_that_is_said() -> None:
    judged = verdict(has_champion=False)
    assert judged.status is Status.PASS
    assert check(judged, "champions_compared").threshold is None
    assert "no champion" in check(judged, "champions_compared").detail
    assert "psi" not in [one.name for one in judged.checks]


def test_rank_correlation_is_the_median_over_runs_of_spearman() -> None:
    rows = pd.DataFrame(
        {
            "run_id": ["a"] * 6 + ["b"] * 6 + ["small"] * 2,
            "score:candidate": [1, 2, 3, 4, 5, 6, 1, 1, 2, 3, 4, 5, 1, 2],
            "score:champion": [1, 2, 3, 4, 6, 5, 9, 9, 7, 6, 5, 4, 2, 1],
        }
    )
    # Run a: 1 - 6 * 2 / (6 * 35); run b is exactly opposite; two tests are too few.
    assert rank_correlation(rows) == pytest.approx((1 - 12 / 210 - 1) / 2)


def test_population_stability_by_hand() -> None:
    value = population_stability([0.1, 0.1, 0.1, 0.9], [0.1, 0.9, 0.9, 0.9], edges=[0.5], floor=1e-4)
    assert value == pytest.approx(0.5 * math.log(3) - 0.5 * math.log(1 / 3))
    assert population_stability([0.2, 0.7], [0.3, 0.8], edges=[0.5], floor=1e-4) == 0.0


def test_an_empty_bin_counts_as_the_floor() -> None:
    value = population_stability([0.9], [0.1], edges=[0.5], floor=0.01)
    assert value == pytest.approx(2 * 0.99 * math.log(100))


def test_flipped_decisions_are_counted_per_run_and_ties_do_not_flip() -> None:
    rows = ROWS.assign(**{"score:candidate": 0.0, "score:champion": 1.0})
    assert flipped_share(rows, 0.3) == 0.0
    # Only the third run's failing test moves out of the first three: it and the test that takes its place flip.
    assert flipped_share(ROWS, 0.3) == pytest.approx(2 / 30)
