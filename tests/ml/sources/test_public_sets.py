"""Published sets in their own layouts, typed by hand as their papers describe them."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ml.errors import SourceError
from ml.sources import Limits, open_source, read_batch
from ml.spec import Interval, Parsed
from tests.ml.sources.junit_builders import joined

LIMITS = Limits(10_000, "salt")
HEAD = "travisJobId,testName,index,duration,count,failures,errors,skipped\n"
RESULTS = "square@okhttp/square@okhttp.csv"
TORRENT = {
    "tr_all_built_commits.csv": "tr_job_id,git_commit_id\n20,b1\n20,b2\n9,a1\n777,zz\n30,c1\n",
    RESULTS: HEAD + "20,CallTest,0,1.5,4,1,1,0\n20,UrlTest,1,0.5,2,0,1,0\n9,CallTest,0,1.0,3,0,0,3\n"
    "9,UrlTest,1,,3,0,0,2\nx,UrlTest,1,0.1,1,0,0,0\n9,IoTest,2,0.1,1,-1,0,0\n",
    "square@okhttp/square@okhttp-patches.csv": "sha,name\nb1,Call.java\nb2,Call.java\nb2,Url.java\nzz,No.java\nc1,No\n",
    "square@okhttp/square@okhttp-offenders.csv": "whatever\n",
    "apache@sling/apache@sling.csv": HEAD + "30,SlingTest,0,2,1,0,0,0\n",
}
IOFROL = (
    "Id;Name;Duration;CalcPrio;LastRun;LastResults;NumRan;Verdict;Cycle\n"
    "1;78082;100;0;2016-10-02 09:00;[];1;1;1\n"
    "2;78083;200;0;2016-10-01 09:00;[1, 0];1;0;1\n"
    "3;78082;100;0;2016-10-01 10:00;[1];2;0;2\n"
    "4;78083;200;0;;[0];2;1;10\n"
    "5;78083;200;0;2016-10-03 08:30;[0];2;1;11\n"
    "6;78083;200;0;2016-10-03 08:30;[0];2;7;11\n"
    "7;78083;200;0;2016-10-03 08:30;[0];2;1;last\n"
)


def write(folder: Path, files: dict[str, str]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(content)
    return folder


def collect(history: Path) -> Parsed:
    source = open_source(history, history.parent / "landing", LIMITS)
    parsed = [read_batch(batch, LIMITS) for batch in source.fetch(Interval())]
    frames = {name: joined([one.frames[name] for one in parsed]) for name in parsed[0].frames}
    return Parsed(frames, joined([one.refused for one in parsed]))


def rows(parsed: Parsed, name: str, *columns: str) -> list[list[Any]]:
    frame = parsed.frames[name][list(columns)].astype(object)
    return sorted(([*row] for row in frame.where(frame.notna(), None).to_numpy()), key=str)


def reasons(parsed: Parsed) -> list[list[Any]]:
    return sorted(parsed.refused[["reason", "value", "payload"]].to_numpy().tolist())


def moment(text: str) -> pd.Timestamp:
    return pd.Timestamp(text, tz="UTC")


def test_jobs_of_rtptorrent_are_runs_with_the_files_of_all_their_commits(tmp_path: Path) -> None:
    parsed = collect(write(tmp_path / "history", TORRENT))
    assert rows(parsed, "runs", "project", "run_id", "commit_sha", "started_at") == [
        ["apache/sling", "30", "c1", moment("2000-01-01 02:00")],
        ["square/okhttp", "20", "b1", moment("2000-01-01 01:00")],
        ["square/okhttp", "9", "a1", moment("2000-01-01 00:00")],
    ]
    assert rows(parsed, "test_results", "project", "run_id", "test_id", "outcome", "duration_s") == [
        ["apache/sling", "30", "SlingTest", "passed", 2.0],
        ["square/okhttp", "20", "CallTest", "failed", 1.5],
        ["square/okhttp", "20", "UrlTest", "error", 0.5],
        ["square/okhttp", "9", "CallTest", "skipped", 1.0],
        ["square/okhttp", "9", "UrlTest", "passed", None],
    ]
    assert rows(parsed, "changed_files", "run_id", "path") == [["20", "Call.java"], ["20", "Url.java"]]
    assert reasons(parsed) == [
        ["not_an_integer", "IoTest: 9, 1, -1, 0, 0", "square@okhttp.csv"],
        ["not_an_integer", "UrlTest: x, 1, 0, 0, 0", "square@okhttp.csv"],
    ]


def test_jobs_of_rtptorrent_start_as_travistorrent_says_where_it_lies_beside(tmp_path: Path) -> None:
    builds = "tr_build_id,tr_job_id,gh_build_started_at\n1,20,2014-05-01 10:00:00\n2,777,2013-01-01 00:00:00\n3,9,NA\n"
    parsed = collect(write(tmp_path / "history", {**TORRENT, "travistorrent_8_2_2017.csv": builds}))
    start = moment("2014-05-01 10:00")
    assert rows(parsed, "runs", "run_id", "started_at") == [["20", start], ["30", start], ["9", start]]


def test_cycles_of_retecs_are_runs_whose_starts_never_go_back(tmp_path: Path) -> None:
    parsed = collect(write(tmp_path / "history", {"iofrol.csv": IOFROL, "notes.csv": "a,b\n"}))
    second = moment("2016-10-02 09:00")
    assert rows(parsed, "runs", "project", "run_id", "started_at") == [
        ["iofrol", "iofrol/1", second],
        ["iofrol", "iofrol/10", second],
        ["iofrol", "iofrol/11", moment("2016-10-03 08:30")],
        ["iofrol", "iofrol/2", second],
    ]
    assert rows(parsed, "test_results", "run_id", "test_id", "outcome", "duration_s") == [
        ["iofrol/1", "78082", "failed", 100.0],
        ["iofrol/1", "78083", "passed", 200.0],
        ["iofrol/10", "78083", "failed", 200.0],
        ["iofrol/11", "78083", "failed", 200.0],
        ["iofrol/2", "78082", "passed", 100.0],
    ]
    assert reasons(parsed) == [
        ["not_an_integer", "cycle last", "iofrol.csv"],
        ["unknown_outcome", "verdict 7 of 78083 in cycle 11", "iofrol.csv"],
    ]


def test_sets_of_retecs_in_one_folder_are_projects_of_their_own(tmp_path: Path) -> None:
    parsed = collect(write(tmp_path / "history", {"iofrol.csv": IOFROL, "paint.csv": IOFROL}))
    assert rows(parsed, "runs", "project", "run_id")[3:5] == [["iofrol", "iofrol/2"], ["paint", "paint/1"]]
    assert len(parsed.frames["test_results"]) == 10


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({**TORRENT, RESULTS: "travisJobId,testName\n"}, r"okhttp\.csv needs one column 'duration'"),
        (
            {"tr_all_built_commits.csv": "", "a@b.csv": HEAD},
            "has no line of a job that can be read; expected travisJobId",
        ),
        ({"iofrol.csv": IOFROL.replace("Verdict", "Result")}, r"iofrol\.csv needs one column 'Verdict'; found: Id"),
        ({"iofrol.csv": IOFROL.splitlines()[0]}, r"iofrol\.csv has no line of a cycle that can be read"),
    ],
)
def test_a_set_that_cannot_be_read_is_told(tmp_path: Path, files: dict[str, str], told: str) -> None:
    with pytest.raises(SourceError, match=told):
        collect(write(tmp_path / "history", files))
