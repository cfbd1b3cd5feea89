"""Hold every locked dependency against a local copy of the OSV advisories of PyPI: ``python -m upkeep.audit``.

One archive is fetched at most once a week; without a network the last copy serves. Nobody learns what is installed
here, and a check costs seconds. ``uv audit`` asks a server about each package instead, and cannot work offline.

Format of an advisory: https://ossf.github.io/osv-schema/.
"""

import argparse
import json
import shutil
import sys
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import yaml
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).resolve().parents[1]
SOURCE = "https://osv-vulnerabilities.storage.googleapis.com/PyPI/all.zip"
COPY = ROOT / ".tools" / "advisories" / "pypi.zip"
MAX_AGE = timedelta(days=7)
TIMEOUT_S = 20
NOT_AUDITED = 3


@dataclass(frozen=True, slots=True, order=True)
class Finding:
    """A locked version that an advisory names; `fixed` are the versions that mend it, often none or several."""

    package: str
    version: str
    advisory: str
    fixed: tuple[str, ...]
    summary: str

    def __str__(self) -> str:
        """One line for people."""
        mended = f"fixed in {', '.join(self.fixed)}" if self.fixed else "no fix is known"
        return f"{self.package} {self.version}: {self.advisory}, {mended}. {self.summary}".strip()


def locked_versions(lock: Path) -> list[tuple[str, str]]:
    """Name and version of everything that ``uv.lock`` takes from a registry, sorted."""
    packages = tomllib.loads(lock.read_text(encoding="utf-8"))["package"]
    return sorted({(canonicalize_name(one["name"]), one["version"]) for one in packages if "registry" in one["source"]})


def read_advisories(archive: Path, names: set[str]) -> Iterator[dict[str, Any]]:
    """Advisories about these packages, withdrawn ones left out.

    Args:
        archive: zip of OSV records, a ``.json`` or ``.yaml`` file each.
        names: packages, as `canonicalize_name` writes them.
    """
    needles = [name.encode() for name in names]
    with zipfile.ZipFile(archive) as members:
        for member in members.namelist():
            read = {".json": json.loads, ".yaml": yaml.safe_load}.get(Path(member).suffix)
            text = members.read(member) if read else b""
            # most of 20,000 records name none of ours: parsing those would take a minute
            plain = text.lower().replace(b"_", b"-").replace(b".", b"-")
            if read and any(needle in plain for needle in needles):
                advisory = read(text)
                if "withdrawn" not in advisory:
                    yield advisory


def findings(locked: Sequence[tuple[str, str]], advisories: Iterator[Mapping[str, Any]]) -> list[Finding]:
    """Every pair of a locked version and an advisory that affects it, sorted; aliases of one hole are one finding."""
    found: dict[tuple[str, str, frozenset[str]], Finding] = {}
    for advisory in advisories:
        for affected in advisory.get("affected", ()):
            package = affected.get("package", {})
            for name, version in locked:
                is_about = package.get("ecosystem") == "PyPI" and canonicalize_name(package["name"]) == name
                if is_about and is_affected(version, affected):
                    one = Finding(name, version, advisory["id"], _fixed(affected), _first_line(advisory))
                    found.setdefault((name, version, _cve(advisory)), one)
    return sorted(found.values())


def is_affected(version: str, affected: Mapping[str, Any]) -> bool:
    """Whether a version is listed, or lies in a range of versions, of one entry of ``affected``."""
    ranges = [events["events"] for events in affected.get("ranges", ()) if events.get("type") == "ECOSYSTEM"]
    return version in affected.get("versions", ()) or any(_in_range(Version(version), events) for events in ranges)


def _in_range(version: Version, events: Sequence[Mapping[str, str]]) -> bool:
    """The state that the latest event up to the version left behind."""
    steps = sorted((_version(value), kind) for event in events for kind, value in event.items() if kind != "limit")
    inside = False
    for at, kind in steps:
        if at < version or (at == version and kind != "last_affected"):
            inside = kind == "introduced"
    return inside


def _version(text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion:  # "0" is the beginning; anything else that is no version can bound nothing
        return Version("0")


def _fixed(affected: Mapping[str, Any]) -> tuple[str, ...]:
    events = [event for one in affected.get("ranges", ()) if one["type"] == "ECOSYSTEM" for event in one["events"]]
    return tuple(sorted({event["fixed"] for event in events if "fixed" in event}, key=_version))


def _cve(advisory: Mapping[str, Any]) -> frozenset[str]:
    names = {advisory["id"], *advisory.get("aliases", ())}
    return frozenset({name for name in names if name.startswith("CVE-")} or names)


def _first_line(advisory: Mapping[str, Any]) -> str:
    return str(advisory.get("summary") or advisory.get("details", "")).strip().split("\n")[0][:160]


def refresh(copy: Path, source: str, now: datetime) -> str:
    """Fetch the archive if the copy is missing or a week old; returns why that failed, or an empty text."""
    if copy.exists() and now - _age(copy) < MAX_AGE:
        return ""
    copy.parent.mkdir(parents=True, exist_ok=True)
    scratch = copy.with_suffix(".part")
    try:
        with urllib.request.urlopen(source, timeout=TIMEOUT_S) as answer, scratch.open("wb") as output:  # noqa: S310 - a constant, or the caller's own argument
            shutil.copyfileobj(answer, output)
        zipfile.ZipFile(scratch).close()
        scratch.replace(copy)
    except (OSError, zipfile.BadZipFile) as error:
        return str(error)
    finally:
        scratch.unlink(missing_ok=True)
    return ""


def _age(copy: Path) -> datetime:
    return datetime.fromtimestamp(copy.stat().st_mtime, UTC)


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0: nothing found, or nothing to look in without ``--require``; 1: findings; 3: not audited."""
    parser = argparse.ArgumentParser(prog="python -m upkeep.audit", description=str(__doc__).split("\n")[0])
    parser.add_argument("--advisories", type=Path, default=COPY, help="zip of OSV records (default: a weekly copy)")
    parser.add_argument("--lock", type=Path, default=ROOT / "uv.lock")
    parser.add_argument("--source", default=SOURCE, help="address that the weekly copy is fetched from")
    parser.add_argument("--require", action="store_true", help="fail when there are no advisories to look in, as in CI")
    given = parser.parse_args(arguments)
    trouble = refresh(COPY, given.source, datetime.now(UTC)) if given.advisories == COPY else ""
    if not given.advisories.exists():
        return _not_audited(trouble or f"there is no file {given.advisories}", given.require)
    if trouble:
        _say(f"audit: advisories could not be refreshed ({trouble}); those of {_age(COPY):%Y-%m-%d} are used")
    locked = locked_versions(given.lock)
    accepted = _accepted()
    found = findings(locked, read_advisories(given.advisories, {name for name, _ in locked}))
    open_ones = [one for one in found if one.advisory not in accepted]
    for one in open_ones:
        _say(f"audit: {one}")
    of = f"{len(locked)} locked versions, advisories of {_age(given.advisories):%Y-%m-%d}"
    _say(f"audit: {len(open_ones)} findings ({len(found) - len(open_ones)} accepted in pyproject.toml) in {of}")
    return 1 if open_ones else 0


def _not_audited(reason: str, is_required: bool) -> int:
    _say(f"audit: dependencies were NOT audited: {reason}. `--advisories <zip of OSV records>` takes a copy of yours")
    return NOT_AUDITED if is_required else 0


def _accepted() -> dict[str, str]:
    """Advisories that somebody looked at and accepted, with the reason."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    return dict(project["tool"]["fourgate"]["accepted-advisories"])


def _say(line: str) -> None:
    print(line, file=sys.stderr)  # noqa: T201 - the command's output


if __name__ == "__main__":
    sys.exit(main())
