"""Feeds hostile JSON to a sink piece by piece: bounded depth, bounded tokens, no document in memory.

ijson parses, in its Python backend: the C one of 3.6 ends the process at an integer of 5,000 digits. RFC 8259 is the
grammar. A byte order mark is passed over.
"""

import re
from json import JSONDecodeError
from pathlib import Path
from typing import Any, Protocol

from ijson import JSONError
from ijson.backends import python as ijson

from ml.errors import RefusedPayload
from ml.sources.refusals import Refusal, as_value
from ml.sources.reports.xml_stream import BLANK, MAX_DEPTH, chunks

# A parser buffers a token until it ends; libxml2 has the same limit for the text of XML.
MAX_TOKEN = 10_000_000
_MARK = b"\xef\xbb\xbf"
# Python converts no integer of more than 4,300 digits.
_HUGE = re.compile(r"Unexpected symbol '-?\d{4000}")
_OPENING, _CLOSING = ("start_map", "start_array"), ("end_map", "end_array")


class JsonSink(Protocol):
    """What sees a document as events: `start_map`, `map_key`, `string`, ... (ijson's names)."""

    def event(self, kind: str, value: Any) -> None:
        """Something of the document."""

    def finish(self, is_whole: bool) -> None:
        """Nothing more will come; `is_whole` says whether the document ended as it should."""


class _Gate:
    """Stands between parser and sink, counts depth, and notes that a token was complete."""

    def __init__(self, sink: JsonSink) -> None:
        self._sink = sink
        self._depth = 0
        self.is_moving = False

    def send(self, event: tuple[str, Any]) -> None:
        self.is_moving = True
        kind, value = event
        if kind in _OPENING:
            self._depth += 1
            if self._depth > MAX_DEPTH:
                raise RefusedPayload("too_deep", f"values nest deeper than {MAX_DEPTH}")
        elif kind in _CLOSING:
            self._depth -= 1
        self._sink.event(kind, value)


def starts_as_json(payload: Path | bytes) -> bool:
    """Whether the first character of the payload opens a JSON object or array.

    Raises:
        OSError: the file cannot be read.
    """
    for chunk in chunks(payload):
        head = chunk.lstrip(BLANK)
        if head:
            return head[:1] in (b"{", b"[")
    return False


def feed_json(payload: Path | bytes, sink: JsonSink) -> Refusal | None:
    """Let `sink` see the whole payload; returns why it could not, or None."""
    refusal = _parse(payload, sink)
    sink.finish(refusal is None)
    return refusal


def _parse(payload: Path | bytes, sink: JsonSink) -> Refusal | None:
    gate = _Gate(sink)
    parser = ijson.basic_parse_coro(gate)
    waiting = 0
    try:
        for number, chunk in enumerate(chunks(payload)):
            gate.is_moving = False
            parser.send(chunk.removeprefix(_MARK) if number == 0 else chunk)
            waiting = 0 if gate.is_moving else waiting + len(chunk)
            if waiting > MAX_TOKEN:
                return Refusal("value_too_large", as_value(f"one value of more than {MAX_TOKEN} bytes"))
        parser.close()
    except RefusedPayload as refused:
        return Refusal(refused.reason, as_value(refused))
    except (JSONError, JSONDecodeError) as error:
        return _refusal(str(error))
    return None


def _refusal(message: str) -> Refusal:
    if message.startswith("Incomplete") or "unexpected end of data" in message:
        return Refusal("truncated_json", as_value(message))
    if "codec" in message:
        return Refusal("undecodable", as_value(message))
    return Refusal("value_too_large" if _HUGE.match(message) else "malformed_json", as_value(message))
