"""What the environment of a CI job says about its run, in the words of a manifest.

GitHub Actions: https://docs.github.com/actions/reference/workflows-and-actions/variables
GitLab: https://docs.gitlab.com/ci/variables/predefined_variables/
Jenkins: https://www.jenkins.io/doc/book/pipeline/jenkinsfile/#using-environment-variables

The fields are those that the sources of the same servers give: a run is called the same by both. Jenkins does not
say to which project a job belongs: in a multibranch project each branch is a job.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

# Field of the manifest -> variables, the first that is set.
_GITHUB = {
    "run_id": ("GITHUB_RUN_ID",),
    "attempt": ("GITHUB_RUN_ATTEMPT",),
    "project": ("GITHUB_REPOSITORY",),
    "workflow": ("GITHUB_WORKFLOW",),
    "event": ("GITHUB_EVENT_NAME",),
    "branch": ("GITHUB_HEAD_REF", "GITHUB_REF_NAME"),
    "commit_sha": ("GITHUB_SHA",),
    "author": ("GITHUB_ACTOR",),
}
_GITLAB = {
    "run_id": ("CI_PIPELINE_ID",),
    "project": ("CI_PROJECT_PATH",),
    "workflow": ("CI_PIPELINE_NAME",),
    "event": ("CI_PIPELINE_SOURCE",),
    "branch": ("CI_COMMIT_REF_NAME",),
    "commit_sha": ("CI_COMMIT_SHA",),
    "change_title": ("CI_COMMIT_TITLE",),
    "author": ("GITLAB_USER_LOGIN",),
    "started_at": ("CI_PIPELINE_CREATED_AT",),
}
_JENKINS = {
    "branch": ("CHANGE_BRANCH", "BRANCH_NAME", "GIT_BRANCH"),
    "commit_sha": ("GIT_COMMIT",),
    "change_title": ("CHANGE_TITLE",),
    "author": ("CHANGE_AUTHOR",),
}


def describe(environ: Mapping[str, str]) -> dict[str, str]:
    """Fields of the manifest of the run that this job is part of; empty outside of a CI server that is known."""
    if environ.get("GITHUB_ACTIONS"):
        pull = re.fullmatch(r"refs/pull/(\d+)/\w+", environ.get("GITHUB_REF", ""))
        event = _event(environ.get("GITHUB_EVENT_PATH", ""))
        # GITHUB_SHA of a pull request is that of its merge, which nobody wrote
        found = {
            "commit_sha": _text(event, "pull_request", "head", "sha"),
            "change_id": pull and f"PR-{pull[1]}",
            "change_title": _text(event, "pull_request", "title") or _text(event, "head_commit", "message"),
        }
        return {**_named(environ, _GITHUB), **_set(found)}
    if environ.get("GITLAB_CI"):
        merged = environ.get("CI_MERGE_REQUEST_IID")
        return {**_named(environ, _GITLAB), **_set({"change_id": merged and f"MR-{merged}"})}
    if environ.get("JENKINS_URL"):
        change, number = environ.get("CHANGE_ID"), environ.get("BUILD_NUMBER")
        run_id = number and f"{environ.get('JOB_NAME', '')}#{number}"
        return {**_named(environ, _JENKINS), **_set({"run_id": run_id, "change_id": change and f"PR-{change}"})}
    return {}


def _named(environ: Mapping[str, str], names: Mapping[str, tuple[str, ...]]) -> dict[str, str]:
    return _set(
        {
            field: next((environ[name] for name in variables if environ.get(name)), None)
            for field, variables in names.items()
        }
    )


def _set(found: Mapping[str, str | None]) -> dict[str, str]:
    return {name: value for name, value in found.items() if value}


def _event(path: str) -> Any:
    """What GitHub tells of the event that started the run, as it was then; None where that cannot be read."""
    try:
        return json.loads(Path(path).read_bytes())
    except (OSError, ValueError):
        return None


def _text(event: Any, *names: str) -> str | None:
    for name in names:
        event = event.get(name) if isinstance(event, dict) else None
    return event if isinstance(event, str) else None
