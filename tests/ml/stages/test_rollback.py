"""Rolling back: a repeat of the task undoes nothing, and who asked for it and why is kept."""

import pytest

from ml.errors import WarehouseError
from ml.settings import Settings
from ml.spec import ModelVersion
from ml.stages import retraining, serving
from ml.stages.opening import open_registry, open_warehouse
from ml.warehouse.session import Session
from tests.champion_builders import MODEL, NOON, PROJECT, crown, log_version
from tests.lake_builders import record
from tests.postgres import Postgres

pytestmark = pytest.mark.integration

VERSIONS = {"runs": 1, "test_results": 1, "changed_files": 1, "rejected_rows": 0}


def promote(settings: Settings, number: int, against: ModelVersion | None) -> ModelVersion:
    """Log a version and make it champion, on the test period of one day of January."""
    version = log_version(settings, number)
    crown(settings, version, number, against.version if against else None)
    return version


@pytest.fixture
def versions(fourgate: Settings) -> list[ModelVersion]:
    """Two champions after each other."""
    with open_warehouse(fourgate) as warehouse, warehouse.lake_lock():
        warehouse.record_batch(record("b1", VERSIONS), warehouse.next_sequence())
    first = promote(fourgate, 1, None)
    return [first, promote(fourgate, 2, first)]


def roll_back(settings: Settings, leaving: ModelVersion) -> dict[str, object]:
    champion = {"model": MODEL, "project": PROJECT, "version": leaving.version}
    return retraining.rollback(settings, champion, NOON, "anna", "worse on Fridays")


def test_a_repeated_rollback_leaves_the_previous_champion_in_service(
    fourgate: Settings, versions: list[ModelVersion], postgres: Postgres
) -> None:
    first, second = versions
    expected = {"model": MODEL, "project": PROJECT, "champion": first.version, "previous": second.version}
    assert roll_back(fourgate, second) == expected
    assert roll_back(fourgate, second) == expected
    assert serving.champion_of(fourgate, MODEL, PROJECT)["version"] == first.version
    aliases = open_registry(fourgate).aliases(MODEL, PROJECT)
    assert aliases == {"champion": first.version, "previous": second.version}
    with Session(postgres.admin_dsn) as owner, owner.transaction() as cursor:
        cursor.execute("SELECT actor, detail ->> 'reason' FROM fourgate.audit_log WHERE action = 'rollback'")
        assert cursor.fetchall() == [("anna", "worse on Fridays")]


def test_a_request_that_is_repeated_from_its_start_is_granted_once(
    fourgate: Settings, versions: list[ModelVersion]
) -> None:
    first, second = versions
    outcomes = []
    for request_id in ("run 1", "run 1", "run 2"):
        leaving = {**serving.champion_of(fourgate, MODEL, PROJECT), "request_id": request_id}
        outcomes.append(retraining.rollback(fourgate, leaving, NOON, "anna", "worse on Fridays")["champion"])
    assert outcomes == [first.version, first.version, second.version]


def test_a_rollback_of_a_version_that_no_longer_serves_is_refused(
    fourgate: Settings, versions: list[ModelVersion]
) -> None:
    third = promote(fourgate, 3, versions[1])
    with pytest.raises(WarehouseError, match=f"was to be rolled back, but {third.version} serves now"):
        roll_back(fourgate, versions[0])
