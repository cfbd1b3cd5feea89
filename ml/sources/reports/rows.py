"""What a dialect fills: the results of one report, column by column."""

import math
import re
from collections import Counter
from dataclasses import dataclass, field

from ml.sources.refusals import MAX_TEXT, Refusal, as_row, as_value
from ml.sources.reports.failure_text import FailureText
from ml.spec import Outcome

# surefire groups thousands: time="1,234.5"
_GROUPED = re.compile(r"[1-9]\d{0,2}(,\d{3})+(\.\d*)?")
# .NET writes the comma of some machine's language; with three digits behind it, it may be either: surefire's is meant.
_COMMA = re.compile(r"\d+,\d+")


@dataclass(frozen=True, slots=True)
class Retried:
    """Rows `first` to before `stop` are executions of one test, in the order in which they ran.

    `verdict` is the row that the report itself counts.
    """

    first: int
    stop: int
    verdict: int


@dataclass(slots=True)
class ReportRows:
    """Executions of tests in one report, in document order; the four lists have one length.

    `failures` maps the position of a failed execution to what its text reads like.

    `outcomes` are values of `ml.spec.Outcome`; `durations` are seconds, NaN where the report gives none; `places` tell
    the suites of a report apart, with one number each. `retried` lists the tests for which the report names several
    executions. `repeats_are_reruns` says that a test which its suite lists again may have been run again; otherwise
    it is another test of that name. `keeps_order` says that the tests ran in document order.
    """

    test_ids: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    failures: dict[int, FailureText] = field(default_factory=dict)
    retried: list[Retried] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    repeats_are_reruns: bool = False
    keeps_order: bool = True

    def add(self, test_id: str, outcome: str, seconds: float = math.nan, place: int = 0) -> None:
        """One execution; a name beyond `MAX_TEXT` characters is cut, for the contract to refuse."""
        self.test_ids.append(test_id if len(test_id) <= MAX_TEXT else test_id[:MAX_TEXT])
        self.outcomes.append(outcome)
        self.durations.append(seconds)
        self.places.append(place)

    def tell(self, text: FailureText | None) -> None:
        """What the text of the execution added last reads like, where it failed."""
        if text is not None and self.outcomes[-1] in (FAILED, ERROR):
            self.failures[len(self.outcomes) - 1] = text

    def add_result(self, group: str, name: str, outcome: str | None, seconds: float = math.nan) -> None:
        """One execution as a dialect found it: a test without name or with an `outcome` of None is refused."""
        if outcome is None:
            self.refuse("unknown_outcome", "outcome", None, {"classname": group, "name": name})
        elif not (name.strip() or group.strip()):
            self.refuse("missing_name", "test_id", None, {"classname": group, "name": name})
        else:
            self.add(test_id(group, name), outcome, seconds)

    def seconds(self, text: str | None, test: str, scale: float = 1.0) -> float:
        """Seconds in `text`, which counts in units of `scale` seconds; what is no finite number is NaN and told."""
        seconds = read_seconds(text)
        if seconds is None:
            self.refuse("not_a_number", "duration_s", text, {"name": test, "time": text})
            return math.nan
        return seconds * scale

    def refuse(self, reason: str, column: str, value: object, row: dict[str, object]) -> None:
        """Something of a test that could not be read."""
        self.refused.append(Refusal(reason, as_value(value), column, as_row(row)))

    def tally(self) -> Counter[str]:
        """Tests by outcome as the report counts them: one for each test, whatever the number of its executions."""
        further = {row for test in self.retried for row in range(test.first, test.stop) if row != test.verdict}
        return Counter(outcome for row, outcome in enumerate(self.outcomes) if row not in further)


def test_id(group: str, name: str) -> str:
    """Identity of a test: ``group::name``, or the one of the two that is not blank."""
    if not group.strip():
        return name
    return f"{group}::{name}" if name.strip() else group


def without_prefix(name: str, group: str) -> str:
    """A name without the class that some producers put before it, as in ``org.Shop.pays`` of ``org.Shop``."""
    return name[len(group) + 1 :] if group and name.startswith(f"{group}.") and len(name) > len(group) + 1 else name


def read_seconds(text: str | None) -> float | None:
    """A duration as a number; NaN when there is none, None when what there is is no finite number."""
    if text is None:
        return math.nan
    try:
        seconds = float(text)
    except ValueError:
        if not text.strip():
            return math.nan
        if _GROUPED.fullmatch(text):
            return float(text.replace(",", ""))
        return float(text.replace(",", ".")) if _COMMA.fullmatch(text) else None
    # Python reads 1_000 as a number; no producer writes it.
    return seconds if math.isfinite(seconds) and "_" not in text else None


PASSED = Outcome.PASSED.value
FAILED = Outcome.FAILED.value
ERROR = Outcome.ERROR.value
SKIPPED = Outcome.SKIPPED.value
