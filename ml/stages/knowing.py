"""What the lake has of a project already, so that a source asks for nothing twice."""

import pyarrow as pa
import pyarrow.compute as pc

from ml import sources
from ml.errors import FourgateError
from ml.lake import Lake
from ml.settings import Settings
from ml.sources.source import SourceOptions
from ml.spec import Interval, Snapshot
from ml.stages.opening import open_lake, open_warehouse


def known(lake: Lake, head: Snapshot | None, options: SourceOptions, span: Interval) -> sources.Known:
    """Runs of the source's project; and, for kinds that ask, its commits and what its runs in `span` tested."""
    if head is None:
        return sources.Known()
    columns = ["run_id", "attempt", "commit_sha", "started_at"]
    runs = lake.read("runs", head.versions["runs"], options.project, columns)
    attempts = frozenset(zip(runs["run_id"].to_pylist(), runs["attempt"].to_pylist(), strict=True))
    if not options.asks_for_commits:
        return sources.Known(attempts)
    files = lake.read("changed_files", head.versions["changed_files"], options.project, ["run_id"])["run_id"]
    return sources.Known(attempts, _tested(runs, files, span), _landed(lake, head, options.project))


def known_so_far(settings: Settings, options: SourceOptions, span: Interval) -> sources.Known:
    """What an examination can go by: nothing where no stack runs, nothing was collected, or the kind does not ask."""
    if not options.asks_for_commits:
        return sources.Known()
    try:
        with open_warehouse(settings) as warehouse:
            head = warehouse.head()
        return known(open_lake(settings), head, options, span)
    except FourgateError:
        return sources.Known()


def _landed(lake: Lake, head: Snapshot, project: str) -> frozenset[str]:
    version = head.versions.get("commits")
    if version is None:  # a snapshot of an earlier release
        return frozenset()
    return frozenset(lake.read("commits", version, project, ["commit_sha"])["commit_sha"].to_pylist())


def _tested(runs: pa.Table, files: pa.ChunkedArray, span: Interval) -> dict[str, str]:
    """Commit of each run in `span` without files; of several attempts, that of the first."""
    wanted = pc.and_(pc.is_valid(runs["commit_sha"]), pc.invert(pc.is_in(runs["run_id"], files.unique())))
    if span.start is not None:
        wanted = pc.and_(wanted, pc.greater_equal(runs["started_at"], span.start))
    if span.end is not None:
        wanted = pc.and_(wanted, pc.less(runs["started_at"], span.end))
    found = runs.filter(wanted).sort_by([("attempt", "descending")])
    return dict(zip(found["run_id"].to_pylist(), found["commit_sha"].to_pylist(), strict=True))
