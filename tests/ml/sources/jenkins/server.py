"""Jenkins as its remote API answers (2.4xx LTS), with one multibranch job typed by hand."""

import base64
import re
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.ml.sources.replay_server import Answer, Request

USER, TOKEN = "ci", "11s3cret"
ROOT = "job/acme/job/shop"
NOT_FOUND = Answer(404, b"<html><body><h2>HTTP ERROR 404 Not Found</h2></body></html>")
Json = dict[str, Any]


def milliseconds(moment: str) -> int:
    return int(datetime.fromisoformat(moment).timestamp() * 1000)


def build(number: int, started: str, **fields: Any) -> Json:
    """A build with its commit, its causes and the changes since the one before."""
    return {
        "_class": "org.jenkinsci.plugins.workflow.job.WorkflowRun",
        "number": number,
        "id": str(number),
        "url": f"https://ci.example.org/job/acme/job/shop/job/main/{number}/",
        "timestamp": milliseconds(started),
        "duration": 600_000,
        "building": False,
        "result": "SUCCESS",
        "actions": [{}, causes("jenkins.branch.BranchEventCause"), revision("main", f"{number:040x}")],
        "changeSets": [],
        **fields,
    }


def causes(*names: str) -> Json:
    return {
        "_class": "hudson.model.CauseAction",
        "causes": [{"_class": name, "shortDescription": "Started by Ada Lovelace"} for name in names],
    }


def revision(branch: str, sha: str) -> Json:
    return {
        "_class": "hudson.plugins.git.util.BuildData",
        "lastBuiltRevision": {"SHA1": sha, "branch": [{"SHA1": sha, "name": branch}]},
    }


def change(commit: str, author: str, *files: str, message: str = "Round half up") -> Json:
    return {
        "_class": "hudson.plugins.git.GitChangeSet",
        "commitId": commit,
        "msg": message,
        "author": {"fullName": author},
        "affectedPaths": list(files),
        "paths": [{"editType": "edit", "file": file} for file in files],
    }


def suite(name: str, *cases: Json, blocks: tuple[str, ...] = ()) -> Json:
    """`blocks` from the innermost to the outermost, as Jenkins has them."""
    return {"name": name, "enclosingBlockNames": list(blocks), "nodeId": "12", "cases": list(cases)}


def case(name: str, status: str = "PASSED", **fields: Any) -> Json:
    return {"className": "shop.CartTest", "name": name, "status": status, "duration": 0.5, "skipped": False, **fields}


@dataclass
class Controller:
    """What the server knows. `builds` and `reports` by the path of their job, or of their job and number."""

    jobs: dict[str, Json] = field(default_factory=dict)
    builds: dict[str, list[Any]] = field(default_factory=dict)
    reports: dict[str, Any] = field(default_factory=dict)
    knows_ranges: bool = True
    is_open: bool = False
    refused: dict[str, int] = field(default_factory=dict)

    def __call__(self, request: Request) -> Answer:
        basic = base64.b64encode(f"{USER}:{TOKEN}".encode()).decode()
        if not self.is_open and request.headers.get("authorization") not in (f"Basic {basic}", f"Bearer {TOKEN}"):
            return Answer(401, b"<html>HTTP ERROR 401 Unauthorized</html>")
        path = request.path.removeprefix("/").removesuffix("/api/json")
        for ending, status in self.refused.items():
            if request.path.endswith(ending):
                return Answer(status, b"<html>ada is missing the Job/Read permission</html>")
        if path.endswith("/testReport"):
            name = path.removesuffix("/testReport")
            return Answer(200, self.reports[name]) if name in self.reports else NOT_FOUND
        asked = request.query.get("tree", "")
        if asked.startswith("allBuilds"):
            return self._listing(path, asked)
        if asked.startswith("actions"):
            return self._build(path, asked)
        return Answer(200, self.jobs[path]) if path in self.jobs else NOT_FOUND

    def _listing(self, path: str, asked: str) -> Answer:
        if path not in self.builds:
            return NOT_FOUND
        names = ("_class", "number", "timestamp", "duration", "building", "result")
        listed = [
            {name: one[name] for name in names if name in one} if isinstance(one, dict) else one
            for one in reversed(self.builds[path])
        ]
        found = re.search(r"\{(\d+),(\d+)\}", asked)
        assert found is not None
        first, last = (int(bound) for bound in found.groups()) if self.knows_ranges else (0, 100)
        return Answer(200, {"_class": "hudson.model.FreeStyleProject", "allBuilds": listed[first:last]})

    def _build(self, path: str, asked: str) -> Answer:
        job, _, number = path.rpartition("/")
        found = [one for one in self.builds.get(job, []) if isinstance(one, dict) and str(one.get("number")) == number]
        if not found:
            return NOT_FOUND
        names = ("_class", "actions", "changeSet", "changeSets")
        told = {name: found[0][name] for name in names if name in found[0]}
        return Answer(200, told if "fullName" in asked else without_authors(told))


def without_authors(value: Any) -> Any:
    if isinstance(value, list):
        return [without_authors(one) for one in value]
    if isinstance(value, dict):
        return {name: without_authors(one) for name, one in value.items() if name != "author"}
    return value


def small() -> Controller:
    """A multibranch job with a trunk, a branch with a slash in its name, and a pull request."""
    change_set = {
        "_class": "hudson.plugins.git.GitChangeSetList",
        "items": [change("a1", "Ada Lovelace", "src/cart.py", "README.md"), change("a2", "Grace", "src/cart.py")],
    }
    names = ("main", "feature%2Fcart", "PR-12")
    main, feature, request = (f"{ROOT}/job/{name.replace('%', '%25')}" for name in names)
    below = [{"_class": "WorkflowJob", "name": name, "url": f"http://elsewhere.example.org/{name}"} for name in names]
    return Controller(
        jobs={ROOT: {"_class": "WorkflowMultiBranchProject", "name": "shop", "jobs": below}},
        builds={
            main: [
                build(1, "2026-03-01T08:00:00+00:00"),
                build(2, "2026-03-03T08:00:00+00:00", result="UNSTABLE", changeSets=[change_set]),
            ],
            feature: [build(1, "2026-03-02T08:00:00+00:00", actions=[revision("origin/feature/cart", "f" * 40)])],
            request: [build(7, "2026-03-02T09:00:00+00:00", actions=[revision("PR-12", "9" * 40)])],
        },
        reports={
            f"{main}/1": {"_class": "hudson.tasks.junit.TestResult", "suites": [suite("S", case("pays"))]},
            f"{main}/2": {
                "suites": [
                    suite("S", case("pays", "REGRESSION"), case("ships", "FIXED"), blocks=("linux", "Test")),
                    suite("S", case("pays", "FAILED"), case("waits", "SKIPPED", skipped=True), blocks=("mac", "Test")),
                ]
            },
            f"{request}/7": {"suites": [suite("S", case("pays"), case("ships"))]},
        },
    )
