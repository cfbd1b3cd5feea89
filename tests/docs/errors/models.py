"""Training, gates, publishing, going back."""

from functools import partial

import numpy as np

from ml.errors import FourgateError
from ml.gates import judge
from ml.spec import Verdict
from ml.stages.retraining import _why_not
from tests.champion_builders import PROJECT, crown, unlogged_version
from tests.docs.errors.cases import Cases, entries
from tests.docs.place import Place
from tests.ml.gates.gates_builders import ranking, thresholds, varied

CASES: Cases = {}
of = partial(entries, CASES)


@of("nothing-was-collected-yet")
def _empty(place: Place) -> str:
    place.warehouse()
    return place.call("train")


@of("a-project-is-not-in-the-lake")
def _unknown_project(place: Place) -> str:
    place.warehouse()
    place.collect_runs()
    return place.call("train", "--project", "shp")


@of("a-history-is-too-short")
def _short(place: Place) -> str:
    place.warehouse()
    place.collect(place.history(runs=4))
    return place.call("train")


@of("too-few-runs-failed")
def _few_failures(place: Place) -> str:
    place.warehouse()
    place.collect(place.history(runs=30, failing=3))
    return place.call("train")


@of("too-few-runs-failed-since-the-last-promotion")
def _nothing_new(place: Place) -> str:
    place.warehouse()
    place.collect(place.history(runs=3))
    crown(place.settings(), unlogged_version(1), 1, None)
    return place.call("train")


@of("no-candidate-was-trained-here")
def _no_candidate(place: Place) -> str:
    place.warehouse()
    place.collect_runs()
    return place.call("judge")


def _refusal(verdict: Verdict) -> str:
    """What `promote` says of it."""
    return _why_not([verdict])


@of("a-gate-says-fail")
def _fail(place: Place) -> str:
    same = varied(1)
    evidence = ranking({"candidate": same, "champion": same, "decay": varied(3, seed=2)})
    return _refusal(judge("statistical", evidence, thresholds()))


@of("a-gate-says-error-too-few-failing-runs")
def _few(place: Place) -> str:
    evidence = ranking({"candidate": varied(1, 12), "decay": varied(3, 12, seed=2)})
    return _refusal(judge("statistical", evidence, thresholds()))


@of("a-gate-says-error-a-number-is-missing")
def _missing(place: Place) -> str:
    evidence = ranking({"candidate": varied(1), "decay": varied(3, seed=2)})
    evidence.rows.loc[evidence.rows.index[:3], "probability:candidate"] = np.nan
    return _refusal(judge("statistical", evidence, thresholds()))


@of("no-project-has-a-champion-yet")
def _no_champion(place: Place) -> str:
    place.warehouse()
    place.collect_runs()
    return place.call("publish")


@of("there-is-no-previous-champion")
def _nobody_before(place: Place) -> str:
    place.warehouse()
    place.collect_runs()
    crown(place.settings(), unlogged_version(1), 1, None)
    return place.call("rollback", PROJECT, "--reason", "worse on Fridays")


def _crown_again(place: Place, number: int, day: int, against: str | None) -> str:
    """Promote a second version after a first one, and return why not."""
    place.warehouse()
    place.collect_runs()
    crown(place.settings(), unlogged_version(1), 1, None)
    try:
        crown(place.settings(), unlogged_version(number), day, against)
    except FourgateError as error:
        return f"{type(error).__name__}: {error}"
    return "promoted"


@of("another-version-became-champion-meanwhile")
def _stale(place: Place) -> str:
    return _crown_again(place, 2, 2, None)


@of("a-test-period-promoted-a-version-before")
def _used_period(place: Place) -> str:
    return _crown_again(place, 2, 1, "1")
