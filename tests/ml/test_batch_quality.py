"""The batch as a whole: what is complained about, what it costs, and that the report is safe to open."""

import json
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import pandas as pd
import pytest

from ml import batch_quality, schemas
from ml.batch_quality import BatchHistory, BatchQuality, judge_batch
from ml.errors import ContractError
from ml.spec import Check

pytestmark = pytest.mark.slow

AS_OF = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOSTILE = "<script>alert(1)</script> \"><img src=x onerror=alert(2)> ' & $x ${y} {{ 7*7 }}"
Frames = dict[str, pd.DataFrame]


def accepted(runs: int = 2, results: int = 3, test_id: str = "T") -> Frames:
    """`runs` runs, an hour apart, the last one two hours ago, with `results` results and one changed file each."""
    ids = [f"r{at}" for at in range(runs)]
    starts = [AS_OF - timedelta(hours=2 + at) for at in range(runs)]
    run_rows = [(run, 1, "c0ffee", start) for run, start in zip(ids, starts, strict=True)]
    result_rows = [(run, 1, "v", f"{test_id}{at}", "passed", 1.0, False) for run in ids for at in range(results)]
    frames = {
        "runs": pd.DataFrame(run_rows, columns=["run_id", "attempt", "commit_sha", "started_at"]),
        "test_results": pd.DataFrame(
            result_rows, columns=["run_id", "attempt", "variant", "test_id", "outcome", "duration_s", "imputed"]
        ),
        "changed_files": pd.DataFrame(
            [(run, "a.py", 1, 1) for run in ids], columns=["run_id", "path", "added", "deleted"]
        ),
    }
    frames["runs"]["started_at"] = pd.to_datetime(frames["runs"]["started_at"], utc=True)
    return {
        name: frame.assign(project="shop").reindex(columns=schemas.columns(schemas.LAKE_TABLES[name]))
        for name, frame in frames.items()
    }


def rejected(*reasons: str) -> pd.DataFrame:
    return pd.DataFrame({"reason": list(reasons)}, dtype=object).reindex(columns=schemas.columns(schemas.RejectedRows))


def checks(quality: BatchQuality) -> Mapping[str, Check]:
    return {check.name: check for check in quality.checks}


def failed(quality: BatchQuality) -> set[str]:
    return {check.name for check in quality.checks if not check.passed}


def test_a_clean_batch_scores_one_and_links_to_its_report(tmp_path: Path) -> None:
    history = BatchHistory(results_per_run=(3.0, 3.0, 4.0), max_age=timedelta(hours=3))
    quality = judge_batch(accepted(), rejected(), history, AS_OF, tmp_path / "docs" / "b1")
    assert (quality.score, quality.passed, failed(quality)) == (1.0, True, set())
    assert Path(quality.data_docs) == tmp_path / "docs" / "b1" / "overview.html"
    assert "test_results" in Path(quality.data_docs).read_text(encoding="utf-8")
    assert [path.name for path in (tmp_path / "docs").iterdir()] == ["b1"]


def test_judges_of_the_same_batch_at_once_leave_one_whole_report(tmp_path: Path) -> None:
    pages = [f"page-{number}" for number in range(20)]

    def replace(number: int) -> None:
        built = tmp_path / f"judge-{number}" / "b1"
        built.mkdir(parents=True)
        for page in pages:
            (built / page).touch()
        batch_quality._put_in_place(built, tmp_path / "b1")

    with ThreadPoolExecutor(8) as judges:
        list(judges.map(replace, range(400)))
    assert sorted(page.name for page in (tmp_path / "b1").iterdir()) == sorted(pages)


def test_every_check_of_the_suites_is_judged_once(tmp_path: Path) -> None:
    history = BatchHistory(results_per_run=(3.0, 3.0, 3.0), max_age=timedelta(hours=3))
    quality = judge_batch(accepted(), rejected(), history, AS_OF, tmp_path / "b1")
    written = [
        expectation["meta"]["check"]
        for name in ("batch", "runs", "test_results", "changed_files")
        for expectation in json.loads((batch_quality.SUITES / f"{name}.json").read_text())["expectations"]
    ]
    assert [check.name for check in quality.checks] == written
    assert len(set(written)) == len(written)


def test_volume_is_held_against_the_median_of_earlier_batches(tmp_path: Path) -> None:
    history = BatchHistory(results_per_run=(100.0, 16.0, 12.0))
    few = judge_batch(accepted(results=3), rejected(), history, AS_OF, tmp_path / "few")
    assert checks(few)["results_per_run_low"] == Check("results_per_run_low", 3.0, 4.0, True, False)
    assert not few.passed
    many = judge_batch(accepted(results=65), rejected(), history, AS_OF, tmp_path / "many")
    assert checks(many)["results_per_run_high"] == Check("results_per_run_high", 65.0, 64.0, False, False)
    assert many.passed, "more results than usual is a warning"
    usual = judge_batch(accepted(results=4), rejected(), history, AS_OF, tmp_path / "usual")
    assert failed(usual) == set()


def test_without_enough_history_only_runs_without_results_are_complained_about(tmp_path: Path) -> None:
    history = BatchHistory(results_per_run=(1_000.0, 1_000.0))
    quality = judge_batch(accepted(results=1), rejected(), history, AS_OF, tmp_path / "b1")
    assert failed(quality) == set()
    assert "results_per_run_high" not in checks(quality)
    bare = judge_batch(accepted(results=0), rejected(), history, AS_OF, tmp_path / "b2")
    assert "results_per_run_low" in failed(bare)


def test_freshness_is_judged_only_when_a_limit_is_given(tmp_path: Path) -> None:
    old = judge_batch(accepted(), rejected(), BatchHistory(max_age=timedelta(hours=1)), AS_OF, tmp_path / "b1")
    assert checks(old)["hours_since_last_start"] == Check("hours_since_last_start", 2.0, 1.0, False, False)
    replayed = judge_batch(accepted(), rejected(), BatchHistory(), AS_OF, tmp_path / "b2")
    assert "hours_since_last_start" not in checks(replayed)


def test_a_few_refused_rows_cost_their_share_and_many_fail_the_batch(tmp_path: Path) -> None:
    # 2 runs, 94 results and 2 files were kept: 2 of 100 rows were refused. rejected_share weighs 3, orphan_share 2.
    few = judge_batch(accepted(results=47), rejected("negative", "orphan"), BatchHistory(), AS_OF, tmp_path / "few")
    assert few.passed
    assert checks(few)["rejected_share"].measured == pytest.approx(0.02)
    assert checks(few)["orphan_share"].measured == pytest.approx(0.01)
    weight = sum(
        expectation["meta"]["weight"]
        for name in ("batch", "runs", "test_results", "changed_files")
        for expectation in json.loads((batch_quality.SUITES / f"{name}.json").read_text())["expectations"]
        if expectation["meta"]["check"] in checks(few)
    )
    assert few.score == pytest.approx(1 - (3 * 0.02 + 2 * 0.01) / weight)
    many = judge_batch(accepted(), rejected(*["negative"] * 10), BatchHistory(), AS_OF, tmp_path / "many")
    assert not many.passed
    assert failed(many) == {"rejected_share"}


@pytest.mark.parametrize(
    ("cell", "value", "check", "measured"),
    [
        ("test_results.outcome", "exploded", "test_results_outcome_known", 1 / 6),
        ("test_results.duration_s", -1.0, "test_results_duration_range", 1 / 6),
        ("test_results.test_id", "T1", "test_results_key_unique", 2 / 6),
        ("runs.run_id", "r1", "runs_key_unique", 1.0),
        ("runs.attempt", 0, "runs_attempt_range", 0.5),
        ("runs.started_at", pd.NaT, "runs_started_at_present", 0.5),
        ("runs.started_at", pd.Timestamp("1999-01-01", tz="UTC"), "runs_started_at_range", 0.5),
        ("changed_files.run_id", "r1", "changed_files_key_unique", 1.0),
        ("changed_files.added", -1, "changed_files_added_range", 0.5),
        ("changed_files.deleted", -1, "changed_files_deleted_range", 0.5),
    ],
)
def test_an_accepted_row_that_breaks_a_rule_fails_its_check(
    tmp_path: Path, cell: str, value: object, check: str, measured: float
) -> None:
    frames = accepted()
    table, column = cell.split(".")
    frames[table][column] = [value, *frames[table][column].tolist()[1:]]
    quality = judge_batch(frames, rejected(), BatchHistory(), AS_OF, tmp_path / "b1")
    assert failed(quality) == {check}
    assert checks(quality)[check].measured == pytest.approx(measured)
    assert not quality.passed
    assert 0 < quality.score < 1


def test_missing_durations_and_commits_are_a_complaint_but_no_failure(tmp_path: Path) -> None:
    frames = accepted()
    frames["test_results"]["duration_s"] = float("nan")
    frames["runs"]["commit_sha"] = None
    quality = judge_batch(frames, rejected(), BatchHistory(), AS_OF, tmp_path / "b1")
    assert failed(quality) == {"duration_null_share", "commit_null_share"}
    assert quality.passed
    assert quality.score < 1


def test_a_batch_without_any_row_does_not_pass_and_scores_nothing(tmp_path: Path) -> None:
    quality = judge_batch(accepted(runs=0), rejected(), BatchHistory(), AS_OF, tmp_path / "b1")
    assert (quality.score, quality.passed) == (0.0, False)
    assert {check.measured for check in quality.checks} == {None}
    assert checks(quality)["rejected_share"].detail == "the batch has no rows to measure it on"


def test_a_batch_of_refused_rows_only_does_not_pass(tmp_path: Path) -> None:
    quality = judge_batch(accepted(runs=0), rejected("truncated_xml"), BatchHistory(), AS_OF, tmp_path / "b1")
    assert checks(quality)["rejected_share"].measured == 1.0
    assert not quality.passed


def test_hostile_names_appear_escaped_in_the_report(tmp_path: Path) -> None:
    frames = accepted(test_id=HOSTILE)
    frames["test_results"] = pd.concat([frames["test_results"]] * 2, ignore_index=True)
    frames["test_results"].loc[0, "outcome"] = HOSTILE
    quality = judge_batch(frames, rejected(), BatchHistory(), AS_OF, tmp_path / "b1")
    assert {"test_results_key_unique", "test_results_outcome_known"} <= failed(quality)
    pages = [path.read_text(encoding="utf-8") for path in (tmp_path / "b1").rglob("*.html")]
    assert any("&lt;script&gt;alert(1)" in page for page in pages)
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert page.index("Content-Security-Policy") < page.index("<title>")


def test_a_second_judgement_of_a_batch_replaces_its_report(tmp_path: Path) -> None:
    (tmp_path / "b1").mkdir()
    (tmp_path / "b1" / "left.html").write_text("from an earlier crash")
    for _ in range(2):
        judge_batch(accepted(), rejected(), BatchHistory(), AS_OF, tmp_path / "b1")
    assert not (tmp_path / "b1" / "left.html").exists()
    assert len(list((tmp_path / "b1" / "validations").glob("runs/**/*.html"))) == 1


def judge_in_a_process(folder: Path) -> float:
    return judge_batch(accepted(), rejected(), BatchHistory(), AS_OF, folder).score


def test_two_processes_at_once_leave_whole_reports(tmp_path: Path) -> None:
    folders = [tmp_path / name for name in ("b1", "b1", "b2", "b2")]
    # forked: both processes have Great Expectations imported, and so do collide
    judge_in_a_process(tmp_path / "b0")
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        assert list(pool.map(judge_in_a_process, folders)) == [1.0] * 4
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b0", "b1", "b2"]
    pages = {
        name: sorted(str(path.relative_to(tmp_path / name)).replace(name, "") for path in (tmp_path / name).rglob("*"))
        for name in ("b0", "b1", "b2")
    }
    assert pages["b0"] == pages["b1"] == pages["b2"]


def test_a_suite_that_is_missing_is_an_error_that_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch_quality, "SUITES", tmp_path)
    with pytest.raises(ContractError, match=r"batch\.json cannot be read"):
        judge_batch(accepted(), rejected(), BatchHistory(), AS_OF, tmp_path / "b1")
