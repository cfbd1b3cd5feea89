"""Figures of a candidate: what its ranking catches, whether its probabilities hold, what it looks at.

Figures are made without pyplot: no global state, no window, safe in any thread.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import ArrayLike

DPI = 120
COLOURS = ("#1f5fa8", "#d9722e", "#3c8d5a", "#8b5fa8", "#7a7a7a", "#b8a030")
MAX_NAME = 48
RUN = {
    "share": "tests run (% of the run's tests)",
    "duration_share": "test time run (% of the duration of all runs)",
}
CAUGHT = {"test_recall": "failing tests caught", "change_recall": "faulty runs caught"}


def ranking(curves: Mapping[str, pd.DataFrame], title: str, budget: float) -> Figure:
    """What is run against what is caught: left all failing tests, right runs with at least one caught.

    Above, what is run is a share of the tests; below, where the curves tell it, the share of the duration of those.

    Args:
        curves: name -> share, duration_share (may be left out), test_recall, change_recall (0..1), as
            `ml.metrics.selection_curve` makes them. The first one is drawn solid, the others dashed.
        title: what the runs are.
        budget: share of tests (0..1) of a published selection, drawn as a line.
    """
    told = {run: words for run, words in RUN.items() if all(run in curve for curve in curves.values())}
    figure = _figure(10, 4.2 * len(told))
    axes = figure.subplots(len(told), 2, sharex=True, sharey=True, squeeze=False)
    for row, (run, words) in zip(axes, told.items(), strict=True):
        for place, (caught, label) in zip(row, CAUGHT.items(), strict=True):
            _draw_curves(place, curves, run, caught)
            place.set(xlabel=words, ylabel=f"{label} (%)", xlim=(0, 1), ylim=(0, 1.02))
            place.xaxis.set_major_formatter(PercentFormatter(1))
            place.yaxis.set_major_formatter(PercentFormatter(1))
            place.tick_params(labelbottom=True, labelleft=True)
            _quiet(place)
    for place in axes[0]:
        place.axvline(budget, color="#bbbbbb", lw=1, zorder=0)
    axes[0][1].legend(loc="lower right", frameon=False)
    figure.suptitle(title)
    return figure


def _draw_curves(place: Axes, curves: Mapping[str, pd.DataFrame], run: str, caught: str) -> None:
    if all(curve[run].isna().all() for curve in curves.values()):
        place.text(0.5, 0.5, "unknown", ha="center", color="#888888")
    for position, (name, curve) in enumerate(curves.items()):
        style = {"lw": 2.2} if position == 0 else {"lw": 1.3, "ls": "--"}
        place.plot(curve[run], curve[caught], label=_short(name), color=COLOURS[position % len(COLOURS)], **style)


def calibration(failed: ArrayLike, probability: ArrayLike, title: str, bins: int = 15) -> Figure:
    """Predicted probability against the observed share of failures, in bins of equal mass, on logarithmic axes.

    Failures are rare: on linear axes nearly every bin would lie in one corner. A bin without a failure is drawn on
    the lower border as an open mark.
    """
    predicted, observed, sizes = _equal_mass(failed, probability, bins)
    figure = _figure(5.4, 5)
    axes = figure.subplots()
    floor = 1e-5
    shown = np.maximum(observed, floor)
    axes.plot([floor, 1], [floor, 1], color="#bbbbbb", lw=1, zorder=0, label="perfect")
    empty = observed <= 0
    axes.plot(np.maximum(predicted, floor), shown, color=COLOURS[0], lw=1.2)
    axes.scatter(np.maximum(predicted, floor)[~empty], shown[~empty], color=COLOURS[0], s=26, label="bin")
    axes.scatter(
        np.maximum(predicted, floor)[empty],
        shown[empty],
        facecolors="white",
        edgecolors=COLOURS[0],
        s=26,
        label="bin without a failure",
    )
    axes.set(
        xscale="log",
        yscale="log",
        xlim=(floor, 1.2),
        ylim=(floor / 1.3, 1.2),
        xlabel="predicted probability of failing (0..1)",
        ylabel="observed share of failures (0..1)",
        title=f"{title}\n{len(sizes)} bins of about {round(float(np.mean(sizes))) if len(sizes) else 0} results",
    )
    axes.legend(loc="upper left", frameon=False)
    _quiet(axes)
    return figure


def importance(values: pd.Series, title: str, unit: str, top: int = 20) -> Figure:
    """The most important features as bars, the largest on top.

    Args:
        values: feature name -> importance.
        title: what was measured.
        unit: unit of the importance, for the axis.
        top: number of bars.
    """
    shown = values.sort_values(ascending=False, kind="stable").head(top)[::-1]
    figure = _figure(7.5, max(2.4, 0.28 * len(shown) + 1.2))
    axes = figure.subplots()
    axes.barh([_short(str(name)) for name in shown.index], shown.to_numpy(), color=COLOURS[0])
    axes.axvline(0, color="#888888", lw=0.8)
    axes.set(xlabel=unit, title=title)
    _quiet(axes)
    return figure


def _equal_mass(failed: ArrayLike, probability: ArrayLike, bins: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    value = np.asarray(probability, dtype=np.float64)
    order = np.argsort(value, kind="stable")
    truth, value = np.asarray(failed, dtype=np.float64)[order], value[order]
    parts = [part for part in np.array_split(np.arange(len(value)), bins) if len(part)]
    predicted = np.array([value[part].mean() for part in parts])
    observed = np.array([truth[part].mean() for part in parts])
    return predicted, observed, np.array([len(part) for part in parts])


def _figure(width: float, height: float) -> Figure:
    figure = Figure(figsize=(width, height), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _quiet(axes: Axes) -> None:
    axes.grid(color="#eeeeee", lw=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def _short(name: str) -> str:
    # A dollar sign would switch matplotlib to mathematics.
    plain = name.replace("$", r"\$")
    return plain if len(plain) <= MAX_NAME else f"{plain[: MAX_NAME - 1]}…"
