"""What a GitLab pipeline tests: its merge request, or its commit, and the files that these change."""

import re
from collections.abc import Iterable, Iterator

from ml.errors import RefusedPayload
from ml.sources.gitlab.merge_requests import COMMIT, tested_diffs
from ml.sources.gitlab.pages import pages
from ml.sources.rest_api import Json, RestApi, StatusError, as_list, as_text
from ml.sources.titles import title_of

MAX_FILES = 3_000
_MERGE_REQUEST = re.compile(r"refs/merge-requests/([0-9]{1,18})/")
_MERGED_RESULT = re.compile(r"/(?:merge|train)$")


def changes_of(api: RestApi, project: str, pipeline: Json) -> Json:
    """`change_id`, `change_title`, `is_fork` and `changed_files` of a pipeline, as a manifest has them.

    The files of a merge request are those of the state that the pipeline tested, or of its newest one where GitLab does
    not tell which that was.

    Raises:
        SourceError: the server cannot be reached or refuses. What is gone changes no files.
    """
    request = _MERGE_REQUEST.match(as_text(pipeline.get("ref")) or "")
    if pipeline.get("source") != "merge_request_event" or request is None:
        return {
            "change_id": None,
            "change_title": _title(api, project, pipeline),
            "is_fork": None,
            "changed_files": _commit_files(api, project, pipeline),
        }
    path = f"{project}/merge_requests/{request[1]}"
    found = api.find(path) or {}
    sides = found.get("source_project_id"), found.get("target_project_id")
    return {
        "change_id": f"MR-{request[1]}",
        "change_title": _title(api, project, pipeline),
        # A fork that was deleted has no id any more.
        "is_fork": sides[0] != sides[1] if found else None,
        "changed_files": _request_files(api, project, path, pipeline),
    }


def _title(api: RestApi, project: str, pipeline: Json) -> str | None:
    """Subject of the pipeline's commit; a merged result is GitLab's own, and its second parent the newest commit."""
    commit = _commit(api, project, pipeline.get("sha"))
    parents = as_list(commit.get("parent_ids"))
    if _MERGED_RESULT.search(as_text(pipeline.get("ref")) or "") and len(parents) > 1:
        commit = _commit(api, project, parents[1])
    return title_of(as_text(commit.get("title")))


def _commit(api: RestApi, project: str, sha: object) -> Json:
    """What the server tells of a commit; nothing of one that is gone, or too large to be told."""
    name = as_text(sha) or ""
    if COMMIT.fullmatch(name) is None:
        return {}
    try:
        return api.find(f"{project}/repository/commits/{name}") or {}
    except RefusedPayload:
        return {}


def _request_files(api: RestApi, project: str, path: str, pipeline: Json) -> list[Json]:
    diffs = tested_diffs(api, project, path, pipeline)
    if diffs is None:
        return _files(api, f"{path}/diffs", "merge_request")
    return list(_by_path(diffs, "merge_request").values())[:MAX_FILES]


def _commit_files(api: RestApi, project: str, pipeline: Json) -> list[Json]:
    sha = as_text(pipeline.get("sha")) or ""
    if COMMIT.fullmatch(sha) is None:
        return []
    return _files(api, f"{project}/repository/commits/{sha}/diff", "commit")


def _files(api: RestApi, path: str, source: str) -> list[Json]:
    files: dict[str, Json] = {}
    try:
        for page in pages(api, path, {}):
            files |= _by_path(page, source)
            if len(files) >= MAX_FILES:
                break
    except RefusedPayload:
        pass  # A change too large to be listed.
    except StatusError as error:
        if error.status not in (404, 410):
            raise
    return list(files.values())[:MAX_FILES]


def _by_path(diffs: Iterable[Json], source: str) -> dict[str, Json]:
    return {file["path"]: {**file, "change_source": source} for diff in diffs for file in _changed(diff)}


def _changed(diff: Json) -> Iterator[Json]:
    old, new = as_text(diff.get("old_path")), as_text(diff.get("new_path"))
    added, deleted = _counts(diff)
    if new is not None:
        yield {"path": new, "added": added, "deleted": deleted}
    if old is not None and old != new:
        yield {"path": old, "added": None, "deleted": None}


def _counts(diff: Json) -> tuple[int | None, int | None]:
    """Added and deleted lines; None where GitLab leaves the text out, or where there are no lines."""
    text = diff.get("diff")
    if diff.get("too_large") is True or diff.get("collapsed") is True or not isinstance(text, str):
        return None, None
    if text and not text.startswith(("@@", "---")):
        return None, None
    lines = text[text.find("@@") :].split("\n")
    return sum(line.startswith("+") for line in lines), sum(line.startswith("-") for line in lines)
