"""Rules that a value decides alone, each a Pandera check whose name is its reason code, and the other reasons."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa

from ml.legible import UNPRINTABLE
from ml.spec import ALL_PROJECTS, Decision, FailureKind, FailureState, Outcome

Utc = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
MAX_NAME = 1_000
MAX_PROJECT_BYTES = 80  # percent-encoded in a folder name: at most 240 of the 255 bytes that file systems allow
MAX_DURATION_S = 30 * 86_400.0
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(days=1)

TYPE_REASONS = {
    "missing": "the value is null",
    "not_text": "the value is not a string, or one that UTF-8 cannot carry (a lone surrogate)",
    "not_an_integer": "the value is not a whole number of 64 bits",
    "not_a_number": "the value is not a number",
    "not_a_boolean": "the value is neither true nor false",
    "not_a_timestamp": "the value is not a date and time, or lies centuries away",
}
BATCH_REASONS = {
    "in_the_future": f"later than {CLOCK_SKEW.days} day after the batch was validated",
    "duplicate_key": "another row with the same key is kept: the worst outcome, the first among equals",
    "orphan": "the run is neither in this batch nor known already, or was itself refused",
}

_CONTROL = re.compile(f"[{UNPRINTABLE}]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


def _texts(good: Callable[[str], Any]) -> Callable[["pd.Series[Any]"], "pd.Series[bool]"]:
    """Column test that calls `good` once per distinct text: a large column holds few of them."""

    def test(series: "pd.Series[Any]") -> "pd.Series[bool]":
        texts = series.astype("category").cat
        verdicts = np.fromiter((isinstance(text, str) and bool(good(text)) for text in texts.categories), dtype=bool)
        return pd.Series(verdicts[texts.codes], index=series.index)

    return test


def rule(reason: str, description: str, good: Callable[["pd.Series[Any]"], Any]) -> pa.Check:
    """A check on a column, named by its reason code."""
    return pa.Check(good, name=reason, description=description)


def _in_repository(path: str) -> bool:
    return not _ABSOLUTE.match(path) and ".." not in re.split(r"[/\\]", path)


NOT_BLANK = rule("empty", "not blank", _texts(str.strip))
TEXT_RULES = (
    rule("too_long", f"at most {MAX_NAME:,} characters", _texts(lambda text: len(text) <= MAX_NAME)),
    rule(
        "control_character",
        "no line break, NUL, turned direction of writing or other control character",
        _texts(lambda t: not _CONTROL.search(t)),
    ),
)
NAME_RULES = (NOT_BLANK, *TEXT_RULES)
PROJECT_RULES = (
    *NAME_RULES,
    rule(
        "unusable_project",
        f"names a folder of the lake: at most {MAX_PROJECT_BYTES} bytes of UTF-8, and not {ALL_PROJECTS}, which stands "
        "for all projects",
        _texts(lambda text: len(text.encode("utf-8", "replace")) <= MAX_PROJECT_BYTES and text != ALL_PROJECTS),
    ),
)
NOT_NEGATIVE = rule("negative", "0 or more", lambda values: values >= 0)
FINITE = rule("not_finite", "not infinite", lambda values: ~np.isinf(values.astype(float)))
PLAUSIBLE = rule("too_large", f"at most {MAX_DURATION_S:,.0f} s", lambda values: values <= MAX_DURATION_S)
NOT_TOO_EARLY = rule("too_early", f"not before {EARLIEST:%Y-%m-%d}", lambda moments: moments >= EARLIEST)
ATTEMPTS = rule("out_of_range", "1 to 10,000", lambda values: values.between(1, 10_000))
PROBABILITY = rule("out_of_range", "0 to 1", lambda values: values.between(0, 1))
POSITIVE = rule("out_of_range", "1 or more", lambda values: values >= 1)
PATH = rule("path_outside_repository", "relative, without '..' segments", _texts(_in_repository))
OUTCOME = rule("unknown_outcome", f"one of {', '.join(Outcome)}", _texts(lambda text: text in set(Outcome)))
FAILURE_KIND = rule("unknown_kind", f"one of {', '.join(FailureKind)}", _texts(lambda text: text in set(FailureKind)))
STATE = rule("unknown_state", f"one of {', '.join(FailureState)}", _texts(lambda text: text in set(FailureState)))
DECISION = rule("unknown_decision", f"one of {', '.join(Decision)}", _texts(lambda text: text in set(Decision)))


def field(*rules: pa.Check, nullable: bool = False, description: str | None = None) -> Any:
    """A column with rules of our own; Pandera's `Field` arguments cannot carry reason codes."""
    column = pa.Field(nullable=nullable, description=description)
    column.checks = list(rules)
    return column


def not_in_future(as_of: datetime) -> pa.Check:
    """Rule for every timestamp of a batch that is validated at `as_of`, with a day's grace for skewed clocks."""
    latest = pd.Timestamp(as_of + CLOCK_SKEW)
    return rule("in_the_future", BATCH_REASONS["in_the_future"], lambda moments: moments <= latest)
