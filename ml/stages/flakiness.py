"""Which tests are flaky, from the labels of their failures."""

from datetime import datetime
from typing import Any

from ml import flakiness, labels
from ml.settings import Settings
from ml.stages.opening import head, now, open_history, open_warehouse


def assess(settings: Settings, project: str, as_of: datetime | None = None) -> list[dict[str, Any]]:
    """Assess every test of a project as known at a moment, the likeliest flaky first.

    Returns:
        one entry per (variant, test_id): executions, probability, rate with its 95 % interval, state, reason and
        reruns; see `flakiness.assess`.

    Raises:
        NotEnoughData: no test was executed yet.
    """
    with open_warehouse(settings) as warehouse:
        snapshot = head(warehouse)
    moment = now(settings, snapshot, project, as_of)
    with open_history(settings, snapshot, project) as engine:
        labelled = labels.label(engine, project, moment)
        executions = labels.executions(engine, moment)
    counts = flakiness.count(executions, labelled)
    found = flakiness.assess(counts).assign(executions=counts["executions"])
    ordered = found.sort_values(["probability", "rate"], ascending=False, kind="stable").reset_index()
    return [{str(name): value for name, value in row.items()} for row in ordered.to_dict("records")]
