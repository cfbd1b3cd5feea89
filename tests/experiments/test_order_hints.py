"""The experiment's view of what reports tell is what the reader of the reports sees, and its rows are shares."""

from pathlib import Path

import pandas as pd
import pytest

from experiments.order_hints import as_reported, judged
from ml.sources.junit import JUnit
from ml.sources.simulator import World, simulate, write_history
from ml.sources.source import Limits
from ml.spec import Interval, Outcome

KEY = ["run_id", "attempt", "variant", "test_id"]


def test_the_places_within_reports_are_those_that_the_reader_finds(tmp_path: Path) -> None:
    known = simulate(World(seed=5, run_count=12, announced_count=0, module_count=4))
    assert (known.test_results["outcome"] == Outcome.SKIPPED).any()
    write_history(known, tmp_path / "simulated")
    limits = Limits(max_payload_bytes=1_000_000, author_salt="salt")
    source = JUnit(tmp_path / "simulated", tmp_path / "landing", limits)
    read = pd.concat([source.read(batch, limits).frames["test_results"] for batch in source.fetch(Interval())])
    told = as_reported(known.test_results)
    both = told.merge(read.astype(dict.fromkeys(("run_id", "variant", "test_id"), object)), on=KEY, validate="1:1")
    assert len(both) == len(told) == len(read)
    pd.testing.assert_series_equal(both["position_x"], both["position_y"], check_names=False)


@pytest.mark.slow
def test_rows_are_shares_of_the_tests_that_are_called_flaky(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("experiments.order_hints.SHAPE", {"module_count": 2, "flaky_share": 0.4})
    rows = pd.DataFrame(judged("as it is", [8], 150))
    assert rows["measure"].tolist() == ["precision", "recall", "false_alarms"] * 2
    numbers = rows.set_index(["view", "measure"])["number"]
    assert numbers["whole suite", "recall"] == numbers["report of a module", "recall"] > 0
    recall = rows[(rows["view"] == "whole suite") & (rows["measure"] == "recall")].iloc[0]
    assert 0 < recall["value"] <= 1
    assert recall["low"] < recall["value"] <= recall["high"]
