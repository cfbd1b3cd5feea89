"""The files that a merge request changed in the state of it that a pipeline tested, not in a later one.

GitLab keeps a version of a merge request for each push: https://docs.gitlab.com/api/merge_requests/
"""

import re
from collections.abc import Sequence
from datetime import UTC, datetime

from ml.errors import RefusedPayload
from ml.sources.gitlab.pages import pages
from ml.sources.manifest import read_moment
from ml.sources.rest_api import Json, RestApi, StatusError, as_list, as_number, as_objects, as_text

COMMIT = re.compile("[0-9a-fA-F]{7,64}")
MAX_VERSIONS = 10_000
_LATEST = datetime.max.replace(tzinfo=UTC)


def tested_diffs(api: RestApi, project: str, request: str, pipeline: Json) -> list[Json] | None:
    """Differences of the version whose newest commit the pipeline ran on, or merged into the target for its run.

    Where there is no such version, those between the target and the merged result. None where neither can be told; no
    differences where there are too many to be listed.

    Args:
        api: the server.
        project: path of the project on it.
        request: path of the merge request on it.
        pipeline: as GitLab gives it.

    Raises:
        SourceError: the server cannot be reached or refuses.
    """
    sha = as_text(pipeline.get("sha")) or ""
    if COMMIT.fullmatch(sha) is None:
        return None
    try:
        versions = _versions(api, f"{request}/versions")
        created = read_moment(as_text(pipeline.get("created_at")) or "") or _LATEST
        found = _version(versions, [sha], created)
        parents = [] if found else _parents(api, project, sha)
        found = found or _version(versions, parents[1:], created)
        if found is not None:
            return _diffs(api.find(f"{request}/versions/{found}"))
        if len(parents) > 1:
            return _diffs(api.find(f"{project}/repository/compare", {"from": parents[0], "to": sha}))
    except RefusedPayload:
        return []
    return None


def _versions(api: RestApi, path: str) -> list[Json]:
    versions: list[Json] = []
    try:
        for page in pages(api, path, {}):
            versions += page
            if len(versions) >= MAX_VERSIONS:
                break
    except StatusError as error:
        if error.status not in (404, 410):
            raise
    return versions


def _version(versions: Sequence[Json], heads: Sequence[str], created: datetime) -> int | None:
    """Id of the newest version with one of these heads that was there when the pipeline began; else of the oldest.

    Another target gives a merge request another version with the same head.
    """
    ages = {
        number: read_moment(as_text(version.get("created_at")) or "") or _LATEST
        for version in versions
        if (number := as_number(version.get("id"))) is not None and version.get("head_commit_sha") in heads
    }
    earlier = [number for number, age in ages.items() if age <= created]
    return max(earlier) if earlier else min(ages, default=None)


def _parents(api: RestApi, project: str, sha: str) -> list[str]:
    """Parents of a merged result: the target's commit first, then that of the merge request."""
    commit = api.find(f"{project}/repository/commits/{sha}") or {}
    parents = [as_text(parent) or "" for parent in as_list(commit.get("parent_ids"))]
    return parents if all(COMMIT.fullmatch(parent) for parent in parents) else []


def _diffs(found: Json | None) -> list[Json] | None:
    return None if found is None or not isinstance(found.get("diffs"), list) else as_objects(found["diffs"])
