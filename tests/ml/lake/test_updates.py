"""An announced run that comes back finished is replaced; all else about a stored run stays."""

from datetime import UTC, datetime

import pandas as pd

from ml.lake import FIRST_VERSIONS, Lake
from tests.lake_builders import ANNOUNCED, files, finished, results, runs, stored


def test_null_against_a_value_is_a_contradiction_and_null_against_null_is_not(lake: Lake) -> None:
    run = finished(runs(("r1", "2026-01-01T00:00:00Z")))
    base = lake.append({"runs": run}, "b1", 1, FIRST_VERSIONS).versions
    changed = run.assign(workflow="nightly")
    appended = lake.append({"runs": changed}, "b2", 2, base)
    assert list(appended.conflicts["column"]) == ["workflow"]
    assert appended.duplicates["runs"] == 0


def test_a_finished_run_that_moved_to_another_day_is_a_contradiction(lake: Lake) -> None:
    run = finished(runs(("r1", "2026-01-01T00:00:00Z")))
    base = lake.append({"runs": run}, "b1", 1, FIRST_VERSIONS).versions
    moved = {"runs": finished(runs(("r1", "2026-02-01T00:00:00Z"))), "test_results": results(("r1", "a", "passed"))}
    appended = lake.append(moved, "b2", 2, base)
    assert list(appended.conflicts["column"]) == ["started_at"]
    assert stored(lake, "test_results", appended.versions["test_results"], ["day"]) == [("2026-01-01",)]


def test_an_announced_run_is_replaced_when_it_is_delivered_finished(lake: Lake) -> None:
    announced = lake.append({"runs": ANNOUNCED, "changed_files": files(("r1", "a.py"))}, "b1", 1, FIRST_VERSIONS)
    later = pd.concat([finished(ANNOUNCED[:1]), runs(("r3", "2026-01-02T00:00:00Z"))])
    batch = {"runs": later, "test_results": results(("r1", "t", "failed")), "changed_files": files(("r1", "a.py"))}
    appended = lake.append(batch, "b2", 2, announced.versions)
    assert appended.updates == {"runs": 1}
    assert appended.counts == {"runs": 1, "test_results": 1, "changed_files": 0, "rejected_rows": 0}
    assert appended.duplicates == {"runs": 0, "test_results": 0, "changed_files": 1}
    assert appended.conflicts.empty
    assert appended.versions == {**FIRST_VERSIONS, "runs": 2, "test_results": 1, "changed_files": 1}
    assert appended.data_until == datetime(2026, 3, 1, tzinfo=UTC)
    assert stored(lake, "runs", 2, ["run_id", "status", "batch_id", "day"]) == [
        ("r1", "passed", "b2", "2026-01-01"),
        ("r2", None, "b1", "2026-01-01"),
        ("r3", "completed", "b2", "2026-01-02"),
    ]
    assert lake.data_until(2) == datetime(2026, 3, 1, tzinfo=UTC)


def test_an_older_snapshot_still_reads_the_announced_run_and_so_does_a_restored_lake(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    lake.append({"runs": finished(ANNOUNCED)}, "killed", 2, base)
    assert stored(lake, "runs", 1, ["run_id", "finished_at"]) == [("r1", None), ("r2", None)]
    restored = lake.restore(base, 3)
    assert stored(lake, "runs", restored["runs"], ["run_id", "finished_at"]) == [("r1", None), ("r2", None)]
    assert lake.append({"runs": finished(ANNOUNCED)}, "b2", 4, restored).updates == {"runs": 2}


def test_an_announced_run_that_is_delivered_unchanged_is_a_duplicate_without_a_commit(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    again = lake.append({"runs": ANNOUNCED}, "b2", 2, base)
    assert (again.duplicates["runs"], again.updates["runs"], again.versions) == (2, 0, base)


def test_an_unfinished_run_may_be_updated_again_until_it_is_finished(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED[:1]}, "b1", 1, FIRST_VERSIONS).versions
    base = lake.append({"runs": ANNOUNCED[:1].assign(status="running")}, "b2", 2, base).versions
    base = lake.append({"runs": finished(ANNOUNCED[:1])}, "b3", 3, base).versions
    late = lake.append({"runs": ANNOUNCED[:1]}, "b4", 4, base)
    assert (late.updates["runs"], list(late.conflicts["column"])) == (0, ["finished_at"])
    other = lake.append({"runs": finished(ANNOUNCED[:1], status="failed")}, "b5", 5, late.versions)
    assert (other.updates["runs"], list(other.conflicts["column"])) == (0, ["status"])
    assert stored(lake, "runs", other.versions["runs"], ["run_id", "status"]) == [("r1", "passed")]


def test_only_the_attempt_and_the_project_that_were_delivered_are_updated(lake: Lake) -> None:
    names = ["x' OR '1'='1", "..", "a/b", "ü%20\n"]
    start = ("r1", "2026-01-01T00:00:00Z")
    both = [runs(start, project=name, attempt=attempt) for name in names for attempt in (1, 2)]
    base = lake.append({"runs": pd.concat(both)}, "b1", 1, FIRST_VERSIONS).versions
    second = pd.concat([finished(frame) for frame in both[1::2]])
    appended = lake.append({"runs": second}, "b2", 2, base)
    assert (appended.updates["runs"], appended.counts["runs"]) == (4, 0)
    expected = [(name, attempt, status) for name in names for attempt, status in ((1, "completed"), (2, "passed"))]
    assert stored(lake, "runs", 2, ["project", "attempt", "status"]) == sorted(expected)


def test_an_update_that_moves_the_start_keeps_the_day_so_that_files_and_results_are_known_again(lake: Lake) -> None:
    facts = {"test_results": results(("r1", "t", "passed")), "changed_files": files(("r1", "a.py"))}
    base = lake.append({"runs": ANNOUNCED[:1], **facts}, "b1", 1, FIRST_VERSIONS).versions
    moved = finished(runs(("r1", "2026-01-02T00:00:30Z")))
    for number in (2, 3):
        appended = lake.append({"runs": moved, **facts}, f"b{number}", number, base)
        assert (appended.duplicates["test_results"], appended.duplicates["changed_files"]) == (1, 1)
        assert (appended.updates["runs"], appended.duplicates["runs"]) == ((1, 0) if number == 2 else (0, 1))
        base = appended.versions
    assert stored(lake, "runs", base["runs"], ["started_at", "day"]) == [
        (datetime(2026, 1, 2, 0, 0, 30, tzinfo=UTC), "2026-01-01")
    ]


def test_of_two_updates_of_one_run_in_a_batch_the_first_counts(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED[:1]}, "b1", 1, FIRST_VERSIONS).versions
    good = finished(ANNOUNCED[:1])
    batch = {"runs": pd.concat([ANNOUNCED[:1], good, good, finished(ANNOUNCED[:1], status="failed")])}
    appended = lake.append(batch, "b2", 2, base)
    assert (appended.updates["runs"], appended.duplicates["runs"], appended.counts["runs"]) == (1, 2, 0)
    assert list(appended.conflicts["value"]) == ["failed"]
    assert stored(lake, "runs", appended.versions["runs"], ["run_id", "status"]) == [("r1", "passed")]


def test_results_that_arrive_after_an_announcement_are_new_results(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    appended = lake.append({"test_results": results(("r1", "t", "passed"))}, "b2", 2, base)
    assert (appended.counts["test_results"], appended.updates["runs"], appended.versions["runs"]) == (1, 0, 1)


def test_an_update_may_bring_a_new_column_and_lack_a_stored_one(lake: Lake) -> None:
    base = lake.append({"runs": ANNOUNCED}, "b1", 1, FIRST_VERSIONS).versions
    base = lake.append({"runs": finished(ANNOUNCED[:1]).assign(runner="arm64")}, "b2", 2, base).versions
    base = lake.append({"runs": finished(ANNOUNCED[1:])}, "b3", 3, base).versions
    assert stored(lake, "runs", base["runs"], ["run_id", "status", "runner"]) == [
        ("r1", "passed", "arm64"),
        ("r2", "passed", None),
    ]


def test_an_update_leaves_the_files_of_other_days_alone(lake: Lake) -> None:
    rows = runs(("r1", "2026-01-01T00:00:00Z"), ("r2", "2026-01-02T00:00:00Z"))
    before = lake.append({"runs": rows}, "b1", 1, FIRST_VERSIONS).versions["runs"]
    after = lake.append({"runs": finished(rows[:1])}, "b2", 2, {**FIRST_VERSIONS, "runs": before}).versions["runs"]
    kept = set(lake.files("runs", before)) & set(lake.files("runs", after))
    assert ["day=2026-01-02" in file for file in kept] == [True]
