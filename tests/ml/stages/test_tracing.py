"""Finding the prediction that somebody means, and what is told when a part of the way back is missing."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

from ml.errors import NotEnoughData
from ml.settings import GATES, Settings
from ml.spec import ModelVersion
from ml.stages import tracing
from ml.stages.opening import open_warehouse
from ml.warehouse import Publication
from tests.lake_builders import record
from tests.ml.stages.test_rollback import MODEL, NOON, PROJECT, VERSIONS, promote

pytestmark = pytest.mark.integration

TESTS = ("shop.cart::test_add", "shop.cart::test_remove", "shop.pay::test_add")


def rows(change: str) -> pd.DataFrame:
    """Three tests of a change, in this order of rank."""
    return pd.DataFrame(
        {
            "model": MODEL,
            "project": PROJECT,
            "change_id": change,
            "variant": ["linux", "linux", "windows"],
            "test_id": list(TESTS),
            "score": [3.0, 2.0, 1.0],
            "probability": [0.5, 0.25, 0.125],
            "rank": [1, 2, 3],
            "decision": ["select", "skip", "skip"],
            "reasons": '[{"feature": "failure_rate", "value": 0.5, "effect": 0.1, "words": "failed often"}]',
            "as_of": pd.Timestamp(NOON),
            "expected_duration_s": [8.0, 0.5, None],
            "rank_by_cost": [2, 1, 3],
        }
    )


@pytest.fixture
def version(fourgate: Settings) -> ModelVersion:
    """A champion whose predictions for two changes are published; its lake is gone."""
    with open_warehouse(fourgate) as warehouse, warehouse.lake_lock():
        warehouse.record_batch(record("b1", VERSIONS), warehouse.next_sequence())
    found = promote(fourgate, 1, None)
    publish(fourgate, found, "run-1", "pr#12")
    return found


def publish(settings: Settings, version: ModelVersion, *changes: str) -> str:
    frame = pd.concat([rows(change) for change in changes], ignore_index=True)
    report = f"runs:/{version.mlflow_run_id}/gate_report.html"
    with open_warehouse(settings) as warehouse:
        return warehouse.publish(Publication(version, report, 1, NOON), [frame])


def meant(settings: Settings, prediction: str, test: str = "", **wanted: str) -> tuple[str, int]:
    found = tracing.explain(settings, prediction, test, {"model": MODEL, **wanted})["prediction"]
    assert found["key"] == f"{found['change_id']}#{found['rank']}"
    return found["test_id"], found["also_matched"]


def test_a_prediction_is_found_by_what_a_user_has_at_hand(fourgate: Settings, version: ModelVersion) -> None:
    assert meant(fourgate, "run-1") == (TESTS[0], 2)
    assert meant(fourgate, "run-1#2") == (TESTS[1], 0)
    assert meant(fourgate, "pr#12") == (TESTS[0], 2)
    assert meant(fourgate, "pr#12#3") == (TESTS[2], 0)
    assert meant(fourgate, "run-1", TESTS[1]) == (TESTS[1], 0)
    assert meant(fourgate, "run-1", "test_add") == (TESTS[0], 1)
    assert meant(fourgate, "run-1", "test_add", variant="windows") == (TESTS[2], 0)


def test_a_past_set_is_found_by_the_beginning_of_its_id(fourgate: Settings, version: ModelVersion) -> None:
    with open_warehouse(fourgate) as warehouse:
        past = warehouse.current_publication(MODEL, PROJECT)["publication_id"]
    publish(fourgate, version, "run-2")
    assert meant(fourgate, "run-1", publication=past[:10]) == (TESTS[0], 2)
    with pytest.raises(NotEnoughData, match="'run-1' in the current set; of 1 changes these come near: run-2"):
        meant(fourgate, "run-1")


@pytest.mark.parametrize(
    ("prediction", "test", "wanted", "told"),
    [
        ("run-11", "", {}, "no prediction of test_selection for change 'run-11'.*come near: run-1"),
        ("run-1#9", "", {}, "change run-1 has 3 predictions, none for 'rank 9'"),
        ("run-1", "test_ad d", {}, "none for 'test_ad d'.*near: .*test_add"),
        ("run-1", "", {"variant": "mac"}, r"on mac \(variants: linux, windows\)"),
        ("run-1", "", {"model": "build_risk"}, "nothing is published there"),
        ("'; DROP TABLE fourgate.prediction; --", "", {}, "no prediction"),
        ("%", "", {"publication": "%"}, "nothing is published there"),
    ],
)
def test_what_is_not_there_is_answered_with_what_comes_near(
    fourgate: Settings, version: ModelVersion, *, prediction: str, test: str, wanted: dict[str, Any], told: str
) -> None:
    with pytest.raises(NotEnoughData, match=told):
        meant(fourgate, prediction, test, **wanted)


def test_without_mlflow_and_without_the_lake_the_rest_is_told(fourgate: Settings, version: ModelVersion) -> None:
    settings = fourgate.model_copy(update={"mlflow_tracking_uri": ""})
    found = tracing.explain(settings, "run-1", "", {"model": MODEL})
    assert found["training"]["missing"].startswith("SettingsError: FOURGATE_MLFLOW_TRACKING_URI is not set")
    assert found["runs"]["missing"].startswith("LakeError")
    assert (found["version"]["version"], found["version"]["in_service"]) == (version.version, True)
    assert [verdict["gate"] for verdict in found["verdicts"]] == list(GATES)
    assert found["batches"]["newest"][0]["batch_id"] == "b1"
    told = tracing.explain(fourgate, "run-1", "", {"model": MODEL})["training"]
    assert (told["run_id"], told["sha256"]) == (version.mlflow_run_id, version.sha256)


def test_a_version_that_was_replaced_is_told_so(fourgate: Settings, version: ModelVersion) -> None:
    promote(fourgate, 2, replace(version))
    found = tracing.explain(fourgate, "run-1", "", {"model": MODEL})
    assert not found["version"]["in_service"]
    assert found["version"]["promotion"]["route"] == "first"
