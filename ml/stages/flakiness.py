"""Which tests are flaky, from the labels of their failures; and since when."""

import difflib
import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

import pandas as pd

from ml import flakiness, labels
from ml.engine import Engine
from ml.errors import NotEnoughData
from ml.settings import Settings
from ml.stages.opening import head, now, open_history, open_warehouse, without_nan

EVERY = timedelta(days=7)
NEAR = 5
FLAKY = (flakiness.TestState.FLAKY.value, flakiness.TestState.QUARANTINE.value)


def assess(settings: Settings, project: str, as_of: datetime | None = None) -> list[dict[str, Any]]:
    """Assess every test of a project as known at a moment, the likeliest flaky first.

    Returns:
        one entry per (variant, test_id): executions, probability, rate with its 95 % interval, state, reason and
        reruns (see `flakiness.assess`), failed_runs and rerun_minutes (`flakiness.cost`), and hints (`flakiness.hints`,
        for flaky tests and quarantine candidates). A number that is not known is None.

    Raises:
        NotEnoughData: no test was executed yet.
    """
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    moment = now(settings, snapshot, project, as_of)
    with open_history(settings, snapshot, project) as engine:
        labelled = labels.label(engine, project, moment)
        executions = labels.executions(engine, moment)
        texts, neighbours = labels.failure_texts(engine), labels.neighbours(engine)
        red, repeated = labels.red_failures(engine), labels.repeated(engine)
    counts = flakiness.count(executions, labelled)
    found = flakiness.assess(counts).assign(executions=counts["executions"].astype(int))
    found = found.join(flakiness.cost(found.index, labelled, red, repeated))
    flaky = found.index[found["state"].isin(FLAKY)]
    hints = flakiness.hints(executions, labelled, texts, neighbours, flaky)
    ordered = found.sort_values(["probability", "rate"], ascending=False, kind="stable").reset_index()
    return [_entry(row, hints) for row in ordered.to_dict("records")]


def _entry(row: Mapping[Hashable, Any], hints: Mapping[tuple[str, str], Sequence[flakiness.Hint]]) -> dict[str, Any]:
    reruns = None if math.isnan(row["reruns"]) else int(row["reruns"])
    told = hints.get((row["variant"], row["test_id"]), ())
    entry = without_nan({str(name): value for name, value in row.items()})
    return {**entry, "reruns": reruns, "hints": [asdict(hint) for hint in told]}


def history(
    settings: Settings, project: str, test_id: str, looks: int, as_of: datetime | None = None
) -> dict[str, Any]:
    """When the state of a test changed, and why, by what was known at each look.

    Args:
        settings: Where lake and warehouse are.
        project: The project of the test.
        test_id: The test, on all its variants.
        looks: How many moments to look at, at most: one a week up to `as_of`, further apart where that is not enough
            for the whole history.
        as_of: UTC; None for the end of the project's history.

    Returns:
        project, test_id, looked_at (the moments, in order) and changes, as `flakiness.changes` returns them.

    Raises:
        NotEnoughData: no such test was executed by then; names those that come near.
    """
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    moment = now(settings, snapshot, project, as_of)
    with open_history(settings, snapshot, project) as engine:
        moments = moments_until(moment, labels.first_known(engine) or moment, looks)
        executed = labels.executions(engine, moment)
        if not (executed["test_id"] == test_id).any():
            raise NotEnoughData(_no_test(test_id, project, executed))
        changes = flakiness.changes(_looks(engine, project, test_id, moments))
    return {"project": project, "test_id": test_id, "looked_at": moments, "changes": changes}


def moments_until(end: datetime, start: datetime, most: int) -> list[datetime]:
    """At most so many moments from `start` to `end`, evenly apart, the last being `end`: a week, or longer."""
    step = max(EVERY, (end - start) / most)
    count = min(most, max(1, -((start - end) // step)))
    return [end - step * back for back in reversed(range(count))]


def _looks(
    engine: Engine, project: str, test_id: str, moments: list[datetime]
) -> Iterator[tuple[datetime, pd.DataFrame, pd.DataFrame]]:
    for moment in moments:
        labelled = labels.label(engine, project, moment)
        executions = labels.executions(engine, moment)
        yield moment, executions[executions["test_id"] == test_id], labelled[labelled["test_id"] == test_id]


def _no_test(test_id: str, project: str, executed: pd.DataFrame) -> str:
    names = sorted(set(executed["test_id"]))
    near = difflib.get_close_matches(test_id, names, n=NEAR, cutoff=0.3) or names[:NEAR]
    told = f"test {test_id!r} was never executed in {project}"
    return f"{told}; of {len(names)} tests these come near: {', '.join(near)}" if near else f"{told}, as no test was"
