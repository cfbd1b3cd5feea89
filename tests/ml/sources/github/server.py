"""A local GitHub: replays typed or recorded payloads with the pages, limits, ETags and redirects of the real one."""

import hashlib
import io
import json
import re
import tarfile
import threading
import time
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path, PurePosixPath
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt

REPOSITORY = "acme/shop"
TOKEN = "ghs_typed0by0hand"
INSTALLATION = 77
SIGNATURE = "sig=secretofthestore"
REPORT = '<testsuite name="S"><testcase name="{}" time="0.5"/></testsuite>'


def run_payload(number: int, created_at: str = "2026-01-01T08:00:00Z", **fields: Any) -> dict[str, Any]:
    """A listed run of one attempt; fields are GitHub's own."""
    return {
        "id": number,
        "name": "tests",
        "path": ".github/workflows/tests.yml",
        "event": "push",
        "status": "completed",
        "conclusion": "success",
        "head_branch": "main",
        "head_sha": f"{number:040x}",
        "run_attempt": 1,
        "created_at": created_at,
        "run_started_at": created_at,
        "updated_at": created_at.replace(":00Z", ":59Z"),
        "actor": {"login": "ada"},
        "triggering_actor": {"login": "ada"},
        "pull_requests": [],
        "repository": {"full_name": REPOSITORY},
        "head_repository": {"full_name": REPOSITORY},
        **fields,
    }


def zipped(files: Mapping[str, str | bytes]) -> bytes:
    """A zip of these files."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return packed.getvalue()


@dataclass
class Asked:
    """One request that the server saw, and the status of its answer."""

    host: str
    path: str
    query: str
    headers: dict[str, str]
    status: int = 0


@dataclass
class Answer:
    """What is sent back."""

    body: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)


class GitHubServer:
    """Serves one repository; change the public dictionaries to say what it holds.

    `listed_at_most` is the cap of a filtered listing. `faults` are used up, one per request: ``500``, ``cut``, ``429``.
    """

    def __init__(self, repository: str = REPOSITORY, listed_at_most: int = 1_000) -> None:
        self.repository = repository
        self.listed_at_most = listed_at_most
        self.runs: dict[int, dict[str, Any]] = {}
        self.attempts: dict[tuple[int, int], dict[str, Any]] = {}
        self.jobs: dict[tuple[int, int], list[dict[str, Any]]] = {}
        self.artifacts: dict[int, list[dict[str, Any]]] = defaultdict(list)
        self.stored: dict[int, bytes] = {}
        self.pulls: dict[int, list[dict[str, Any]]] = {}
        self.compared: dict[str, list[dict[str, Any]]] = {}
        self.pulls_of_commits: dict[str, list[int]] = {}
        self.commits: dict[str, list[dict[str, Any]]] = {}
        self.special: dict[str, Answer] = {}
        self.faults: list[str] = []
        self.asked: list[Asked] = []
        self.tokens = {TOKEN}
        self.app_key: Any = None
        self._api = _serve(self)
        self._store = _serve(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        for served in (self._api, self._store):
            served.shutdown()
            served.server_close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._api.server_port}"

    @property
    def store(self) -> str:
        return f"127.0.0.1:{self._store.server_port}"

    def add(self, payload: dict[str, Any]) -> int:
        number = payload["id"]
        self.runs[number] = payload
        return int(number)

    def add_artifact(self, run: int, name: str, content: bytes, **fields: Any) -> int:
        number = 9_000 + len(self.stored)
        self.stored[number] = content
        self.artifacts[run].append(
            {
                "id": number,
                "name": name,
                "expired": False,
                "created_at": "2026-01-01T08:30:00Z",
                "expires_at": "2026-04-01T08:30:00Z",
                "archive_download_url": f"{self.url}/repos/{self.repository}/actions/artifacts/{number}/zip",
                **fields,
            }
        )
        return number

    def paths(self, ending: str = "") -> list[str]:
        """Paths that the API was asked for, below the repository."""
        root = f"/repos/{self.repository}/"
        return [asked.path.removeprefix(root) for asked in self.asked if asked.path.endswith(ending)]

    def answer(self, asked: Asked) -> Answer:
        if asked.path in self.special:
            return self.special[asked.path]
        if asked.host == self.store:
            found = self.stored.get(int(PurePosixPath(asked.path).name))
            return Answer(found) if found is not None else Answer({"message": "gone"}, 404)
        if not self._is_known(asked):
            return Answer({"message": "Bad credentials"}, 401)
        below = asked.path.removeprefix(f"/repos/{self.repository}").strip("/")
        query = {name: values[0] for name, values in parse_qs(asked.query).items()}
        try:
            return self._below(below, asked.path, query)
        except (KeyError, IndexError):
            return Answer({"message": "Not Found"}, 404)

    def _is_known(self, asked: Asked) -> bool:
        kind, _, token = asked.headers.get("authorization", "").partition(" ")
        if kind == "Bearer" and self.app_key is not None:
            jwt.decode(token, self.app_key, algorithms=["RS256"], options={"require": ["exp"]})
            return asked.path.endswith(("/installation", "/access_tokens"))
        return token in self.tokens

    def _below(self, below: str, path: str, query: dict[str, str]) -> Answer:
        if below == "actions/runs":
            return self._listing(path, query)
        if (found := re.fullmatch(r"actions/artifacts/(\d+)/zip", below)) is not None:
            return self._redirect(int(found[1]))
        if below in FIXED:
            return FIXED[below]
        return self._one(below) or self._part(below, path, query)

    def _redirect(self, artifact: int) -> Answer:
        if artifact not in self.stored:
            return Answer({"message": "Artifact has expired"}, 410)
        return Answer(None, 302, {"Location": f"http://{self.store}/store/{artifact}?{SIGNATURE}"})

    def _one(self, below: str) -> Answer | None:
        """What comes without pages."""
        if not below:
            return Answer({"full_name": self.repository, "private": True})
        if (found := re.fullmatch(r"actions/runs/(\d+)/attempts/(\d+)", below)) is not None:
            return Answer(self.attempts[int(found[1]), int(found[2])])
        if (found := re.fullmatch(r"commits/(\w+)/pulls", below)) is not None:
            return Answer([{"number": number} for number in self.pulls_of_commits[found[1]]])
        if (found := re.fullmatch(r"compare/(\w+\.\.\.\w+)", below)) is not None:
            return Answer({"status": "ahead", "files": self.compared[found[1]]})
        return None

    def _part(self, below: str, path: str, query: dict[str, str]) -> Answer:
        """A page of what comes in pages."""
        numbers = [int(number) for number in re.findall(r"/(\d+)(?=/)", below)]
        sort, _, name = below.rpartition("/")
        if below == "actions/artifacts":
            return self._page([entry for listed in self.artifacts.values() for entry in listed], path, query, name)
        if name == "artifacts":
            return self._page(self.artifacts[numbers[0]], path, query, name)
        if name == "jobs":
            return self._page(self.jobs[numbers[0], numbers[1]], path, query, name)
        if sort == "commits":
            return self._page(self.commits[name], path, query, "files")
        return self._page(self.pulls[numbers[0]], path, query, "")

    def _listing(self, path: str, query: dict[str, str]) -> Answer:
        found = sorted(self.runs.values(), key=lambda run: str(run["created_at"]), reverse=True)
        if "created" not in query:
            return self._page(found, path, query, "workflow_runs")
        first, last = (datetime.fromisoformat(moment) for moment in query["created"].split(".."))
        found = [run for run in found if _is_between(run["created_at"], first, last)]
        answer = self._page(found[: self.listed_at_most], path, query, "workflow_runs")
        answer.body["total_count"] = len(found)
        return answer

    def _page(self, entries: list[Any], path: str, query: dict[str, str], name: str) -> Answer:
        size, page = min(100, int(query.get("per_page", 30))), int(query.get("page", 1))
        last = max(1, -(-len(entries) // size))
        links = {"next": page + 1, "last": last} if page < last else {}
        link = ", ".join(
            f'<{self.url}{path}?{urlencode({**query, "page": number})}>; rel="{relation}"'
            for relation, number in links.items()
        )
        shown = entries[(page - 1) * size : page * size]
        body = {"total_count": len(entries), name: shown} if name else shown
        return Answer(body, 200, {"Link": link} if link else {})


def _is_between(moment: Any, first: datetime, last: datetime) -> bool:
    try:
        return first <= datetime.fromisoformat(moment) <= last
    except (TypeError, ValueError):
        return True


def _serve(server: GitHubServer) -> ThreadingHTTPServer:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # or each small answer waits for the acknowledgement of its head
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, urlsplit(self.path).query
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(headers["host"], path, query, headers)
            server.asked.append(asked)
            fault = server.faults.pop(0) if server.faults else ""
            answer = FAULTS[fault] if fault in FAULTS else server.answer(asked)
            self._send(answer, asked, is_cut=fault == "cut")

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.do_GET()

        def _send(self, answer: Answer, asked: Asked, *, is_cut: bool) -> None:
            is_raw = isinstance(answer.body, bytes)
            body = answer.body if is_raw else b"" if answer.body is None else json.dumps(answer.body).encode()
            tag = f'W/"{hashlib.sha256(body).hexdigest()}"'
            is_known = answer.status == 200 and asked.headers.get("if-none-match") == tag
            # noted before it is sent: then the client knows it, and a test may look
            asked.status = 304 if is_known else answer.status
            self.send_response(asked.status)
            headers = {"Content-Type": "application/zip" if is_raw else "application/json; charset=utf-8"}
            if answer.status == 200:
                headers |= {
                    "ETag": tag,
                    "Cache-Control": "private, max-age=60, s-maxage=60",
                    "Vary": "Accept, Authorization, Cookie, X-GitHub-OTP,Accept-Encoding, Accept, X-Requested-With",
                    "X-RateLimit-Remaining": "4999",
                    "X-RateLimit-Reset": str(int(time.time()) + 3_600),
                }
            sent = b"" if is_known else body
            for name, value in {**headers, "Content-Length": str(len(sent)), **answer.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(sent[: len(sent) // 2] if is_cut else sent)
            self.close_connection = is_cut

        def log_message(self, *args: object) -> None:
            pass

    served = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=served.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    return served


def add_run(server: GitHubServer, number: int, start: str, **fields: Any) -> None:
    """A run with one report of one test."""
    payload = run_payload(number, start, **fields)
    server.add(payload)
    server.jobs[number, payload["run_attempt"]] = []
    server.commits[payload["head_sha"]] = [{"filename": "a.py", "status": "modified", "additions": 1, "deletions": 0}]
    server.add_artifact(number, "linux", zipped({"t.xml": REPORT.format("t")}), created_at=start)


FIXED = {
    "installation": Answer({"id": INSTALLATION}),
    "pulls": Answer([]),
    "rate_limit": Answer({"resources": {"core": {"limit": 5_000, "remaining": 4_321, "reset": 1_767_225_600}}}),
    f"app/installations/{INSTALLATION}/access_tokens": Answer(
        {"token": TOKEN, "expires_at": "2099-01-01T00:00:00Z"}, 201
    ),
}
FAULTS = {
    "500": Answer({"message": "Server Error"}, 500),
    "429": Answer({"message": "slow down"}, 429, {"Retry-After": "7"}),
}


def replay(server: GitHubServer, archive: Path) -> int:
    """Fill `server` with recorded runs: an artifact for each job's folder of reports; returns the number of runs."""
    reports: dict[tuple[str, str], dict[str, bytes]] = defaultdict(dict)
    numbers: dict[str, int] = {}
    for name, content in _files(archive):
        if len(name.parts) < 5:  # YYYY/MM/DD/<run number>/<file>
            continue
        folder = "/".join(name.parts[:4])
        if name.name == "run.json":
            numbers[folder] = server.add(json.loads(content))
        elif name.name == "job.json":
            jobs = json.loads(content)["jobs"]
            if jobs:
                server.jobs[jobs[0]["run_id"], jobs[0]["run_attempt"]] = jobs
        else:
            reports[folder, name.parts[4]]["/".join(name.parts[5:])] = content
    for (folder, job), files in sorted(reports.items()):
        number = numbers[folder]
        server.add_artifact(number, job, zipped(files), created_at=server.runs[number]["updated_at"])
    for run in server.runs.values():
        path = f"src/{run['head_sha'][:4]}.java"
        server.commits[run["head_sha"]] = [
            {"filename": path, "status": "modified", "additions": 2, "deletions": 1},
        ]
    return len(numbers)


def _files(archive: Path) -> Iterator[tuple[PurePosixPath, bytes]]:
    with tarfile.open(archive) as opened:
        for member in opened:
            stream = opened.extractfile(member) if member.isfile() else None
            if stream is not None:
                yield PurePosixPath(member.name), stream.read()
