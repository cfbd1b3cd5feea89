import threading
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest

from ml.errors import WarehouseError
from ml.settings import GATES
from ml.spec import Check, Interval, ModelVersion, Status, Verdict
from ml.warehouse import Judgement, Promotion, Rollback, Route, Warehouse
from ml.warehouse.session import Session
from tests.lake_builders import NOON, record
from tests.postgres import Postgres

VERSIONS = {"runs": 1, "test_results": 1, "changed_files": 1, "rejected_rows": 0}


def day(number: int) -> datetime:
    return datetime(2026, 1, number, tzinfo=UTC)


def version(name: str, sha256: str = "") -> ModelVersion:
    return ModelVersion("test_selection", "shop", name, f"run-{name}", f"models:/{name}", sha256 or f"sha-{name}")


def verdicts(status: Status = Status.PASS, gate: str = "stability") -> list[Verdict]:
    """All four gates; one of them with another status."""
    check = Check("apfd", 0.9, 0.8, True, True, "'; DROP TABLE fourgate.champion; --")
    return [Verdict(name, status if name == gate else Status.PASS, (check,)) for name in GATES]


@pytest.fixture
def warehouse(postgres: Postgres) -> Iterator[Warehouse]:
    with Warehouse(postgres.pipeline_dsn) as opened:
        with opened.lake_lock():
            opened.record_batch(record("b1", VERSIONS), opened.next_sequence())
        yield opened


def judge(warehouse: Warehouse, name: str, first: int, last: int, status: Status = Status.PASS) -> None:
    """Record verdicts on the test period of January, days first to last."""
    period = Interval(day(first), day(last))
    warehouse.record_verdicts(Judgement(version(name), verdicts(status), "v1", period, 1, NOON))


def promotion(name: str, against: str | None, route: Route = Route.BETTER) -> Promotion:
    return Promotion(version(name), route, f"report-{name}", NOON, "nightly", against)


def audit(postgres: Postgres) -> list[tuple[str, str]]:
    with Session(postgres.admin_dsn) as owner, owner.transaction() as cursor:
        cursor.execute("SELECT actor, action FROM fourgate.audit_log WHERE action <> 'collect' ORDER BY audit_id")
        return cursor.fetchall()


def test_verdicts_come_back_as_they_went_in_and_in_gate_order(warehouse: Warehouse) -> None:
    given = verdicts(Status.FAIL)
    judgement = Judgement(version("1"), list(reversed(given)), "v1", Interval(None, day(2)), 1, NOON)
    warehouse.record_verdicts(judgement)
    assert warehouse.verdicts("test_selection", "shop", "1") == given
    assert warehouse.verdicts("test_selection", "shop", "2") == []


def test_recording_the_same_verdicts_again_changes_nothing(warehouse: Warehouse, postgres: Postgres) -> None:
    judge(warehouse, "1", 1, 2)
    judge(warehouse, "1", 1, 2)
    assert audit(postgres) == [("judge", "verdict")] * 4


def test_a_version_that_was_not_promoted_may_be_judged_again(warehouse: Warehouse, postgres: Postgres) -> None:
    judge(warehouse, "1", 1, 2, Status.ERROR)
    judge(warehouse, "1", 1, 2)
    assert {verdict.status for verdict in warehouse.verdicts("test_selection", "shop", "1")} == {Status.PASS}
    assert len(audit(postgres)) == 5


def test_the_verdicts_that_promoted_a_version_cannot_change(warehouse: Warehouse) -> None:
    judge(warehouse, "1", 1, 2)
    warehouse.promote(promotion("1", None, Route.FIRST))
    judge(warehouse, "1", 1, 2)
    with pytest.raises(WarehouseError, match="was promoted by its verdicts: they cannot change"):
        judge(warehouse, "1", 1, 2, Status.FAIL)
    assert {verdict.status for verdict in warehouse.verdicts("test_selection", "shop", "1")} == {Status.PASS}


def test_no_champion_before_the_first_promotion(warehouse: Warehouse) -> None:
    assert warehouse.champion("test_selection", "shop") is None
    assert warehouse.used_periods("test_selection", "shop") == []
    with pytest.raises(WarehouseError, match="no previous champion to roll back to"):
        warehouse.rollback(Rollback("test_selection", "shop", NOON, "anna", "worse on Fridays"))


def test_the_first_promotion_has_no_previous_and_is_its_own_anchor(warehouse: Warehouse, postgres: Postgres) -> None:
    judge(warehouse, "1", 1, 2)
    champion = warehouse.promote(promotion("1", None, Route.FIRST))
    assert champion == warehouse.champion("test_selection", "shop")
    assert (champion.version, champion.route, champion.gate_report) == (version("1"), Route.FIRST, "report-1")
    assert (champion.previous, champion.anchor, champion.as_of) == (None, version("1"), NOON)
    assert warehouse.used_periods("test_selection", "shop") == [Interval(day(1), day(2))]
    assert audit(postgres)[-1] == ("nightly", "promote")


def test_promoting_the_champion_again_changes_nothing(warehouse: Warehouse, postgres: Postgres) -> None:
    judge(warehouse, "1", 1, 2)
    first = warehouse.promote(promotion("1", None, Route.FIRST))
    before = audit(postgres)
    assert warehouse.promote(promotion("1", None, Route.FIRST)) == first
    assert audit(postgres) == before


def test_a_refresh_keeps_the_anchor_and_a_better_one_moves_it(warehouse: Warehouse) -> None:
    routes = [Route.FIRST, Route.REFRESH, Route.REFRESH, Route.BETTER]
    anchors = []
    for number, route in enumerate(routes, start=1):
        judge(warehouse, str(number), number, number + 1)
        champion = warehouse.promote(promotion(str(number), str(number - 1) if number > 1 else None, route))
        anchors.append(champion.anchor.version)
    assert anchors == ["1", "1", "1", "4"]
    assert champion.previous == version("3")


@pytest.mark.parametrize("status", [Status.FAIL, Status.ERROR])
@pytest.mark.parametrize("gate", GATES)
def test_one_gate_that_did_not_pass_refuses_the_promotion(warehouse: Warehouse, gate: str, status: Status) -> None:
    judgement = Judgement(version("1"), verdicts(status, gate), "v1", Interval(day(1), day(2)), 1, NOON)
    warehouse.record_verdicts(judgement)
    with pytest.raises(WarehouseError, match=f"gate {gate} is {status}, expected pass"):
        warehouse.promote(promotion("1", None, Route.FIRST))
    assert warehouse.champion("test_selection", "shop") is None


def test_a_missing_verdict_refuses_the_promotion(warehouse: Warehouse) -> None:
    three = Judgement(version("1"), verdicts()[:3], "v1", Interval(day(1), day(2)), 1, NOON)
    warehouse.record_verdicts(three)
    with pytest.raises(WarehouseError, match="gate consistency is missing"):
        warehouse.promote(promotion("1", None, Route.FIRST))


def test_verdicts_about_other_bytes_refuse_the_promotion(warehouse: Warehouse) -> None:
    judge(warehouse, "1", 1, 2)
    swapped = Promotion(version("1", "another-sha"), Route.FIRST, "report", NOON, "nightly", None)
    with pytest.raises(WarehouseError, match="judged other bytes"):
        warehouse.promote(swapped)


def test_verdicts_about_different_periods_refuse_the_promotion(warehouse: Warehouse) -> None:
    judge(warehouse, "1", 1, 2)
    other = Judgement(version("1"), verdicts()[:1], "v1", Interval(day(1), day(9)), 1, NOON)
    warehouse.record_verdicts(other)
    with pytest.raises(WarehouseError, match="judged 2 different test periods"):
        warehouse.promote(promotion("1", None, Route.FIRST))


@pytest.mark.parametrize(("first", "last"), [(1, 5), (2, 3), (4, 9)])
def test_a_period_that_promoted_a_version_promotes_no_other(warehouse: Warehouse, first: int, last: int) -> None:
    judge(warehouse, "1", 1, 5)
    warehouse.promote(promotion("1", None, Route.FIRST))
    judge(warehouse, "2", first, last)
    with pytest.raises(WarehouseError, match="test period overlaps the one that promoted 1"):
        warehouse.promote(promotion("2", "1"))
    judge(warehouse, "3", 5, 9)
    assert warehouse.promote(promotion("3", "1")).version == version("3")


def test_a_champion_that_changed_since_the_judgement_refuses_the_promotion(warehouse: Warehouse) -> None:
    for number in (1, 2, 3):
        judge(warehouse, str(number), number, number + 1)
    warehouse.promote(promotion("1", None, Route.FIRST))
    warehouse.promote(promotion("2", "1"))
    with pytest.raises(WarehouseError, match="judged against 1, but 2 is champion now"):
        warehouse.promote(promotion("3", "1"))
    with pytest.raises(WarehouseError, match="judged against no champion, but 2 is champion now"):
        warehouse.promote(promotion("3", None))


def test_of_two_promotions_at_once_one_wins(warehouse: Warehouse, postgres: Postgres) -> None:
    names = ["1", "2", "3", "4"]
    for number, name in enumerate(names, start=1):
        judge(warehouse, name, number, number + 1)
    outcomes: list[str] = []
    start = threading.Barrier(len(names))

    def promote(name: str) -> None:
        with Warehouse(postgres.pipeline_dsn) as own:
            start.wait()
            try:
                own.promote(promotion(name, None, Route.FIRST))
                outcomes.append(name)
            except WarehouseError as error:
                outcomes.append("judge it again" if "judge it again" in str(error) else str(error))

    threads = [threading.Thread(target=promote, args=(name,)) for name in names]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    champion = warehouse.champion("test_selection", "shop")
    assert champion is not None
    assert sorted(outcomes) == [champion.version.version, *["judge it again"] * 3]
    assert [action for _, action in audit(postgres)].count("promote") == 1


def test_rollback_swaps_champion_and_previous_and_a_second_one_undoes_it(
    warehouse: Warehouse, postgres: Postgres
) -> None:
    for number in (1, 2):
        judge(warehouse, str(number), number, number + 1)
    first = warehouse.promote(promotion("1", None, Route.FIRST))
    second = warehouse.promote(promotion("2", "1"))
    back = warehouse.rollback(Rollback("test_selection", "shop", day(20), "anna", "worse on Fridays"))
    assert (back.version, back.previous, back.anchor) == (first.version, second.version, version("1"))
    assert (back.gate_report, back.route, back.as_of) == ("report-1", Route.FIRST, day(20))
    again = warehouse.rollback(Rollback("test_selection", "shop", day(21), "anna", "worse on Fridays"))
    assert (again.version, again.previous, again.anchor) == (second.version, first.version, version("2"))
    assert [entry for entry in audit(postgres) if entry[1] == "rollback"] == [("anna", "rollback")] * 2


def test_a_repeated_task_does_not_undo_a_rollback(warehouse: Warehouse) -> None:
    for number in (1, 2):
        judge(warehouse, str(number), number, number + 1)
    warehouse.promote(promotion("1", None, Route.FIRST))
    warehouse.promote(promotion("2", "1"))
    warehouse.rollback(Rollback("test_selection", "shop", day(20), "anna", "worse on Fridays"))
    with pytest.raises(WarehouseError, match="replaced or rolled back since: train a new version"):
        warehouse.promote(promotion("2", "1"))


def test_projects_do_not_see_each_other(warehouse: Warehouse) -> None:
    judge(warehouse, "1", 1, 2)
    warehouse.promote(promotion("1", None, Route.FIRST))
    other = ModelVersion("test_selection", "'; DELETE FROM fourgate.champion; --", "1", "r", "a", "s")
    warehouse.record_verdicts(Judgement(other, verdicts(), "v1", Interval(day(1), day(2)), 1, NOON))
    warehouse.promote(Promotion(other, Route.FIRST, "report", NOON, "nightly", None))
    assert warehouse.champion(other.model, other.project) is not None
    champion = warehouse.champion("test_selection", "shop")
    assert champion is not None
    assert champion.version == version("1")


def test_the_lake_keeps_the_versions_of_champion_previous_and_anchor(warehouse: Warehouse) -> None:
    numbered = {}
    for number, route in ((1, Route.FIRST), (2, Route.REFRESH), (3, Route.REFRESH), (4, Route.REFRESH)):
        with warehouse.lake_lock():
            sequence = warehouse.next_sequence()
            numbered[number] = {**VERSIONS, "runs": 10 * number}
            warehouse.record_batch(record(f"c{number}", numbered[number]), sequence)
        period = Interval(day(number), day(number + 1))
        warehouse.record_verdicts(Judgement(version(str(number)), verdicts(), "v1", period, sequence, NOON))
        warehouse.promote(promotion(str(number), str(number - 1) if number > 1 else None, route))
    with warehouse.lake_lock():
        warehouse.record_batch(record("head", {**VERSIONS, "runs": 99}), warehouse.next_sequence())
    assert warehouse.live_versions() == [numbered[1], numbered[3], numbered[4], {**VERSIONS, "runs": 99}]


def test_a_verdict_needs_a_snapshot_of_the_ledger(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="foreign key"):
        warehouse.record_verdicts(Judgement(version("1"), verdicts(), "v1", Interval(day(1), day(2)), 77, NOON))
