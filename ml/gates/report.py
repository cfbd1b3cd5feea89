"""The page per candidate: four verdicts with every number, readable by a person, on paper and on a phone.

The HTML stands alone: no script, no link to elsewhere, and every name in it is escaped.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from ml.gates.checks import LOWER_BOUND
from ml.gates.selection import Selection, minutes, percent
from ml.gates.statistical import Comparison, route
from ml.spec import Check, Interval, Measure, Status, Verdict

QUESTIONS = {
    "data_quality": "Was it trained and tested on data that keeps its contracts, fresh and complete enough?",
    "statistical": "Is it better than the champion, and than the trivial baselines, by more than chance?",
    "stability": "Is it steady over time, seeds and slices, and as well calibrated?",
    "consistency": "Does it behave like itself and like the rules?",
}
TEMPLATE = "gate_report.html.jinja"
PLOT_WIDTH, LABEL_WIDTH, ROW_HEIGHT, TICKS = 640, 190, 26, 5


@dataclass(frozen=True, slots=True)
class Bar:
    """One interval of the plot, in pixels; `low` and `high` are None where no interval could be computed."""

    name: str
    measure: Measure
    y: float
    middle: float
    low: float | None
    high: float | None


@dataclass(frozen=True, slots=True)
class Plot:
    """The intervals and the axis: `ticks` are (x in pixels, label)."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    width: int
    height: int


def gate_report(
    verdicts: Sequence[Verdict],
    facts: Mapping[str, str],
    period: Interval,
    comparison: Comparison | None = None,
    selections: Sequence[Selection] = (),
) -> str:
    """Render the gate report of one candidate.

    Args:
        verdicts: one per gate, in the order to show.
        facts: lines of the header, e.g. model, project, version, snapshot, thresholds version, made at.
        period: the test period that was judged.
        comparison: candidate, champion and baselines with intervals, from `compare`; None leaves the section out.
        selections: selection curves and their points, from `selections`; none leave the section out.

    Returns:
        A complete HTML document.
    """
    # StrictUndefined: a name missing from the page is a defect, not an empty cell.
    environment = Environment(
        loader=PackageLoader("ml.gates", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"number": number, "percent": percent, "minutes": minutes}
    statistical = [verdict for verdict in verdicts if verdict.gate == "statistical"]
    return environment.get_template(TEMPLATE).render(
        verdicts=verdicts,
        promotes=bool(verdicts) and all(verdict.status is Status.PASS for verdict in verdicts),
        facts=facts,
        period=period,
        route=route(statistical[0]) if statistical else "none",
        questions=QUESTIONS,
        word=word,
        rule=rule,
        comparison=comparison,
        plot=plot(comparison.means) if comparison else None,
        selections=selections,
    )


def number(value: float | None, signed: bool = False) -> str:
    """A number with four significant digits; "missing" for None and NaN."""
    if value is None or not math.isfinite(value):
        return "missing"
    if abs(value) >= 1000 and float(value).is_integer():
        return f"{value:,.0f}"
    return f"{value:+.4g}" if signed else f"{value:.4g}"


def word(check: Check) -> str:
    """State of a check in one word, so that colour is never the only sign."""
    if check.threshold is None:
        return "reported"
    if check.measured is None:
        return "missing"
    return "passed" if check.passed else "failed"


def rule(check: Check) -> str:
    """What would have been right, e.g. "at least 0.9"."""
    if check.threshold is None:
        return "not judged"
    direction = "at least" if check.greater_is_better else "at most"
    if check.detail.startswith(LOWER_BOUND):
        direction = "above"
    return f"{direction} {number(check.threshold)}"


def plot(means: Mapping[str, Measure]) -> Plot | None:
    """Lay out one horizontal interval per contestant; None when no mean is finite."""
    known = {name: measure for name, measure in means.items() if math.isfinite(measure.value)}
    if not known:
        return None
    ends = [end for measure in known.values() for end in (measure.low, measure.value, measure.high)]
    least, most = (pick(end for end in ends if math.isfinite(end)) for pick in (min, max))
    span = (most - least) or 1.0
    room = PLOT_WIDTH - LABEL_WIDTH - 2 * ROW_HEIGHT

    def x(value: float) -> float:
        return round(LABEL_WIDTH + ROW_HEIGHT + (value - least) / span * room, 1)

    bars = tuple(
        Bar(
            name,
            measure,
            ROW_HEIGHT * (row + 0.5),
            x(measure.value),
            x(measure.low) if math.isfinite(measure.low) else None,
            x(measure.high) if math.isfinite(measure.high) else None,
        )
        for row, (name, measure) in enumerate(known.items())
    )
    ticks = tuple((x(at), f"{at:.3f}") for at in (least + span * i / (TICKS - 1) for i in range(TICKS)))
    return Plot(bars, ticks, PLOT_WIDTH, ROW_HEIGHT * (len(bars) + 1))
