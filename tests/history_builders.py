"""Histories typed by hand, shared by the tests of the sources."""

import json
from pathlib import Path
from typing import Any

SUITE = '<testsuite name="S"><testcase name="{}" time="0.5"/></testsuite>'


def write_run(folder: Path, run_id: str = "r1", started_at: str = "2026-01-01T00:00:00Z", **fields: Any) -> Path:
    """A run's folder with its manifest; a field given as None is left out."""
    folder.mkdir(parents=True, exist_ok=True)
    manifest = {"run_id": run_id, "project": "p", "commit_sha": "abc", "started_at": started_at, **fields}
    kept = {name: value for name, value in manifest.items() if value is not None}
    (folder / "manifest.json").write_text(json.dumps(kept), encoding="utf-8")
    return folder


def write_report(file: Path, test: str = "t", *, failed: bool = False) -> Path:
    """A report with one test `S::<test>` of half a second, passed unless `failed`."""
    file.parent.mkdir(parents=True, exist_ok=True)
    suite = SUITE.replace("/></testsuite>", "><failure/></testcase></testsuite>") if failed else SUITE
    file.write_text(suite.format(test), encoding="utf-8")
    return file
