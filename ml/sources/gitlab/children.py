"""The child pipelines of a pipeline: GitLab lists them with their parent only, whose tests they run.

A pipeline that another one triggers in the same project without being its child is in the project's listing, and so is
a run of its own; one of another project is not of this source.
https://docs.gitlab.com/ci/pipelines/downstream_pipelines/, https://docs.gitlab.com/api/jobs/
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from ml.sources.gitlab.pages import pages
from ml.sources.rest_api import Json, RestApi, StatusError, as_name, as_number

CHILD = "parent_pipeline"  # what GitLab gives as `source` of a child
MAX_DEPTH = 2
# GitLab allows a pipeline and all below it as many.
MAX_CHILDREN = 1_000
ENDED = ("success", "failed", "canceled", "skipped")
# It waits for a person, and nobody knows how long.
LEFT = (*ENDED, "manual")


@dataclass(frozen=True, slots=True)
class Child:
    """A child pipeline; `name` is that of the jobs that led to it, from the pipeline down, with slashes between."""

    run_id: str
    name: str
    pipeline: Json

    @property
    def is_finished(self) -> bool:
        """Whether all has run that runs by itself."""
        return self.pipeline.get("status") in LEFT


def children_of(api: RestApi, project: str, pipeline: Json) -> list[Child]:
    """Children and their children, at most `MAX_CHILDREN`, each once, every one after the one that triggered it.

    Args:
        api: the server.
        project: path of the project on it.
        pipeline: as GitLab gives it.

    Raises:
        SourceError: the server cannot be reached or refuses. A child that was deleted is none.
    """
    root = Child(str(as_number(pipeline.get("id"))), "", pipeline)
    found = {root.run_id: root}
    parents = [root]
    for _ in range(MAX_DEPTH):
        young = [child for parent in parents for child in _next(api, project, parent, found)]
        parents = young
    return list(found.values())[1:]


def _next(api: RestApi, project: str, parent: Child, found: dict[str, Child]) -> Iterator[Child]:
    """The children of one parent that are not among `found` yet, which they are added to."""
    for bridge in islice(_bridges(api, f"{project}/pipelines/{parent.run_id}/bridges"), MAX_CHILDREN):
        run_id = _triggered(bridge, parent.pipeline)
        if run_id is None or run_id in found or len(found) > MAX_CHILDREN:
            continue
        pipeline = api.find(f"{project}/pipelines/{run_id}")
        if pipeline is not None and pipeline.get("source") == CHILD:
            step = as_name(bridge.get("name"), run_id)
            found[run_id] = Child(run_id, f"{parent.name}/{step}" if parent.name else step, pipeline)
            yield found[run_id]


def _bridges(api: RestApi, path: str) -> Iterator[Json]:
    try:
        for page in pages(api, path, {}):
            yield from page
    except StatusError as error:
        if error.status not in (404, 410):
            raise


def _triggered(bridge: Json, parent: Json) -> str | None:
    """Id of the pipeline that a job triggered; None where there is none, or one of another project."""
    downstream = bridge.get("downstream_pipeline")
    if not isinstance(downstream, dict):
        return None
    run_id, project = as_number(downstream.get("id")), downstream.get("project_id")
    is_elsewhere = project is not None and project != parent.get("project_id")
    return None if run_id is None or is_elsewhere else str(run_id)
