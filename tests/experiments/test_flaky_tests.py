"""The experiment labels what it learns from as of the border, and judges later failures by the labels of the end."""

from datetime import timedelta

import pandas as pd
import pytest

from benchmarks.label_truth import Known
from experiments.flaky_tests import Part, cases, judged_by_truth, main, measure, rows_of, simulated, together
from tests.label_builders import at, line

pytestmark = pytest.mark.slow


def test_what_settles_after_the_border_is_neither_learned_nor_told_twice() -> None:
    # twenty runs: the border is r12, known at minute 125; r9 fails and settles after it, r3 before it, r13 is judged
    frames = line("pppfpppppfpppfpppppp", commits="abcdefghijklmnopqrst")
    tables = {name: frame.assign(project="p") for name, frame in frames.items()}
    rows, border = rows_of(tables)
    assert border == at(125)
    assert rows["run_id"].tolist() == ["r3", "r13"]
    assert rows["known_at"].tolist() == [at(85), at(185)]
    assert rows["failed"].tolist() == [True, True]


def part(name: str, starts: list[int], border: int) -> Part:
    rows = pd.DataFrame(
        {"run_id": [f"r{minute}" for minute in starts], "started_at": [at(minute) for minute in starts]}
    )
    rows["known_at"] = rows["started_at"] + timedelta(minutes=5)
    return Part(name, rows.assign(project=name, variant="", test_id="t", failed=True), at(border))


def test_another_project_teaches_with_its_first_part_and_the_judged_one_with_nothing() -> None:
    rows, split = together([part("old", [0, 10, 20, 30, 40, 50], border=35), part("new", [5_000, 5_010, 5_020], 5_018)])
    assert set(rows["run_id"]) == {"old r0", "old r10", "old r20", "new r5000", "new r5010"}
    assert rows["started_at"].is_monotonic_increasing
    assert (rows["started_at"] < split.test.start).all()


def test_both_ends_of_projects_meet_so_that_every_period_has_rows_of_each() -> None:
    short, long = part("short", list(range(0, 100, 10)), 1_000), part("long", list(range(0, 100_000, 1_000)), 200_000)
    rows, split = together([short, long])
    for period in (split.fit, split.calibrate, split.validate):
        inside = [period.contains(moment) for moment in rows["started_at"]]
        assert set(rows.loc[inside, "project"]) == {"short", "long"}


def test_every_set_is_judged_by_time_and_by_each_other_and_by_all_others() -> None:
    parts = [part(name, [0, 10], 5) for name in "abc"]
    found = [(learned_on, judged.name) for learned_on, _, judged in cases(parts)]
    assert found[:3] == [("its own first 60 %", name) for name in "abc"]
    assert found[3:6] == [("b", "a"), ("c", "a"), ("all others", "a")]
    assert len(found) == 12


def test_the_truth_of_the_simulator_judges_and_does_not_teach() -> None:
    truth = pd.DataFrame({"run_id": ["r0", "r20"], "variant": "", "test_id": "t", "state": ["regression", "flaky"]})
    rows = part("world", [0, 10, 20, 30], 0).rows.astype({"failed": "boolean"})
    found = judged_by_truth(Known("w1", {}, truth), rows, at(10))
    assert found["failed"].tolist() == [True, False, True, False]
    assert found["run_id"].tolist() == ["w1 r0", "w1 r10", "w1 r20", "w1 r30"]


def test_a_case_with_too_few_failures_is_left_out_with_its_reason() -> None:
    found = measure([simulated([51])])
    assert found["rows"] == []
    assert len(found["about"]["left_out"]) == 1
    assert found["about"]["left_out"][0].startswith("simulator, learned on its own first 60 % (splitting ")


def test_a_history_is_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([])
    assert "--history" in capsys.readouterr().err
