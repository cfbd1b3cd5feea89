"""What the measures in MLflow are called, in which unit they are and what they mean. Names are kept across releases."""

from dataclasses import dataclass

from ml.metrics.selection import TARGETS
from ml.metrics.views import VIEWS, View
from ml.spec import Objective

BOTH = (Objective.RANKING, Objective.PROBABILITY)
RANKING, PROBABILITY = (Objective.RANKING,), (Objective.PROBABILITY,)


@dataclass(frozen=True, slots=True)
class Described:
    """A measure in words.

    `by_view`: logged once for each of the objective's `VIEWS`, as ``<name>_<view>``.
    """

    unit: str
    greater_is_better: bool | None
    objectives: tuple[Objective, ...]
    by_view: bool
    meaning: str


def _share(objectives: tuple[Objective, ...], meaning: str, *, greater: bool = True, by_view: bool = True) -> Described:
    return Described("0 to 1", greater, objectives, by_view, meaning)


def at_change_recall(what: str, target: float) -> str:
    """Name of what an operating point measures (tests, duration or saved), such as ``tests_at_change_recall_95``."""
    return f"{what}_at_change_recall_{100 * target:g}"


def _operating_points() -> dict[str, Described]:
    found: dict[str, Described] = {}
    for target in TARGETS:
        caught = f"that catch {100 * target:g} % of the faulty runs"
        found |= {
            at_change_recall("tests", target): _share(
                RANKING, f"least share of each run's tests {caught}", greater=False
            ),
            at_change_recall("duration", target): _share(
                RANKING, f"share of the duration of all runs that the tests take {caught}", greater=False
            ),
            at_change_recall("saved", target): Described(
                "min", True, RANKING, True, f"test time per run, green ones too, beside the tests {caught}"
            ),
        }
    return found


CATALOGUE = {
    "apfd": _share(RANKING, "how early the ranking puts the failing tests, by count; a random order gets 0.5"),
    "apfdc": _share(RANKING, "the same by duration: share of the time that is left when failures come"),
    "apfdc_by_cost": _share(RANKING, "apfdc of the order by chance of failing per second"),
    "napfd": _share(RANKING, "apfd of what is run within the budget of tests"),
    "napfd_time": _share(RANKING, "apfd of what is run within the budget of duration"),
    "test_recall": _share(RANKING, "share of the failing tests that are run within the budget of tests"),
    "test_recall_time": _share(RANKING, "share of the failing tests that are run within the budget of duration"),
    "change_recall": _share(BOTH, "share of the faulty runs of which a failing test is run, or that are called risky"),
    "change_recall_time": _share(RANKING, "share of the faulty runs that are seen within the budget of duration"),
    "selection_rate": _share(RANKING, "share of the tests to run for 95 % of the failing ones", greater=False),
    **_operating_points(),
    "quadratic_score": _share(PROBABILITY, "1 less the squared error of the probability, mean over a run's rows"),
    "runs": Described("count", None, BOTH, True, "runs that count in the measures of this view"),
    "auc": _share(BOTH, "chance that a failed row has a higher probability than a passed one", by_view=False),
    "pr_auc": _share(BOTH, "area under precision and recall; a random order gets the failure rate", by_view=False),
    "brier": _share(BOTH, "mean squared error of the probability", greater=False, by_view=False),
    "ece": _share(BOTH, "expected calibration error of the probability", greater=False, by_view=False),
    "f1": _share(BOTH, "F1 of calling rows failing from the threshold on", by_view=False),
}
# Measures that are of no period.
OTHERS = {
    "fit_s": Described("s", False, BOTH, False, "time that fitting and calibrating the candidate took"),
    "drift.drifted_columns_rate": Described("0 to 1", None, BOTH, False, "share of the columns that drifted"),
}
PERIODS = ("validation", "test")
_SUFFIXES = {"count": "_count", "min": "_min"}


def names(measure: str, views: tuple[View, ...] = VIEWS[Objective.RANKING]) -> tuple[str, ...]:
    """Names under which a measure of `CATALOGUE` is logged, without period and bounds."""
    described = CATALOGUE[measure]
    logged = tuple(f"{measure}_{view}" for view in views) if described.by_view else (measure,)
    return tuple(f"{name}{_SUFFIXES.get(described.unit, '')}" for name in logged)
