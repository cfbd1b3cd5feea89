"""Champions for tests: a version that four verdicts let through, with or without a model file in MLflow."""

from datetime import UTC, datetime

import pandas as pd
from sklearn.linear_model import LogisticRegression

from ml.settings import GATES, Settings
from ml.spec import CandidateRecord, Check, Interval, ModelVersion, Status, TrainingRecord, Verdict
from ml.stages.opening import open_registry, open_warehouse
from ml.warehouse import Judgement, Promotion, Route

MODEL, PROJECT = "test_selection", "shop"
NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
ROWS = pd.DataFrame({"failure_rate": [0.0, 1.0]})
CHECK = Check("apfd", 0.9, 0.8, greater_is_better=True, passed=True)


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def log_version(settings: Settings, number: int) -> ModelVersion:
    """A small fitted model in MLflow, trained on one day of January."""
    estimator = LogisticRegression().fit(ROWS, [False, True])
    candidate = CandidateRecord("dummy", is_baseline=False, params={}, metrics={})
    trained = TrainingRecord(MODEL, PROJECT, day(number), {}, {"key": f"rollback {number}"}, (candidate,), "dummy")
    return open_registry(settings).log_training(trained, estimator, ROWS, estimator.predict_proba(ROWS))


def crown(settings: Settings, version: ModelVersion, number: int, against: str | None) -> None:
    """Make a version champion by four passes, judged on one day of January against the version named."""
    verdicts = [Verdict(gate, Status.PASS, (CHECK,)) for gate in GATES]
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
        assert head is not None
        period = Interval(day(number), day(number + 1))
        warehouse.record_verdicts(Judgement(version, verdicts, "v1", period, head.snapshot_id, NOON))
        route = Route.BETTER if against else Route.FIRST
        warehouse.promote(Promotion(version, route, "report", NOON, "nightly", against))


def unlogged_version(number: int) -> ModelVersion:
    """A version that only the warehouse will know: enough where MLflow is not reached."""
    return ModelVersion(MODEL, PROJECT, str(number), f"run{number}", f"mlflow-artifacts:/{number}", f"{number:064x}")
