import io

import numpy as np
import pandas as pd
import pytest

from ml import plots

CURVE = pd.DataFrame(
    {
        "share": [0.0, 0.5, 1.0],
        "duration_share": [0.0, 0.7, 1.0],
        "test_recall": [0.0, 0.8, 1.0],
        "change_recall": [0.0, 0.9, 1.0],
    }
)
LOWER = CURVE.assign(test_recall=[0.0, 0.5, 1.0])


def png_size(figure):
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    assert buffer.getvalue().startswith(b"\x89PNG")
    return len(buffer.getvalue())


def test_ranking_draws_each_curve_in_all_panels_and_marks_the_budget_of_tests():
    figure = plots.ranking({"forest": CURVE, "recently failed": LOWER}, "Selection curve", budget=0.3)
    tests, runs, tests_by_time, runs_by_time = figure.axes
    assert [line.get_label() for line in runs.lines[:2]] == ["forest", "recently failed"]
    assert [list(line.get_ydata()) for line in tests.lines[:2]] == [[0.0, 0.8, 1.0], [0.0, 0.5, 1.0]]
    assert list(runs.lines[0].get_ydata()) == [0.0, 0.9, 1.0]
    assert list(tests.lines[2].get_xdata()) == [0.3, 0.3]
    assert [list(line.get_xdata()) for line in tests_by_time.lines] == [[0.0, 0.7, 1.0]] * 2
    assert list(runs_by_time.lines[1].get_ydata()) == [0.0, 0.9, 1.0]
    assert png_size(figure) > 5_000


def test_a_ranking_without_durations_says_that_they_are_unknown():
    figure = plots.ranking({"forest": CURVE.assign(duration_share=np.nan)}, "Selection curve", budget=0.3)
    assert [[text.get_text() for text in axes.texts] for axes in figure.axes] == [[], [], ["unknown"], ["unknown"]]


def test_every_axis_says_what_it_shows_in_which_unit():
    figure = plots.ranking({"forest": CURVE}, "Selection curve", budget=0.3)
    assert [axes.get_ylabel() for axes in figure.axes] == ["failing tests caught (%)", "faulty runs caught (%)"] * 2
    by_count, by_time = "tests run (% of the run's tests)", "test time run (% of the duration of all runs)"
    assert [axes.get_xlabel() for axes in figure.axes] == [by_count, by_count, by_time, by_time]


def test_calibration_shows_observed_against_predicted_shares_per_bin():
    failed, probability = [0, 0, 0, 1, 1, 1], [0.01, 0.01, 0.4, 0.4, 0.9, 0.9]
    [axes] = plots.calibration(failed, probability, "Calibration", bins=3).axes
    [_, line] = axes.lines
    assert list(line.get_xdata()) == pytest.approx([0.01, 0.4, 0.9])
    assert list(line.get_ydata()) == pytest.approx([1e-5, 0.5, 1.0])
    assert "probability" in axes.get_xlabel()
    assert "3 bins of about 2 results" in axes.get_title()


def test_calibration_of_no_rows_is_an_empty_figure():
    assert png_size(plots.calibration([], [], "Calibration")) > 1_000


def test_importance_shows_the_largest_features_the_largest_on_top():
    values = pd.Series({f"feature_{at:02d}": float(at) for at in range(30)})
    [axes] = plots.importance(values, "Importance", "loss of APFD", top=3).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["feature_27", "feature_28", "feature_29"]
    assert axes.get_xlabel() == "loss of APFD"


def test_a_long_or_odd_name_neither_breaks_nor_fills_a_figure():
    values = pd.Series({"$x_{": 1.0, "n" * 5_000: 2.0, "<b>": 3.0})
    figure = plots.importance(values, "Importance", "loss")
    assert max(len(label.get_text()) for label in figure.axes[0].get_yticklabels()) <= plots.MAX_NAME
    assert png_size(figure) > 1_000


def test_figures_do_not_depend_on_each_other():
    first = plots.importance(pd.Series({"a": 1.0}), "First", "loss")
    plots.importance(pd.Series({"b": np.nan}), "Second", "loss")
    assert first.axes[0].get_title() == "First"
