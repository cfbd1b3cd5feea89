"""Runs with JUnit reports become rows; intervals, projects and batches."""

import shutil
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pytest

from ml import schemas
from ml.sources import junit as junit_source
from ml.sources import read_batch
from ml.sources.junit import JUnit
from ml.spec import Interval
from tests.history_builders import write_report, write_run
from tests.ml.sources.junit_builders import LIMITS, collect


@pytest.fixture
def history(tmp_path: Path) -> Path:
    folder = tmp_path / "history"
    folder.mkdir()
    return folder


def test_a_run_is_rows_of_three_tables_in_the_columns_and_types_of_their_contracts(history: Path) -> None:
    files = [{"path": "a.py", "added": 3, "deleted": None, "change_source": "git"}]
    finish = "2026-01-01T02:10:00+02:00"
    run = write_run(history / "r1", author="Ada Lovelace", changed_files=files, finished_at=finish, attempt=2)
    report = '<testsuite name="S"><testcase name="t" time="0.5"/><testcase name="u"><skipped/></testcase></testsuite>'
    (run / "linux").mkdir()
    (run / "linux" / "TEST-S.xml").write_text(report)
    read = collect(history)
    assert read.refused.empty
    runs, results, changed = (read.frames[name] for name in ("runs", "test_results", "changed_files"))
    assert list(runs) == schemas.columns(schemas.Runs)
    assert list(results) == schemas.columns(schemas.TestResults)
    assert list(changed) == schemas.columns(schemas.ChangedFiles)
    assert runs.loc[0, ["run_id", "attempt", "commit_sha", "branch"]].tolist() == ["r1", 2, "abc", None]
    assert runs.loc[0, "started_at"] == pd.Timestamp("2026-01-01T00:00:00Z")
    assert runs.loc[0, "finished_at"] == pd.Timestamp("2026-01-01T00:10:00Z")
    assert len(runs.loc[0, "author_id"]) == 12
    assert results[["project", "run_id", "attempt", "variant", "test_id", "outcome"]].to_numpy().tolist() == [
        ["p", "r1", 2, "linux", "S::t", "passed"],
        ["p", "r1", 2, "linux", "S::u", "skipped"],
    ]
    assert results["duration_s"].tolist()[0] == 0.5
    assert pd.isna(results["duration_s"].tolist()[1])
    assert results["imputed"].tolist() == [False, False]
    assert changed.astype(object).to_numpy().tolist() == [["p", "r1", "a.py", 3, pd.NA, "git"]]
    assert [str(kind) for kind in runs.dtypes[["attempt", "started_at", "finished_at", "branch"]]] == [
        "int64",
        "datetime64[us, UTC]",
        "datetime64[us, UTC]",
        "object",
    ]
    assert [str(kind) for kind in results.dtypes] == [
        "category",
        "category",
        "int64",
        "category",
        "category",
        "category",
        "float64",
        "bool",
        "category",
        "category",
        "Int64",
    ]
    assert [str(kind) for kind in changed.dtypes[["added", "deleted", "path"]]] == ["Int64", "Int64", "object"]


def test_attempts_of_one_run_that_list_the_same_files_give_each_file_once(history: Path) -> None:
    listed = [{"path": "a.py", "added": 3, "deleted": None}, {"path": "b.py", "added": 1, "deleted": 0}]
    write_run(history / "first", changed_files=listed)
    write_run(history / "second", "r1", "2026-01-01T01:00:00Z", attempt=2, changed_files=listed)
    changed = collect(history).frames["changed_files"]
    assert changed[["run_id", "path", "added"]].to_numpy().tolist() == [["r1", "a.py", 3], ["r1", "b.py", 1]]
    assert list(changed.index) == [0, 1]
    assert str(changed["deleted"].dtype) == "Int64"


def test_attempts_that_differ_about_a_file_leave_it_to_the_contract(history: Path) -> None:
    write_run(history / "first", changed_files=[{"path": "a.py", "added": 3}])
    write_run(history / "second", "r1", "2026-01-01T01:00:00Z", attempt=2, changed_files=[{"path": "a.py", "added": 4}])
    assert list(collect(history).frames["changed_files"]["added"]) == [3, 4]


def test_the_same_path_in_two_runs_is_two_rows(history: Path) -> None:
    for run_id in ("r1", "r2"):
        write_run(history / run_id, run_id, changed_files=[{"path": "a.py", "added": 3}])
    assert list(collect(history).frames["changed_files"]["run_id"]) == ["r1", "r2"]


def test_empty_frames_have_the_same_columns_and_types(history: Path) -> None:
    stray = history / "stray.xml"
    stray.write_text("<testsuite/>")
    empty = collect(history)
    stray.unlink()
    write_report(write_run(history / "r1", changed_files=[{"path": "a"}]) / "r.xml")
    full = collect(history)
    for name, frame in empty.frames.items():
        assert frame.empty
        assert list(frame.dtypes.astype(str)) == list(full.frames[name].dtypes.astype(str))


def test_a_run_without_reports_is_an_announced_change(history: Path) -> None:
    write_run(history / "r1")
    read = collect(history)
    assert read.run_ids == ["r1"]
    assert read.frames["test_results"].empty
    assert read.refused.empty


def test_a_variant_is_the_sub_folder_or_what_the_manifest_lists(history: Path) -> None:
    listed = [{"path": "mac/b.xml", "variant": "macOS 15"}, {"path": "out/report.junit", "variant": "shard 1"}]
    run = write_run(history / "r1", reports=listed)
    write_report(run / "a.xml", "a")
    write_report(run / "mac" / "b.xml", "b")
    write_report(run / "linux" / "py3.11" / "c.xml", "c")
    write_report(run / "out" / "report.junit", "d")
    assert collect(history).results == [
        ("r1", "default", "S::a"),
        ("r1", "linux/py3.11", "S::c"),
        ("r1", "macOS 15", "S::b"),
        ("r1", "shard 1", "S::d"),
    ]


def test_executions_of_a_test_are_numbered_within_the_attempt_of_their_run(history: Path) -> None:
    flaky = '<testcase name="t"><flakyFailure/><flakyError/></testcase><testcase name="u"/>'
    for attempt in (1, 2, 101):
        run = write_run(history / f"r{attempt}", attempt=attempt)
        (run / "r.xml").write_text(f'<testsuite name="S">{flaky}</testsuite>')
    frame = collect(history).frames["test_results"]
    told = frame[["attempt", "test_id", "outcome"]].astype({"test_id": str, "outcome": str})
    t = [("S::t", "failed"), ("S::t", "error"), ("S::t", "passed")]
    assert sorted(told.itertuples(index=False, name=None)) == sorted(
        [
            *((attempt + 100 * number, *row) for attempt in (1, 2) for number, row in enumerate(t)),
            *((101, *row) for row in t),
            *((attempt, "S::u", "passed") for attempt in (1, 2, 101)),
        ]
    )


def test_executions_beyond_the_hundredth_share_its_number(history: Path) -> None:
    run = write_run(history / "r1")
    (run / "r.xml").write_text(f'<testsuite><testcase name="t">{"<flakyFailure/>" * 150}</testcase></testsuite>')
    attempts = list(collect(history).frames["test_results"]["attempt"])
    assert attempts == [1 + 100 * min(number, 99) for number in range(151)]


def test_cases_of_one_name_that_are_no_reruns_are_told_apart(history: Path) -> None:
    run = write_run(history / "r1")
    (run / "r.xml").write_text('<testsuite name="S"><testcase name="t"/><testcase name="t"/></testsuite>')
    assert [test for _, _, test in collect(history).results] == ["S::t", "S::t #2"]


def test_a_report_belongs_to_the_nearest_manifest_above_it(history: Path) -> None:
    outer = write_run(history, "outer")
    inner = write_run(history / "x" / "inner", "inner", "2026-01-02T00:00:00Z")
    write_report(outer / "x" / "a.xml", "a")
    write_report(inner / "deep" / "b.xml", "b")
    assert collect(history).results == [("inner", "deep", "S::b"), ("outer", "x", "S::a")]


def test_the_interval_is_half_open_over_starts_and_batches_come_in_time_order(history: Path) -> None:
    for day in (3, 1, 2, 4):
        write_run(history / f"folder-{9 - day}", f"r{day}", f"2026-01-0{day}T00:00:00Z")
    span = Interval(datetime(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 4, tzinfo=UTC))
    assert collect(history).run_ids == ["r1", "r2", "r3", "r4"]
    assert collect(history, span).run_ids == ["r2", "r3"]


def test_an_interval_without_runs_gives_no_batch(history: Path) -> None:
    write_run(history / "r1")
    source = JUnit(history, history.parent / "landing", LIMITS)
    assert list(source.fetch(Interval(start=datetime(2026, 2, 1, tzinfo=UTC)))) == []


def test_each_project_has_its_own_batches_and_progress_counts_runs(history: Path) -> None:
    write_run(history / "a", "a", "2026-01-02T00:00:00Z", project="one")
    write_run(history / "b", "b", "2026-01-01T00:00:00Z", project="two")
    write_run(history / "c", "c", "2026-01-03T00:00:00Z", project="one")
    told: list[tuple[int, int]] = []
    source = JUnit(history, history.parent / "landing", LIMITS)
    batches = list(source.fetch(Interval(), lambda done, total: told.append((done, total))))
    assert [batch.project for batch in batches] == ["two", "one"]
    assert told == [(1, 3), (3, 3)]


def test_a_batch_is_cut_at_its_number_of_runs_and_its_size(history: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for day in range(1, 6):
        run = write_run(history / f"r{day}", f"r{day}", f"2026-01-0{day}T00:00:00Z")
        write_report(run / "r.xml")
    monkeypatch.setattr(junit_source, "MAX_BATCH_RUNS", 2)
    assert [batch.payload_count for batch in collect(history).batches] == [4, 4, 2]
    monkeypatch.setattr(junit_source, "MAX_BATCH_BYTES", 100)
    assert [batch.payload_count for batch in collect(history).batches] == [2] * 5


def test_the_same_content_twice_or_elsewhere_is_the_same_batch(history: Path) -> None:
    write_report(write_run(history / "r1", author="Ada") / "linux" / "a.xml")
    write_report(write_run(history / "r2", "r2", "2026-01-02T00:00:00Z") / "a.xml")
    first = collect(history).batches
    assert collect(history).batches == first
    moved = history.parent / "moved"
    shutil.copytree(history / "r2", moved / "x" / "1")
    shutil.copytree(history / "r1", moved / "y" / "2")
    assert [batch.batch_id for batch in collect(moved).batches] == [batch.batch_id for batch in first]


def test_a_changed_report_or_variant_is_another_batch(history: Path) -> None:
    run = write_run(history / "r1")
    report = write_report(run / "linux" / "a.xml")
    first = collect(history).batches
    report.write_text(report.read_text().replace("0.5", "0.6"))
    second = collect(history).batches
    (run / "linux").rename(run / "mac")
    third = collect(history).batches
    assert len({batch.batch_id for batch in (*first, *second, *third)}) == 3


def test_a_batch_is_read_from_landing_alone(history: Path) -> None:
    write_report(write_run(history / "r1") / "a.xml")
    (batch,) = collect(history).batches
    shutil.rmtree(history)
    assert list(read_batch(batch, LIMITS).frames["test_results"]["test_id"]) == ["S::t"]


def test_undated_payloads_come_once_whatever_the_interval(history: Path) -> None:
    write_run(history / "bad", started_at="yesterday")
    spans = [Interval(), Interval(end=datetime(2020, 1, 1, tzinfo=UTC))]
    first, second = (collect(history, span) for span in spans)
    assert first.reasons == second.reasons == [("not_a_timestamp", "bad/manifest.json")]
    assert first.batches == second.batches
