"""A bucket that speaks S3 to Arrow's own client, and a prefix of the file system."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from ml.errors import SettingsError, SourceError
from ml.sources import Finding, Limits, configured
from ml.sources.bucket import Bucket, Options
from ml.spec import Interval
from tests.ml.sources.s3_server import ACCESS, S3Server, serving
from tests.ml.sources.server_builders import LIMITS, Collected, day
from tests.ml.sources.server_builders import collect as collect_from

KEY = "not-a-real-key"
SECRET = f"{ACCESS}:{KEY}"
REPORT = b'<testsuite name="S"><testcase name="t"/></testsuite>'
MARCH = Interval(day(1), day(20))


def manifest(run_id: str, started_at: str, **fields: Any) -> bytes:
    told = {"run_id": run_id, "project": "other", "commit_sha": "abc", "started_at": started_at, "author": "Ada"}
    return json.dumps({**told, **fields}).encode()


OBJECTS = {
    "shop/1/manifest.json": manifest("1", "2026-03-01T08:00:00Z"),
    "shop/1/a.xml": REPORT,
    "shop/1/linux/b.xml": REPORT,
    "shop/1/screen.png": b"png",
    "shop/1/.cache/c.xml": REPORT,
    "shop/deep/er/2/manifest.json": manifest(
        "2", "2026-03-03T08:00:00Z", reports=[{"path": "log.txt", "variant": "v"}]
    ),
    "shop/deep/er/2/log.txt": REPORT,
    "shop/deep/er/2/again/manifest.json": manifest("2", "2026-03-04T08:00:00Z", attempt=2),
    "shop/deep/er/2/again/a.xml": REPORT,
    "shop/stray.xml": REPORT,
    "shopping/9/manifest.json": manifest("9", "2026-03-04T08:00:00Z"),
}


@pytest.fixture
def server() -> Iterator[S3Server]:
    with serving(dict(OBJECTS)) as served:
        yield served


def bucket(url: str, secret: str = SECRET, limits: Limits = LIMITS) -> Bucket:
    options = Options.model_validate({"kind": "bucket", "project": "shop", "url": url})
    return Bucket(options, secret, limits.max_payload_bytes)


def collect(server: S3Server, place: Path, **asked: Any) -> Collected:
    return collect_from(bucket(server.url("shop"), limits=asked.get("limits", LIMITS)), place, [MARCH], **asked)


def test_runs_below_the_prefix_land_under_the_project_with_their_reports(server: S3Server, tmp_path: Path) -> None:
    found = collect(server, tmp_path)
    assert found.known == {("1", 1), ("2", 1), ("2", 2)}
    assert set(found.frames["runs"]["project"]) == {"shop"}
    assert found.results == [
        ("1", "default", "S::t", "passed"),
        ("1", "linux", "S::t", "passed"),
        ("2", "default", "S::t", "passed"),
        ("2", "v", "S::t", "passed"),
    ]
    assert found.reasons == []
    assert "shop/1/screen.png" not in server.got
    assert b"Ada" not in b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())


def test_a_prefix_of_the_file_system_gives_the_same(server: S3Server, tmp_path: Path) -> None:
    for key, content in OBJECTS.items():
        file = tmp_path / "disk" / key
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    (tmp_path / "disk" / "shop" / "1" / "link.xml").symlink_to(__file__)
    on_disk = collect_from(bucket(f"file://{tmp_path}/disk/shop", secret=""), tmp_path / "landing", [MARCH])
    assert on_disk.rows("test_results") == collect(server, tmp_path / "other").rows("test_results")
    assert on_disk.reasons == ["path_outside_run"]


def test_only_new_attempts_in_the_interval_are_downloaded(server: S3Server, tmp_path: Path) -> None:
    server.written["shop/1/manifest.json"] = "2026-03-01T09:00:00.000Z"
    found = collect_from(bucket(server.url("shop")), tmp_path, [Interval(day(3), day(4))])
    assert found.known == {("2", 1)}
    # What was written before the interval is not even read.
    assert "shop/1/manifest.json" not in server.got
    server.got.clear()
    assert collect(server, tmp_path, known={("1", 1), ("2", 1), ("2", 2)}).run_ids == []
    assert sorted(server.got) == sorted(
        key for key in OBJECTS if key.startswith("shop/") and key.endswith("manifest.json")
    )


def test_names_that_lead_elsewhere_are_refused_and_nothing_is_written_outside(server: S3Server, tmp_path: Path) -> None:
    for name in (
        "../../../evil.xml",
        "a/../../evil.xml",
        "/evil.xml",
        "b//evil.xml",
        "..\\evil.xml",
        "manifest.json/x.xml",
        "n" * 300 + ".xml",
    ):
        server.objects[f"shop/1/{name}"] = REPORT
    found = collect(server, tmp_path)
    assert {"1", "2"} == set(found.run_ids)
    assert len(found.results) >= 4
    assert set(found.reasons) == {"path_outside_run", "too_deep", "unreadable"}
    assert not list(tmp_path.parent.rglob("evil.xml"))


def test_a_report_too_large_and_a_manifest_that_is_none_are_refused(server: S3Server, tmp_path: Path) -> None:
    server.objects["shop/1/a.xml"] = b" " * 2_000
    server.objects["shop/3/manifest.json"] = b"{no"
    server.objects["shop/3/a.xml"] = REPORT
    server.objects["shop/4/manifest.json"] = b" " * 2_000
    found = collect(server, tmp_path, limits=Limits(1_000, "salt"))
    assert set(found.run_ids) == {"1", "2"}
    assert sorted(found.refused.loc[found.refused["reason"] != "missing_field", "reason"]) == [
        *("malformed_manifest", "manifest_refused", "payload_too_large", "payload_too_large")
    ]
    assert set(found.refused["project"]) == {"shop"}


def test_a_report_that_is_gone_since_it_was_listed_is_refused(server: S3Server, tmp_path: Path) -> None:
    source = bucket(server.url("shop"))
    first = next(source.find(MARCH))
    del server.objects["shop/1/a.xml"]
    downloaded = source.download(first, tmp_path, 1_000)
    assert [(refusal.reason, refusal.payload) for refusal in downloaded.refused] == [("artifact_gone", "a.xml")]
    assert (tmp_path / "linux" / "b.xml").read_bytes() == REPORT


@pytest.mark.parametrize(
    ("secret", "prefix", "told"),
    [
        (f"WRONG:{KEY}", "shop", "cannot be read: .*ACCESS_DENIED"),
        (SECRET, "gone", "is not there: "),
        ("no-colon", "shop", "the secret of an S3 bucket is access_key:secret_key"),
    ],
)
def test_a_bucket_that_cannot_be_listed_is_told_without_the_secret(
    server: S3Server, secret: str, prefix: str, told: str
) -> None:
    source = bucket(server.url(prefix), secret)
    with pytest.raises(SourceError, match=told) as refused:
        list(source.find(MARCH))
    assert KEY not in str(refused.value)
    (finding,) = source.test()
    assert (finding.subject, finding.is_ok) == ("access", False)


def test_a_test_says_how_much_there_is(server: S3Server, tmp_path: Path) -> None:
    assert list(bucket(server.url("shop")).test()) == [
        Finding("listing", True, "8 objects of 3 runs"),
        Finding("newest manifest", True, "run 2"),
        Finding("history", True, "3 runs, written 2026-03-05 to 2026-03-05"),
    ]
    assert list(bucket(f"file://{tmp_path}", secret="").test())[1] == Finding(
        "history", False, f"no manifest.json below file://{tmp_path}"
    )


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("s3://key:word@ci/shop", "holds a secret; right would be the URL without it"),  # pragma: allowlist secret
        ("ftp://ci/shop", "begins with no scheme that is known; right would be one of s3, gs"),
        ("s3://ci/shop?allow_bucket_creation=true", "has the option 'allow_bucket_creation'; right would be one of"),
    ],
)
def test_an_address_that_cannot_be_right_is_told(tmp_path: Path, url: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        configured.add(tmp_path / "fourgate.toml", "b", {"kind": "bucket", "project": "shop", "url": url})


def test_a_secret_for_another_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="takes no secret; right would be the cloud's usual environment"):
        list(bucket(f"file://{tmp_path}").find(Interval(datetime(2026, 3, 1, tzinfo=UTC))))
