"""Features of failures: held against plain definitions, an added future, and histories typed by hand."""

import math
from datetime import timedelta

import pandas as pd
import pandas.testing as pdt
import pytest

from ml import schemas
from ml.engine import open_engine
from ml.features import Context, Queries, build_failures
from ml.schemas import FlakyTestsFrame, feature_descriptions
from ml.spec import MERGED_RESULT, Interval
from tests.feature_builders import at, history, result, run
from tests.label_builders import History, line, random_labels_history, register
from tests.lineage_definitions import lines_of_tests
from tests.text_definitions import own_text, texts_of

pytestmark = pytest.mark.slow

FEATURES = list(feature_descriptions(FlakyTestsFrame))
BAD = ("failed", "error")
TEXT_FEATURES = (
    "same_failures_count",
    "same_failure_recovery_rate",
    "alike_failures_count",
    "is_environment_failure",
)


def frame_of(frames: History, queries: Queries | None = None) -> pd.DataFrame:
    with open_engine("duckdb", threads=2) as engine:
        register(engine, frames)
        return build_failures(engine, queries or Queries.training("p"), Context())


def row_of(frames: History, run_id: str, test_id: str = "pkg.TestA") -> dict[str, float]:
    found = frame_of(frames).set_index(["run_id", "test_id"]).loc[(run_id, test_id), FEATURES]
    return {str(name): float(value) for name, value in found.items()}


class Past:
    """Runs and executions as plain Python."""

    def __init__(self, frames: History) -> None:
        runs = frames["runs"].assign(known=frames["runs"]["finished_at"].fillna(frames["runs"]["started_at"]))
        groups = runs.groupby("run_id")
        self.known = groups["known"].max().to_dict()
        self.order = sorted(self.known, key=lambda r: (self.known[r], groups["started_at"].min()[r], r))
        self.commit = groups["commit_sha"].first().to_dict()
        results = frames["test_results"]
        self.texts = texts_of(frames)
        self.outcomes: dict[tuple[str, str, str], list[str]] = {}
        for row in results[results["outcome"] != "skipped"].to_dict("records"):
            key = (row["run_id"], row["variant"], row["test_id"])
            self.outcomes.setdefault(key, []).append(row["outcome"])
        executed: dict[str, set[tuple[str, str]]] = {r: set() for r in self.order}
        for run_id, *key in self.outcomes:
            executed[run_id].add(tuple(key))
        self.lines = lines_of_tests([(r, self.known[r], executed[r]) for r in self.order if executed[r]])

    def failed(self, key: tuple[str, str, str]) -> bool:
        return any(outcome in BAD for outcome in self.outcomes[key])

    def known_flaky(self, key: tuple[str, str, str], moment: object) -> bool:
        """Whether both outcomes of one code were known before a moment."""
        run_id, variant, test_id = key
        same = [run_id]
        if isinstance(self.commit[run_id], str):
            same = [r for r in self.known if self.commit[r] == self.commit[run_id]]
        known = [r for r in same if self.known[r] < moment]
        return run_id in known and any("passed" in self.outcomes.get((r, variant, test_id), []) for r in known)

    def executions(self, variant: str, test_id: str, moment: object) -> list[tuple[str, str, str]]:
        """Executions of a test, under any name, that are known before a moment, in the order of becoming known."""
        line = self.lines.before((variant, test_id), moment)
        position = {run_id: at for at, run_id in enumerate(self.order)}
        known = [key for key in self.outcomes if self.known[key[0]] < moment]
        own = [key for key in known if self.lines.of_fact(key[1:], self.known[key[0]]) == line]
        return sorted(own, key=lambda key: (position[key[0]], key))


@pytest.mark.parametrize("seed", [1, 2])
def test_flaky_and_lone_failures_and_the_company_equal_their_plain_definitions(seed: int) -> None:
    frames = random_labels_history(seed)
    past = Past(frames)
    found = frame_of(frames)
    assert found["flaky_failures_count"].max() > 2
    assert found["lone_failures_count"].max() > 2
    assert all(found[name].nunique() > 1 for name in TEXT_FEATURES)
    assert sorted(found[MERGED_RESULT].itertuples(index=False, name=None)) == sorted(
        key for key in past.outcomes if past.failed(key)
    )
    for row in found.to_dict("records"):
        moment = past.known[row["run_id"]]
        before = past.executions(row["variant"], row["test_id"], moment)
        outcomes = [past.failed(key) for key in before]
        flaky = sum(past.failed(key) and past.known_flaky(key, moment) for key in before)
        lone = sum(outcomes[i - 1 : i + 2] == [False, True, False] for i in range(1, len(outcomes)))
        own = {key: past.failed(key) for key in past.outcomes if key[0] == row["run_id"]}
        company = [(key[0], key[1:], failed) for key, failed in zip(before, outcomes, strict=True)]
        texts = own_text(past.texts, row["run_id"], (row["variant"], row["test_id"]), company)
        variants = [failed for key, failed in own.items() if key[2] == row["test_id"]]
        expected = {
            "failures_count": sum(outcomes),
            "flaky_failures_count": flaky,
            "flaky_failure_rate": flaky / sum(outcomes) if any(outcomes) else math.nan,
            "lone_failures_count": lone,
            "run_failure_rate": sum(own.values()) / len(own),
            "run_failures_count": sum(own.values()),
            "failed_variants_count": sum(variants),
            "passed_variants_count": len(variants) - sum(variants),
            **{name: texts.get(name, math.nan) for name in TEXT_FEATURES},
        }
        for name, value in expected.items():
            assert row[name] == pytest.approx(value, nan_ok=True), (row["run_id"], row["test_id"], name)


def test_an_earlier_failure_counts_as_flaky_from_the_pass_on_its_commit_on() -> None:
    # r1 fails on commit b; r3 passes on it; asked are the failures of r2 and r4
    frames = line("pfffpf", commits="abcbdd")
    frames["test_results"].loc[frames["test_results"].query("run_id == 'r3'").index, "outcome"] = "passed"
    assert row_of(frames, "r2")["flaky_failures_count"] == 0
    assert row_of(frames, "r5")["flaky_failures_count"] == 1
    assert row_of(frames, "r5")["flaky_failure_rate"] == 1 / 2


def test_whether_the_failure_itself_passed_again_is_no_feature() -> None:
    frames = line("ppppfpp", commits="abcdefg")
    again = history(
        [run("r4", 40, 45, attempt=2, branch="main", event="push")], [result("r4", "pkg.TestA", "passed", attempt=2)]
    )
    again["runs"]["commit_sha"] = "e"
    both = {name: pd.concat([frames[name].astype(object), again[name].astype(object)]) for name in again}
    assert row_of(frames, "r4") == pytest.approx(row_of(both, "r4"), nan_ok=True)


def test_the_company_of_a_failure_is_counted_in_its_run() -> None:
    runs = [run("a", 0, 5), run("b", 10, 15)]
    results = [result("a", test, "passed") for test in ("core.A", "core.B", "net.C", "net.D")]
    results += [result("b", "core.A", "failed", duration_s=3.0), result("b", "core.B", "failed")]
    results += [result("b", "net.C", "error"), result("b", "net.D", "passed")]
    results += [result("b", "core.A", "passed", variant="mac"), result("b", "core.A", "skipped", variant="arm")]
    frames = history(runs, results)
    frames["runs"]["commit_sha"] = None
    found = row_of(frames, "b", "core.A")
    assert found["run_failure_rate"] == 3 / 5
    assert (found["run_failures_count"], found["run_new_failures_count"], found["run_packages_count"]) == (3, 3, 2)
    assert (found["package_failures_count"], found["failed_variants_count"], found["passed_variants_count"]) == (
        2,
        1,
        1,
    )
    assert found["duration_ratio"] == 3
    assert found["executions_count"] == 1


def test_a_change_of_documents_alone_is_told_from_others_and_from_unknown_ones() -> None:
    frames = line("ffff", files={0: ["docs/a.md"], 1: ["docs/a.md", "src/TestA.py"], 2: ["src/B.py"]})
    found = frame_of(frames).set_index("run_id")
    assert found.loc[["r0", "r1", "r2"], "is_docs_only"].tolist() == [1, 0, 0]
    assert found.loc[["r0", "r1", "r2"], "has_own_file"].tolist() == [0, 1, 0]
    assert math.isnan(found.loc["r3", "is_docs_only"])


def test_later_overlapping_and_simultaneous_runs_change_no_earlier_feature() -> None:
    frames = random_labels_history(seed=4)
    known = frames["runs"]["finished_at"].fillna(frames["runs"]["started_at"]).max()
    minutes = (known - at(0)) / timedelta(minutes=1)
    about = {"branch": "main", "change_id": "7", "author_id": "ann", "event": "push"}
    runs = [run("late", minutes + 99, None, **about), run("twin", minutes - 9, minutes, **about)]
    runs.append(run("overlap", minutes - 9999, minutes + 1, **about))
    tests = frames["test_results"][["variant", "test_id"]].drop_duplicates().to_dict("records")
    told = {"failure_kind": "timeout", "failure_fingerprint": "f0"}
    results = [
        result(one["run_id"], test["test_id"], outcome, variant=test["variant"], **told)
        for one, outcome in zip(runs, ("failed", "failed", "passed"), strict=True)
        for test in tests
    ]
    files = [(one["run_id"], path, 5, 5) for one in runs for path in frames["changed_files"]["path"].unique()]
    more = history(runs, results, files)
    more["runs"]["commit_sha"] = "c1"
    both = {name: pd.concat([frames[name].astype(object), more[name].astype(object)]) for name in more}
    found = frame_of(both)
    earlier = found[~found["run_id"].isin(["late", "twin", "overlap"])].reset_index(drop=True)
    pdt.assert_frame_equal(frame_of(frames), earlier, check_exact=True)


def test_a_prediction_equals_the_training_row_and_knows_nothing_after_as_of() -> None:
    frames = random_labels_history(seed=5)
    trained = frame_of(frames)
    middle = trained["started_at"].iloc[len(trained) // 2].to_pydatetime()
    asked = frames["runs"].drop_duplicates("run_id")[["run_id", "started_at"]]
    predicted = frame_of(frames, Queries.prediction("p", asked, middle))
    pdt.assert_frame_equal(predicted, trained[trained["started_at"] <= middle], check_exact=True)
    assert 10 < len(predicted) < len(trained)
    for run_id in trained["run_id"].unique()[-3:]:
        alone = frame_of(frames, Queries.prediction("p", asked[asked["run_id"] == run_id], at(10_000_000)))
        expected = trained[trained["run_id"] == run_id].reset_index(drop=True)
        pdt.assert_frame_equal(alone, expected, check_exact=True)


def test_an_interval_limits_the_rows_and_not_the_history() -> None:
    frames = random_labels_history(seed=6)
    every = frame_of(frames)
    starts = frames["runs"].groupby("run_id")["started_at"].min()
    middle = starts.sort_values().iloc[30].to_pydatetime()
    part = frame_of(frames, Queries.training("p", Interval(start=middle)))
    expected = every[every["run_id"].map(starts) >= middle].reset_index(drop=True)
    pdt.assert_frame_equal(part, expected, check_exact=True)


def test_the_frame_keeps_its_contract_and_order_and_so_does_an_empty_one() -> None:
    frame = frame_of(random_labels_history(seed=7))
    FlakyTestsFrame.validate(frame, lazy=True)
    assert frame.equals(frame.sort_values(["started_at", *MERGED_RESULT], ignore_index=True))
    assert frame["failed"].isna().all()
    assert frame["known_at"].isna().all()
    passing = line("ppp")
    empty = {**history([], []), "runs": passing["runs"].iloc[:0]}
    for frames in (passing, empty):
        assert len(frame_of(frames)) == 0
        schemas.FlakyTestsFrame.validate(frame_of(frames), lazy=True)
