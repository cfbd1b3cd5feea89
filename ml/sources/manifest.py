"""The manifest of one run: what it may say, how it is scrubbed before it lands, and how it becomes rows."""

import json
from collections.abc import Mapping, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from ml.errors import RefusedPayload
from ml.sources.pseudonyms import pseudonym
from ml.sources.refusals import MAX_TEXT, UNKNOWN_PROJECT, Refusal, as_row, as_value, printable
from ml.sources.titles import title_of

NAME = "manifest.json"
REQUIRED = ("run_id", "project", "commit_sha", "started_at")
TEXTS = (
    "project",
    "run_id",
    "workflow",
    "event",
    "branch",
    "commit_sha",
    "change_id",
    "change_title",
    "author_id",
    "status",
)
MOMENTS = ("started_at", "finished_at")
KEPT = (*(name for name in TEXTS if name != "author_id"), "attempt", *MOMENTS, "is_fork", "changed_files", "reports")
MAX_INTEGER = 2**63 - 1

Document = dict[str, Any]


@dataclass(slots=True)
class RunFacts:
    """Rows of one manifest: `run` with the columns of the runs contract, None when the run is refused."""

    run: dict[str, Any] | None = None
    changed_files: list[dict[str, Any]] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)


def parse(content: bytes) -> Document:
    """The JSON object in `content`.

    Raises:
        RefusedPayload: it is not a JSON object in UTF-8 (`malformed_manifest`); the message quotes nothing of it.
    """
    try:
        document = json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise RefusedPayload("malformed_manifest", f"not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise RefusedPayload("malformed_manifest", f"{error.msg} at line {error.lineno}, not JSON") from error
    except (ValueError, RecursionError) as error:
        raise RefusedPayload("malformed_manifest", "a number is too long or values nest too deeply") from error
    if not isinstance(document, dict):
        raise RefusedPayload("malformed_manifest", f"expected a JSON object, found {type(document).__name__}")
    return document


def scrub(document: Document, salt: str, forgotten: Set[str] = frozenset()) -> Document:
    """What of a manifest may land: the known fields, with `author` replaced by a pseudonym, or left out if `forgotten`.

    Of a commit message as `change_title` the subject is kept. Unknown fields are left out, since they can hold people's
    names and addresses.
    """
    kept = {name: document[name] for name in KEPT if name in document}
    if isinstance(message := kept.get("change_title"), str):
        kept["change_title"] = title_of(message)
    author = document.get("author")
    if author is not None and author != "":
        named = author if isinstance(author, str) else json.dumps(author, sort_keys=True)
        hidden = pseudonym(named, project_of(document), salt)
        kept |= {} if hidden in forgotten else {"author_id": hidden}
    return kept


def to_bytes(document: Document) -> bytes:
    """A scrubbed manifest as it lands: equal documents give equal bytes."""
    return json.dumps(document, sort_keys=True, indent=1).encode("ascii")


def project_of(document: Document) -> str:
    """Project that the manifest names, or `unknown`."""
    return _text(document, "project") or UNKNOWN_PROJECT


def started_at_of(document: Document) -> datetime | None:
    """Start of the run, None when the manifest gives none that can be read."""
    return _moment(document, "started_at", [])


def variants_of(document: Document) -> dict[str, str]:
    """Variant per report path, where the manifest lists its reports; entries of another shape are passed over."""
    listed = document.get("reports")
    entries = listed if isinstance(listed, list) else []
    return {
        entry["path"]: entry["variant"] if isinstance(entry.get("variant"), str) and entry["variant"] else "default"
        for entry in entries
        if isinstance(entry, dict) and isinstance(entry.get("path"), str)
    }


def to_facts(document: Document) -> RunFacts:
    """Rows of a scrubbed manifest; every reason why the run is refused is collected."""
    facts = RunFacts()
    problems = [Refusal("missing_field", None, name) for name in REQUIRED if document.get(name) in (None, "")]
    run: dict[str, Any] = {name: _text(document, name, problems) for name in TEXTS}
    run |= {name: _moment(document, name, problems) for name in MOMENTS}
    run["attempt"] = _attempt(document, problems)
    run["is_fork"] = _flag(document, "is_fork", problems)
    facts.refused = [Refusal(p.reason, p.value, p.column, contract="runs") for p in problems]
    if not facts.refused:
        facts.run = run
        _add_files(document.get("changed_files"), facts)
    return facts


def _text(document: Document, name: str, problems: list[Refusal] | None = None) -> str | None:
    value = document.get(name)
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    reason = _text_problem(value)
    if reason is None:
        return str(value)[:MAX_TEXT] if value else None
    if problems is not None:
        problems.append(Refusal(reason, as_value(value), name))
    return None


def _text_problem(value: object) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str):
        return "not_text"
    # PostgreSQL and Parquet hold neither a NUL nor half a surrogate pair.
    return "undecodable" if "\x00" in value or printable(value, len(value)) != value else None


def _moment(document: Document, name: str, problems: list[Refusal]) -> datetime | None:
    value = document.get(name)
    if value is None or value == "":
        return None
    moment = read_moment(value) if isinstance(value, str) else None
    if moment is None:
        problems.append(Refusal("not_a_timestamp", as_value(value), name))
    return moment


def read_moment(text: str) -> datetime | None:
    """An ISO 8601 timestamp with a zone, in UTC; None for anything else."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.astimezone(UTC) if moment.tzinfo is not None else None
    except (ValueError, OverflowError):
        return None


def _attempt(document: Document, problems: list[Refusal]) -> int:
    value = document.get("attempt", 1)
    if _is_integer(value):
        return int(value)
    problems.append(Refusal("not_an_integer", as_value(value), "attempt"))
    return 1


def _flag(document: Document, name: str, problems: list[Refusal]) -> bool | None:
    value = document.get(name)
    if value is None or isinstance(value, bool):
        return value
    problems.append(Refusal("not_a_boolean", as_value(value), name))
    return None


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= MAX_INTEGER


def _add_files(listed: object, facts: RunFacts) -> None:
    if listed is None:
        return
    if not isinstance(listed, list):
        facts.refused.append(Refusal("wrong_type", as_value(listed), "changed_files", contract="changed_files"))
        return
    for entry in listed:
        problem = _file_problem(entry)
        if problem is None:
            facts.changed_files.append(_file_row(entry))
        else:
            shown = as_row(entry) if isinstance(entry, dict) else None
            facts.refused.append(Refusal(problem[0], as_value(problem[2]), problem[1], shown, "changed_files"))


def _file_problem(entry: object) -> tuple[str, str | None, object] | None:
    if not isinstance(entry, dict):
        return "wrong_type", None, entry
    if not entry.get("path"):
        return "missing_field", "path", None
    for name in ("path", "change_source"):
        reason = _text_problem(entry.get(name))
        if reason is not None:
            return reason, name, entry[name]
    for name in ("added", "deleted"):
        if entry.get(name) is not None and not _is_integer(entry[name]):
            return "not_an_integer", name, entry[name]
    return None


def _file_row(entry: Mapping[str, Any]) -> dict[str, Any]:
    source = entry.get("change_source")
    return {
        "path": entry["path"][:MAX_TEXT],
        "added": entry.get("added"),
        "deleted": entry.get("deleted"),
        "change_source": source[:MAX_TEXT] if source else None,
    }
