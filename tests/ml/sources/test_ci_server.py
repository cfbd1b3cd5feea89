"""The part that servers share, over the smallest server there can be."""

from collections.abc import Iterator, Set
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Self

import pytest

from ml.errors import SourceError
from ml.sources import Finding, Known, Limits, Surroundings, read_batch
from ml.sources.ci_server import BATCH_RUNS, CiServer, Downloaded, ServerRun
from ml.sources.refusals import Refusal
from ml.sources.source import RunAttempt
from ml.spec import Batch, Interval

START = datetime(2026, 3, 1, tzinfo=UTC)
REPORT = '<testsuite name="s"><testcase classname="C" name="t" time="1.5"/></testsuite>'
LIMITS = Limits(10_000, "salt")


class Bench:
    """Runs 0, 1, ... an hour apart; run 1 is not finished, and `broken` cannot be downloaded."""

    kind = "jenkins"
    project = "shop"

    def __init__(self, count: int = 3, broken: str = "") -> None:
        self.count = count
        self.broken = broken
        self.asked: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        pass

    def find(self, interval: Interval) -> Iterator[ServerRun]:
        for number in range(self.count):
            run = ServerRun(f"../{number}", 1, START + timedelta(hours=number), number != 1)
            if interval.contains(run.started_at):
                yield run

    def download(self, run: ServerRun, folder: Path, max_bytes: int) -> Downloaded:
        self.asked.append(run.run_id)
        if run.run_id == self.broken:
            raise SourceError("the server is gone")
        (folder / "report.xml").write_text(REPORT)
        document = {
            "run_id": run.run_id,
            "project": self.project,
            "commit_sha": "c0ffee",
            "started_at": run.started_at.isoformat(),
            "author": "Ada Lovelace",
            "reports": [{"path": "report.xml", "variant": "linux"}],
        }
        return Downloaded(
            document, [Refusal("artifact_gone", "screens", payload="screens")] if "2" in run.run_id else []
        )

    def test(self) -> Iterator[Finding]:
        yield Finding("bench", True, "there")


def fetched(server: Bench, landing: Path, known: Set[RunAttempt] = frozenset()) -> list[Batch]:
    return list(CiServer(server, Surroundings(landing, LIMITS, Known(known))).fetch(Interval()))


def test_finished_runs_land_under_their_kind_with_reports_and_without_names_of_people(tmp_path: Path) -> None:
    (batch,) = fetched(Bench(), tmp_path)
    parsed = read_batch(batch, LIMITS)
    assert (batch.source, batch.project) == ("jenkins", "shop")
    assert parsed.frames["runs"]["run_id"].tolist() == ["../0", "../2"]
    assert parsed.frames["test_results"][["run_id", "variant", "test_id"]].values.tolist() == [
        ["../0", "linux", "C::t"],
        ["../2", "linux", "C::t"],
    ]
    assert b"Ada" not in b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_what_could_not_be_had_of_a_run_is_a_refusal_of_its_project(tmp_path: Path) -> None:
    (batch,) = fetched(Bench(), tmp_path)
    refused = read_batch(batch, LIMITS).refused
    assert refused[["project", "reason", "value", "payload"]].values.tolist() == [
        ["shop", "artifact_gone", "screens", "0002/screens"]
    ]


def test_a_known_attempt_is_not_asked_for_again(tmp_path: Path) -> None:
    server = Bench()
    fetched(server, tmp_path, {("../0", 1), ("../2", 7)})
    assert server.asked == ["../2"]


def test_the_same_runs_are_the_same_batch(tmp_path: Path) -> None:
    assert fetched(Bench(), tmp_path) == fetched(Bench(), tmp_path)


def test_what_landed_before_a_server_was_lost_stays(tmp_path: Path) -> None:
    count = BATCH_RUNS + 5
    source = CiServer(Bench(count, broken=f"../{count - 1}"), Surroundings(tmp_path, LIMITS))
    batches = source.fetch(Interval())
    first = next(batches)
    with pytest.raises(SourceError, match="gone"):
        next(batches)
    assert len(read_batch(first, LIMITS).frames["runs"]) == BATCH_RUNS


def test_progress_counts_runs(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    count = BATCH_RUNS + 5
    list(
        CiServer(Bench(count), Surroundings(tmp_path, LIMITS)).fetch(
            Interval(), lambda done, of: told.append((done, of))
        )
    )
    assert told == [(BATCH_RUNS, count - 1), (count - 1, count - 1)]
