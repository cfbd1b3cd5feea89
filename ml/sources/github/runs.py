"""The runs that GitHub Actions lists: a window at a time, since a filtered listing ends at `LISTED_AT_MOST` of them."""

import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from ml.errors import SourceError
from ml.sources.ci_server import ServerRun
from ml.sources.github.changes import pull_of
from ml.sources.manifest import read_moment
from ml.sources.titles import title_of

if TYPE_CHECKING:
    from ml.sources.github.api import GitHubApi

LOG = logging.getLogger(__name__)
# A filtered listing stops here, whatever its `total_count` says.
LISTED_AT_MOST = 1_000
# GitHub runs nothing again more than 50 times.
MAX_ATTEMPTS = 100

Facts = dict[str, Any]
Run = tuple[datetime, str, Facts]


def window(api: "GitHubApi", first: int, last: int) -> Iterator[Run]:
    """Runs created from second `first` to second `last`, in order; a window that is too full is halved."""
    if first > last:
        return
    runs = _listed(api, first, last)
    if runs is not None:
        yield from sorted(runs, key=lambda run: (run[0], int(run[1])))
    elif first == last:
        raise SourceError(
            f"{api.repository} has more than {LISTED_AT_MOST} runs of {_iso(first)}, and GitHub lists no "
            "more; collect up to that second and from the next one on, the other runs of it cannot be had"
        )
    else:
        middle = (first + last) // 2
        yield from window(api, first, middle)
        yield from window(api, middle + 1, last)


def _listed(api: "GitHubApi", first: int, last: int) -> list[Run] | None:
    """The runs of a window, None where GitHub would not list all of them."""
    found, strange = [], 0
    for page in api.pages("actions/runs", {"created": f"{_iso(first)}..{_iso(last)}"}, is_kept=True):
        if total_of(page) > LISTED_AT_MOST:
            return None
        for entry in page["workflow_runs"]:
            run = run_of(entry)
            found += [run] if run is not None else []
            strange += run is None
    if strange:
        LOG.warning("%d entries of the runs of %s are no runs and were left out", strange, api.repository)
    return found


def attempts_of(run_id: str, created_at: datetime, run: Facts) -> Iterator[ServerRun]:
    """Every attempt of a run; all but the latest are over."""
    latest = run["run_attempt"]
    for attempt in range(1, latest + 1):
        yield ServerRun(run_id, attempt, created_at, attempt < latest or run["is_finished"], run)


def run_of(entry: object) -> Run | None:
    """Creation, id and facts of a run; None for what is none."""
    if not isinstance(entry, dict):
        return None
    number, attempt = entry.get("id"), entry.get("run_attempt", 1)
    created_at = moment(entry, "created_at")
    is_run = _is_count(number, 2**63) and _is_count(attempt, MAX_ATTEMPTS + 1)
    return (created_at, str(number), _facts(entry, attempt)) if is_run and created_at is not None else None


def _facts(entry: Mapping[str, Any], attempt: int) -> Facts:
    """What is kept of a listed run: nothing that names a person but the author's login."""
    home, origin = (_name(entry.get(side), "full_name") for side in ("repository", "head_repository"))
    return {
        "run_attempt": attempt,
        "is_finished": entry.get("status") == "completed",
        "workflow": _name(entry, "name"),
        "path": _name(entry, "path"),
        "event": _name(entry, "event"),
        "branch": _name(entry, "head_branch"),
        "commit_sha": _name(entry, "head_sha"),
        "change_title": title_of(_name(entry.get("head_commit"), "message") or _name(entry, "display_title")),
        "status": _name(entry, "conclusion"),
        "author": _name(entry.get("actor"), "login") or _name(entry.get("triggering_actor"), "login"),
        "is_fork": origin is None or origin != home,
        "pull": pull_of(entry.get("pull_requests")),
        "run_started_at": _name(entry, "run_started_at"),
        "updated_at": _name(entry, "updated_at"),
    }


def _name(entry: object, field: str) -> str | None:
    value = entry.get(field) if isinstance(entry, dict) else None
    return value if isinstance(value, str) else None


def _is_count(value: object, end: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 < value < end


def moment(entry: Mapping[str, Any], field: str) -> datetime | None:
    """A timestamp of an entry, None where it has none that can be read."""
    value = entry.get(field) if isinstance(entry, dict) else None
    return read_moment(value) if isinstance(value, str) else None


def entries_of(page: object, field: str) -> list[Any]:
    """The list in a page, empty where there is none."""
    entries = page.get(field) if isinstance(page, dict) else None
    return entries if isinstance(entries, list) else []


def total_of(page: object) -> int:
    """Number of runs that a listing speaks of.

    Raises:
        SourceError: it is no listing of runs.
    """
    total = page.get("total_count") if isinstance(page, dict) else None
    if not isinstance(total, int) or not isinstance(page, dict) or not isinstance(page.get("workflow_runs"), list):
        raise SourceError(
            "GitHub answered the listing of runs with something else; right would be an object with total_count and "
            "workflow_runs"
        )
    return total


def _iso(second: int) -> str:
    return datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
