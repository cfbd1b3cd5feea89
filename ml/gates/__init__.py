"""The four gates: each is a function from evidence to a Verdict.

`judge` asks one gate; four passes promote, anything else leaves the champion and says why.
"""

from collections.abc import Callable

from ml.errors import SettingsError
from ml.gates.consistency import judge_consistency
from ml.gates.data_quality import judge_data_quality
from ml.gates.evidence import (
    ConsistencyEvidence,
    Evidence,
    QualityEvidence,
    RankingEvidence,
    RuleOutcome,
    StabilityEvidence,
    probability_column,
    score_column,
)
from ml.gates.report import gate_report
from ml.gates.selection import Selection, selections
from ml.gates.stability import judge_stability
from ml.gates.statistical import Comparison, Route, compare, judge_statistical, route
from ml.gates.thresholds import Thresholds, load_thresholds
from ml.settings import GATES
from ml.spec import Verdict

__all__ = [
    "GATES",
    "Comparison",
    "ConsistencyEvidence",
    "Evidence",
    "QualityEvidence",
    "RankingEvidence",
    "Route",
    "RuleOutcome",
    "Selection",
    "StabilityEvidence",
    "Thresholds",
    "compare",
    "gate_report",
    "judge",
    "load_thresholds",
    "probability_column",
    "route",
    "score_column",
    "selections",
]


def judge(gate: str, evidence: Evidence, thresholds: Thresholds) -> Verdict:
    """Ask one gate of `GATES` about the evidence made for it.

    A number that is missing from the evidence makes the verdict `error`; it does not raise.

    Raises:
        SettingsError: there is no such gate.
        TypeError: the evidence is another gate's.
    """
    judges: dict[str, tuple[type[Evidence], Callable[..., Verdict], tuple[object, ...]]] = {
        "data_quality": (QualityEvidence, judge_data_quality, (thresholds.data_quality,)),
        "statistical": (RankingEvidence, judge_statistical, (thresholds.statistical,)),
        "stability": (StabilityEvidence, judge_stability, (thresholds.stability, thresholds.statistical)),
        "consistency": (ConsistencyEvidence, judge_consistency, (thresholds.consistency,)),
    }
    if gate not in judges:
        raise SettingsError(f"{gate!r} is not a gate; right: {', '.join(GATES)}")
    expected, judge_with, limits = judges[gate]
    if not isinstance(evidence, expected):
        raise TypeError(f"gate {gate} judges {expected.__name__}, not {type(evidence).__name__}")
    return judge_with(evidence, *limits)
