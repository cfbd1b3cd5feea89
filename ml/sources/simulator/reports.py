"""A history on disk: a manifest per run attempt, surefire-like JUnit XML per variant and module, and the truth."""

from __future__ import annotations

import json
import shutil
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd

from ml.errors import SourceError
from ml.sources.simulator.history import History
from ml.sources.simulator.world import World

Suites = dict[tuple[str, str], list[tuple[str, str, str]]]
FORMAT = 2  # of the simulated history: raise it whenever equal parameters no longer give equal bytes
WORLD_FILE = "world.json"


def write_history(history: History, folder: Path) -> bool:
    """Write a history for the JUnit source to read; returns whether anything had to be written.

    Layout: ``run-00001/manifest.json`` and ``run-00001/<variant>/TEST-<module>.xml``; a second attempt has a folder
    of its own, ``run-00001-attempt-2``, whose manifest does not list the changed files again. An announced run is a
    manifest without reports. ``world.json`` and ``truth.json`` lie beside the runs. The folder appears whole or not at
    all; one that already holds this world is left as it is, also where an earlier release wrote it: its runs may have
    been collected. One that holds its beginning is replaced by the longer history.

    Raises:
        SourceError: the folder holds something else than this world or its beginning.
    """
    recorded = _recorded(folder)
    wanted = _parameters(history.world)
    if recorded is not None and {**recorded, "format": FORMAT} == wanted and recorded.get("format", FORMAT) <= FORMAT:
        return False
    if recorded is not None and not _is_beginning(recorded, wanted):
        different = sorted(name for name in wanted if recorded.get(name) != wanted[name])
        raise SourceError(
            f"{folder} holds another simulated world (it differs in {', '.join(different)}); "
            "choose another folder, or delete this one"
        )
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    _write_runs(history, partial)
    _write_json(partial / "truth.json", {"failures": _records(history.failures), "tests": _records(history.tests)})
    _write_json(partial / WORLD_FILE, wanted)
    _replace(folder, partial)
    return True


def seed_of(folder: Path) -> int | None:
    """Seed of the world that a folder holds; None if the folder is absent or empty, or does not tell.

    Raises:
        SourceError: the folder holds something that the simulator did not write.
    """
    seed = (_recorded(folder) or {}).get("seed")
    return seed if isinstance(seed, int) else None


def _parameters(world: World) -> dict[str, Any]:
    return {"format": FORMAT, **asdict(world), "start": world.start.isoformat()}


def _recorded(folder: Path) -> dict[str, Any] | None:
    """Parameters of the world that the folder holds; None if it is absent or empty."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    try:
        recorded = json.loads((folder / WORLD_FILE).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise SourceError(
            f"{folder} is not a folder of the simulator (no readable {WORLD_FILE}) and is left alone; name a new folder"
        ) from error
    return dict(recorded) if isinstance(recorded, dict) else {}


def _is_beginning(recorded: dict[str, Any], wanted: dict[str, Any]) -> bool:
    # The drift moves with the length of the history, so a drifting world cannot grow.
    count = recorded.get("run_count")
    same_rest = {**recorded, "run_count": 0, "announced_count": 0} == {**wanted, "run_count": 0, "announced_count": 0}
    return same_rest and wanted["drift_at"] is None and isinstance(count, int) and count <= wanted["run_count"]


def _replace(folder: Path, partial: Path) -> None:
    previous = folder.with_name(f".{folder.name}.previous")
    shutil.rmtree(previous, ignore_errors=True)
    if folder.exists():
        folder.rename(previous)
    partial.rename(folder)
    shutil.rmtree(previous, ignore_errors=True)


def _write_runs(history: History, folder: Path) -> None:
    files: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for file in _records(history.changed_files):
        files[file["run_id"]].append({name: file[name] for name in ("path", "added", "deleted", "change_source")})
    suites = _suites(history)
    for run in _records(history.runs):
        run_id, attempt = run["run_id"], run["attempt"]
        target = folder / (run_id if attempt == 1 else f"{run_id}-attempt-{attempt}")
        target.mkdir()
        # The change is the same in every attempt: its files are listed once.
        manifest = _manifest(run, files[run_id] if attempt == 1 else [])
        _write_json(target / "manifest.json", manifest)
        for (variant, module), cases in suites[run_id, attempt].items():
            (target / variant).mkdir(exist_ok=True)
            report = _suite(module, manifest["started_at"], cases)
            (target / variant / f"TEST-{module}.xml").write_bytes(report.encode())


def _manifest(run: dict[str, Any], files: list[dict[str, Any]]) -> dict[str, Any]:
    manifest = {name: value for name, value in run.items() if name != "author_id"}
    started_at, finished_at = run["started_at"], run["finished_at"]
    return {
        **manifest,
        "author": run["author_id"],
        "started_at": started_at.isoformat(),
        "finished_at": None if pd.isna(finished_at) else finished_at.isoformat(),
        "changed_files": files,
    }


def _suites(history: History) -> dict[tuple[str, int], Suites]:
    """(run_id, attempt) -> (variant, module) -> (outcome, seconds, XML) of each case, in order of execution."""
    key = ("run_id", "attempt", "variant", "test_id")
    messages = {tuple(row[name] for name in key): (row["thrown"], row["message"]) for row in _records(history.failures)}
    suites: dict[tuple[str, int], Suites] = defaultdict(lambda: defaultdict(list))
    for row in _records(history.test_results):
        classname, _, case_name = row["test_id"].partition("::")
        module = classname.rsplit(".", 2)[0].rpartition(".")[2]
        seconds = f"{row['duration_s']:.3f}"
        head = f'  <testcase classname="{escape(classname)}" name="{escape(case_name)}" time="{seconds}"'
        body = _body(row["outcome"], messages.get(tuple(row[name] for name in key)))
        case = f"{head}>{body}</testcase>\n" if body else f"{head}/>\n"
        suites[row["run_id"], row["attempt"]][row["variant"], module].append((row["outcome"], seconds, case))
    return suites


def _body(outcome: str, message: tuple[str, str] | None) -> str:
    if outcome == "skipped":
        return '<skipped message="not for this platform"/>'
    if message is None:
        return ""
    tag = "error" if outcome == "error" else "failure"
    kind, text = escape(message[0]), escape(message[1])
    return f'<{tag} type="{kind}" message="{text}">{kind}: {text}</{tag}>'


def _suite(module: str, started_at: str, cases: Sequence[tuple[str, str, str]]) -> str:
    outcomes = [outcome for outcome, _, _ in cases]
    counts = f'tests="{len(cases)}" failures="{outcomes.count("failed")}" errors="{outcomes.count("error")}"'
    total = sum(float(seconds) for _, seconds, _ in cases)
    head = f'<testsuite name="{escape(module)}" {counts} skipped="{outcomes.count("skipped")}" time="{total:.3f}"'
    body = "".join(case for _, _, case in cases)
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{head} timestamp="{escape(started_at)}">\n{body}</testsuite>\n'


def _records(frame: pd.DataFrame) -> list[dict[str, Any]]:
    return [{str(name): value for name, value in row.items()} for row in frame.to_dict("records")]


def _write_json(path: Path, value: Any) -> None:
    path.write_bytes((json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())
