"""Which change a run of GitHub Actions tested, and the files that it touches."""

import re
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

from ml.spec import PULL_REQUESTS

if TYPE_CHECKING:
    from ml.sources.github.api import GitHubApi

# GitHub lists no more: https://docs.github.com/en/rest/pulls/pulls#list-pull-requests-files
MAX_FILES = 3_000
# A comparison stops here: https://docs.github.com/en/rest/commits/commits#compare-two-commits
MAX_COMPARED = 300
# A change that is gone, was never there, or is too large for GitHub to compare.
GONE = (404, 409, 410, 422)
_SHA = re.compile(r"[0-9a-fA-F]{7,64}")

Entry = dict[str, Any]


def pull_of(pulls: object) -> tuple[int, str] | None:
    """Number and base commit (empty where it is not told) of the first pull request of a list; None without one."""
    first = pulls[0] if isinstance(pulls, list) and pulls else None
    number = first.get("number") if isinstance(first, dict) else None
    if not isinstance(first, dict) or not isinstance(number, int) or not 0 < number < 2**63:
        return None
    base = first.get("base")
    sha = base.get("sha") if isinstance(base, dict) else None
    return number, sha if isinstance(sha, str) and _SHA.fullmatch(sha) else ""


def change_of(api: "GitHubApi", facts: Entry) -> Entry:
    """`change_id` and `changed_files` of a manifest; a change that is gone has no files.

    Raises:
        SourceError: GitHub cannot be reached or refuses.
    """
    sha = facts["commit_sha"] or ""
    is_known = _SHA.fullmatch(sha) is not None
    pull = facts["pull"]
    if pull is None and facts["event"] in PULL_REQUESTS and is_known:
        pull = pull_of(next(api.pages(f"commits/{sha}/pulls", is_kept=True, absent=GONE), None))
    if pull is not None:
        number, base = pull
        files = _compared(api, base, sha) if base and is_known else []
        return {"change_id": f"PR-{number}", "changed_files": files or _pulled(api, number)}
    if facts["event"] == "push" and is_known:
        pages = api.pages(f"commits/{sha}", is_kept=True, absent=GONE)
        listed = (page.get("files") for page in pages if isinstance(page, dict))
        return {"change_id": None, "changed_files": _files(listed, "commit")}
    return {"change_id": None, "changed_files": []}


def _compared(api: "GitHubApi", base: str, sha: str) -> list[Entry]:
    """What the run's own commit changes; empty where GitHub cannot tell, or may not tell all."""
    listed = next(api.pages(f"compare/{base}...{sha}", is_kept=True, absent=GONE), None)
    files = listed.get("files") if isinstance(listed, dict) else None
    return _files(iter([files]), "compare") if isinstance(files, list) and len(files) < MAX_COMPARED else []


def _pulled(api: "GitHubApi", number: int) -> list[Entry]:
    """What the pull request changes by now, later commits included."""
    return _files(api.pages(f"pulls/{number}/files", is_kept=True, absent=GONE), "pull_request")


def _files(pages: Iterator[Any], source: str) -> list[Entry]:
    found: dict[str, Entry] = {}
    listed = (entry for page in pages if isinstance(page, list) for entry in page if isinstance(entry, dict))
    for entry in islice(listed, MAX_FILES):
        for file in _touched(entry, source):
            found.setdefault(file["path"], file)
    return list(found.values())


def _touched(entry: Entry, source: str) -> Iterator[Entry]:
    """The file, and where it was before: a test may know either name."""
    path, before = entry.get("filename"), entry.get("previous_filename")
    if isinstance(path, str) and path:
        added, deleted = _count(entry.get("additions")), _count(entry.get("deletions"))
        yield {"path": path, "added": added, "deleted": deleted, "change_source": source}
    if entry.get("status") == "renamed" and isinstance(before, str) and before:
        yield {"path": before, "added": None, "deleted": None, "change_source": source}


def _count(value: object) -> int | None:
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**31:
        return value
    return None
