import os
from pathlib import Path

from ml.sources.run_folders import find_runs, has_manifest, with_listed
from tests.history_builders import write_report, write_run


def test_runs_come_in_path_order_and_reports_without_owner_last(tmp_path: Path) -> None:
    write_run(tmp_path / "b")
    write_report(write_run(tmp_path / "a") / "x" / "1.xml")
    write_report(tmp_path / "c" / "2.XML")
    (tmp_path / "a" / "notes.txt").write_text("no report")
    found = find_runs(tmp_path)
    assert [run.folder.name for run in found] == ["a", "b", tmp_path.name]
    assert [run.has_manifest for run in found] == [True, True, False]
    assert [[(report.inner, report.variant) for report in run.reports] for run in found] == [
        [("x/1.xml", "x")],
        [],
        [("c/2.XML", "c")],
    ]


def test_json_is_a_report_where_it_says_so(tmp_path: Path) -> None:
    run = write_run(tmp_path / "a")
    (run / "ctrf-report.json").write_text('{"reportFormat": "CTRF"}')
    (run / "package.json").write_text('{"name": "x"}')
    (run / "result.TRX").write_text("<TestRun/>")
    (tmp_path / "secret.txt").write_text('{"reportFormat": "CTRF"}')
    (run / "elsewhere.json").symlink_to(tmp_path / "secret.txt")
    (run / "world").mkdir()
    os.mkfifo(run / "world" / "pipe.json")
    (found, _) = find_runs(tmp_path)
    assert [report.inner for report in found.reports] == ["ctrf-report.json", "result.TRX"]
    assert found.refused == []


def test_a_detour_in_a_listed_path_names_the_same_report_once(tmp_path: Path) -> None:
    write_report(write_run(tmp_path / "a") / "x" / "1.xml")
    run = with_listed(find_runs(tmp_path)[0], {"./x/../x/1.xml": "linux"})
    assert [(report.inner, report.variant) for report in run.reports] == [("x/1.xml", "linux")]
    assert run.refused == []


def test_a_manifest_may_lie_at_any_depth(tmp_path: Path) -> None:
    assert not has_manifest(tmp_path)
    write_run(tmp_path / ".fourgate" / "landing")
    assert not has_manifest(tmp_path)
    write_run(tmp_path / "a" / "b" / "c")
    assert has_manifest(tmp_path)
