"""What a report says about a failure, as two words that the lake can keep: its kind, and a fingerprint.

The text itself stays in landing: it is long, and it holds whatever a program prints. The fingerprint is the same for
two failures whose texts differ in numbers, addresses, paths and quoted values only, as in Lam et al., "Root causing
flaky tests in a large-scale industrial setting" (ISSTA 2019), and the kind is the first whose words the text has.
"""

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from ml.spec import FailureKind

MAX_READ = 500
_DIGITS = 16
# Words of exceptions and messages, with the borders of words taken out of camel case. The first kind that fits wins.
_WORDS = {
    FailureKind.RESOURCE: (
        r"out ?of ?memory|\boom\b|cannot allocate|no space left|disk (is )?full|disk quota|too many open files|"
        r"resource temporarily unavailable|unable to create (new )?native thread|\benospc\b|\bemfile\b|\benomem\b"
    ),
    FailureKind.NETWORK: (
        r"connection ?(was )?(reset|refused|aborted|closed|error)|connect ?exception|unknown ?host|no route to host|"
        r"host ?(is )?unreachable|broken ?pipe|address already in use|bind ?exception|name resolution|"
        r"socket ?exception|socket hang up|network ?(is )?unreachable|remote end closed|\bssl ?error|\bssl ?handshake|"
        r"\beconn\w+|\benotfound\b|\behostunreach\b|bad gateway|service unavailable"
    ),
    FailureKind.TIMEOUT: (
        r"timed?[ -]?out|deadline ?exceeded|took too long|\betimedout\b|no answer within|interrupted ?exception"
    ),
    FailureKind.ASSERTION: r"assert|expect|comparison ?failure|should (be|have|equal)|not equal|mismatch",
}
_KINDS = {kind: re.compile(words, re.IGNORECASE) for kind, words in _WORDS.items()}
_HUMP = re.compile(r"(?<=[a-z])(?=[A-Z])")
_VARYING = re.compile(
    r"\"[^\"]*\"|'[^']*'|<[^>]*>"  # values
    r"|\S*[/\\]\S*"  # paths and addresses
    r"|\b(?=\w*\d)\w+\b"  # numbers, ids, hashes
)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True, slots=True)
class FailureText:
    """`kind` is a value of `ml.spec.FailureKind`; `fingerprint` has 16 hexadecimal digits."""

    kind: str
    fingerprint: str


def read_failure(thrown: str | None, message: str | None) -> FailureText | None:
    """What a failure reads like; None where the report says nothing about it.

    Args:
        thrown: type of the exception or assertion.
        message: its message; the first `MAX_READ` characters count.
    """
    what, told = (thrown or "").strip()[:MAX_READ], (message or "").strip()[:MAX_READ]
    return _read(what, told) if what or told else None


@lru_cache(maxsize=4_096)  # the failures of an outage read the same
def _read(thrown: str, message: str) -> FailureText:
    spaced = _HUMP.sub(" ", f"{thrown} {message}")
    kind = next((kind for kind, words in _KINDS.items() if words.search(spaced)), FailureKind.OTHER)
    plain = _SPACE.sub(" ", _VARYING.sub("#", f"{thrown}\n{message}")).lower()
    return FailureText(kind.value, hashlib.sha256(plain.encode("utf-8", "replace")).hexdigest()[:_DIGITS])
