"""The audit finds what an advisory names, by list and by range, and says so when it has nothing to look in."""

import json
import os
import zipfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from upkeep import audit

LOCK = """
version = 1
[[package]]
name = "fourgate"
version = "0.1.0"
source = { editable = "." }
[[package]]
name = "Some.Thing"
version = "1.5"
source = { registry = "https://pypi.org/simple" }
"""


def advisory(ident: str = "PYSEC-1", name: str = "some_thing", **affected: Any) -> dict[str, Any]:
    return {
        "id": ident,
        "summary": "It leaks.",
        "affected": [{"package": {"ecosystem": "PyPI", "name": name}, **affected}],
    }


def ranged(*events: dict[str, str]) -> dict[str, Any]:
    return {"ranges": [{"type": "ECOSYSTEM", "events": list(events)}]}


def archive(folder: Path, *advisories: dict[str, Any], suffix: str = ".json") -> Path:
    path = folder / "advisories.zip"
    with zipfile.ZipFile(path, "w") as members:
        for number, one in enumerate(advisories):
            members.writestr(f"vulns/{number}{suffix}", json.dumps(one))  # JSON is YAML too
        members.writestr("README.md", "some-thing")
    return path


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    path = tmp_path / "uv.lock"
    path.write_text(LOCK)
    return path


@pytest.mark.parametrize(
    ("affected", "is_found"),
    [
        ({"versions": ["1.4", "1.5"]}, True),
        ({"versions": ["1.4", "1.50"]}, False),
        (ranged({"introduced": "0"}), True),
        (ranged({"introduced": "0"}, {"fixed": "1.5"}), False),
        (ranged({"introduced": "0"}, {"fixed": "1.5.1"}), True),
        (ranged({"introduced": "0"}, {"last_affected": "1.5"}), True),
        (ranged({"introduced": "0"}, {"last_affected": "1.4"}), False),
        (ranged({"introduced": "1.6"}), False),
        (ranged({"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "1.10"}), False),
        (ranged({"introduced": "0"}, {"fixed": "1.2"}, {"introduced": "1.3"}, {"fixed": "1.10"}), True),
        ({"ranges": [{"type": "GIT", "events": [{"introduced": "0"}]}]}, False),
    ],
)
def test_a_version_is_affected_by_its_list_or_its_range(
    tmp_path: Path, lock: Path, affected: dict[str, Any], is_found: bool
) -> None:
    source = archive(tmp_path, advisory(**affected))
    assert audit.main(["--lock", str(lock), "--advisories", str(source)]) == int(is_found)


@pytest.mark.parametrize("suffix", [".json", ".yaml"])
def test_a_finding_names_package_advisory_and_fix(
    tmp_path: Path, lock: Path, suffix: str, capsys: pytest.CaptureFixture[str]
) -> None:
    source = archive(tmp_path, advisory(**ranged({"introduced": "0"}, {"fixed": "1.6"})), suffix=suffix)
    assert audit.main(["--lock", str(lock), "--advisories", str(source)]) == 1
    assert "audit: some-thing 1.5: PYSEC-1, fixed in 1.6. It leaks.\n" in capsys.readouterr().err


def test_withdrawn_advisories_other_packages_and_our_own_project_are_no_findings(tmp_path: Path, lock: Path) -> None:
    everything = ranged({"introduced": "0"})
    withdrawn = {**advisory(**everything), "withdrawn": "2026-01-01T00:00:00Z"}
    others = [advisory("A", "some-thing-else", **everything), advisory("B", "fourgate", **everything)]
    assert audit.main(["--lock", str(lock), "--advisories", str(archive(tmp_path, withdrawn, *others))]) == 0


def test_two_records_of_one_cve_are_one_finding(tmp_path: Path, lock: Path) -> None:
    everything = ranged({"introduced": "0"})
    twice = [{**advisory(ident, **everything), "aliases": ["CVE-2026-1"]} for ident in ("PYSEC-1", "GHSA-1")]
    found = audit.findings([("some-thing", "1.5")], iter(twice))
    assert [one.advisory for one in found] == ["PYSEC-1"]


def test_without_advisories_it_says_so_and_fails_only_where_they_are_required(
    tmp_path: Path, lock: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    call = ["--lock", str(lock), "--advisories", str(tmp_path / "none.zip")]
    assert audit.main(call) == 0
    assert "NOT audited" in capsys.readouterr().err
    assert audit.main([*call, "--require"]) == audit.NOT_AUDITED


def test_an_old_copy_is_replaced_and_kept_where_the_source_cannot_be_reached(tmp_path: Path) -> None:
    fresh = archive(tmp_path, advisory())
    copy = tmp_path / "cache" / "pypi.zip"
    now = datetime(2026, 1, 10, tzinfo=UTC)
    assert audit.refresh(copy, fresh.as_uri(), now) == ""
    assert copy.read_bytes() == fresh.read_bytes()

    old = (now - timedelta(days=8)).timestamp()
    os.utime(copy, (old, old))
    broken = tmp_path / "broken.zip"
    broken.write_bytes(b"<html>proxy login</html>")
    for source in ("http://127.0.0.1:1/all.zip", broken.as_uri()):
        assert audit.refresh(copy, source, now) != ""
        assert copy.read_bytes() == fresh.read_bytes()
    assert sorted(path.name for path in copy.parent.iterdir()) == ["pypi.zip"]


def test_a_fresh_copy_is_not_fetched_again(tmp_path: Path) -> None:
    copy = archive(tmp_path, advisory())
    assert audit.refresh(copy, "http://127.0.0.1:1/all.zip", datetime.now(UTC)) == ""


def test_every_package_of_the_real_lock_is_looked_at() -> None:
    locked = audit.locked_versions(audit.ROOT / "uv.lock")
    assert ("fourgate", "0.1.0") not in locked
    assert {"apache-airflow", "mlflow", "scikit-learn", "pytest"} <= {name for name, _ in locked}
