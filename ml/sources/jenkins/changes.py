"""What a Jenkins build tests: its commit, branch and pull request, and what changed since the build before."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from ml.sources.rest_api import Json, as_list, as_number, as_objects, as_text
from ml.sources.titles import title_of

MAX_FILES = 3_000
_PULL_REQUEST = re.compile(r"((?:PR|MR)-[0-9]{1,18})(?:-head|-merge)?")
# The second is that of the plugin GitHub Pull Request Builder.
_NUMBERS = ("CHANGE_ID", "ghprbPullId")
# By the end of their class names, in the order of what matters most.
_EVENTS = {
    "TimerTriggerCause": "schedule",
    "SCMTriggerCause": "push",
    "BranchEventCause": "push",
    "BranchIndexingCause": "push",
    "PushCause": "push",
    "UpstreamCause": "upstream",
    "UserIdCause": "user",
    "UserCause": "user",
}


def tree(with_author: bool) -> str:
    """What to ask of a build; the changes of a freestyle job are its `changeSet`, those of a pipeline `changeSets`."""
    author = ",author[fullName]" if with_author else ""
    items = f"items[commitId,msg{author},affectedPaths,paths[file]]"
    actions = "lastBuiltRevision[SHA1,branch[name]],parameters[name,value],causes[_class]"
    return f"actions[{actions}],changeSet[{items}],changeSets[{items}]"


def changes_of(build: Json, job: list[str]) -> Json:
    """`commit_sha`, `branch`, `event`, `change_id`, `change_title`, `author` and `changed_files` of a manifest.

    The title is that of the built commit where the build lists it, else of the newest change.
    """
    actions = as_objects(build.get("actions"))
    items = list(_items(build))
    commit, branch = _built(actions, unquote(job[-1]))
    change_id = _change_id(actions, job[-1])
    return {
        "commit_sha": commit or _last(as_text(item.get("commitId")) for item in items),
        "change_title": _last(_title(item, commit) for item in items) or _last(_title(item) for item in items),
        "branch": branch,
        "event": "pull_request" if change_id else _event(actions),
        "change_id": change_id,
        "author": _last(_author(item) for item in items),
        "changed_files": _files(items),
    }


def _items(build: Json) -> Iterator[Json]:
    for changes in [build.get("changeSet"), *as_list(build.get("changeSets"))]:
        if isinstance(changes, dict):
            yield from as_objects(changes.get("items"))


def _last(values: Iterator[str | None]) -> str | None:
    return next((value for value in reversed(list(values)) if value), None)


def _built(actions: list[Json], name: str) -> tuple[str | None, str | None]:
    """Commit and branch; of several checkouts, a library's among them, the one whose branch the job is called by."""
    found: list[tuple[str | None, str | None]] = []
    for action in actions:
        revision = action.get("lastBuiltRevision")
        if isinstance(revision, dict):
            branches = [_short(branch.get("name")) for branch in as_objects(revision.get("branch"))]
            found.append((as_text(revision.get("SHA1")), next(filter(None, branches), None)))
    own = [pair for pair in found if pair[1] == name]
    return next(iter(own or found), (None, None))


def _short(branch: object) -> str | None:
    return re.sub(r"^(refs/)?(remotes/|heads/)?(origin/)?", "", as_text(branch) or "") or None


def _change_id(actions: list[Json], name: str) -> str | None:
    request = _PULL_REQUEST.fullmatch(name)
    if request is not None:
        return request[1]
    values = [as_number(parameter.get("value")) for parameter in _parameters(actions)]
    return next((f"PR-{value}" for value in values if value is not None), None)


def _parameters(actions: list[Json]) -> Iterator[Json]:
    for action in actions:
        for parameter in as_objects(action.get("parameters")):
            if parameter.get("name") in _NUMBERS:
                yield parameter


def _event(actions: list[Json]) -> str | None:
    causes = [as_text(cause.get("_class")) or "" for action in actions for cause in as_objects(action.get("causes"))]
    return next((event for end, event in _EVENTS.items() if any(cause.endswith(end) for cause in causes)), None)


def _title(item: Json, commit: str | None = None) -> str | None:
    return title_of(as_text(item.get("msg"))) if commit is None or item.get("commitId") == commit else None


def _author(item: Json) -> str | None:
    author = item.get("author")
    return as_text(author.get("fullName")) if isinstance(author, dict) else None


def _files(items: list[Json]) -> list[Json]:
    paths: dict[str, None] = {}
    for item in items:
        named = [as_text(path.get("file")) for path in as_objects(item.get("paths"))]
        paths |= dict.fromkeys(path for path in named if path)
        if not named:
            paths |= dict.fromkeys(path for path in as_list(item.get("affectedPaths")) if as_text(path))
    kept = list(paths)[:MAX_FILES]
    return [{"path": path, "added": None, "deleted": None, "change_source": "change_set"} for path in kept]
