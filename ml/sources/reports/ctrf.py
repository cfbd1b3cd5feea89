"""CTRF, the Common Test Report Format: JSON with ``results.tests``.

https://github.com/ctrf-io/ctrf/blob/main/schema/ctrf.schema.json

- `test_id` is ``suite > suite::name``; ``suite`` is a list, in older reports one text. Without a suite the file takes
  its place, if its path is relative. Browser, device and parameters are kept out.
- status passed, failed and skipped as they are, pending is skipped; other is error where the raw status says that the
  test broke, else skipped. Durations are milliseconds.
- ``retries`` and ``retryAttempts``: executions before the one that the status speaks of. Where the attempts are not
  listed, each of them failed: a passing test is not retried.
"""

import math
import re
from typing import Any

from ml.sources.refusals import MAX_TEXT, Refusal
from ml.sources.reports.failure_text import read_failure
from ml.sources.reports.rows import ERROR, FAILED, PASSED, SKIPPED, ReportRows, Retried, test_id

MAX_RETRIES = 99
HEAD = 1 << 16
_MARK = re.compile(rb'"reportFormat"\s*:\s*"CTRF"|"results"\s*:\s*\{\s*"(tool|summary|tests)"')
_STATUSES = {"passed": PASSED, "failed": FAILED, "skipped": SKIPPED, "pending": SKIPPED, "other": SKIPPED}
_BROKEN = ("error", "broken", "timedout", "timed out", "interrupted", "crashed", "aborted")
_FIELDS = ("name", "status", "duration", "retries", "filePath", "rawStatus", "message")
_TESTS = ["", "results", "tests"]
_TEST = [*_TESTS, "item"]
_Values = dict[str, Any]


def announces_ctrf(head: bytes) -> bool:
    """Whether the first `HEAD` bytes of a JSON file look like a report; most JSON beside reports is none."""
    return _MARK.search(head) is not None


class Ctrf:
    """Sink that keeps one test at a time."""

    def __init__(self, rows: ReportRows) -> None:
        self._rows = rows
        self._path: list[str] = []
        self._keys: list[str] = []
        self._is_ctrf = False
        self._test: _Values = {}
        self._suite: list[str] = []
        self._attempts: list[_Values] = []

    def event(self, kind: str, value: Any) -> None:
        """Something of the document."""
        if kind == "map_key":
            self._keys[-1] = value
        elif kind in ("start_map", "start_array"):
            self._path.append(self._keys[-1] if self._keys else "")
            self._keys.append("item")
            self._open(kind)
        elif kind in ("end_map", "end_array"):
            if kind == "end_map" and self._path == _TEST:
                self._add()
            self._path.pop()
            self._keys.pop()
        else:
            self._take(value[:MAX_TEXT] if isinstance(value, str) else value)

    def finish(self, is_whole: bool) -> None:
        """A whole document without tests may be any JSON."""
        if is_whole and not self._is_ctrf:
            self._rows.refused.append(Refusal("unknown_dialect", "JSON without results.tests; known: CTRF"))

    def _open(self, kind: str) -> None:
        if kind == "start_array" and self._path == _TESTS:
            self._is_ctrf = True
        elif kind == "start_map" and self._path == _TEST:
            self._test, self._suite, self._attempts = {}, [], []
        elif kind == "start_map" and self._path == [*_TEST, "retryAttempts", "item"]:
            self._attempts.append({})
            # More are no evidence; the last ones tell how it ended.
            del self._attempts[:-MAX_RETRIES]

    def _take(self, value: Any) -> None:
        key, depth = self._keys[-1] if self._keys else "", len(self._path)
        if depth < len(_TEST) or self._path[: len(_TEST)] != _TEST:
            return
        if depth == len(_TEST) and key in _FIELDS:
            self._test[key] = value
        elif isinstance(value, str) and "suite" in (key if depth == len(_TEST) else "", *self._path[len(_TEST) :]):
            self._suite.append(value)
        elif self._path[len(_TEST) :] == ["retryAttempts", "item"] and self._attempts:
            self._attempts[-1][key] = value

    def _add(self) -> None:
        name = _text(self._test, "name")
        group = " > ".join(part for part in self._suite if part.strip()) or _relative(_text(self._test, "filePath"))
        outcome = _outcome(self._test)
        if outcome is None or not name.strip():
            reason, column = ("missing_name", "test_id") if outcome is not None else ("unknown_outcome", "outcome")
            status = self._test.get("status")
            self._rows.refuse(reason, column, status, {"classname": group, "name": name, "status": status})
            return
        identity = test_id(group, name)
        first = len(self._rows.test_ids)
        for attempt in self._earlier():
            self._rows.add(identity, _outcome(attempt) or FAILED, self._seconds(attempt, identity))
            self._rows.tell(read_failure(None, _text(attempt, "message")))
        self._rows.add(identity, outcome, self._seconds(self._test, identity))
        self._rows.tell(read_failure(None, _text(self._test, "message")))
        if len(self._rows.test_ids) - first > 1:
            self._rows.retried.append(Retried(first, len(self._rows.test_ids), len(self._rows.test_ids) - 1))

    def _earlier(self) -> list[_Values]:
        """Attempts before the final one, in order."""
        attempts = sorted(self._attempts, key=lambda attempt: _whole(attempt.get("attempt")))
        retries = min(_whole(self._test.get("retries")), MAX_RETRIES)
        if attempts and (len(attempts) > retries > 0 or attempts[-1].get("status") == "passed"):
            attempts.pop()
        return [{"status": "failed"}] * (retries - len(attempts)) + attempts

    def _seconds(self, values: _Values, identity: str) -> float:
        found = values.get("duration")
        if found is None:
            return math.nan
        is_number = not isinstance(found, (str, bool))
        return self._rows.seconds(str(found) if is_number else f"not a number: {found}", identity, 0.001)


def _outcome(values: _Values) -> str | None:
    status = _text(values, "status")
    if status == "other" and _text(values, "rawStatus").lower() in _BROKEN:
        return ERROR
    return _STATUSES.get(status)


def _text(values: _Values, key: str) -> str:
    value = values.get(key)
    return value if isinstance(value, str) else ""


def _whole(value: Any) -> int:
    return min(value, MAX_TEXT) if isinstance(value, int) and value > 0 else 0


def _relative(path: str) -> str:
    """The path, unless it is absolute: that names a machine and not a test."""
    return "" if path.startswith(("/", "\\")) or path[1:2] == ":" else path
