"""The history of Data Docs: one folder per batch with its summary, and a page that lists them, newest first."""

import fcntl
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from ml.settings import Settings
from ml.stages.opening import folder_of, replacing, report_url, write_json

FOLDER = "data_docs"
SUMMARY = "summary.json"
INDEX = "index.html"
MOST = 1_000


def folder(settings: Settings, batch_id: str) -> Path:
    """Where the Data Docs of a batch lie."""
    return settings.home.absolute() / "reports" / FOLDER / batch_id


def address(settings: Settings, batch_id: str) -> str:
    """Where Airflow shows the Data Docs of a batch."""
    return report_url(settings, f"{FOLDER}/{batch_id}/overview.html")


def record(settings: Settings, summary: Mapping[str, Any]) -> None:
    """Keep what was found out about a batch beside its Data Docs, and list it; again replaces it."""
    write_json(folder_of(settings, f"reports/{FOLDER}", str(summary["batch_id"])) / SUMMARY, summary)
    write_index(settings)


def history(settings: Settings) -> list[dict[str, Any]]:
    """Summaries of all batches that still have one, newest first."""
    found = (settings.home.absolute() / "reports" / FOLDER).glob(f"*/{SUMMARY}")
    summaries = [json.loads(path.read_text()) for path in found]
    return sorted(summaries, key=lambda summary: (summary["as_of"], summary["batch_id"]), reverse=True)


def write_index(settings: Settings) -> None:
    """Write the page that lists the batches; one writer at a time, so that the last one has seen all summaries."""
    root = settings.home.absolute() / "reports" / FOLDER
    root.mkdir(parents=True, exist_ok=True)
    environment = Environment(loader=PackageLoader("ml", "."), autoescape=True, undefined=StrictUndefined)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        batches = history(settings)
        page = environment.get_template("data_docs_history.html.jinja").render(batches=batches[:MOST], all=len(batches))
        with replacing(root / INDEX) as scratch:
            scratch.write_text(page, encoding="utf-8")
