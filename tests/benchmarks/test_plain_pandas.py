from pathlib import Path

import pandas as pd
import pytest

from benchmarks import feature_frame
from benchmarks.pairing import Unequal
from benchmarks.plain_pandas import features
from ml.schemas import FEATURES

pytestmark = pytest.mark.slow

# run, start, finish, then the outcome and seconds of the one test; r4 starts while r3 is still unknown
HISTORY = [
    ("r1", "2026-03-02 10:00", "2026-03-02 10:10", "failed", 2.0),
    ("r2", "2026-03-02 11:00", "2026-03-02 11:10", "passed", 4.0),
    ("r3", "2026-03-02 12:00", "2026-03-02 12:30", "failed", 6.0),
    ("r4", "2026-03-02 12:30", "2026-03-02 12:40", "passed", 1.0),
]


def built() -> pd.DataFrame:
    runs = pd.DataFrame([row[:3] for row in HISTORY], columns=["run_id", "started_at", "finished_at"])
    for name in ("started_at", "finished_at"):
        runs[name] = pd.to_datetime(runs[name], utc=True)
    runs = runs.assign(event="push", branch="main", change_id="c", change_title=["u", *[None] * 3], author_id="anna")
    results = pd.DataFrame([(row[0], *row[3:]) for row in HISTORY], columns=["run_id", "outcome", "duration_s"])
    for name, text in (("failure_kind", "timeout"), ("failure_fingerprint", "f")):
        results[name] = results["outcome"].map({"failed": text})
    files = pd.DataFrame({"run_id": ["r1", "r3"], "path": "t.py", "added": 1, "deleted": 0})
    # a second test, so that a failure of the first is no outage
    results = pd.concat([results.assign(test_id="t"), results.assign(test_id="u", outcome="passed")])
    found = features(runs, results.assign(variant="v"), files)
    return found[found["test_id"] == "t"].set_index("run_id")


def test_a_run_sees_what_was_known_strictly_before_its_start() -> None:
    found = built()
    assert found["executions_count"].to_dict() == {"r1": 0, "r2": 1, "r3": 2, "r4": 2}
    assert found["failures_count"].to_dict() == {"r1": 0, "r2": 1, "r3": 1, "r4": 1}


def test_the_state_after_a_failure_and_a_pass_is_the_one_computed_by_hand() -> None:
    row = built().loc["r3"]
    assert row["failure_rate_last_5"] == 0.5
    assert row["ewma_failure_rate"] == pytest.approx(0.2 * 0.8)
    assert row["flip_rate_last_20"] == 1.0
    assert (row["is_failing"], row["failures_in_a_row_count"], row["executions_since_failure_count"]) == (0, 0, 1)
    assert (row["since_failure_s"], row["since_execution_s"], row["age_s"]) == (6_600, 3_000, 6_600)
    assert (row["mean_duration_s"], row["last_duration_s"], row["duration_deviation_s"]) == (3, 4, 1)
    assert (row["executions_7d"], row["failures_7d"]) == (2, 1)
    assert (row["repeated_failure_rate"], row["environment_failure_rate"], row["last_failure_alike_count"]) == (0, 1, 0)


def test_what_failed_with_a_changed_file_counts_for_the_next_change_of_it() -> None:
    rows = built()
    assert (rows["has_change"].tolist(), rows["has_own_file"].isna().tolist()) == ([1, 0, 1, 0], [False, True] * 2)
    assert rows["cofailure_file_rate"]["r3"] == pytest.approx(1 / 3)
    assert rows["since_cofailure_file_s"]["r3"] == 6_600
    assert (rows["author_runs_count"]["r4"], rows["change_failures_count"]["r4"]) == (2, 1)
    assert rows["author_cofailure_rate"]["r4"] == 1 / 4


@pytest.mark.parametrize("feature", FEATURES)
def test_one_differing_value_of_any_feature_ends_the_benchmark(
    feature: str, two_frames: tuple[feature_frame.Pairing, pd.DataFrame, pd.DataFrame]
) -> None:
    pairing, ours, peer = two_frames
    changed = peer.copy()
    at = changed[feature].last_valid_index()
    changed.loc[at, feature] += max(1e-6, abs(changed.loc[at, feature]) * 1e-6)
    with pytest.raises(Unequal, match=f"{feature}: 1 rows"):
        pairing.check(ours, changed)


@pytest.fixture(scope="module")
def two_frames(tmp_path_factory: pytest.TempPathFactory) -> tuple[feature_frame.Pairing, pd.DataFrame, pd.DataFrame]:
    folder: Path = tmp_path_factory.mktemp("lake")
    pairing = next(feature_frame.pairings(True, folder))
    return pairing, pairing.ours.ready()(), pairing.peer.ready()()
