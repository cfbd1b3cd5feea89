"""The stages as processes of their own, to be killed at any moment."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ml.models import test_selection
from ml.settings import GATES, Settings
from ml.spec import Check, Status, Verdict
from ml.stages import collection, fetching, maintenance, preparation, retention, retraining, serving
from ml.stages.opening import to_span

MODEL = "test_selection"
NOW = datetime(2026, 11, 1, tzinfo=UTC)
MUCH_LATER = datetime(2030, 1, 1, tzinfo=UTC)  # all that a test wrote is old by then


def declare_cheap_candidates(assign: Callable[[object, str, object], None] = setattr) -> None:
    """What a tiny history is learned with: the pipeline stays, its estimators are fast."""
    spec = test_selection.SPEC
    cheap = replace(
        spec,
        candidates={"logistic_regression": spec.candidates["logistic_regression"]},
        baselines={"random": spec.baselines["random"]},
    )
    assign(test_selection, "SPEC", cheap)


def collect(settings: Settings, history: str, since: str, until: str) -> None:
    batches = fetching.fetch_history(settings, history, to_span(since, until))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])


def train(settings: Settings, project: str) -> None:
    declare_cheap_candidates()
    candidate = retraining.train(settings, preparation.features(settings, MODEL, project))
    assert candidate["version"], candidate["reason"]


def promote(settings: Settings, project: str) -> None:
    """Of the gates' verdicts only what promoting needs of them: four passes and the route."""
    candidate = retraining.newest_candidate(settings, MODEL, project)
    retraining.promote(settings, candidate, passes(candidate), "a test")


def promote_nth(settings: Settings, project: str, number: int) -> None:
    """The candidate that was trained as number `number`, from 0."""
    folders = (settings.home.absolute() / "candidates").glob("*/candidate.json")
    candidates = [candidate for file in folders if (candidate := json.loads(file.read_text()))["project"] == project]
    candidate = sorted(candidates, key=lambda one: int(one["version"]["version"]))[number]
    retraining.promote(settings, candidate, passes(candidate), "a test")


def passes(candidate: Mapping[str, Any]) -> list[dict[str, Any]]:
    route = "better" if candidate["champion_version"] else "first"
    check = Check("route", 1.0, 1.0, greater_is_better=True, passed=True, detail=route)
    return [Verdict(gate, Status.PASS, (check,)).to_dict() for gate in GATES]


def publish(settings: Settings, project: str) -> None:
    serving.publish(settings, MODEL, project)


def maintain(settings: Settings) -> None:
    """All that the DAG `maintain` does, but for Airflow's own database."""
    steps = (maintenance.maintain, maintenance.clean_predictions, maintenance.clean_models, retention.clean_files)
    for step in steps:
        step(settings, MUCH_LATER)
