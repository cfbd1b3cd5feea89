"""Feeds hostile XML to a target piece by piece: no DTD, no entities, no network, bounded depth, no tree in memory.

A document type is refused at its first character, before any entity in it is declared: external entities
(XXE) and entity bombs cannot expand. https://cheatsheetseries.owasp.org/cheatsheets/XML_External_Entity_Prevention_Cheat_Sheet.html
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from lxml import etree

from ml.errors import RefusedPayload
from ml.sources.refusals import Refusal, as_value

CHUNK = 1 << 16
HEAD = 1 << 9  # most root elements end by then
# A root element without namespace right at the beginning, as nearly all small reports have it: to look for it with a
# parser of its own would take as long as such a report itself.
_PLAIN = re.compile(rb"(?:<\?xml[^<>]*\?>\s*)?<([A-Za-z][A-Za-z-]*)(?:\s[^<>]*)?>")
MAX_DEPTH = 100
BLANK = b" \t\r\n\xef\xbb\xbf"

_ERRORS = etree.ErrorTypes
_REASONS = {
    _ERRORS.ERR_INVALID_ENCODING: "undecodable",
    _ERRORS.ERR_UNKNOWN_ENCODING: "undecodable",
    _ERRORS.ERR_UNSUPPORTED_ENCODING: "undecodable",
    _ERRORS.I18N_CONV_FAILED: "undecodable",
    _ERRORS.ERR_ATTRIBUTE_NOT_FINISHED: "truncated_xml",
    _ERRORS.ERR_CDATA_NOT_FINISHED: "value_too_large",
    _ERRORS.ERR_COMMENT_NOT_FINISHED: "value_too_large",
    114: "value_too_large",  # XML_ERR_RESOURCE_LIMIT, which lxml does not name
}


class ReportTarget(Protocol):
    """What lxml calls while it reads; `start` and `end` see each element, `doctype` refuses."""

    def start(self, tag: str, attrib: dict[str, str]) -> None:
        """An element begins."""

    def end(self, tag: str) -> None:
        """An element ends."""

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        """A document type begins."""

    def close(self) -> None:
        """The parser is done with the document."""

    def finish(self, is_whole: bool) -> None:
        """Nothing more will come; `is_whole` says whether the document ended as it should."""


class Guard:
    """The part of a target that keeps hostile XML out."""

    def doctype(self, name: str, public_id: str | None, system_id: str | None) -> None:
        """Refuse any document type.

        Raises:
            RefusedPayload: always, with the reason `forbidden_dtd`.
        """
        raise RefusedPayload("forbidden_dtd", "document types are not read; expected a report without <!DOCTYPE")

    def close(self) -> None:
        """Nothing is left to do at the end."""

    def finish(self, is_whole: bool) -> None:
        """Nothing waits for the end."""


class _Root(Guard):
    """Notes the tag of the first element."""

    def __init__(self) -> None:
        self.tag: str | None = None

    def start(self, tag: str, attrib: dict[str, str]) -> None:
        if self.tag is None:
            self.tag = tag

    def end(self, tag: str) -> None:
        """Ends do not matter."""


def local_name(tag: str) -> str:
    """Name of an element without its namespace."""
    return tag.rpartition("}")[2]


def namespace(tag: str) -> str:
    """Namespace of an element, empty when it has none."""
    return tag[1:].rpartition("}")[0] if tag[0] == "{" else ""


def refuse_deep(depth: int, limit: int = MAX_DEPTH) -> None:
    """Refuse what nests too deeply.

    Raises:
        RefusedPayload: `depth` is beyond `limit`, with the reason `too_deep`.
    """
    if depth > limit:
        raise RefusedPayload("too_deep", f"elements nest deeper than {limit}")


def root_of(payload: Path | bytes) -> str | Refusal:
    """Tag of the root element, ``{namespace}name``, read from the beginning alone; a refusal when there is none."""
    plain = _PLAIN.match(payload) if isinstance(payload, bytes) else None
    if plain is not None and b"xmlns" not in plain[0]:
        return plain[1].decode()
    root = _Root()
    parser = _parser(root)
    blank = True
    reached_end = False
    try:
        for chunk in chunks(payload, HEAD):
            blank = blank and not chunk.strip(BLANK)
            parser.feed(chunk)
            if root.tag is not None:
                return root.tag
        reached_end = True
        if blank:
            return Refusal("empty_payload")
        parser.close()
    except RefusedPayload as refused:
        return Refusal(refused.reason, as_value(refused))
    except etree.XMLSyntaxError as error:
        # What is wrong after the root is for the dialect's own pass to find, which keeps the results before it.
        return _refusal(error, reached_end) if root.tag is None else root.tag
    return root.tag or Refusal("malformed_xml")


def feed(payload: Path | bytes, target: ReportTarget) -> Refusal | None:
    """Let `target` see the whole payload; returns why it could not, or None."""
    refusal = _parse(payload, target)
    target.finish(refusal is None)
    return refusal


def _parse(payload: Path | bytes, target: ReportTarget) -> Refusal | None:
    parser = _parser(target)
    reached_end = False
    try:
        for chunk in chunks(payload):
            parser.feed(chunk)
        reached_end = True
        parser.close()
    except RefusedPayload as refused:
        return Refusal(refused.reason, as_value(refused))
    except etree.XMLSyntaxError as error:
        return _refusal(error, reached_end)
    return None


def _parser(target: ReportTarget) -> etree.XMLParser:
    # "internal", because with False a target gets `&amp;` in an attribute as `&#38;`. It can expand the five predefined
    # entities alone: `Guard.doctype` stops the parser before a DTD declares another.
    return etree.XMLParser(target=target, resolve_entities="internal", no_network=True, load_dtd=False, huge_tree=False)


def chunks(payload: Path | bytes, size: int | None = None) -> Iterator[bytes]:
    """The payload in pieces of at most `size` bytes, `CHUNK` when not given.

    Raises:
        OSError: the file cannot be read.
    """
    size = min(size or CHUNK, CHUNK)
    if isinstance(payload, bytes):
        yield from (payload[start : start + size] for start in range(0, len(payload), size))
        return
    with payload.open("rb") as stream:
        while chunk := stream.read(size):
            yield chunk


def _refusal(error: etree.XMLSyntaxError, reached_end: bool) -> Refusal:
    # libxml2 waits for the rest of an unfinished piece, so that a cut shows only when the end is announced.
    found = _REASONS.get(error.code)
    is_cut = reached_end and found != "undecodable" and error.code != _ERRORS.ERR_INVALID_CHAR
    reason = "truncated_xml" if is_cut else found or "malformed_xml"
    return Refusal(reason, as_value(error.msg))
