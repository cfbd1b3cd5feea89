"""GitLab as its API answers (17, 18), with one project typed by hand."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ml.sources.manifest import read_moment
from tests.ml.sources.replay_server import Answer, Request

TOKEN = "glpat-s3cret"
ROOT = "/api/v4/projects/acme%2Fshop"
LIMIT = {"RateLimit-Limit": "2000", "RateLimit-Remaining": "1987", "RateLimit-Reset": "1772352000"}
NOT_FOUND = Answer(404, {"message": "404 Not found"})
Json = dict[str, Any]


def pipeline(number: int, created: str, **fields: Any) -> Json:
    """A pipeline as GitLab gives it alone; the listing has the part of it that `LISTED` names."""
    return {
        "id": number,
        "iid": number - 1000,
        "project_id": 7,
        "name": "Build pipeline",
        "sha": f"{number:040x}",
        "ref": "main",
        "status": "success",
        "source": "push",
        "created_at": created,
        "updated_at": created.replace(":00.", ":50."),
        "web_url": f"https://gitlab.example.org/acme/shop/-/pipelines/{number}",
        "before_sha": "0" * 40,
        "tag": False,
        "yaml_errors": None,
        "user": {"id": 1, "username": "ada", "name": "Ada Lovelace", "state": "active", "public_email": "ada@acme.org"},
        "started_at": created.replace(":00.", ":05."),
        "finished_at": created.replace(":00.", ":45."),
        "committed_at": None,
        "duration": 40,
        "queued_duration": 5,
        "coverage": None,
        "detailed_status": {"icon": "status_success", "text": "passed", "has_details": False},
        **fields,
    }


LISTED = ("id", "iid", "project_id", "sha", "ref", "status", "source", "created_at", "updated_at", "web_url", "name")


def suite(name: str, *cases: Json, **fields: Any) -> Json:
    return {
        "name": name,
        "total_time": 1.5,
        "total_count": len(cases),
        "success_count": len(cases),
        "failed_count": 0,
        "skipped_count": 0,
        "error_count": 0,
        "suite_error": None,
        "test_cases": list(cases),
        **fields,
    }


def case(name: str, status: str = "success", **fields: Any) -> Json:
    return {
        "status": status,
        "name": name,
        "classname": "spec.Shop",
        "file": "spec/shop.rb",
        "execution_time": 0.5,
        "system_output": None,
        "stack_trace": None,
        "recent_failures": None,
        **fields,
    }


def job(number: int, name: str, **fields: Any) -> Json:
    return {
        "id": number,
        "name": name,
        "stage": "test",
        "status": "success",
        "started_at": "2026-03-01T08:00:10.000Z",
        "finished_at": "2026-03-01T08:00:40.000Z",
        "artifacts_file": {"filename": "artifacts.zip", "size": 1000},
        "artifacts_expire_at": "2026-04-01T08:00:40.000Z",
        "user": {"username": "ada"},
        **fields,
    }


def bridge(name: str, downstream: Any, **fields: Any) -> Json:
    """A job that triggers; `downstream` is the pipeline that it triggered, or its id."""
    if isinstance(downstream, int):
        downstream = {"id": downstream, "project_id": 7, "status": "success", "source": "parent_pipeline"}
    return {"id": 1, "name": name, "stage": "test", "status": "success", "downstream_pipeline": downstream, **fields}


def child(number: int, **fields: Any) -> Json:
    """A child pipeline, which a listing leaves out."""
    return pipeline(number, "2026-03-01T08:00:00.000Z", source="parent_pipeline", **fields)


def version(number: int, head: str, *diffs: Json, created: str = "2026-03-01T07:00:00.000Z") -> Json:
    """The state of a merge request after a push."""
    return {"id": number, "head_commit_sha": head, "created_at": created, "state": "collected", "diffs": list(diffs)}


def diff(old: str, new: str, text: str = "@@ -1,2 +1,2 @@\n-a\n+b\n+c\n", **fields: Any) -> Json:
    return {
        "old_path": old,
        "new_path": new,
        "a_mode": "100644",
        "b_mode": "100644",
        "new_file": False,
        "renamed_file": old != new,
        "deleted_file": False,
        "generated_file": False,
        "collapsed": False,
        "too_large": False,
        "diff": text,
        **fields,
    }


@dataclass
class Project:
    """What the server knows. `storage`: where artifacts lie, on a host of its own; else they come from here."""

    pipelines: list[Any] = field(default_factory=list)
    reports: dict[str, Any] = field(default_factory=dict)
    jobs: dict[str, list[Json]] = field(default_factory=dict)
    archives: dict[str, bytes] = field(default_factory=dict)
    merge_requests: dict[str, Json] = field(default_factory=dict)
    diffs: dict[str, list[Json]] = field(default_factory=dict)
    bridges: dict[str, list[Any]] = field(default_factory=dict)
    versions: dict[str, list[Json]] = field(default_factory=dict)
    commits: dict[str, Json] = field(default_factory=dict)
    comparisons: dict[tuple[str, str], Json] = field(default_factory=dict)
    storage: str = ""
    knows_created_after: bool = True
    refused: dict[str, int] = field(default_factory=dict)

    def __call__(self, request: Request) -> Answer:
        if request.headers.get("private-token") != TOKEN:
            return Answer(401, {"message": "401 Unauthorized"})
        if not request.path.startswith(ROOT):
            return Answer(404, {"message": "404 Project Not Found"})
        path = request.path[len(ROOT) :]
        for ending, status in self.refused.items():
            if path.endswith(ending):
                return Answer(status, {"message": f"{status} Refused"})
        for pattern, answer in self._routes().items():
            found = re.fullmatch(pattern, path)
            if found:
                return answer(request, *found.groups())
        return NOT_FOUND

    def _routes(self) -> dict[str, Callable[..., Answer]]:
        return {
            "": lambda _: Answer(200, {"id": 7, "path_with_namespace": "acme/shop"}, LIMIT),
            "/pipelines": self._listing,
            r"/pipelines/(\d+)": lambda _, number: self._one(number),
            r"/pipelines/(\d+)/test_report": lambda _, number: self._of(self.reports, number),
            r"/pipelines/(\d+)/test_report_summary": lambda _, number: self._summary(number),
            r"/pipelines/(\d+)/jobs": lambda request, number: paged(request, self._jobs(request, number)),
            r"/pipelines/(\d+)/bridges": lambda request, number: paged(request, self.bridges.get(number, [])),
            r"/jobs/(\d+)/artifacts": lambda _, number: self._archive(number),
            r"/merge_requests/(\d+)": lambda _, number: self._of(self.merge_requests, number),
            r"/merge_requests/(\d+)/diffs": self._diffs,
            r"/merge_requests/(\d+)/versions": self._versions,
            r"/merge_requests/(\d+)/versions/(\d+)": lambda _, number, one: self._version(number, one),
            r"/repository/commits/(\w+)/diff": self._diffs,
            r"/repository/commits/(\w+)": lambda _, sha: self._of(self.commits, sha),
            r"/repository/compare": self._comparison,
        }

    def _listing(self, request: Request) -> Answer:
        # without being asked for, GitLab lists no children
        listed = [entry for entry in self.pipelines if not is_child(entry) and self._is_asked(entry, request.query)]
        if request.query.get("sort", "desc") == "desc":
            listed.reverse()
        return paged(
            request, [{name: entry.get(name) for name in LISTED} if is_whole(entry) else entry for entry in listed]
        )

    def _is_asked(self, entry: Any, query: dict[str, str]) -> bool:
        if not self.knows_created_after or not is_whole(entry):
            return True
        created = read_moment(entry["created_at"]) or datetime.max.replace(tzinfo=UTC)
        after, before = query.get("created_after"), query.get("created_before")
        return (not after or created > datetime.fromisoformat(after)) and (
            not before or created < datetime.fromisoformat(before)
        )

    def _one(self, number: str) -> Answer:
        found = [entry for entry in self.pipelines if is_whole(entry) and str(entry["id"]) == number]
        return Answer(200, found[0]) if found else NOT_FOUND

    def _of(self, known: dict[str, Any], number: str) -> Answer:
        return Answer(200, known[number]) if number in known else NOT_FOUND

    def _summary(self, number: str) -> Answer:
        suites = self.reports.get(number, {}).get("test_suites", [])
        count = sum(one["total_count"] for one in suites)
        return Answer(200, {"total": {"time": 1, "count": count, "suite_error": None}, "test_suites": []})

    def _jobs(self, request: Request, number: str) -> list[Json]:
        with_retried = request.query.get("include_retried") == "true"
        return [entry for entry in self.jobs.get(number, []) if with_retried or not entry.get("retried")]

    def _archive(self, number: str) -> Answer:
        if number not in self.archives:
            return NOT_FOUND
        if self.storage:
            return Answer(302, headers={"Location": f"{self.storage}/{number}?X-Amz-Signature=s1gned"})
        return Answer(200, self.archives[number], {"Content-Type": "application/zip"})

    def _versions(self, request: Request, number: str) -> Answer:
        shown = [{**one, "diffs": None} if isinstance(one, dict) else one for one in self.versions.get(number, [])]
        return paged(request, shown) if number in self.versions else NOT_FOUND

    def _version(self, number: str, one: str) -> Answer:
        return self._of({str(known["id"]): known for known in self.versions[number] if isinstance(known, dict)}, one)

    def _comparison(self, request: Request) -> Answer:
        found = self.comparisons.get((request.query["from"], request.query["to"]))
        return NOT_FOUND if found is None else Answer(200, found)

    def _diffs(self, request: Request, name: str) -> Answer:
        return paged(request, self.diffs[name]) if name in self.diffs else NOT_FOUND


def is_child(entry: Any) -> bool:
    return is_whole(entry) and entry.get("source") == "parent_pipeline"


def is_whole(entry: Any) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), int) and isinstance(entry.get("created_at"), str)


def paged(request: Request, entries: list[Any]) -> Answer:
    """One page with the headers of GitLab's offset pagination."""
    size, page = int(request.query.get("per_page", 20)), int(request.query.get("page", 1))
    pages = max(1, -(-len(entries) // size))
    following = str(page + 1) if page < pages else ""
    headers = {"X-Page": str(page), "X-Per-Page": str(size), "X-Next-Page": following, "X-Total": str(len(entries))}
    if following:
        headers["Link"] = f'<http://elsewhere.example.org/api/v4/x?page={following}>; rel="next"'
    return Answer(200, entries[(page - 1) * size : page * size], {**headers, **LIMIT})


def small() -> Project:
    """Three days of one pipeline each: a push, a merge request of a fork, a schedule with failures."""
    request = {"iid": 12, "source_project_id": 9, "target_project_id": 7, "source_branch": "fix", "author": {"id": 2}}
    return Project(
        pipelines=[
            pipeline(1001, "2026-03-01T08:00:00.000Z"),
            pipeline(
                1002,
                "2026-03-02T08:00:00.000Z",
                source="merge_request_event",
                ref="refs/merge-requests/12/head",
                name=None,
                user={"username": "grace", "name": "Grace Hopper"},
            ),
            pipeline(1003, "2026-03-03T08:00:00.000Z", status="failed", source="schedule"),
        ],
        reports={
            "1001": {"test_suites": [suite("rspec 1/2", case("pays"), case("ships")), suite("jest", case("renders"))]},
            "1002": {"test_suites": [suite("rspec 1/2", case("pays", execution_time=None))]},
            "1003": {
                "test_suites": [
                    suite("rspec 1/2", case("pays", "failed"), case("ships", "error"), case("waits", "skipped"))
                ]
            },
        },
        merge_requests={"12": request},
        diffs={
            "12": [diff("app/cart.rb", "app/basket.rb"), diff("a.txt", "a.txt")],
            f"{1001:040x}": [diff("lib/big.rb", "lib/big.rb", "", too_large=True)],
        },
    )
