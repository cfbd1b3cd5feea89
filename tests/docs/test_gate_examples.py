"""The worked examples of docs/gates.md: read from the page, judged by the gates, compared with its numbers."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pandas as pd
import pytest

from ml.gates import ConsistencyEvidence, QualityEvidence, RuleOutcome, judge
from ml.spec import MERGED_RESULT, Check, RuleKind, Verdict
from tests.docs.pages import DOCS, Section, sections
from tests.docs.place import is_told
from tests.ml.gates.gates_builders import SPLIT, TEST_START, ranked_rows, ranking, stability, thresholds

EXAMPLES: dict[str, Section] = {
    anchor: section
    for anchor, section in sections((DOCS / "gates.md").read_text(), level=3).items()
    if anchor.startswith("example")
}
Numbers = dict[str, list[float]]


def data_quality(given: Numbers) -> Verdict:
    batches = pd.DataFrame(
        {"score": given["score"], "result_count": given["accepted"], "rejected_count": given["refused"]}
    )
    before = {name: TEST_START - timedelta(hours=1) for name in ("fit", "calibrate", "validate")}
    evidence = QualityEvidence(batches, 5000, 100, 2000, 25, {"age": 0.0}, 0, "history", None, SPLIT, before)
    return judge("data_quality", evidence, thresholds())


def ranks_of(given: Numbers) -> dict[str, list[int]]:
    return {name: [int(rank) for rank in ranks] for name, ranks in given.items() if name != "champion_age_days"}


def statistical(given: Numbers) -> Verdict:
    evidence = ranking(ranks_of(given))
    if "champion_age_days" in given:
        evidence = replace(evidence, champion_age_days=given["champion_age_days"][0])
    return judge("statistical", evidence, thresholds())


def steadiness(given: Numbers) -> Verdict:
    return judge("stability", stability(ranks_of(given), ()), thresholds())


def consistency(given: Numbers) -> Verdict:
    rows = ranked_rows({"candidate": [1] * 20, "champion": [1] * 20})
    rule = RuleOutcome(RuleKind.NOT_LOWER, np.array(given["before"]), np.array(given["after"]))
    scores = rows["score:candidate"].to_numpy()
    served = rows[[*MERGED_RESULT, "score:candidate"]].rename(columns={"score:candidate": "score"})
    evidence = ConsistencyEvidence(rows, scores, scores, served, {"last_execution_failed": rule}, 0, 0.3)
    return judge("consistency", evidence, thresholds())


JUDGES: dict[str, Callable[[Numbers], Verdict]] = {
    "example-one-bad-batch-among-three": data_quality,
    "example-better-by-more-than-chance": statistical,
    "example-the-same-model-again": statistical,
    "example-an-old-champion-is-refreshed": statistical,
    "example-twelve-failing-runs": statistical,
    "example-ten-bad-runs-in-a-row": steadiness,
    "example-a-rule-broken-three-times-in-ten": consistency,
}


def inputs(section: Section) -> Numbers:
    """Lines ``name: number number ...`` of the first block; ``number x count`` repeats it."""
    given: Numbers = {}
    for line in section.blocks[0].text.splitlines():
        name, _, values = line.partition(":")
        parts = [part.partition("x") for part in values.split()]
        given[name.strip()] = [float(value) for value, _, count in parts for _ in range(int(count or 1))]
    return given


def shown(check: Check) -> str:
    """A check as the page writes it."""
    measured = "?" if check.measured is None else f"{check.measured:.4f}"
    limit = "reported" if check.threshold is None else f"limit {check.threshold:g}"
    return f"{check.name} {measured} {limit} {'pass' if check.passed else 'fail'}: {check.detail}"


def test_every_example_has_a_judge_and_every_judge_an_example() -> None:
    assert set(EXAMPLES) == set(JUDGES)


@pytest.mark.parametrize("anchor", JUDGES)
def test_an_example_is_what_the_gate_says(anchor: str) -> None:
    section = EXAMPLES[anchor]
    verdict = JUDGES[anchor](inputs(section))
    told = "\n".join([f"status {verdict.status}", *map(shown, verdict.checks)])
    assert is_told(section.blocks[1].text, told), told
