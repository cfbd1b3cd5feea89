"""Takes secrets out of text before it lands: what a test printed may hold the tokens that it was run with.

Looked for are the known shapes of tokens, values assigned to names like ``password``, credentials in addresses, and
long strings that are too random for a name. Each letter of a find becomes ``*``: lengths, and with them the form of
the report, stay as they were. Shapes: https://docs.github.com/code-security/secret-scanning, the providers' own pages.
"""

import math
import re
from collections import Counter
from collections.abc import Iterator

import numpy as np

# What a secret may be cut by at the end of a chunk; a private key of 16,384 bits in PEM has 12,600 bytes.
LONGEST = 1 << 14
LONG_RUN = 32
MIN_DIGITS = 3
# Bits per letter: 32 random letters and digits have 4.6 on average, hexadecimal at most 4, camel case some 4.2.
RANDOM_BITS = 4.4
ASSIGNED_BITS = 3.0

# Literals that are quick to look for, and the shape that is looked for where a text holds one of them.
_SHAPES = [
    (marks, re.compile(shape))
    for marks, shape in (
        ((b"ghp_", b"gho_", b"ghu_", b"ghs_", b"ghr_"), rb"gh[pousr]_[A-Za-z0-9]{36,255}"),
        ((b"github_pat_",), rb"github_pat_[A-Za-z0-9_]{22,255}"),
        ((b"glpat-", b"gldt-", b"glrt-", b"glcbt-", b"glptt-"), rb"gl(?:pa|d|r|cb|pt)t-[A-Za-z0-9_-]{20,255}"),
        ((b"AKIA", b"ASIA"), rb"A[KS]IA[A-Z0-9]{16}"),
        ((b"AIza",), rb"AIza[A-Za-z0-9_-]{35}"),
        ((b"xoxa-", b"xoxb-", b"xoxp-", b"xoxr-", b"xoxs-"), rb"xox[abprs]-[A-Za-z0-9-]{10,255}"),
        ((b"npm_",), rb"npm_[A-Za-z0-9]{36}"),
        ((b"pypi-",), rb"pypi-[A-Za-z0-9_-]{50,255}"),
        ((b"sk_live_", b"rk_live_"), rb"[sr]k_live_[A-Za-z0-9]{20,255}"),
        ((b"eyJ",), rb"eyJ[A-Za-z0-9_-]{8,4096}\.[A-Za-z0-9_-]{8,8192}\.[A-Za-z0-9_-]{8,4096}"),
        ((b"PRIVATE KEY",), rb"-----BEGIN [A-Z ]{0,20}PRIVATE KEY-----[^-]{1,13000}"),
        ((b"://",), rb"://[^\s/:@\"'<>]{0,100}:[^\s/@\"'<>]{3,200}@"),
        ((b"earer ",), rb"earer [A-Za-z0-9._~+/=-]{16,8192}"),
    )
]
_NAMES = (b"password", b"passwd", b"secret", b"token", b"api_key", b"api-key", b"apikey", b"access_key", b"accesskey")
_ASSIGNED = re.compile(rb"(?:[\"']|&quot;)?[ \t]{0,3}[:=][ \t]{0,3}(?:[\"']|&quot;)?([A-Za-z0-9._~+/=!@#$%^*-]{8,255})")
_RUN_LETTERS = np.isin(
    np.arange(256), np.frombuffer(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+", np.uint8)
)


def scrubbed(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The same bytes in other chunks, with every secret as asterisks, also where it lies in two chunks."""
    kept = b""
    for chunk in chunks:
        kept += chunk
        clean = scrub(kept)
        end = _safe_end(kept, clean)
        yield clean[:end]
        kept = kept[end:]
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
    for marks, shape in _SHAPES:
        if any(mark in text for mark in marks):
            text = shape.sub(_stars, text)
    for start, end in [*_assigned(text), *_long_runs(text)]:
        text = text[:start] + b"*" * (end - start) + text[end:]
    return text


def _stars(found: re.Match[bytes]) -> bytes:
    return b"*" * len(found[0])


def _assigned(text: bytes) -> Iterator[tuple[int, int]]:
    """Where a value stands that is assigned to a secret's name; a plain word, as in `token=missing`, is none."""
    lower = text.lower()
    for name in _NAMES:
        at = lower.find(name)
        while at >= 0:
            found = _ASSIGNED.match(text, at + len(name))
            if found and any(48 <= letter <= 57 for letter in found[1]) and _bits(found[1]) >= ASSIGNED_BITS:
                yield found.span(1)
            at = lower.find(name, at + len(name))


def _long_runs(text: bytes) -> Iterator[tuple[int, int]]:
    """Where `LONG_RUN` and more letters and digits stand together that are too random for a name."""
    ends = np.flatnonzero(~_RUN_LETTERS[np.frombuffer(text, np.uint8)])
    edges = np.concatenate([[-1], ends, [len(text)]])
    long = np.flatnonzero(np.diff(edges) > LONG_RUN)
    for at in long:
        start, end = int(edges[at]) + 1, int(edges[at + 1])
        if _is_random(text[start:end]):
            yield start, end


def _is_random(run: bytes) -> bool:
    digits = sum(48 <= letter <= 57 for letter in run)
    return digits >= MIN_DIGITS and run.lower() != run and run.upper() != run and _bits(run) >= RANDOM_BITS


def _bits(value: bytes) -> float:
    """Shannon's entropy of the letters, in bits per letter."""
    counts = Counter(value).values()
    return -sum(count / len(value) * math.log2(count / len(value)) for count in counts)
