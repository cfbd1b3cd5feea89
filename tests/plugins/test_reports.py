"""The report pages, without a server: only a logged-in user, only files of the reports folder.

In a process of its own: Airflow reads its settings on import.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
ASK = """
import json, sys, warnings
warnings.simplefilter("ignore")
from airflow.api_fastapi.core_api.security import get_user
from fastapi import HTTPException
from fastapi.testclient import TestClient
from fourgate.reports import app

def nobody():
    raise HTTPException(401)

answers = {}
client = TestClient(app, raise_server_exceptions=False)
for who, user in (("nobody", nobody), ("user", lambda: None)):
    app.dependency_overrides[get_user] = user
    for path in json.loads(sys.argv[1]):
        answer = client.get("/reports/" + path)
        answers[who + " " + path] = [answer.status_code, answer.text[:300], dict(answer.headers)]
print("RESULT" + json.dumps(answers))
"""
TRICKS = [
    "../secrets.json",
    "..%2fsecrets.json",
    "%2e%2e/secrets.json",
    "gates/..%2f..%2fsecrets.json",
    "%2fetc%2fpasswd",
    "/etc/passwd",
    "link.html",
    "gates",
    "",
    "no%00thing.html",
    "n" * 300 + ".html",
    "%ff.html",
]


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("home")
    (home / "reports" / "gates").mkdir(parents=True)
    (home / "reports" / "gates" / "a b.html").write_text("<script>alert(1)</script>")
    (home / "secrets.json").write_text("the-secret")
    (home / "reports" / "link.html").symlink_to(home / "secrets.json")
    environment = {
        **os.environ,
        "AIRFLOW_HOME": str(home / "airflow"),
        "FOURGATE_HOME": str(home),
        "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}",
    }
    paths = json.dumps(["gates/a%20b.html", "n" * 1001, *TRICKS])
    command = [sys.executable, "-c", ASK, paths]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=home)
    assert "RESULT" in done.stdout, done.stderr[-3000:]
    return dict(json.loads(done.stdout.split("RESULT", 1)[1]))


def test_a_report_is_shown_to_a_user_without_any_script_of_it(answers: dict[str, Any]) -> None:
    status, text, headers = answers["user gates/a%20b.html"]
    assert (status, text) == (200, "<script>alert(1)</script>")
    assert headers["content-security-policy"].startswith("sandbox ")
    assert "script-src 'none'" in headers["content-security-policy"]
    assert "allow-scripts" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("path", TRICKS, ids=lambda path: repr(path[:30]))
def test_nothing_outside_the_folder_is_shown_and_no_name_breaks_the_page(answers: dict[str, Any], path: str) -> None:
    status, text, _ = answers[f"user {path}"]
    assert status == 404
    assert "the-secret" not in text


def test_an_absurdly_long_path_is_refused(answers: dict[str, Any]) -> None:
    assert answers[f"user {'n' * 1001}"][0] == 422


def test_nobody_sees_anything(answers: dict[str, Any]) -> None:
    shown = {path: answer[0] for path, answer in answers.items() if path.startswith("nobody ")}
    assert {path: status for path, status in shown.items() if status < 400} == {}
    assert shown["nobody gates/a%20b.html"] == 401
