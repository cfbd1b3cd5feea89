"""What a commit message says about its change, as far as it may be kept: its subject, without secrets and persons."""

import re

from ml.legible import legible
from ml.sources.refusals import printable
from ml.sources.scrubbing import scrub

MAX_SUBJECT = 200
MAX_MESSAGE = 4_000
# `Signed-off-by: ...` names a person; what git and the servers write over a merge names branches, which begin with one.
_TRAILER = re.compile(r"[A-Za-z]+(?:-[A-Za-z]+)*-by:", re.IGNORECASE)
_MERGE = re.compile(r"Merge (?:pull request|branch|branches|remote-tracking|commit|tag|[0-9a-f]{7,})\b")
_PERSON = re.compile(r"<[^<>@\s]+@[^<>\s]*>|[^\s<>@]+@[^\s<>@]+|(?<!\w)@[\w-]+")


def subject_of(message: str) -> str | None:
    """First line of a commit message, bounded, without secrets, on which neither a terminal nor a log acts."""
    first = " ".join(next(iter(message.lstrip()[:MAX_MESSAGE].splitlines()), "").split())
    return legible(without_secrets(printable(first)))[:MAX_SUBJECT] or None


def title_of(message: str | None) -> str | None:
    """The subject as the title of a change: without addresses and mentions; None where it tells of no change."""
    subject = subject_of(message or "")
    if subject is None or _TRAILER.match(subject) or _MERGE.match(subject):
        return None
    return " ".join(_PERSON.sub(" ", subject).split()) or None


def without_secrets(text: str) -> str:
    """Each text by itself, because what looks like the beginning of a key takes what follows along."""
    return scrub(text.encode("utf-8")).decode("utf-8", "replace")
