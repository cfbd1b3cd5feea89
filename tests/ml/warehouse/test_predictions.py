import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import count, cycle, takewhile

import pandas as pd
import psycopg2
import pytest

from ml.errors import WarehouseError
from ml.spec import ALL_PROJECTS, ModelVersion
from ml.warehouse import Publication, Warehouse
from ml.warehouse.session import Session
from tests.lake_builders import NOON, record
from tests.postgres import Postgres

READS = 10_000
HOSTILE = [
    "'; DROP TABLE fourgate.prediction; --",
    "\\.",
    "first\n\\.\nlast",
    "\\N",
    "tab\tnewline\nreturn\rboth\r\nend",
    "back\\slash \\t \\x41 \\101",
    '"quoted", "twice""',
    "<script>alert(1)</script>",
    "%s %(x)s {} $1",
    "üñí → 🧪 \u202e \u2028 \x1f",
    "x" * 10_000,
    "",
]


def version(name: str = "1") -> ModelVersion:
    return ModelVersion("test_selection", "shop", name, f"run-{name}", f"models:/{name}", f"sha-{name}")


def publication(name: str = "1", hours: int = 0) -> Publication:
    return Publication(version(name), f"gate report \t {name}", 1, NOON + timedelta(hours=hours))


def predictions(*tests: str, change_id: str = "next", score: float = 0.25) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "model": "test_selection",
            "project": "shop",
            "change_id": change_id,
            "variant": "linux",
            "test_id": list(tests),
            "score": score,
            "probability": 0.5,
            "rank": range(1, len(tests) + 1),
            "decision": "select",
            "reasons": json.dumps([{"feature": "failures_7d", "value": 2.0, "effect": 0.1}]),
            "as_of": pd.Series([NOON] * len(tests), dtype="datetime64[us, UTC]"),
            "expected_duration_s": 1.5,
            "rank_by_cost": range(1, len(tests) + 1),
        }
    )


@pytest.fixture
def warehouse(postgres: Postgres) -> Iterator[Warehouse]:
    with Warehouse(postgres.pipeline_dsn) as opened:
        with opened.lake_lock():
            versions = {"runs": 1, "test_results": 1, "changed_files": 1, "rejected_rows": 0}
            opened.record_batch(record("b1", versions), opened.next_sequence())
        yield opened


def query(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with Session(dsn) as session, session.transaction() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


def test_a_published_row_reads_back_as_it_was(warehouse: Warehouse) -> None:
    publication_id = warehouse.publish(publication(), [predictions("a", score=0.1 + 0.2)])
    (row,) = warehouse.current_predictions("test_selection", "shop").to_dict("records")
    assert row.pop("published_at") is not None
    assert row == {
        "model": "test_selection",
        "project": "shop",
        "change_id": "next",
        "variant": "linux",
        "test_id": "a",
        "score": 0.1 + 0.2,
        "probability": 0.5,
        "rank": 1,
        "decision": "select",
        "reasons": [{"feature": "failures_7d", "value": 2.0, "effect": 0.1}],
        "as_of": NOON,
        "model_version": "1",
        "gate_report": "gate report \t 1",
        "snapshot_id": 1,
        "publication_id": publication_id,
        "is_shared": False,
        "expected_duration_s": 1.5,
        "rank_by_cost": 1,
    }


def test_a_row_without_an_order_by_cost_reads_back_without(warehouse: Warehouse) -> None:
    rows = predictions("a", "b", "c").assign(
        expected_duration_s=[0.0, None, 3.5], rank_by_cost=pd.array([None, 2, 1], dtype="Int64")
    )
    warehouse.publish(publication(), [rows])
    found = warehouse.current_predictions("test_selection", "shop")
    assert found["expected_duration_s"].astype(object).where(found["expected_duration_s"].notna(), None).tolist() == [
        0.0,
        None,
        3.5,
    ]
    assert found["rank_by_cost"].astype("Int64").tolist() == [pd.NA, 2, 1]


def shared(served: str = "shop") -> Publication:
    """The shared model's version 1, whose number the project's own version 1 has as well."""
    origin = ModelVersion("test_selection", ALL_PROJECTS, "1", "run-s", "models:/s", "sha-s")
    return Publication(origin, "report", 1, NOON, served)


def test_a_set_of_the_shared_model_is_told_from_one_of_the_projects_own(warehouse: Warehouse) -> None:
    warehouse.publish(shared(), [predictions("a")])
    assert warehouse.current_predictions("test_selection", "shop")["is_shared"].tolist() == [True]
    assert warehouse.current_publication("test_selection", "shop")["is_shared"]
    assert ("test_selection", ALL_PROJECTS, "1") in warehouse.versions_in_service()
    warehouse.publish(publication(), [predictions("b")])
    assert warehouse.current_predictions("test_selection", "shop")["is_shared"].tolist() == [False]
    assert warehouse.published(version(), "shop")["test_id"].tolist() == ["b"]
    assert warehouse.published(shared().version, "shop")["test_id"].tolist() == ["a"]
    assert warehouse.versions_in_service() == {("test_selection", "shop", "1")}


def test_empty_sets_of_the_shared_model_for_two_projects_are_two(warehouse: Warehouse) -> None:
    nothing = predictions()
    assert warehouse.publish(shared("shop"), [nothing]) != warehouse.publish(shared("bank"), [nothing])


@pytest.mark.parametrize("column", ["test_id", "variant", "change_id"])
def test_hostile_text_is_stored_literally_in_every_field(warehouse: Warehouse, column: str) -> None:
    frame = predictions(*[f"t{number}" for number in range(len(HOSTILE))]).assign(**{column: HOSTILE})
    warehouse.publish(publication(), [frame])
    found = warehouse.current_predictions("test_selection", "shop", limit=100)
    assert dict(zip(found["rank"], found[column], strict=True)) == dict(enumerate(HOSTILE, start=1))


def test_hostile_text_in_reasons_and_project_is_stored_literally(warehouse: Warehouse) -> None:
    text = "".join(HOSTILE[:10])
    origin = Publication(ModelVersion(text, text, text, "r", "a", "s"), text, 1, NOON)
    frame = predictions("a").assign(model=text, project=text, reasons=json.dumps([{"feature": text}]))
    warehouse.publish(origin, [frame])
    (row,) = warehouse.current_predictions(text, text).to_dict("records")
    assert row["reasons"] == [{"feature": text}]
    assert (row["project"], row["model_version"], row["gate_report"]) == (text, text, text)


@pytest.mark.parametrize("column", ["test_id", "reasons"])
def test_a_nul_character_is_refused_with_its_column(warehouse: Warehouse, column: str) -> None:
    with pytest.raises(WarehouseError, match=rf"0x00 \(COPY prediction_row, line 1, column {column}\)"):
        warehouse.publish(publication(), [predictions("a").assign(**{column: "[\x00]"})])


def test_numbers_and_moments_are_stored_to_the_last_bit(warehouse: Warehouse) -> None:
    scores = [-1.5, 5e-324, 1.7976931348623157e308, -0.0, 1 / 3]
    moments = [NOON.replace(year=year, microsecond=999_999) for year in (1970, 1999, 2000, 2026, 2262)]
    frame = predictions("a", "b", "c", "d", "e").assign(score=scores, rank=[1, 2, 3, 256, 2**31 - 1], as_of=moments)
    warehouse.publish(publication(), [frame])
    found = warehouse.current_predictions("test_selection", "shop")
    assert list(map(str, found["score"])) == list(map(str, scores))
    assert found["rank"].tolist() == [1, 2, 3, 256, 2**31 - 1]
    assert [moment.to_pydatetime() for moment in found["as_of"]] == moments


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("reasons", '[{"feature": "\\u0000"}]', "unsupported Unicode escape sequence"),
        ("reasons", "not json", "invalid input syntax for type json"),
        ("probability", 1.5, "check constraint"),
        ("decision", "May be", "check constraint"),
        ("rank", 0, "check constraint"),
        ("rank", 2**31, "cannot be stored"),
        ("test_id", "\ud800", "surrogates"),
        ("test_id", None, "1 nulls in test_id"),
        ("score", float("nan"), "1 nulls in score"),
        ("project", "other", "predictions of project 'other' in a publication of 'shop'"),
    ],
)
def test_a_bad_row_is_refused_and_the_former_set_stays(
    warehouse: Warehouse, column: str, value: object, message: str
) -> None:
    warehouse.publish(publication(), [predictions("old")])
    with pytest.raises(WarehouseError, match=message):
        warehouse.publish(publication("2"), [predictions("new").assign(**{column: value})])
    assert list(warehouse.current_predictions("test_selection", "shop")["test_id"]) == ["old"]


def test_a_repeated_grain_is_refused(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match=r"repeat 1 \(change_id, variant, test_id\)"):
        warehouse.publish(publication(), [predictions("a", "b", "a")])
    frame = pd.concat([predictions("a"), predictions("a", change_id="7")])
    warehouse.publish(publication(), [frame])


def test_a_missing_column_is_named(warehouse: Warehouse) -> None:
    with pytest.raises(WarehouseError, match="predictions lack column rank"):
        warehouse.publish(publication(), [predictions("a").drop(columns="rank")])


def test_publishing_the_same_set_again_changes_nothing_whatever_its_row_order(
    warehouse: Warehouse, postgres: Postgres
) -> None:
    frame = predictions("a", "b")
    first = warehouse.publish(publication(), [frame])
    before = query(postgres.admin_dsn, "SELECT * FROM fourgate.publication")
    assert warehouse.publish(publication(), [frame.iloc[::-1]]) == first
    assert query(postgres.admin_dsn, "SELECT * FROM fourgate.publication") == before
    assert query(postgres.admin_dsn, "SELECT count(*) FROM fourgate.prediction") == [(2,)]


def test_the_same_rows_in_other_frames_are_the_same_set(warehouse: Warehouse, postgres: Postgres) -> None:
    changes = [predictions("a", "b", change_id=change) for change in ("10", "9", "next")]
    first = warehouse.publish(publication(), [pd.concat(changes)])
    assert warehouse.publish(publication(), changes) == first
    assert warehouse.publish(publication(), [changes[2], predictions(), pd.concat(changes[:2])]) == first
    assert query(postgres.admin_dsn, "SELECT count(*) FROM fourgate.prediction_row") == [(6,)]
    assert query(postgres.reader_dsn, "SELECT row_count FROM fourgate.publication") == [(6,)]
    assert warehouse.publish(publication(), changes[:2]) != first


def test_a_change_in_two_frames_is_refused(warehouse: Warehouse) -> None:
    warehouse.publish(publication(), [predictions("old")])
    with pytest.raises(WarehouseError, match="change 'next' come in two frames; a change is published whole"):
        warehouse.publish(publication("2"), [predictions("a"), predictions("b")])
    assert list(warehouse.current_predictions("test_selection", "shop")["test_id"]) == ["old"]


def test_nothing_is_seen_of_a_set_before_its_last_frame_and_nothing_is_left_of_one_that_failed(
    warehouse: Warehouse, postgres: Postgres
) -> None:
    first = warehouse.publish(publication(), [predictions("old")])

    def frames() -> Iterator[pd.DataFrame]:
        yield predictions("a", change_id="1")
        assert query(postgres.reader_dsn, "SELECT test_id FROM fourgate.prediction") == [("old",)]
        raise ValueError("no second frame")

    with pytest.raises(ValueError, match="no second frame"):
        warehouse.publish(publication("2"), frames())
    assert query(postgres.reader_dsn, "SELECT publication_id FROM fourgate.publication WHERE is_current") == [(first,)]
    assert query(postgres.admin_dsn, "SELECT count(*) FROM fourgate.prediction_row") == [(1,)]


def test_a_set_that_is_long_in_the_making_keeps_no_other_publisher_waiting(
    warehouse: Warehouse, postgres: Postgres
) -> None:
    def frames() -> Iterator[pd.DataFrame]:
        yield predictions("a", change_id="1")
        with Warehouse(postgres.pipeline_dsn) as other:
            other.publish(publication("2"), [predictions("quick")])
        yield predictions("b", change_id="2")

    warehouse.publish(publication("1"), frames())
    asked = "SELECT model_version, test_id FROM fourgate.current_prediction ORDER BY 2"
    assert query(postgres.reader_dsn, asked) == [("1", "a"), ("1", "b")]


def test_another_row_moment_or_version_makes_another_set_and_the_past_stays(
    warehouse: Warehouse, postgres: Postgres
) -> None:
    ids = {
        warehouse.publish(publication(), [predictions("a")]),
        warehouse.publish(publication(), [predictions("a", score=0.5)]),
        warehouse.publish(publication(hours=1), [predictions("a")]),
        warehouse.publish(publication("2"), [predictions("a")]),
    }
    assert len(ids) == 4
    assert query(postgres.reader_dsn, "SELECT count(*) FROM fourgate.prediction") == [(4,)]
    assert query(postgres.reader_dsn, "SELECT model_version FROM fourgate.current_prediction") == [("2",)]


def test_a_past_set_becomes_current_again_without_a_second_copy(warehouse: Warehouse, postgres: Postgres) -> None:
    first = warehouse.publish(publication("1"), [predictions("a")])
    warehouse.publish(publication("2"), [predictions("a")])
    assert warehouse.publish(publication("1"), [predictions("a")]) == first
    assert query(postgres.reader_dsn, "SELECT model_version FROM fourgate.current_prediction") == [("1",)]
    assert query(postgres.reader_dsn, "SELECT count(*) FROM fourgate.prediction") == [(2,)]


def test_rows_of_past_sets_go_and_what_was_published_stays_known(warehouse: Warehouse, postgres: Postgres) -> None:
    for name, tests in (("1", ["a", "b", "c"]), ("2", ["a"]), ("3", ["a", "b"])):
        warehouse.publish(publication(name), [predictions(*tests)])
    later, now = NOON + timedelta(days=36_500), NOON + timedelta(days=200)
    assert warehouse.expire_predictions(NOON, now) == {"sets": 0, "rows": 0}  # none is that old
    assert warehouse.expire_predictions(later, now, dry_run=True) == {"sets": 2, "rows": 4}
    assert query(postgres.reader_dsn, "SELECT count(*) FROM fourgate.prediction") == [(6,)]
    assert warehouse.expire_predictions(later, now) == {"sets": 2, "rows": 4}
    assert warehouse.expire_predictions(later, now) == {"sets": 0, "rows": 0}
    assert query(postgres.reader_dsn, "SELECT model_version, count(*) FROM fourgate.prediction GROUP BY 1") == [
        ("3", 2)
    ]
    told = query(
        postgres.reader_dsn, "SELECT model_version, row_count, rows_removed_at FROM fourgate.publication ORDER BY 1"
    )
    assert told == [("1", 3, now), ("2", 1, now), ("3", 2, None)]
    assert [(one.row_count, one.rows) for one in warehouse.published_sets()] == [(0, 0), (0, 0), (2, 2)]


def test_a_set_whose_rows_went_comes_back_whole(warehouse: Warehouse, postgres: Postgres) -> None:
    frame = predictions("a", "b")
    first = warehouse.publish(publication("1"), [frame])
    warehouse.publish(publication("2"), [frame])
    warehouse.expire_predictions(NOON + timedelta(days=36_500), NOON)
    assert warehouse.publish(publication("1"), [frame]) == first
    assert warehouse.current_predictions("test_selection", "shop")["test_id"].tolist() == ["a", "b"]
    asked = "SELECT model_version, is_current, rows_removed_at FROM fourgate.publication ORDER BY 1"
    assert query(postgres.reader_dsn, asked) == [("1", True, None), ("2", False, None)]


def test_one_change_of_a_current_set_is_read_without_looking_at_other_sets(
    warehouse: Warehouse, postgres: Postgres
) -> None:
    frame = predictions(*[f"t{number}" for number in range(500)])
    for hours in range(20):
        warehouse.publish(publication(hours=hours), [frame])
    query(postgres.admin_dsn, "ANALYZE fourgate.prediction_row, fourgate.publication; SELECT")
    asked = "SELECT * FROM fourgate.current_prediction WHERE project = 'shop' AND change_id = 'next' ORDER BY rank"
    plan = "\n".join(str(line) for (line,) in query(postgres.reader_dsn, f"EXPLAIN (COSTS OFF) {asked}"))
    assert "Index Scan using prediction_row_publication" in plan or "Index Scan on prediction_row_publication" in plan


def test_an_empty_set_replaces_the_former_one(warehouse: Warehouse) -> None:
    warehouse.publish(publication("1"), [predictions("a")])
    warehouse.publish(publication("2"), [predictions()])
    assert len(warehouse.current_predictions("test_selection", "shop")) == 0


def test_current_predictions_are_ordered_by_rank_and_limited(warehouse: Warehouse) -> None:
    warehouse.publish(publication(), [predictions("c", "a", "b")])
    found = warehouse.current_predictions("test_selection", "shop", limit=2)
    assert list(zip(found["rank"], found["test_id"], strict=True)) == [(1, "c"), (2, "a")]


def test_more_rows_than_one_chunk_arrive(warehouse: Warehouse, postgres: Postgres) -> None:
    warehouse.publish(publication(), [predictions(*[f"t{number}" for number in range(60_001)])])
    counted = query(postgres.reader_dsn, "SELECT count(*), count(DISTINCT test_id) FROM fourgate.current_prediction")
    assert counted == [(60_001, 60_001)]


def test_10_000_reads_see_one_set_or_the_next_and_never_a_mix(warehouse: Warehouse, postgres: Postgres) -> None:
    """Each set has its own version and size; a reader that sees both, or a part, saw a mix."""
    sizes = {str(number): 20 + number for number in range(12)}
    frames = {name: predictions(*[f"t{number}" for number in range(size)]) for name, size in sizes.items()}
    warehouse.publish(publication("0"), [frames["0"]])
    finished = threading.Event()
    seen: list[tuple[str, int]] = []
    reads = count()

    def read() -> None:
        connection = psycopg2.connect(postgres.reader_dsn)
        connection.autocommit = True
        with connection.cursor() as cursor:
            while next(reads) < READS:
                cursor.execute("SELECT model_version, count(*) FROM fourgate.current_prediction GROUP BY 1")
                seen.extend(cursor.fetchall() or [("nothing", 0)])
        connection.close()

    def publish(names: list[str]) -> None:
        with Warehouse(postgres.pipeline_dsn) as own:
            for name in takewhile(lambda _: not finished.is_set(), cycle(names)):
                own.publish(publication(name), [frames[name]])

    readers = [threading.Thread(target=read) for _ in range(3)]
    writers = [threading.Thread(target=publish, args=(list(sizes)[part::2],)) for part in range(2)]
    for thread in (*readers, *writers):
        thread.start()
    for thread in readers:
        thread.join()
    finished.set()
    for thread in writers:
        thread.join()
    assert len(seen) == READS
    assert set(seen) == set(sizes.items())
    assert query(postgres.reader_dsn, "SELECT count(*) FROM fourgate.publication WHERE is_current") == [(1,)]
    assert query(postgres.reader_dsn, "SELECT count(*) FROM fourgate.prediction") == [(sum(sizes.values()),)]


def test_two_publishers_of_the_same_set_leave_one_copy(warehouse: Warehouse, postgres: Postgres) -> None:
    ids: list[str] = []

    def publish() -> None:
        with Warehouse(postgres.pipeline_dsn) as own:
            ids.append(own.publish(publication(), [predictions("a", "b")]))

    threads = [threading.Thread(target=publish) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(ids) == 3
    assert len(set(ids)) == 1
    assert query(postgres.reader_dsn, "SELECT count(*) FROM fourgate.prediction") == [(2,)]
