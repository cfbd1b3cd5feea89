"""`fourgate upload` as a CI job calls it, up to the rows in the lake."""

import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ml.cli import complete
from ml.settings import Settings
from ml.sources.manifest import parse
from ml.spec import Interval
from ml.stages import collection, fetching
from ml.stages.opening import open_lake, open_warehouse
from tests.history_builders import write_report, write_run
from tests.lake_builders import stored
from tests.ml.receiver.serving import PROJECT, in_thread, landed, manifest, new_token, parts, push
from tests.ml.sources.certificates import Authority

pytestmark = pytest.mark.integration
NOW = datetime(2026, 2, 1, tzinfo=UTC)
STARTED = "2026-01-01T08:00:00+00:00"
CI = ("GITHUB_", "GITLAB_", "CI", "JENKINS_", "BUILD_", "CHANGE_", "GIT_", "JOB_NAME", "BRANCH_NAME", "FOURGATE_")


@pytest.fixture(autouse=True)
def token(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith(CI)]:
        monkeypatch.delenv(name)
    # Settings that nothing could be made of: nobody may ask for them.
    monkeypatch.setenv("FOURGATE_HOME", "/dev/null")
    monkeypatch.setenv("FOURGATE_NO_SUCH_SETTING", "1")
    made = new_token(settings)
    monkeypatch.setenv("FOURGATE_UPLOAD_TOKEN", made)
    monkeypatch.chdir(tmp_path)
    return made


@pytest.fixture
def url(settings: Settings) -> Iterator[str]:
    with in_thread(settings) as served:
        yield served


def upload(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, output, and the lines of stderr as one."""
    done = CliRunner(env={"COLUMNS": "200"}).invoke(complete(), ["upload", *map(str, arguments)])
    return done.exit_code, done.stdout, " ".join(done.stderr.split())


def accepted(*arguments: str | Path) -> dict[str, Any]:
    code, told, error = upload(*arguments, "--json")
    assert code == 0, error
    found: dict[str, Any] = json.loads(told)
    return found


def landed_manifest(settings: Settings, told: dict[str, Any]) -> dict[str, Any]:
    folder = settings.home / "landing" / "push" / told["batch_id"] / "payloads"
    return parse((folder / "manifest.json").read_bytes())


def collect(settings: Settings) -> dict[str, Any]:
    asked = fetching.Request(fetching.PUSH, NOW, Interval())
    batches = fetching.fetch(settings, asked)
    return collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])


def rows(settings: Settings, table: str, columns: list[str]) -> list[tuple[object, ...]]:
    lake = open_lake(settings)
    return sorted(stored(lake, table, lake.versions()[table], columns))


def run_folder(tmp_path: Path, **fields: Any) -> Path:
    folder = write_run(tmp_path / "run", "7", project=PROJECT, **fields)
    write_report(folder / "linux" / "TEST-a.xml", "a")
    write_report(folder / "mac" / 'with "quotes" & ünïcode.xml', "b", failed=True)
    return folder


def test_a_folder_with_a_manifest_comes_into_the_lake(settings: Settings, url: str, tmp_path: Path) -> None:
    code, told, error = upload(run_folder(tmp_path), "--url", url)
    assert (code, error) == (0, "")
    assert "accepted run 7, attempt 1, of acme/shop with 2 reports as batch" in told
    assert fetching.names(settings) == ["push"]
    assert collect(settings)["rows"]["test_results"] == 2
    columns = ["project", "run_id", "variant", "test_id", "outcome"]
    assert rows(settings, "test_results", columns) == [
        (PROJECT, "7", "linux", "S::a", "passed"),
        (PROJECT, "7", "mac", "S::b", "failed"),
    ]
    assert fetching.fetch(settings, fetching.Request("push", NOW, Interval())) == []
    assert "was there already" in upload(tmp_path / "run", "--url", url + "/")[1]


def test_jobs_of_one_run_push_what_each_has(settings: Settings, url: str, tmp_path: Path) -> None:
    for name in ("linux", "mac"):
        folder = write_run(tmp_path / name, "7", project=PROJECT)
        write_report(folder / name / "TEST-a.xml", "a")
        accepted(folder, "--url", url)
    collect(settings)
    assert rows(settings, "runs", ["run_id", "attempt"]) == [("7", 1)]
    assert rows(settings, "test_results", ["run_id", "variant"]) == [("7", "linux"), ("7", "mac")]


def test_pushed_batches_come_in_the_order_in_which_they_landed(settings: Settings, url: str, token: str) -> None:
    commits = ("abc", "abd", "abe")  # of one run, so that none is joined with another
    ids = [push(url, token, parts(manifest(commit_sha=commit))).json()["batch_id"] for commit in commits]
    found = fetching.fetch(settings, fetching.Request("push", NOW, Interval()))
    assert [batch["batch_id"] for batch in found] == ids
    assert {batch["source"] for batch in found} == {"push"}
    assert {(batch["since"], batch["until"]) for batch in found} == {(None, None)}


def test_many_pushes_are_one_batch_and_the_same_again_is_known(settings: Settings, url: str, token: str) -> None:
    sent = [parts(manifest(run_id=str(number))) for number in range(5)]
    answers = [push(url, token, one) for one in sent]
    (found,) = fetching.fetch(settings, fetching.Request("push", NOW, Interval()))
    assert collection.append(settings, [collection.validate(settings, found, NOW)])["rows"]["test_results"] == 5
    again = push(url, token, sent[0])
    assert (again.status_code, again.json()) == (200, answers[0].json())
    assert fetching.fetch(settings, fetching.Request("push", NOW, Interval())) == []
    replayed = collection.replay(settings, answers[0].json()["batch_id"], NOW)
    assert (replayed["new_rows"], replayed["duplicates"] > 0) == (0, True)


def test_an_endpoint_of_ones_own_authority_is_believed_with_ca_file_only(settings: Settings, tmp_path: Path) -> None:
    authority, folder = Authority(tmp_path / "ca"), run_folder(tmp_path)
    with in_thread(settings, certificate=authority.server_file) as url:
        code, _, error = upload(folder, "--url", url)
        assert (code, landed(settings)) == (3, [])
        assert "its certificate is not believed" in error
        assert "--ca-file" in error
        accepted(folder, "--url", url, "--ca-file", str(authority.pem))
    assert len(landed(settings)) == 1
    assert upload(folder, "--url", url, "--ca-file", str(folder / "manifest.json"))[0] == 2


def test_without_pushes_there_is_nothing_to_collect(settings: Settings) -> None:
    assert fetching.names(settings) == []
    assert fetching.fetch(settings, fetching.Request("push", NOW, Interval())) == []


GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_RUN_ID": "900",
    "GITHUB_RUN_ATTEMPT": "2",
    "GITHUB_REPOSITORY": PROJECT,
    "GITHUB_WORKFLOW": "tests",
    "GITHUB_EVENT_NAME": "pull_request",
    "GITHUB_HEAD_REF": "topic",
    "GITHUB_REF_NAME": "77/merge",
    "GITHUB_REF": "refs/pull/77/merge",
    "GITHUB_SHA": "merge",
    "GITHUB_ACTOR": "ada",
    "GITHUB_EVENT_PATH": "event.json",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PIPELINE_ID": "901",
    "CI_PROJECT_PATH": PROJECT,
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_COMMIT_REF_NAME": "topic",
    "CI_COMMIT_SHA": "abc",
    "CI_COMMIT_TITLE": "Fix the cart",
    "CI_MERGE_REQUEST_IID": "5",
    "GITLAB_USER_LOGIN": "ada",
    "CI_PIPELINE_CREATED_AT": STARTED,
}
JENKINS = {
    "JENKINS_URL": "http://ci",
    "JOB_NAME": "shop/topic",
    "BUILD_NUMBER": "12",
    "GIT_COMMIT": "abc",
    "BRANCH_NAME": "PR-3",
    "CHANGE_BRANCH": "topic",
    "CHANGE_ID": "3",
    "CHANGE_AUTHOR": "ada",
    "CHANGE_TITLE": "Fix the cart",
}
EXPECTED = {
    "run_id": ("900", "901", "shop/topic#12"),
    "attempt": (2, None, None),
    "event": ("pull_request", "merge_request_event", None),
    "branch": ("topic", "topic", "topic"),
    "commit_sha": ("head", "abc", "abc"),
    "change_id": ("PR-77", "MR-5", "PR-3"),
    "change_title": ("Fix the cart",) * 3,
    "started_at": ("2026-01-01T07:59:00+00:00", STARTED, "2026-01-01T07:59:00+00:00"),
    "finished_at": ("2026-01-01T08:09:00+00:00",) * 3,
}


@pytest.mark.parametrize("number", range(3), ids=["github", "gitlab", "jenkins"])
def test_without_a_manifest_the_environment_tells(
    settings: Settings, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    for name, value in (GITHUB, GITLAB, JENKINS)[number].items():
        monkeypatch.setenv(name, value)
    Path("event.json").write_text('{"pull_request": {"title": "Fix the cart", "head": {"sha": "head"}}}')
    for minute, name in ((9, "b.xml"), (-1, "a.xml")):
        moment = datetime(2026, 1, 1, 8, tzinfo=UTC).timestamp() + 60 * minute
        os.utime(write_report(tmp_path / "reports" / name), (moment, moment))
    told = accepted(tmp_path / "reports", "--url", url, "--set", f"project={PROJECT}")
    found = landed_manifest(settings, told)
    assert {name: found.get(name) for name in EXPECTED} == {name: of[number] for name, of in EXPECTED.items()}
    assert len(found["author_id"]) == 12
    assert (told["is_new"], told["reports"]) == (True, 2)
    assert accepted(tmp_path / "reports", "--url", url, "--set", f"project={PROJECT}")["is_new"] is False


def test_given_fields_win_and_what_is_nowhere_is_named(settings: Settings, url: str, tmp_path: Path) -> None:
    told = accepted(run_folder(tmp_path), "--url", url, "--set", "attempt=3", "--set", "branch=b=c")
    assert (told["attempt"], landed_manifest(settings, told)["branch"]) == (3, "b=c")
    write_report(tmp_path / "bare" / "a.xml")
    code, _, error = upload(tmp_path / "bare", "--url", url, "--set", f"project={PROJECT}")
    assert (code, "right would be --set run_id=" in error) == (2, True)
    assert "'salt' is no field" in upload(tmp_path / "bare", "--url", url, "--set", "salt=x")[2]


def test_what_is_refused_as_a_whole_ends_with_code_3(
    settings: Settings, url: str, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = run_folder(tmp_path)
    code, told, error = upload(folder, "--url", url, "--set", "project=acme/other")
    assert (code, told) == (3, "")
    assert "refused the run (403): the token is not for the project of the manifest; right would be" in error
    (folder / "large.xml").write_bytes(b"x" * 1_000_001)
    assert "(413)" in upload(folder, "--url", url)[2]
    monkeypatch.setenv("FOURGATE_UPLOAD_TOKEN", "fgp_wrong")
    code, _, error = upload(folder, "--url", url)
    assert (code, "(401)" in error, "fgp_wrong" in error) == (3, True, False)
    assert landed(settings) == []


def test_refused_parts_are_shown(url: str, tmp_path: Path) -> None:
    folder = run_folder(tmp_path, reports=[{"path": "gone.xml"}])
    (folder / "out.xml").symlink_to("/etc/hostname")
    code, told, _ = upload(folder, "--url", url)
    assert code == 0
    assert "missing_report" in told
    assert "path_outside_run" in told


def test_the_token_may_stand_in_a_file(url: str, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FOURGATE_UPLOAD_TOKEN")
    folder = run_folder(tmp_path)
    code, _, error = upload(folder, "--url", url)
    assert (code, "right would be FOURGATE_UPLOAD_TOKEN, or --token-file" in error) == (2, True)
    (tmp_path / "token").write_text(token + "\n")
    assert upload(folder, "--url", url, "--token-file", tmp_path / "token")[0] == 0


@pytest.mark.parametrize("url", ["nonsense", "ftp://x", "http://127.0.0.1:1"])
def test_an_address_that_leads_nowhere_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setattr("ml.sources.http.FIRST_WAIT_S", 0.001)
    code, told, _ = upload(run_folder(tmp_path), "--url", url)
    assert (code in (2, 3), told) == (True, "")


def test_an_upload_goes_on_after_a_pause_and_is_whole(
    settings: Settings, tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ml.receiver.rate import Rate

    with in_thread(settings, Rate(burst=1, per_second=1)) as url:
        assert push(url, token).status_code == 201
        assert accepted(run_folder(tmp_path), "--url", url)["reports"] == 2


def test_tokens_are_made_listed_and_revoked_on_the_command_line(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FOURGATE_NO_SUCH_SETTING")
    monkeypatch.setenv("FOURGATE_HOME", str(settings.home))
    monkeypatch.setenv("FOURGATE_WAREHOUSE_DSN", settings.warehouse_dsn.get_secret_value())
    call = CliRunner(env={"COLUMNS": "200"})
    made = call.invoke(complete(), ["token", "create", "nightly", "--project", "acme/[red]x"]).stdout.strip()
    with open_warehouse(settings) as warehouse:
        found = warehouse.find_push_token(made)
    assert found is not None
    assert found.project == "acme/[red]x"
    told = call.invoke(complete(), ["token", "list"]).stdout
    assert "nightly" in told
    assert "acme/[red]x" in told
    assert made not in told
    assert found.sha256 not in told + call.invoke(complete(), ["token", "list", "--json"]).stdout
    assert call.invoke(complete(), ["token", "revoke", "nightly"]).exit_code == 0
    assert call.invoke(complete(), ["token", "revoke", "nightly"]).exit_code == 6
