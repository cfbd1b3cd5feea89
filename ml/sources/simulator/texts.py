"""What people and tests write: subjects of commits, and texts of failures by their true cause.

Every text has a random stream of its own, seeded by what it belongs to: texts change nothing of what happens.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence

import numpy as np

from ml.sources.simulator.changes import Change
from ml.sources.simulator.execution import Cause, Failure
from ml.sources.simulator.world import Flakiness

Message = tuple[str, str]

# Of subjects: what names a file, an identifier, a module, and what names nothing; shares add up to 1.
SUBJECTS = {"{verb} the {words}": 0.3, "{verb} {stem}": 0.15, "{module}: {small}": 0.25, "{Small}": 0.3}
VERBS = ("Rework", "Simplify", "Speed up", "Extend", "Fix", "Split")
SMALL = ("address review", "clean up", "handle empty input", "update messages", "less copying", "typo")
REPAIRS = ("Fix the build", "Address review", "Fix tests", "Second try")
THINGS = ("total", "entry", "header", "quantity", "label", "price", "state", "owner", "limit", "index", "rule", "page")
PLACES = ("row", "answer", "document", "message", "list", "cache", "session", "batch", "tree", "view", "queue", "form")
# Brackets and ampersands are there for whoever parses it. Numbers and quoted values do not tell texts apart.
BROKEN = {
    ("AssertionError", 'expected "<3 & 4>" but was "<4 & 3>": {thing} of {place}'): 0.6,
    ("TypeError", "{thing} of {place} is missing"): 0.2,
    ("KeyError", "no {thing} in {place}"): 0.12,
    ("TimeoutError", "no answer within 30 s: {thing} of {place}"): 0.08,
}
OWN_TEXT_SHARE = 0.3  # of the tests that a regression breaks fail with a text of their own
FLAKY = {
    Flakiness.TIMING: ("TimeoutError", "no answer within 30 s: {thing} of {place}"),
    Flakiness.NETWORK: ("ConnectionResetError", "connection reset by peer: <registry.example>, {thing}"),
    Flakiness.PLATFORM: ("PermissionError", "{thing} is used by another process: C:\\tmp\\a&b"),
    Flakiness.ORDER: ("AssertionError", "expected <0> of {thing} in {place} but found <1>"),
}
FLAKY_TEXTS = (0.7, 0.2, 0.1)  # how often a flaky test fails with its first, second and third text
PLAIN_SHARE = 0.25  # of these texts say no more than those of a regression
OUTAGES = (
    ("InfrastructureError", "no space left on device"),
    ("ConnectionRefusedError", "connection refused: <registry.example>"),
    ("InfrastructureError", "the agent went away"),
)


def subject_of(seed: int, change: Change, index: int) -> str:
    """Subject of the commit that run `index` tests: of a further commit to a change what one writes then."""
    opened = int(change.change_id.rpartition("-")[2])
    is_further = index != opened and change.branch != "main"
    rng = _stream(seed, 1, index if is_further else opened)
    if is_further and rng.random() < 0.6:
        return str(rng.choice(REPAIRS))
    path = change.files[int(rng.integers(len(change.files)))].path
    stem = path.rpartition("/")[2].partition(".")[0]
    small = str(rng.choice(SMALL))
    named = {"stem": stem, "words": stem.replace("_", " "), "module": path.split("/")[1].partition(".")[0]}
    said = {"verb": str(rng.choice(VERBS)), "small": small, "Small": small.capitalize()}
    return str(rng.choice(list(SUBJECTS), p=list(SUBJECTS.values()))).format(**named, **said)


def message_of(seed: int, failure: Failure, test_id: str, place: Sequence[int]) -> Message:
    """Exception and message of a failure; `place` tells the execution from all others."""
    test = zlib.crc32(test_id.encode())
    number = zlib.crc32(failure.cause.encode())
    if failure.state is Cause.INFRASTRUCTURE:
        return OUTAGES[int(_stream(seed, 2, number).integers(len(OUTAGES)))]
    if failure.state is Cause.REGRESSION:
        is_own = _stream(seed, 3, number, test).random() < OWN_TEXT_SHARE
        return _broken(_stream(seed, 4, number, test * is_own))
    which = int(_stream(seed, 5, test, *place).choice(len(FLAKY_TEXTS), p=FLAKY_TEXTS))
    rng = _stream(seed, 6, test, which)
    return _broken(rng) if rng.random() < PLAIN_SHARE else _filled(FLAKY[Flakiness(failure.cause)], rng)


def _stream(seed: int, *place: int) -> np.random.Generator:
    return np.random.default_rng([seed, 0, 0, *place])


def _broken(rng: np.random.Generator) -> Message:
    return _filled(list(BROKEN)[int(rng.choice(len(BROKEN), p=list(BROKEN.values())))], rng)


def _filled(text: Message, rng: np.random.Generator) -> Message:
    return text[0], text[1].format(thing=rng.choice(THINGS), place=rng.choice(PLACES))
