"""The experiment judges the last runs only, counts as the protocol says, and its page is what its numbers say."""

import json
import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from experiments import page, rows
from experiments.behind import behind
from experiments.hindsight import Evidence, learned_in_hindsight
from experiments.histories import opened, read_tables
from experiments.misses import by_kind, by_run, kinds, missed
from experiments.selection_points import places, selection_points
from experiments.test_selection import (
    Learned,
    compare,
    gap_closed,
    judged,
    judged_parts,
    judged_period,
    learn,
    measure,
    methods_of,
    results_file,
)
from ml import metrics, training
from ml.features import Context, Queries, build
from ml.models import load_model
from ml.sources.simulator import World, simulate
from ml.spec import Interval, Measure

START = pd.Timestamp("2026-01-01", tz="UTC").as_unit("us")
SPEC = load_model("test_selection")
QUICK = replace(SPEC, candidates={"logistic_regression": SPEC.candidates["logistic_regression"]})


def table(failed: list[list[int]], scores: dict[str, list[float]], **columns: Any) -> pd.DataFrame:
    """Runs of ten tests of 1, 2, ... 10 s; `failed` names the failing ones by place in the table."""
    run = np.repeat(np.arange(len(failed)), 10)
    test = np.tile(np.arange(10), len(failed))
    found = pd.DataFrame(
        {
            "run_id": [f"run-{number}" for number in run],
            "variant": "",
            "test_id": [f"test-{number}" for number in test],
            "started_at": START + pd.to_timedelta(run, unit="h"),
            "failed": [number in failed[of] for of, number in zip(run, test, strict=True)],
            "previous_failed": False,
            "duration_s": test + 1.0,
            "executions_count": 100.0,
            "failures_count": 5.0,
            "executions_since_failure_count": 50.0,
            "state": "flaky",
        }
    )
    return found.assign(**{name: np.tile(values, len(failed)) for name, values in scores.items()}, **columns)


IN_ORDER = list(range(10, 0, -1))


def simulated(run_count: int) -> dict[str, pd.DataFrame]:
    world = World(run_count=run_count, announced_count=0, module_count=4, tests_per_module=4, regression_rate=0.4)
    history = simulate(world)
    return {name: getattr(history, name) for name in ("runs", "test_results", "changed_files")}


@pytest.fixture(scope="module")
def found() -> dict[str, Any]:
    return measure(QUICK, "dune", simulated(300))


def test_the_last_two_fifths_of_all_runs_are_judged_in_order_of_time() -> None:
    starts = [START + pd.Timedelta(hours=hour) for hour in range(10)]
    runs = pd.DataFrame({"run_id": list("jihgfedcba"), "started_at": starts[::-1]})
    again = pd.concat([runs, runs.head(3)])  # attempts
    assert judged_period(again).start == starts[6]
    assert judged_period(again).end is None


def test_the_judged_runs_are_in_parts_of_as_many() -> None:
    starts = [START + pd.Timedelta(hours=hour) for hour in range(20)]
    runs = pd.DataFrame({"run_id": [f"{number:02d}" for number in range(20)], "started_at": starts})
    parts = judged_parts(runs)
    assert [part.start for part in parts] == starts[12::2]
    assert [part.end for part in parts] == [*starts[14::2], None]
    at_once = runs.assign(started_at=START)
    assert judged_parts(at_once) == [judged_period(at_once)]


def test_the_gap_closed_is_the_share_of_the_way_to_the_optimum() -> None:
    ours, best, optimal = np.array([0.8, 0.9]), np.array([0.7, 0.8]), np.array([1.0, 1.0])
    closed = gap_closed(ours, best, optimal, np.array([[0, 0], [1, 1]]))
    assert closed.value == pytest.approx(0.4)
    assert (closed.low, closed.high) == pytest.approx((1 / 3 + 0.025 / 6, 0.5 - 0.025 / 6))


def test_a_gap_that_is_not_there_cannot_be_closed() -> None:
    closed = gap_closed(np.ones(2), np.ones(2), np.ones(2), np.array([[0, 1]]))
    assert math.isnan(closed.value)
    assert rows.figures(closed) == {"value": None, "low": None, "high": None}


def test_the_model_is_held_against_the_best_baseline_of_the_judged_runs() -> None:
    scored = table(
        [[0], [1]], {"bad": IN_ORDER[::-1], "good": [9, 10, *[1] * 8], "model": IN_ORDER, "optimal": 10 * [0]}
    )
    scored["optimal"] = scored["failed"].astype(float)
    scored = scored.drop(columns="state")
    assert methods_of(scored) == (["bad", "good"], ["model"])
    by = {(row["method"], row["measure"]): row for row in compare(scored, "all", 1)}
    assert by["model", "apfd_all"]["value"] == pytest.approx(0.9)  # places 1 and 2 of ten
    assert by["good", "apfd_all"]["value"] == pytest.approx(0.9)
    assert by["bad", "apfd_all"]["value"] == pytest.approx(0.1)
    assert by["optimal", "apfd_all"]["value"] == pytest.approx(0.95)
    lead = by["model", "apfd_all_lead"]
    assert (lead["against"], lead["value"], lead["runs"]) == ("good", 0.0, 2)
    assert by["model", "apfd_all_gap_closed"]["value"] == 0.0


def test_places_are_shares_of_tests_and_of_duration_in_rank_order() -> None:
    placed = places(table([[2]], {"score": IN_ORDER}), "score").set_index("test_id")
    assert placed.loc["test-2", ["rank", "tests"]].tolist() == [3, 0.3]
    assert placed.loc["test-2", "duration"] == pytest.approx(6 / 55)


def test_a_point_is_the_smallest_share_that_catches_so_much() -> None:
    failed = [*([[0]] * 9), [0, 4]]
    by = {row["measure"]: row["value"] for row in selection_points(table(failed, {"m": IN_ORDER}), ["m"], "all", 1)}
    assert by["tests_at_test_recall_90_all"] == 0.1  # nine runs and half of the tenth
    assert by["tests_at_test_recall_95_all"] == 0.1
    assert by["tests_at_test_recall_99_all"] == 0.5
    assert by["tests_at_change_recall_99.9_all"] == 0.1  # one failure of the tenth run is enough
    assert by["duration_at_test_recall_99_all"] == pytest.approx(15 / 55, abs=1e-4)


@pytest.mark.parametrize(
    ("measured", "lead", "closed", "answer"),
    [
        ("apfd_all", (0.0, 0.0, 0.0), (0.0, 0.0, 0.0), "met"),
        ("apfd_all", (0.01, -0.01, 0.02), (0.1, -0.1, 0.2), "met, within chance"),
        ("apfd_all", (-0.02, -0.03, -0.01), (-0.2, -0.3, -0.1), "missed"),
        ("apfd_new", (0.1, 0.05, 0.15), (0.4, 0.3, 0.45), "missed"),
        ("apfd_new", (0.1, 0.05, 0.15), (0.4, 0.3, 0.6), "missed, within chance"),
        ("apfd_new", (0.1, 0.05, 0.15), (0.6, None, None), "met, within chance"),
    ],
)
def test_the_page_says_whether_the_aim_is_met_and_how_surely(
    measured: str, lead: tuple[float, ...], closed: tuple[float | None, ...], answer: str
) -> None:
    found = [
        {"method": "model", "measure": f"{measured}_{part}", **dict(zip(("value", "low", "high"), values, strict=True))}
        for part, values in (("lead", lead), ("gap_closed", closed))
    ]
    assert page.aim(found, "model", measured) == answer
    assert page.aim(found, "another", measured) == "no model"


@pytest.mark.parametrize(
    ("closed", "answer"),
    [
        ((0.3, 0.2, 0.4), "no"),
        ((0.45, 0.3, 0.6), "no, within chance"),
        ((0.6, 0.5, 0.7), "yes"),
        ((0.6, None, None), "yes, within chance"),
        ((), "–"),
    ],
)
def test_the_page_says_whether_half_of_the_gap_is_within_reach(closed: tuple[float | None, ...], answer: str) -> None:
    assert page.reach(dict(zip(("value", "low", "high"), closed, strict=False))) == answer


def test_few_runs_have_no_interval_and_blocks_fit_four_times() -> None:
    assert rows.figures(Measure(0.5, 0.4, 0.6), 19) == {"value": 0.5, "low": None, "high": None}
    assert rows.figures(Measure(0.5, 0.4, 0.6), 20)["low"] == 0.4
    assert [rows.block_within(10, runs) for runs in (3, 20, 39, 40, 400)] == [1, 5, 9, 10, 10]


def test_without_a_failing_run_there_is_no_point() -> None:
    assert list(selection_points(table([[]], {"m": IN_ORDER}), ["m"], "all", 1)) == []


def test_a_new_failure_is_of_the_first_kind_that_fits() -> None:
    failures = pd.DataFrame(
        {
            "run_id": ["a", "b", "c", "d", *["e"] * 11],
            "test_id": [str(number) for number in range(15)],
            "executions_count": [0, 40, 40, 90, *[40] * 11],
            "failures_count": [0, 0, 3, 3, *[0] * 11],
            "executions_since_failure_count": [np.nan, np.nan, 29, 30, *[5] * 11],
        }
    )
    assert kinds(failures).tolist() == ["new_test", "first_ever", "lately", "long_ago", *["mass"] * 11]


def test_what_is_lost_by_kind_and_by_run_adds_up_to_the_distance_to_the_optimum() -> None:
    scored = table([[3, 5], [9]], {"model": IN_ORDER, "rival": IN_ORDER[::-1]})
    scored["optimal"] = scored["failed"].astype(float)
    late = missed(scored, "model", "rival", "optimal")
    by = {row["kind"]: row for row in by_kind(late)}
    assert by["long_ago"]["failures"] == 3
    assert by["long_ago"]["states"] == {"flaky": 3}
    measured = {
        row["method"]: row["value"]
        for row in compare(scored.drop(columns="state"), "new", 1)
        if row["measure"] == "apfd_new"
    }
    runs = list(by_run(late))
    for method, lost in (("model", "lost"), ("rival", "rival_lost")):
        distance = pytest.approx(measured["optimal"] - measured[method])
        assert sum(row[lost] for row in by.values()) == distance
        assert sum(row[lost] for row in runs) / len(runs) == distance


def test_a_run_is_told_by_the_failures_through_which_it_loses_most() -> None:
    scored = table([[], [3, 5], [9]], {"model": IN_ORDER, "rival": IN_ORDER[::-1]})
    scored["optimal"] = scored["failed"].astype(float)
    scored.loc[15, ["failures_count", "executions_since_failure_count", "state"]] = [0.0, np.nan, "regression"]
    first, second = by_run(missed(scored, "model", "rival", "optimal"))
    assert first == {
        "run": 1,
        "day": "2026-01-01",
        "tests": 10,
        "failures": 2,
        "kinds": {"first_ever": 1, "long_ago": 1},
        "states": {"flaky": 1, "regression": 1},
        "kind": "first_ever",
        "state": "regression",
        "first": 0.35,
        "place": 0.55,
        "rival_place": 0.45,
        "executions": 100,
        "failed_before": 0,
        "since_failure": None,
        "lost": 0.35,
        "rival_lost": 0.45,
    }
    assert (second["run"], second["place"], second["since_failure"]) == (2, 0.95, 50)


@pytest.mark.parametrize("measured", ["apfd_all", "apfdc_all"])
def test_what_is_won_and_lost_run_by_run_adds_up_to_the_lead(measured: str) -> None:
    scored = table([[2, 9], [], [1, 4], [8], [3]], {"model": IN_ORDER, "rival": IN_ORDER[::-1]})
    scored["optimal"] = scored["failed"].astype(float)
    scored.loc[9, ["previous_failed", "state"]] = [True, None]
    summary, runs = behind(scored, measured, "model", "rival")
    rows_of_all = compare(scored.drop(columns="state"), "all", 1)
    lead = next(
        row["value"] for row in rows_of_all if row["measure"] == f"{measured}_lead" and row["method"] == "model"
    )
    count = summary["runs_ahead"] + summary["runs_equal"] + summary["runs_behind"]
    assert count == 4
    assert summary["won"] - summary["lost"] == pytest.approx(lead, abs=1e-3)
    assert sum(row["lost"] for row in runs) / count == pytest.approx(summary["lost"], abs=1e-3)
    assert [row["lost"] for row in runs] == sorted((row["lost"] for row in runs), reverse=True)
    assert len(runs) == summary["runs_behind"] >= 1


def test_a_run_behind_is_told_by_the_failure_that_stands_furthest_behind() -> None:
    scored = table([[2, 9], [8]], {"model": IN_ORDER, "rival": IN_ORDER[::-1]})
    scored.loc[9, ["previous_failed", "state"]] = [True, None]
    summary, (worse, better) = behind(scored, "apfd_all", "model", "rival")
    assert summary == {
        "measure": "apfd_all",
        "method": "model",
        "rival": "rival",
        "runs_ahead": 0,
        "runs_equal": 0,
        "runs_behind": 2,
        "won": 0.0,
        "lost": 0.45,
    }
    assert (worse["run"], worse["kind"], worse["lost"]) == (2, "long_ago", 0.7)
    assert better == {
        "measure": "apfd_all",
        "run": 1,
        "value": 0.4,
        "rival_value": 0.6,
        "lost": 0.2,
        "day": "2026-01-01",
        "tests": 10,
        "failures": 2,
        "kind": "again",
        "state": "unknown",
        "duration_s": 10.0,
        "executions": 100,
        "failed_before": 5,
        "since_failure": 50,
        "place": 0.95,
        "rival_place": 0.05,
    }
    by_cost, [only] = behind(scored, "apfdc_all", "model", "rival")
    assert by_cost["runs_ahead"] == 1  # of 3 s and 10 s each order has one early, and 3 s cost less
    assert (only["run"], only["place"], only["rival_place"]) == (2, 0.7364, 0.2636)


def test_the_page_tells_the_runs_that_lose_most_and_why() -> None:
    runs = [
        {"run": run, "kind": kind, "state": "flaky", "tests": 9, "lost": lost, "rival_lost": 0.1}
        for run, (kind, lost) in enumerate([("first_ever", 0.1), ("lately", 0.4), ("lately", 0.2), ("mass", 0.0)])
    ]
    assert [(row["kind"], row["runs"], round(row["share"], 3)) for row in page.reasons(runs)] == [
        ("lately", 2, 0.857),
        ("first_ever", 1, 0.143),
        ("mass", 1, 0.0),
    ]
    assert page.runs_of_half(runs) == 1
    assert [row["run"] for row in page.worst(runs)] == [1, 2, 0, 3]
    assert (page.reasons([]), page.runs_of_half([])) == ([], 0)


@pytest.mark.slow
def test_who_learns_in_hindsight_is_told_everything_but_the_run_it_orders() -> None:
    """Every run fails in a test of its own, and in one that always fails: only the second can be known from others."""
    runs = 100
    told = table([[run % 9, 9] for run in range(runs)], {"noise": IN_ORDER})
    told["run_id"] = np.repeat([f"run-{run:02}" for run in range(runs)], 10)
    told["test_id"] = np.where(np.tile(np.arange(10), runs) == 9, "always", told["run_id"] + told["test_id"])
    evidence = Evidence(["noise"])
    for piece in (told.iloc[:150], told.iloc[150:]):
        evidence.add(piece)
    score = learned_in_hindsight(told, evidence)
    assert score is not None
    always = told["test_id"] == "always"
    assert score[always].min() > score[~always].max()
    assert metrics.ranking_by_run(told.loc[~always].assign(s=score), "s", "new")["apfd"].mean() < 0.7


@pytest.mark.slow
@pytest.mark.parametrize(("runs", "scored"), [(99, None), (100, 900)])
def test_what_failed_before_is_not_asked_of_who_learns_in_hindsight(runs: int, scored: int | None) -> None:
    told = table([[3], []] * runs, {"noise": IN_ORDER}).assign(previous_failed=lambda rows: rows["test_id"] == "test-0")
    evidence = Evidence(["noise"])
    evidence.add(told)
    score = learned_in_hindsight(told, evidence)
    assert (score if score is None else score.notna().sum()) == scored


def test_changed_files_that_were_known_only_later_are_not_read(tmp_path: Path) -> None:
    changes = pd.DataFrame(
        {"run_id": ["1", "2"], "change_source": ["exact_master_commit", "merged_patch_of_same_jira"]}
    )
    changes.to_parquet(tmp_path / "changed_files.parquet")
    assert read_tables(tmp_path)["changed_files"]["run_id"].tolist() == ["1"]


@pytest.mark.slow
def test_a_simulated_history_goes_through_to_the_page(found: dict[str, Any], tmp_path: Path) -> None:
    assert len(found["about"]["chosen"]) == 4
    assert found["about"]["chosen"][0].startswith("logistic_regression")
    assert found["about"]["fit_rows"][0] < found["about"]["fit_rows"][-1]  # later parts learn from more
    assert found["about"]["judged_runs"] == 120
    by = {(row["method"], row["measure"]): row for row in found["rows"]}
    assert by["random", "apfd_all"]["value"] == 0.5
    assert by["optimal", "apfd_new"]["value"] >= by["model", "apfd_new"]["value"] > 0.5
    assert by["model", "apfd_new"]["low"] <= by["model", "apfd_new"]["value"] <= by["model", "apfd_new"]["high"]
    rows.write(results_file("dune", tmp_path), found)
    text = page.render(tmp_path)
    assert "Absent, so not on this page: ozone, ozone_gha, druid, iofrol, zephyr." in text
    assert page.cell(by["model", "apfd_new"]) in text
    ahead = [row for row in found["rows"] if row["measure"].endswith("_lead") and row["value"] < 0]
    led = {row["measure"].removesuffix("_lead") for row in ahead if row["method"] in ("model", "model_by_cost")}
    assert {row["measure"] for row in found["behind"]} <= led
    assert all(f"runs (won {row['won']:.4f})" in text for row in found["behind"])
    page.draw(tmp_path, tmp_path / "plots", lambda name: None)
    assert (tmp_path / "plots" / "dune.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_each_part_is_ordered_by_what_was_learned_before_it() -> None:
    tables = simulated(300)
    with opened(tables) as engine:
        frame = build(engine, Queries.training(str(tables["runs"]["project"].iloc[0])), Context())
    starts = [part.start for part in judged_parts(tables["runs"])]
    parts = [Interval(*span) for span in pairwise([starts[0], starts[2], starts[3], None])]
    first, second = (learn(QUICK, frame, Interval(part.start, None)) for part in parts[:2])
    rows = frame.loc[frame["started_at"] >= parts[0].start]
    found = judged(QUICK, rows, parts, [first, second, Learned(None, {}, "too few failing runs")])
    expected = [training.predict(one.model.estimator, rows)["score"] for one in (first, second) if one.model]
    is_first = rows["started_at"] < parts[1].start
    pd.testing.assert_series_equal(found["model"], expected[0].where(is_first, expected[1]), check_names=False)
    pd.testing.assert_series_equal(found["model_learned_once"], expected[0], check_names=False)
    assert not expected[0].equals(expected[1])
    assert not {"model", "model_learned_once"} & set(judged(QUICK, rows, parts[:2], [Learned(None, {}), second]))


@pytest.mark.slow
def test_a_history_too_short_for_a_model_is_shown_with_the_reason(tmp_path: Path) -> None:
    found = measure(QUICK, "druid", simulated(40))
    assert found["about"]["chosen"] == []
    assert {row["method"] for row in found["rows"]} >= {"random", "optimal", "failure_count"}
    assert "model" not in {row["method"] for row in found["rows"]}
    rows.write(results_file("druid", tmp_path), found)
    text = page.render(tmp_path)
    assert found["about"]["refused"] in text
    assert "no model" in text


def test_results_are_written_one_row_to_a_line(tmp_path: Path) -> None:
    document = {"about": {"seed": 1}, "rows": [{"value": 0.5}, rows.figures(Measure(0.25, math.nan, 1.0))], "none": []}
    rows.write(tmp_path / "deep" / "x.json", document)
    text = (tmp_path / "deep" / "x.json").read_text()
    assert json.loads(text) == document
    assert '\n {"value": 0.25, "low": null, "high": 1.0}\n' in text


def test_the_page_says_what_the_kept_results_say() -> None:
    assert page.PAGE.read_text(encoding="utf-8") == page.render(), "run `python -m experiments --render-only`"
