"""Measures and decisions of a model of probabilities, worked out by hand."""

import math

import numpy as np
import pandas as pd
import pytest

from ml import metrics
from ml.metrics import Columns, chosen_rows, measures_by_run, probability_by_run
from ml.spec import Objective

START = pd.Timestamp("2026-01-01", tz="UTC")


def rows(*given: tuple[str, float, bool, bool, bool]) -> pd.DataFrame:
    table = pd.DataFrame(given, columns=["run_id", "probability", "failed", "previous_failed", "chosen"])
    return table.assign(started_at=START, variant="*", test_id=[str(n) for n in range(len(given))])


def test_a_run_scores_one_less_the_mean_squared_error_of_its_rows() -> None:
    table = probability_by_run(
        rows(
            ("b", 0.5, True, False, True),
            ("b", 0.1, False, False, False),
            ("a", 0.2, False, False, True),
            ("c", 0.9, True, False, False),
        ),
        Columns(),
    )
    assert table["run_id"].tolist() == ["a", "b", "c"]
    assert table["quadratic_score"].tolist() == pytest.approx([0.96, 1 - (0.25 + 0.01) / 2, 0.99])
    assert table["failure_count"].tolist() == [0, 1, 1]
    assert table["change_recall"].tolist() == pytest.approx([math.nan, 1.0, 0.0], nan_ok=True)


def test_the_view_of_new_failures_leaves_out_what_had_failed_before() -> None:
    given = rows(("a", 0.2, False, True, False), ("b", 0.3, True, False, True))
    assert measures_by_run(Objective.PROBABILITY, given, Columns(), "new")["run_id"].tolist() == ["b"]


def test_without_decisions_there_is_no_recall_and_without_rows_no_run() -> None:
    given = rows(("a", 0.2, True, True, False)).drop(columns="chosen")
    assert probability_by_run(given, Columns())["change_recall"].isna().all()
    assert probability_by_run(given.iloc[:0], Columns()).empty


def test_a_threshold_chooses_what_reaches_it_and_a_budget_the_first_tests() -> None:
    given = rows(("a", 0.2, True, True, False), ("a", 0.3, True, True, False)).assign(score=[2.0, 1.0])
    assert chosen_rows(Objective.PROBABILITY, given, Columns(), 0.3).tolist() == [False, True]
    assert chosen_rows(Objective.RANKING, given, Columns(), 0.3).tolist() == [True, False]


def test_auc_counts_pairs_and_ties_as_half() -> None:
    # failed: 3 and 1; passed: 2 and 1. Pairs: 3>2, 3>1, 1<2, 1=1.
    assert metrics.auc([1, 0, 1, 0], [3, 2, 1, 1]) == pytest.approx((1 + 1 + 0 + 0.5) / 4)
    assert math.isnan(metrics.auc([1, 1], [0.1, 0.2]))
    assert math.isnan(metrics.auc([], []))


def test_a_weight_counts_a_row_more_than_once() -> None:
    failed, score = [1, 0, 0, 1], [0.4, 0.3, 0.6, 0.6]
    twice = np.repeat(np.arange(4), [2, 1, 3, 0])
    expected = metrics.auc(np.array(failed)[twice], np.array(score)[twice])
    assert metrics.auc(failed, score, [2, 1, 3, 0]) == pytest.approx(expected)
    assert metrics.f1(failed, score, 0.5, [1, 1, 0, 1]) == pytest.approx(2 / 3)
