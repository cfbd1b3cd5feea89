"""Of no project more than the first part is looked at, and who is left out is ordered by what the others teach."""

from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest

from experiments import page
from experiments.cold_start import beginning, first_part, leave_out, side_by_side
from experiments.rows import write
from ml.models import load_model
from ml.sources.simulator import World, simulate
from ml.training import runs_of

pytestmark = pytest.mark.slow

SPEC = load_model("test_selection")
QUICK = replace(SPEC, candidates={"logistic_regression": SPEC.candidates["logistic_regression"]})
WORLD = World(run_count=300, announced_count=0, module_count=3, tests_per_module=4, regression_rate=0.7)


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """First parts of three histories, years apart."""
    found = {}
    for seed, name in enumerate(("bank", "new", "shop"), 1):
        folder = tmp_path_factory.mktemp("histories") / name
        folder.mkdir()
        history = simulate(replace(WORLD, seed=seed, start=WORLD.start.replace(year=2020 + seed)))
        for table in ("runs", "test_results", "changed_files"):
            getattr(history, table).to_parquet(folder / f"{table}.parquet", index=False)
        found[name] = first_part(folder)
    return found


def test_only_the_first_runs_are_looked_at(frames: dict[str, pd.DataFrame]) -> None:
    for frame in frames.values():
        # of 300 runs the first 180, save for one that was still going on when the next began
        assert frame["run_id"].max() <= "run-00180"
        assert 179 <= frame["run_id"].nunique() <= 180


def test_histories_of_different_years_run_side_by_side(frames: dict[str, pd.DataFrame]) -> None:
    for frame in frames.values():
        moved = side_by_side(frame)
        assert moved["started_at"].min() == pd.Timestamp(0, tz="UTC")
        assert moved["started_at"].max() < pd.Timestamp("1970-01-02", tz="UTC")
        assert moved.drop_duplicates("run_id")["run_id"].tolist() == frame.drop_duplicates("run_id")["run_id"].tolist()


def test_the_beginning_ends_with_the_run_after_which_a_model_of_its_own_is_near(
    frames: dict[str, pd.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("experiments.cold_start.NEEDED_RUNS", 5)
    early = runs_of(beginning(frames["new"]))
    assert early["is_failing"].sum() == 5
    assert early["is_failing"].iloc[-1]
    assert len(early) < 100


def test_a_project_is_ordered_by_a_model_of_the_others_and_the_page_says_how_well(
    frames: dict[str, pd.DataFrame], tmp_path: Path
) -> None:
    found = list(leave_out(QUICK, frames, "new"))
    assert {row["span"] for row in found} == {"all", "beginning"}
    assert all(str(row["chosen"]).startswith("logistic_regression") for row in found)
    leads = [row for row in found if row["measure"] == "apfd_all_lead" and row["method"] == "model"]
    assert [row["span"] for row in leads] == ["all", "beginning"]
    write(tmp_path / page.NEW_PROJECT, {"about": {}, "rows": found})
    shown = [line for line in page.render(tmp_path).splitlines() if line.startswith("| new |")]
    assert [line.split(" | ")[1:3] for line in shown] == [
        ["all", "all"],
        ["new", "all"],
        ["all", "beginning"],
        ["new", "beginning"],
    ]
    assert shown[0].endswith(f" | {page.cell(leads[0])} |")
