"""How runs ended before: held against a plain definition, an added future, and histories typed by hand."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pandas as pd
import pandas.testing as pdt
import pytest

from ml import schemas
from ml.engine import open_engine
from ml.features import NEXT_RUN, Context, Queries, build_runs, run_outcomes
from ml.schemas import BuildRiskFrame, feature_descriptions
from ml.spec import TRUNKS
from tests.feature_builders import History, at, history, random_history, register, result, run
from tests.lineage_definitions import lines_of_files

pytestmark = pytest.mark.slow

FEATURES = list(feature_descriptions(BuildRiskFrame))
AUTHOR = [name for name in FEATURES if name.startswith(("author_", "own_", "file_authors"))]


def frame_of(frames: History, queries: Queries | None = None, context: Context | None = None) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        return build_runs(engine, queries or Queries.training("p"), context or Context())


def outcome(frames: History, run_id: str) -> float | None:
    """1 failed for a reason of its own, 0 passed, None nothing to be said; by the words of the definition."""
    results = frames["test_results"]
    mine = results[(results["run_id"] == run_id) & (results["outcome"] != "skipped")]
    tests = mine.assign(bad=mine["outcome"].isin(["failed", "error"])).groupby(["variant", "test_id"])["bad"]
    worst, best = tests.max(), tests.min()
    if len(worst) and worst.mean() > 0.5:
        return None
    if best.any():
        return 1.0
    if worst.any():
        return 0.0
    runs = frames["runs"]
    status = runs[runs["run_id"] == run_id].sort_values("attempt")["status"].iloc[-1]
    if status in ("failed", "failure", "error"):
        return 1.0
    return 0.0 if status in ("passed", "success") or len(worst) else None


class Past:
    """Runs with an outcome, as plain Python, in the order of becoming known."""

    def __init__(self, frames: History) -> None:
        rows = []
        for run_id, attempts in frames["runs"].groupby("run_id"):
            known = attempts["finished_at"].fillna(attempts["started_at"]).max()
            first = attempts.iloc[0].to_dict()
            rows.append({**first, "started_at": attempts["started_at"].min(), "known": known, "run_id": run_id})
        self.rows = sorted(rows, key=lambda row: (row["known"], row["started_at"], row["run_id"]))
        self.failed = {row["run_id"]: outcome(frames, row["run_id"]) for row in rows}
        self.files = frames["changed_files"].groupby("run_id")["path"].apply(set).to_dict()
        lines = frames["changed_files"].set_index(["run_id", "path"])[["added", "deleted"]].T.to_dict("list")
        known = {row["run_id"]: row["known"] for row in self.rows}
        by_run = {r: {path: tuple(count) for (run_id, path), count in lines.items() if run_id == r} for r in known}
        self.lines = lines_of_files([(moment, by_run[r]) for r, moment in known.items()])
        self.touched = {r: {self.lines.of_fact(path, known[r]) for path in self.files.get(r, ())} for r in known}

    def before(self, run_id: str) -> list[dict[str, Any]]:
        start = next(row["started_at"] for row in self.rows if row["run_id"] == run_id)
        return [row for row in self.rows if row["known"] < start]

    def outcomes(self, run_id: str, same: Callable[[dict[str, Any]], Any] = lambda row: 0) -> list[float]:
        own = same(next(row for row in self.rows if row["run_id"] == run_id))
        found = [self.failed[row["run_id"]] for row in self.before(run_id) if own is not None and same(row) == own]
        return [one for one in found if one is not None]


def change_of(row: dict[str, Any]) -> Any:
    if isinstance(row["change_id"], str):
        return row["change_id"]
    return row["branch"] if isinstance(row["branch"], str) and row["branch"].lower() not in TRUNKS else None


SAME: dict[str, Callable[[dict[str, Any]], Any]] = {
    "": lambda row: 0,
    "branch_": lambda row: row["branch"],
    "change_": change_of,
    "author_": lambda row: row["author_id"],
}


def streak(outcomes: list[float]) -> int:
    count = 0
    for one in reversed(outcomes):
        if not one:
            break
        count += 1
    return count


def weighted(outcomes: list[float], keep: float, back: int) -> float:
    newest = outcomes[::-1][:back]
    return sum(keep**i * one for i, one in enumerate(newest)) / sum(keep**i for i in range(len(newest)))


@pytest.mark.parametrize("seed", [1, 2])
def test_every_feature_of_outcomes_equals_its_plain_definition(seed: int) -> None:
    frames = random_history(seed)
    past = Past(frames)
    for row in frame_of(frames).to_dict("records"):
        assert row["failed"] == (past.failed[row["run_id"]] == 1)
        for level, same in SAME.items():
            before = past.outcomes(row["run_id"], same)
            expected = {f"{level}ewma_failed_rate": weighted(before, 0.8, 30)} if before else {}
            expected |= (
                {f"{level}is_last_failed": before[-1], f"{level}failed_in_a_row_count": streak(before)}
                if before
                else {}
            )
            for name, value in expected.items():
                assert row[name] == pytest.approx(value), (row["run_id"], name)
            if not before:
                assert math.isnan(row[f"{level}ewma_failed_rate"])
        every = past.outcomes(row["run_id"])
        assert row["runs_count"] == len(every)
        if every:
            assert row["failed_rate_last_10"] == pytest.approx(sum(every[-10:]) / len(every[-10:]))
            assert row["fast_ewma_failed_rate"] == pytest.approx(weighted(every, 0.5, 10))


def test_every_feature_of_touched_files_equals_its_plain_definition() -> None:
    frames = random_history(seed=3)
    past = Past(frames)
    checked = 0
    for row in frame_of(frames).to_dict("records"):
        files = past.files.get(row["run_id"])
        if not files:
            assert math.isnan(row["file_failed_rate"])
            continue
        before = past.before(row["run_id"])
        rates = []
        for path in files:
            line = past.lines.before(path, row["started_at"])
            told = [past.failed[r["run_id"]] for r in before if line in past.touched[r["run_id"]]]
            known = [one for one in told if one is not None]
            rates.append(sum(known) / (len(known) + 2))
        lines = [past.lines.before(path, row["started_at"]) for path in files]
        touches = [r for r in before for line in lines if line in past.touched[r["run_id"]]]
        new = [line for line in lines if not any(line in past.touched[r["run_id"]] for r in before)]
        assert row["file_failed_rate"] == pytest.approx(max(rates))
        assert row["new_files_rate"] == pytest.approx(len(new) / len(files))
        author = next(r["author_id"] for r in past.rows if r["run_id"] == row["run_id"])
        if isinstance(author, str) and touches:
            own = [r for r in touches if r["author_id"] == author]
            assert row["own_touches_rate"] == pytest.approx(len(own) / len(touches))
            checked += 1
        else:
            assert math.isnan(row["own_touches_rate"])
    assert checked > 5


def test_later_overlapping_and_simultaneous_runs_change_no_earlier_feature() -> None:
    frames = random_history(seed=4)
    last = frames["runs"]["started_at"].max()
    minutes = (last - at(0)) / timedelta(minutes=1)
    about = {"branch": "topic", "change_id": "7", "author_id": "ann", "status": "failed"}
    runs = [run("late", minutes + 99, None, **about), run("twin", minutes, None, **about)]
    runs.append(run("overlap", minutes - 30, minutes, **about))
    files = [(one["run_id"], path, 5, 5) for one in runs for path in frames["changed_files"]["path"].unique()]
    more = history(runs, [], files)
    both = {name: pd.concat([frames[name].astype(object), more[name].astype(object)]) for name in frames}
    after = frame_of(both)
    kept = after[~after["run_id"].isin(["late", "twin", "overlap"])].reset_index(drop=True)
    pdt.assert_frame_equal(frame_of(frames), kept, check_exact=True)


def test_a_prediction_as_of_a_start_equals_the_training_row() -> None:
    frames = random_history(seed=5)
    asked = frames["runs"][frames["runs"]["attempt"] == 1].iloc[20::7][["run_id", "started_at"]]
    predicted = frame_of(frames, Queries.prediction("p", asked, asked["started_at"].max()))
    both = frame_of(frames)[["run_id", *FEATURES]].merge(predicted, on="run_id", suffixes=("", "_predicted"))
    assert len(both) > 3
    for name in FEATURES:
        pdt.assert_series_equal(both[name], both[f"{name}_predicted"], check_names=False, check_exact=True)
    assert predicted["failed"].isna().all()
    assert NEXT_RUN in set(predicted["run_id"])


@pytest.mark.parametrize(
    ("status", "attempts", "expected"),
    [
        ("failed", [], [True]),  # it did not compile
        ("passed", [], [False]),
        ("cancelled", [], []),
        (None, [], []),
        ("passed", ["fp", "pp"], [False]),  # flaky: passed when it was run again
        ("failed", ["ff", "pp"], [True]),
        ("failed", ["f"], []),  # every result failed: an outage
        ("failed", ["p", "p"], [True]),  # something else than a test failed
        (None, ["f", "p"], [True]),
    ],
)
def test_a_run_fails_for_a_reason_of_its_own(status: str | None, attempts: list[str], expected: list[bool]) -> None:
    word = {"p": "passed", "f": "failed"}
    count = max([1, *map(len, attempts)])
    runs = [run("r", 0, 5, attempt=number + 1, status=status) for number in range(count)]
    results = [
        result("r", f"t{test}", word[mark], attempt=number + 1)
        for test, marks in enumerate(attempts)
        for number, mark in enumerate(marks)
    ]
    # one in two failed is no outage; a lone failure is
    assert frame_of(history(runs, results))["failed"].tolist() == expected


def test_authors_are_not_looked_at_when_the_setting_says_so() -> None:
    frames = random_history(seed=6)
    frame = frame_of(frames, context=Context(author_features=False))
    assert frame[AUTHOR].isna().all(axis=None)
    assert frame_of(frames)[AUTHOR].notna().any().all()
    asked = frames["runs"].tail(3)[["run_id", "started_at", "author_id"]]
    queries = Queries.prediction("p", asked.drop_duplicates("run_id"), asked["started_at"].max())
    assert frame_of(frames, queries, Context(author_features=False))[AUTHOR].isna().all(axis=None)


def test_the_frame_keeps_its_contract_and_an_empty_history_does() -> None:
    frame = frame_of(random_history(seed=7))
    schemas.BuildRiskFrame.validate(frame, lazy=True)
    assert frame.equals(frame.sort_values(["started_at", "run_id"], ignore_index=True))
    empty = frame_of(history([], []))
    assert len(empty) == 0
    schemas.BuildRiskFrame.validate(empty, lazy=True)


def test_outcomes_are_those_that_training_would_see() -> None:
    frames = random_history(seed=8)
    trained = frame_of(frames)
    asked = trained["run_id"].iloc[::3]
    with open_engine("duckdb", threads=1) as engine:
        register(engine, frames)
        engine.register_frame("published", _ids(asked))
        found = run_outcomes(engine, Queries.training("p"), Context())
    expected = trained.loc[trained["run_id"].isin(asked), ["run_id", "variant", "test_id", "failed"]]
    pdt.assert_frame_equal(
        found.sort_values("run_id", ignore_index=True)[list(expected)],
        expected.astype({"failed": bool}).sort_values("run_id", ignore_index=True),
    )


def _ids(run_ids: pd.Series) -> Any:
    import pyarrow as pa

    return pa.table({"run_id": pa.array(run_ids.tolist(), pa.string())})
