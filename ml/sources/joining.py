"""Joins batches that landed one by one into larger ones: a thousand pushes are not a thousand tasks of a collection.

The larger batch gives the rows of the single ones, so no two of a run come into one: within a batch the worst of two
equal keys is kept, from batch to batch the first. A batch that was handed out once stays as it is from then on: whoever
has a reference to it may read it at any time.
"""

import fcntl
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ml.errors import SourceError
from ml.sources import manifest
from ml.sources.junit import MAX_BATCH_BYTES, MAX_BATCH_RUNS
from ml.sources.landing import Payload, Shelf, find, index_of, land, landed, noted_of, payload_file, retire
from ml.spec import Batch

LOG = logging.getLogger(__name__)
HANDED_OUT = "handed-out"  # a file in the folder of a batch

Choose = Callable[[list[Batch]], list[Batch]]


@dataclass(frozen=True, slots=True)
class Single:
    """A batch of one run: its entry in the index, the run's id, and bytes of its reports."""

    batch: Batch
    entry: dict[str, Any]
    run_id: str
    size: int


def hand_out(landing: Path, source: str, choose: Choose) -> list[Batch]:
    """The landed batches of a source that `choose` leaves, those of one run joined per project.

    Batches of one run come in the order in which they landed. Safe against a kill at any point, and one at a time.

    Raises:
        SourceError: a landed batch has no record that can be read.
    """
    if not (landing / source).is_dir():
        return []
    with _alone(landing / source):
        _finish(landing, source)
        given: list[Batch] = []
        singles: list[Single] = []
        for batch in choose(landed(landing, source)):
            found = _single(batch)
            if found is None:
                given.append(batch)
            else:
                singles.append(found)
        for group in _groups(singles):
            given += _joined(landing, group)
        for batch in given:
            Path(batch.folder, HANDED_OUT).touch()
        return given


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / ".joining").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _finish(landing: Path, source: str) -> None:
    """Retire what a kill left standing beside the larger batch that has it."""
    for batch in landed(landing, source):
        for single in noted_of(batch).get("joined", ()):
            folder = landing / source / single
            if folder.joinpath("payloads").exists():
                retire(Batch(single, source, batch.project, str(folder), 0), batch.batch_id)


def _single(batch: Batch) -> Single | None:
    """The batch as one to join; None where it was handed out before, has more runs than one, or cannot be read."""
    if Path(batch.folder, HANDED_OUT).exists():
        return None
    try:
        entries = index_of(batch)["runs"]
        if len(entries) != 1 or not entries[0]["is_described"]:
            return None
        folder = Path(entries[0]["folder"])
        facts = manifest.to_facts(manifest.parse(payload_file(batch, str(folder / manifest.NAME)).read_bytes()))
        files = [payload_file(batch, str(folder / inner)) for inner, _ in entries[0]["reports"]]
        size = sum(file.stat().st_size for file in files)
    except (SourceError, OSError):  # its own validation says what is wrong with it
        return None
    return None if facts.run is None else Single(batch, entries[0], facts.run["run_id"], size)


def _groups(singles: Sequence[Single]) -> Iterator[list[Single]]:
    """Groups to join, each of one project and of different runs: first the first batch of every run, and so on."""
    rounds: dict[tuple[str, int], list[Single]] = {}
    seen: dict[tuple[str, str], int] = {}
    for single in singles:
        run = (single.batch.project, single.run_id)
        seen[run] = seen.get(run, 0) + 1
        rounds.setdefault((single.batch.project, seen[run]), []).append(single)
    for place in sorted(rounds):
        yield from _cut(rounds[place])


def _cut(singles: Sequence[Single]) -> Iterator[list[Single]]:
    group: list[Single] = []
    for single in singles:
        size = single.size + sum(one.size for one in group)
        if group and (len(group) >= MAX_BATCH_RUNS or size > MAX_BATCH_BYTES):
            yield group
            group = []
        group.append(single)
    if group:
        yield group


def _joined(landing: Path, group: Sequence[Single]) -> list[Batch]:
    """One batch in place of the group; the group as it is where there is nothing to join, or no room to."""
    batches = [single.batch for single in group]
    if len(group) == 1:
        return batches
    payloads = [payload for single in group for payload in _payloads(single)]
    entries = [{**single.entry, "folder": str(_place(single))} for single in group]
    notes = repr([entry["refused"] for entry in entries])
    index = {"runs": entries, "joined": [batch.batch_id for batch in batches]}
    try:
        larger = land(Shelf(landing, batches[0].source, batches[0].project), payloads, index, notes)
    except SourceError as error:
        LOG.warning("%d batches are collected one by one, as they cannot be joined: %s", len(batches), error)
        return batches
    for batch in batches:
        retire(batch, larger.batch_id)
    return [find(landing, larger.batch_id)]


def _place(single: Single) -> Path:
    return Path(single.batch.batch_id, single.entry["folder"])


def _payloads(single: Single) -> Iterator[Payload]:
    """What the single batch has, under a folder of its own; it was freed of secrets when it landed."""
    inner = Path(single.entry["folder"])
    files = [(manifest.NAME, manifest.NAME)]
    files += [(report, f"{variant}/{report}") for report, variant in single.entry["reports"]]
    for file, identity in files:
        source = payload_file(single.batch, str(inner / file))
        yield Payload(str(_place(single) / file), identity, source, is_text=False)
