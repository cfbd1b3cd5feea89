"""Opens the replayed GitHub and collects from it."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from ml.sources import Limits, Surroundings, read_batch
from ml.sources.ci_server import CiServer, Downloaded, ServerRun
from ml.sources.github.actions import GitHubActions, Options
from ml.sources.http import PatientTransport
from ml.spec import Batch, Interval
from tests.ml.sources.github.server import (
    REPORT,
    TOKEN,
    GitHubServer,
    run_payload,
    zipped,
)

LIMITS = Limits(max_payload_bytes=50_000_000, author_salt="salt")


NEW_YEAR = Interval(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC))


Rows = dict[str, pd.DataFrame]


def opened(
    server: GitHubServer, secret: str = TOKEN, slept: list[float] | None = None, **options: Any
) -> GitHubActions:
    given = {"kind": "github_actions", "project": "p", "url": server.url, "repository": server.repository, **options}
    transport = PatientTransport(sleep=(slept if slept is not None else []).append)
    return GitHubActions(Options.model_validate(given), secret, transport)


def find(server: GitHubServer, interval: Interval = NEW_YEAR, **options: Any) -> list[ServerRun]:
    with opened(server, **options) as actions:
        return list(actions.find(interval))


def keys(runs: list[ServerRun]) -> list[tuple[str, int]]:
    return [(run.run_id, run.attempt) for run in runs]


def downloaded(server: GitHubServer, folder: Path, **options: Any) -> list[Downloaded]:
    """What each attempt's own folder holds."""
    with opened(server, **options) as actions:
        found = []
        for run in actions.find(NEW_YEAR):
            place = folder / f"{run.run_id}-{run.attempt}"
            place.mkdir()
            found.append(actions.download(run, place, 100_000))
        return found


def the_document(server: GitHubServer, folder: Path, **options: Any) -> dict[str, Any]:
    (found,) = downloaded(server, folder, **options)
    return found.document


def collect(server: GitHubServer, landing: Path, *spans: Interval, slept: list[float] | None = None) -> list[Batch]:
    with opened(server, slept=slept) as actions:
        source = CiServer(actions, Surroundings(landing, LIMITS))
        return [batch for span in spans or (NEW_YEAR,) for batch in source.fetch(span)]


def rows(batches: list[Batch]) -> Rows:
    """The rows of all batches, in one order."""
    parsed = [read_batch(batch, LIMITS) for batch in batches]
    merged = {}
    for name in parsed[0].frames:
        frame = pd.concat([one.frames[name].astype(object) for one in parsed], ignore_index=True).drop_duplicates()
        merged[name] = frame.sort_values(list(frame), key=lambda column: column.astype(str)).reset_index(drop=True)
    return merged


def assert_same(left: Rows, right: Rows) -> None:
    assert left.keys() == right.keys()
    for name, frame in left.items():
        pd.testing.assert_frame_equal(frame, right[name])


def shop(server: GitHubServer, runs: int = 3) -> None:
    """Runs 1, 2, ... at noon, one minute apart, each with a report `S::t<number>` and a changed file."""
    for number in range(1, runs + 1):
        run = server.add(run_payload(number, f"2026-01-01T{12 + number // 60:02}:{number % 60:02}:00Z"))
        server.add_artifact(run, "linux", zipped({f"out/TEST-{number}.xml": REPORT.format(f"t{number}")}))
        server.commits[f"{number:040x}"] = [{"filename": f"src/{number}.py", "additions": 2, "deletions": 1}]
