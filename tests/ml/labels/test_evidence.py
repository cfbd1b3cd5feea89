"""What is known about a failure: typed cases, and nothing from after the moment."""

import numpy as np
import pandas as pd
import pandas.testing as pdt
import pytest

from tests.label_builders import at, evidence_of, labels_of, line, random_labels_history, result, run

pytestmark = pytest.mark.slow


def only(frames: dict[str, pd.DataFrame], run_id: str) -> pd.Series:
    found = evidence_of(frames)
    (row,) = found[found["run_id"] == run_id].to_dict("records")
    return pd.Series(row)


def test_neighbours_in_time_and_the_streak_are_counted_among_executed_results() -> None:
    row = only(line("ppffsfp"), "r3")
    assert (row["previous_on_line"], row["next_on_line"], row["line_streak"]) == (1, 1, 3)
    assert (row["previous_anywhere"], row["next_anywhere"]) == (1, 1)
    assert row["executions_before"] == 3
    assert row["failure_rate_before"] == pytest.approx(1 / 3)
    assert row["fails_nearby"] == pytest.approx(3 / 6)


def test_the_first_and_the_last_run_have_no_neighbour() -> None:
    first, last = only(line("fp"), "r0"), only(line("pf"), "r1")
    assert np.isnan(first["previous_on_line"])
    assert np.isnan(first["failure_rate_before"])
    assert np.isnan(last["next_on_line"])


def test_passes_and_failures_of_one_commit_are_counted_over_its_runs() -> None:
    row = only(line("pfpp", commits="xaab"), "r1")
    assert (row["same_code_passes"], row["same_code_fails"]) == (1, 1)
    alone = only(line("pfpp", commits="xabb"), "r1")
    assert (alone["same_code_passes"], alone["same_code_fails"]) == (0, 1)


def test_without_a_commit_the_attempts_of_a_run_are_its_code() -> None:
    frames = line("pfp")
    again = run("r1", 16, 18, branch="main", event="push", attempt=2)
    frames["runs"] = pd.concat([frames["runs"], pd.DataFrame([{**again, "commit_sha": None}])], ignore_index=True)
    rerun = pd.DataFrame([result("r1", "pkg.TestA", "passed", attempt=2)])
    frames["test_results"] = pd.concat([frames["test_results"], rerun], ignore_index=True)
    row = only(frames, "r1")
    assert (row["same_code_passes"], row["same_code_fails"]) == (1, 1)
    before = evidence_of(frames, at(15))
    assert before["same_code_passes"].tolist() == [0]


def test_an_in_process_rerun_without_an_attempt_of_its_own_is_known_with_its_run() -> None:
    frames = line("pfp")
    rerun = pd.DataFrame([result("r1", "pkg.TestA", "passed", attempt=2)])
    frames["test_results"] = pd.concat([frames["test_results"], rerun], ignore_index=True)
    assert only(frames, "r1")["same_code_passes"] == 1


def test_other_failures_with_visible_reason_are_not_lone() -> None:
    lone = only(line("pfppfp"), "r1")
    assert lone["lone_failures_elsewhere"] == 1
    named = only(line("pfppfp", files={4: ["src/TestA.py"]}), "r1")
    assert named["lone_failures_elsewhere"] == 0


def test_a_crowd_is_the_share_of_the_worst_attempt() -> None:
    frames = line("pf")
    results = frames["test_results"]
    down = results["run_id"].eq("r1") & results["test_id"].str.endswith(tuple("012345"))
    frames["test_results"] = results.assign(outcome=results["outcome"].mask(down, "error"))
    row = evidence_of(frames).set_index("test_id").loc["pkg.TestA"]
    assert row["share_of_run"] == pytest.approx(9 / 13)
    assert (row["results_of_run"], row["new_failures_of_run"], row["containers_of_run"]) == (13, 9, 9)


def test_a_change_names_a_test_when_the_test_has_the_name_of_its_file() -> None:
    frames = line("pfp", test="pkg.TestParser", files={1: ["src/Parser.java"]})
    assert only(frames, "r1")["is_related"] == 1
    far = only(line("pfp", test="pkg.TestParser", files={1: ["src/Lexer.java"]}), "r1")
    assert (far["is_related"], far["has_files"]) == (0, 1)
    unknown = only(line("pfp"), "r1")
    assert np.isnan(unknown["is_related"])
    assert unknown["has_files"] == 0


def test_a_pass_after_the_first_culprit_was_touched_again_is_a_repair_for_the_whole_streak() -> None:
    files = {1: ["core/a.c"], 2: ["docs/b.md"], 3: ["core/a.c"]}
    row = only(line("pffp", files=files), "r2")
    assert (row["line_passes_touched"], row["line_passes_unrelated"]) == (1, 0)
    other = only(line("pffp", files={**files, 3: ["docs/c.md"]}), "r2")
    assert (other["line_passes_touched"], other["line_passes_unrelated"]) == (0, 1)


def test_a_change_that_passes_with_the_same_lines_was_not_touched() -> None:
    frames = line("pfp", files={1: ["a.c"], 2: ["a.c"]})
    about = {"event": "pull_request", "branch": "topic", "change_id": "7"}
    frames["runs"] = frames["runs"].assign(**{name: [None, text, text] for name, text in about.items()})
    frames["changed_files"] = frames["changed_files"].assign(added=1)
    assert only(frames, "r1")["change_passes_untouched"] == 1
    more = {**frames, "changed_files": frames["changed_files"].assign(added=[1, 2])}
    assert only(more, "r1")["change_passes_untouched"] == 0


def test_a_pass_of_the_same_change_again_is_no_repair() -> None:
    frames = line("pffp", files={1: ["core/a.c"], 3: ["core/a.c"]})
    assert only(frames, "r1")["line_passes_touched"] == 1
    same = {**frames, "changed_files": frames["changed_files"].assign(added=1)}
    row = only(same, "r1")
    assert (row["line_passes_touched"], row["line_passes_unrelated"]) == (0, 1)


def test_other_variants_of_the_run_are_compared() -> None:
    frames = line("pf")
    others = pd.DataFrame([result("r1", "pkg.TestA", outcome, variant=outcome) for outcome in ("passed", "error")])
    frames["test_results"] = pd.concat([frames["test_results"], others], ignore_index=True)
    rows = evidence_of(frames).set_index("variant")["other_variants_failed"]
    assert rows.to_dict() == {"v": 0.5, "error": 0.5}


@pytest.mark.parametrize("seed", [1, 2])
def test_what_becomes_known_later_changes_no_earlier_label(seed: int) -> None:
    frames = random_labels_history(seed)
    runs = frames["runs"]
    known = runs["finished_at"].fillna(runs["started_at"])
    for moment in sorted(known)[20::25]:
        past_runs = runs[known <= moment]
        attempts = set(zip(past_runs["run_id"], past_runs["attempt"], strict=True))
        results, files = frames["test_results"], frames["changed_files"]
        is_past = [pair in attempts for pair in zip(results["run_id"], results["attempt"], strict=True)]
        past = {
            "runs": past_runs,
            "test_results": results[is_past],
            "changed_files": files[files["run_id"].isin(set(past_runs["run_id"]))],
        }
        then = moment.to_pydatetime()
        pdt.assert_frame_equal(labels_of(frames, then), labels_of(past, then), check_exact=True)


def test_the_order_of_rows_changes_nothing() -> None:
    frames = random_labels_history(seed=3)
    shuffled = {name: frame.sample(frac=1, random_state=1) for name, frame in frames.items()}
    pdt.assert_frame_equal(evidence_of(frames), evidence_of(shuffled), check_exact=True)


def test_there_is_one_row_per_merged_failure() -> None:
    frames = random_labels_history(seed=4)
    results = frames["test_results"]
    failed = results[results["outcome"].isin(["failed", "error"])].drop_duplicates(["run_id", "variant", "test_id"])
    found = evidence_of(frames)
    assert not found.duplicated(["run_id", "variant", "test_id"]).any()
    assert len(found) == len(failed)
