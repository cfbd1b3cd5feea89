"""What arrived in a folder -> one landed batch of source `push`, and the answer to whoever sent it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import Any

from ml.errors import RefusedPayload, RefusedRequest
from ml.receiver.announcing import Announcer
from ml.receiver.body import too_large
from ml.settings import Settings
from ml.sources import PUSH, JUnit, Limits, manifest
from ml.sources.landing import noted_of
from ml.sources.scrubbing import scrub
from ml.spec import Batch, Interval
from ml.stages import fetching

_LAYOUT = "the fields of docs/history-layout.md"


class Reception:
    """Lands what was received, one request at a time."""

    def __init__(self, settings: Settings, announcer: Announcer) -> None:
        self._announcer = announcer
        self._landing = fetching.landing(settings)
        self._settings = settings
        self.limits: Limits = fetching.reading_limits(settings)
        self._one_at_a_time = Lock()

    def accept(self, folder: Path, reports: Sequence[str], project: str) -> tuple[bool, dict[str, Any]]:
        """Land the run in `folder`; whether it is new, and what is told about it.

        Args:
            folder: holds manifest.json and the reports.
            reports: paths of the reports in it.
            project: the one that the sender may push runs of.

        Raises:
            RefusedRequest: the manifest cannot be read, is refused, or is of another project.
            SourceError: the batch cannot be landed.
        """
        try:
            return self._accept(folder, reports, project)
        except RecursionError as error:
            raise RefusedRequest(422, "values of the manifest nest too deeply", _LAYOUT) from error

    def _accept(self, folder: Path, reports: Sequence[str], project: str) -> tuple[bool, dict[str, Any]]:
        document = _read(folder / manifest.NAME)
        limits = fetching.source_limits(self._settings)  # somebody may have opted out since the last request
        facts = manifest.to_facts(manifest.scrub(document, limits.author_salt, limits.forgotten))
        if facts.run is None:
            problems = ", ".join(f"{refusal.column}: {refusal.reason}" for refusal in facts.refused)
            raise RefusedRequest(422, f"the manifest is refused: {problems}", _LAYOUT)
        if facts.run["project"] != project:
            raise RefusedRequest(403, "the token is not for the project of the manifest", f"project {project!r}")
        content = json.dumps(_with_reports(document, reports)).encode("ascii")
        # A larger one would land unread, in a batch of nobody's project.
        if len(content) > self.limits.max_payload_bytes:
            raise too_large("the manifest with the list of reports", self.limits.max_payload_bytes)
        (folder / manifest.NAME).write_bytes(content)
        is_new, batch = self._land(folder, limits)
        entry = noted_of(batch)["runs"][0]
        in_manifest = [{**asdict(refusal), "payload": manifest.NAME} for refusal in facts.refused]
        return is_new, {
            "batch_id": batch.batch_id,
            "project": project,
            "run_id": facts.run["run_id"],
            "attempt": facts.run["attempt"],
            "reports": len(entry["reports"]),
            "refused": [
                {name: _shown(one[name]) for name in ("reason", "payload", "value")}
                for one in [*entry["refused"], *in_manifest]
            ],
        }

    def _land(self, folder: Path, limits: Limits) -> tuple[bool, Batch]:
        with self._one_at_a_time, self._announcer.landing() as is_landed:
            before = {path.name for path in (self._landing / PUSH).glob("*")}
            # A dated run of one folder is one batch.
            (batch,) = JUnit(folder, self._landing, limits, {}, PUSH).fetch(Interval())
            is_new = batch.batch_id not in before
            if is_new:
                is_landed()
            return is_new, batch


def _shown(text: str | None) -> str | None:
    """What the sender said, without the secrets in it."""
    return None if text is None else scrub(text.encode()).decode("utf-8", "replace")


def _read(file: Path) -> manifest.Document:
    try:
        return manifest.parse(file.read_bytes())
    except RefusedPayload as refused:
        raise RefusedRequest(400, f"the manifest is no JSON object: {refused}", _LAYOUT) from refused


def _with_reports(document: Mapping[str, Any], reports: Sequence[str]) -> manifest.Document:
    """The manifest with every report listed, so that none is passed over for its name; what it says of one wins."""
    listed = document.get("reports")
    ours = [{"path": path, "variant": _variant(path)} for path in sorted(reports)]
    return {**document, "reports": [*ours, *(listed if isinstance(listed, list) else [])]}


def _variant(path: str) -> str:
    folder = str(PurePosixPath(path).parent)
    return "default" if folder == "." else folder
