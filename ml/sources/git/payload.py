"""What lands: JSON lines, one commit each with the runs that tested it, bounded; and the rows that they are read to."""

import json
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import pandas as pd

from ml import schemas
from ml.sources.frames import FILE_COLUMNS, RowsOfRuns
from ml.sources.landing import index_of, payload_file
from ml.sources.refusals import Refusal, to_frame
from ml.sources.source import Limits
from ml.spec import Batch, Parsed

NAME = "commits.jsonl"
CHANGE_SOURCE = "git"
COLUMNS = schemas.columns(schemas.Commits)

Entry = dict[str, Any]


def to_bytes(entries: Sequence[Entry]) -> bytes:
    """The payload: equal entries give equal bytes."""
    return b"".join(json.dumps(entry, sort_keys=True).encode("ascii") + b"\n" for entry in entries)


def read(batch: Batch, limits: Limits) -> Parsed:
    """Rows of a landed batch of this source; its runs are in the lake already.

    Raises:
        SourceError: the landed batch is missing or no longer as it was landed.
    """
    refused = [Refusal(**refusal) for refusal in index_of(batch)["refused"]]
    with payload_file(batch, NAME).open("rb") as lines:
        entries = [json.loads(line) for line in lines]
    frames = {
        **RowsOfRuns(batch.project).to_parsed().frames,
        "changed_files": _file_frame(batch.project, entries),
        "commits": _commit_frame(batch.project, entries),
    }
    return Parsed(frames, to_frame((batch.project, refusal) for refusal in refused))


def _commit_frame(project: str, entries: Sequence[Entry]) -> pd.DataFrame:
    """`committed_at` as datetimes with None: one that no calendar has is for the contract to refuse."""
    rows = [{**entry, "project": project, "committed_at": _moment(entry)} for entry in entries if entry["is_new"]]
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def _moment(entry: Entry) -> datetime | None:
    return None if entry["committed_at"] is None else datetime.fromisoformat(entry["committed_at"])


def _file_frame(project: str, entries: Sequence[Entry]) -> pd.DataFrame:
    rows = [(project, *row, CHANGE_SOURCE) for entry in entries for row in _files_of_runs(entry)]
    return pd.DataFrame(rows, columns=FILE_COLUMNS, dtype=object).astype({"added": "Int64", "deleted": "Int64"})


def _files_of_runs(entry: Entry) -> Iterator[list[Any]]:
    for run_id in entry["runs"]:
        for file in entry["files"]:
            yield [run_id, *file]
