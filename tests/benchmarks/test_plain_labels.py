import pandas as pd
import pytest

from benchmarks.plain_pandas.failures import EVIDENCE, failures

# r2 and r3 have one commit; b is another test of the container of a, and fails with it on windows only
RUNS = [("r1", 1, "c1"), ("r2", 2, "c2"), ("r3", 3, "c2"), ("r4", 4, None)]
FAILED = {("r2", "linux", "s.a"), ("r4", "linux", "s.a"), ("r4", "windows", "s.a"), ("r4", "windows", "s.b")}


def found() -> pd.DataFrame:
    runs = pd.DataFrame(RUNS, columns=["run_id", "hour", "commit_sha"])
    runs = runs.assign(started_at=pd.Timestamp("2026-03-02", tz="UTC") + pd.to_timedelta(runs["hour"], unit="h"))
    runs = runs.assign(event="push", branch="main", change_id=None)
    keys = [(run, variant, test) for run, _, _ in RUNS for variant in ("linux", "windows") for test in ("s.a", "s.b")]
    results = pd.DataFrame(keys, columns=["run_id", "variant", "test_id"]).assign(attempt=1)
    outcomes = ["failed" if key in FAILED else "passed" for key in keys]
    return failures(runs, results.assign(outcome=outcomes)).set_index(["run_id", "variant", "test_id"])


@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (("r2", "linux", "s.a"), {"same_code_passes": 1, "same_code_fails": 1, "fails_nearby": 0.5}),
        (("r2", "linux", "s.a"), {"previous_on_line": 0, "next_anywhere": 0, "other_variants_failed": 0}),
        (("r4", "linux", "s.a"), {"same_code_passes": 0, "same_code_fails": 1, "other_variants_failed": 1}),
        (("r4", "linux", "s.a"), {"executions_before": 3, "failure_rate_before": 1 / 3, "executions": 4}),
        (("r4", "windows", "s.a"), {"share_of_run": 1, "results_of_run": 2, "fails_in_container": 1}),
        (("r4", "windows", "s.b"), {"new_failures_of_run": 2, "containers_of_run": 1, "line_streak": 1}),
    ],
)
def test_evidence_is_what_was_counted_by_hand(failure: tuple[str, str, str], expected: dict[str, float]) -> None:
    row = found().loc[failure]
    assert {name: row[name] for name in expected} == pytest.approx(expected)


def test_every_failure_is_there_once_in_order_with_all_evidence() -> None:
    rows = found()
    assert list(rows.index) == sorted(FAILED)
    assert list(rows.columns) == EVIDENCE
    assert pd.isna(rows.loc[("r4", "linux", "s.a"), "next_anywhere"])
