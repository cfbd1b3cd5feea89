"""Selection curves of the candidate, the champion and the best baseline for the gate report. Nothing here is judged."""

import math
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.errors import NotEnoughData
from ml.gates.contest import hold_contest, strongest_baseline, usable_scores
from ml.gates.evidence import CANDIDATE, CHAMPION, RankingEvidence, score_column
from ml.gates.thresholds import StatisticalLimits
from ml.metrics import VIEWS, OperatingPoint, View, operating_points, selection_curve, views_of
from ml.spec import Measure, Objective

WORDS: Mapping[View, str] = {
    "all": "All failures",
    "new": "New failures: the test's previous execution had passed",
    "regression": "Regressions only: failures that are labelled so",
    "first": "First-ever failures: the test had never failed before",
}
SHARES = np.linspace(0, 1, 101)
PANEL_WIDTH, PANEL_HEIGHT, PANEL_GAP, MARGIN = 270, 200, 50, 40
RUN = {"share": "share of tests run", "duration_share": "share of test time run"}
COLOURS = ("#0b5cad", "#d9722e", "#5b6470")
DASHES = {"change_recall": "none", "test_recall": "4 3"}


@dataclass(frozen=True, slots=True)
class Line:
    """One curve: the points of an SVG polyline in pixels, its colour and its dashes."""

    points: str
    colour: str
    dashes: str


@dataclass(frozen=True, slots=True)
class Panel:
    """One picture: `left` is its left edge in pixels; no lines where `label` is unknown."""

    left: int
    label: str
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Selection:
    """What a selection catches and costs in one view.

    Attributes:
        title: which failures count.
        run_count: failing runs that count; None where the failures of this view cannot be told.
        points: operating points by contestant, one per target.
        panels: the curves, by share of tests and by share of test time.
        colours: of each contestant.
    """

    title: str
    run_count: int | None
    points: Mapping[str, tuple[OperatingPoint, ...]]
    panels: tuple[Panel, ...]
    colours: Mapping[str, str]

    @property
    def by_target(self) -> dict[float, dict[str, OperatingPoint]]:
        """The points of all contestants for each recall asked for."""
        return {at[0].target: dict(zip(self.points, at, strict=True)) for at in zip(*self.points.values(), strict=True)}

    @property
    def has_all(self) -> bool:
        """Whether a point is that of the hardest run."""
        return any(point.is_all for points in self.points.values() for point in points)


def selections(evidence: RankingEvidence, limits: StatisticalLimits) -> tuple[Selection, ...]:
    """What the candidate, the champion and the best baseline select, in each view; nothing for probabilities.

    The best baseline is the one that was strongest on earlier rows; intervals have the gate's block length.
    """
    if evidence.objective is not Objective.RANKING:
        return ()
    contest = hold_contest(evidence, limits)
    names = [CANDIDATE, *([CHAMPION] if evidence.has_champion else [])]
    with suppress(NotEnoughData):  # there is none, and the statistical gate says so
        names.append(strongest_baseline(evidence, limits, contest))
    shown = [name for name in names if _has_scores(evidence, name)]
    known = views_of(evidence.objective, evidence.rows)
    return tuple(
        _selection(evidence.rows, shown, view, contest.block_length)
        if view in known
        else Selection(WORDS[view], None, {}, (), {})
        for view in VIEWS[evidence.objective]
    )


def _has_scores(evidence: RankingEvidence, name: str) -> bool:
    try:
        usable_scores(evidence.rows, name, evidence)
    except NotEnoughData:
        return False
    return True


def _selection(rows: pd.DataFrame, names: list[str], view: View, block: int) -> Selection:
    points = {name: operating_points(rows, score_column(name), view, block) for name in names}
    counts = [found[0].run_count for found in points.values() if found]
    if not counts:
        return Selection(WORDS[view], 0, {}, (), {})
    curves = [selection_curve(rows, score_column(name), SHARES, view) for name in names]
    panels = tuple(_panel(MARGIN + at * (PANEL_WIDTH + PANEL_GAP), column, curves) for at, column in enumerate(RUN))
    return Selection(WORDS[view], counts[0], points, panels, dict(zip(names, COLOURS, strict=False)))


def _panel(left: int, run: str, curves: list[pd.DataFrame]) -> Panel:
    if all(curve[run].isna().all() for curve in curves):
        return Panel(left, f"{RUN[run]}: unknown", ())
    lines = tuple(
        Line(_polyline(curve[run], curve[caught], left), colour, dashes)
        for curve, colour in zip(curves, COLOURS, strict=False)
        for caught, dashes in DASHES.items()
    )
    return Panel(left, RUN[run], lines)


def _polyline(share: pd.Series, caught: pd.Series, left: int) -> str:
    x, y = left + share * PANEL_WIDTH, MARGIN / 2 + (1 - caught) * PANEL_HEIGHT
    return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, y, strict=True))


def percent(measure: Measure) -> str:
    """A share with its interval, such as "12.3 % [10.1, 15.0]"; "unknown" where there is none."""
    if math.isnan(measure.value):
        return "unknown"
    bounds = "" if math.isnan(measure.low) else f" [{100 * measure.low:.1f}, {100 * measure.high:.1f}]"
    return f"{100 * measure.value:.1f} %{bounds}"


def minutes(measure: Measure) -> str:
    """Minutes with their interval; "unknown" where there are none."""
    if math.isnan(measure.value):
        return "unknown"
    bounds = "" if math.isnan(measure.low) else f" [{measure.low:.3g}, {measure.high:.3g}]"
    return f"{measure.value:.3g} min{bounds}"
