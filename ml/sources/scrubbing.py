"""Takes secrets out of text before it lands: what a test printed may hold the tokens that it was run with.

Looked for are the known shapes of tokens, values assigned to names like ``password``, credentials in addresses, and
long strings that are too random for a name. Each letter of a find becomes ``*``: lengths, and with them the form of
the report, stay as they were. Shapes: https://docs.github.com/code-security/secret-scanning, the providers' own pages.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.compute as pc

# What a secret may be cut by at the end of a chunk; a private key of 16,384 bits in PEM has 12,600 bytes.
LONGEST = 1 << 14
LONG_RUN = 32
MIN_DIGITS = 3
# Bits per letter: 32 random letters and digits have 4.6 on average, hexadecimal at most 4, camel case some 4.2.
RANDOM_BITS = 4.4
ASSIGNED_BITS = 3.0

# Each begins with a literal: then it is looked for as fast as memory is read. `_BEGINNINGS` has it too.
_SHAPES = [
    re.compile(shape)
    for shape in (
        rb"gh[pousr]_[A-Za-z0-9]{36,255}",
        rb"github_pat_[A-Za-z0-9_]{22,255}",
        rb"gl(?:pa|d|r|cb|pt)t-[A-Za-z0-9_-]{20,255}",
        rb"A(?:[KS]IA[A-Z0-9]{16}|Iza[A-Za-z0-9_-]{35})",
        rb"xox[abprs]-[A-Za-z0-9-]{10,255}",
        rb"npm_[A-Za-z0-9]{36}",
        rb"pypi-[A-Za-z0-9_-]{50,255}",
        rb"sk_live_[A-Za-z0-9]{20,255}",
        rb"rk_live_[A-Za-z0-9]{20,255}",
        rb"eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,4096}",
        rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-<\",]{1,13000}",
        rb"://[^\s/:@\"'<>]{0,100}:[^\s/@\"'<>]{3,200}@",
        rb"earer [A-Za-z0-9._~+/=-]{16,8192}",
    )
]
# Of text in small letters.
_VALUE = rb"(?:[\"']|&quot;)?[ \t]{0,3}[:=][ \t]{0,3}(?:[\"']|&quot;)?([a-z0-9._~+/=!@#$%^*-]{8,255})"
_ASSIGNED = [
    re.compile(name + _VALUE)
    for name in (rb"passw(?:or)?d", rb"secret", rb"token", rb"api[_-]?key", rb"access[_-]?key")
]
# What every shape and assigned value begins with, in one pass of RE2: most text has none, and is then done with.
_BEGINNINGS = (
    r"gh[pousr]_|github_pat_|gl(?:pa|d|r|cb|pt)t-|A[KS]IA|AIza|xox[abprs]-|npm_|pypi-|[sr]k_live_|eyJ|-----BEGIN |"
    r"""://[^\s/:@"'<>]*:[^\s/@"'<>]+@|earer |"""
    r"""(?i:(?:passw(?:or)?d|secret|token|api[_-]?key|access[_-]?key)(?:["']|&quot;)?[ \t]*[:=])"""
)
_LETTERS = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+"
_RUNS = bytes(ord("x") if letter in _LETTERS else ord(" ") for letter in range(256))


def scrubbed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in other chunks, with every secret as asterisks, also where it lies in two chunks."""
    kept = next(chunks, b"")
    for chunk in chunks:
        clean = scrub(kept)
        end = _safe_end(kept, clean)
        yield clean[:end]
        kept = kept[end:] + chunk
    yield scrub(kept)


def _safe_end(text: bytes, clean: bytes) -> int:
    """Where the text may be cut, far from its end: after a line that no secret goes on from."""
    last = max(0, len(text) - LONGEST)
    end = last
    while (end := text.rfind(b"\n", max(0, last - LONGEST), end)) > 0:
        if clean[end : end + 1] == b"\n":
            return end + 1
    return last  # a line as long as this holds data, not what somebody printed


def scrub(text: bytes) -> bytes:
    """`text` with every secret in it as asterisks; as long as it was."""
    if _may_hold_one(text):
        for shape in _SHAPES:
            text = shape.sub(_stars, text)
        text = _covered(text, _assigned(text))
    return _covered(text, _random_runs(text))


def _may_hold_one(text: bytes) -> bool:
    return bool(pc.match_substring_regex(pa.array([text], pa.binary()), _BEGINNINGS)[0].as_py())


def _covered(text: bytes, spans: Iterator[tuple[int, int]]) -> bytes:
    for start, end in [*spans]:
        text = text[:start] + b"*" * (end - start) + text[end:]
    return text


def _stars(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found[0])


def _assigned(text: bytes) -> Iterator[tuple[int, int]]:
    """Where a value stands that is assigned to a secret's name; a plain word, as in `token=missing`, is none."""
    lower = text.lower()
    for name in _ASSIGNED:
        for found in name.finditer(lower):
            value = text[slice(*found.span(1))]
            if any(48 <= letter <= 57 for letter in value) and _bits(value) >= ASSIGNED_BITS:
                yield found.span(1)


def _random_runs(text: bytes) -> Iterator[tuple[int, int]]:
    """Where `LONG_RUN` and more letters and digits stand together that are too random for a name."""
    kinds = text.translate(_RUNS)
    start = kinds.find(b"x" * LONG_RUN)
    while start >= 0:
        end = kinds.find(b" ", start)
        end = len(kinds) if end < 0 else end
        if _is_random(text[start:end]):
            yield start, end
        start = kinds.find(b"x" * LONG_RUN, end)


def _is_random(run: bytes) -> bool:
    digits = sum(48 <= letter <= 57 for letter in run)
    return digits >= MIN_DIGITS and run.lower() != run and run.upper() != run and _bits(run) >= RANDOM_BITS


def _bits(value: bytes) -> float:
    """Shannon's entropy of the letters, in bits per letter."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
