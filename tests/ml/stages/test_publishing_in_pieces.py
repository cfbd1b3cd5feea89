"""A set that is scored and stored piece after piece is the set that one piece would be, or none."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd
import pandas.testing as pdt
import pytest
from pydantic import SecretStr

from ml import training, validation
from ml.errors import ContractError
from ml.features import NEXT_RUN, Queries
from ml.models import load_model
from ml.settings import Settings
from ml.sources.simulator import World, simulate
from ml.spec import Interval, ModelVersion, Snapshot, Split
from ml.stages import preparation, serving
from ml.stages.opening import head, now, open_warehouse
from ml.warehouse import Publication
from tests.integration.histories import collect_world
from tests.postgres import Postgres

pytestmark = pytest.mark.slow

WORLD = World(run_count=120, module_count=3, tests_per_module=3, regression_rate=0.4)
MODEL, PROJECT, RUNS = "test_selection", WORLD.project, 6
SPEC = load_model(MODEL)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    settings = Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), publish_runs=RUNS)
    collect_world(settings, simulate(WORLD), tmp_path / "history")
    return settings


@pytest.fixture
def snapshot(settings: Settings) -> Snapshot:
    with open_warehouse(settings) as warehouse:
        return head(warehouse)


@pytest.fixture
def estimator(settings: Settings, snapshot: Snapshot) -> Any:
    """Trees: linear algebra would differ in the last bits with the rows that are scored together."""
    rows = preparation.training_rows(settings, MODEL, PROJECT, snapshot, now(settings, snapshot, PROJECT, None))
    one = replace(SPEC, candidates={"gradient_boosting": SPEC.candidates["gradient_boosting"]})
    starts = rows["started_at"].quantile([0.5, 0.8, 0.9]).to_list()
    split = Split(*(Interval(start, end) for start, end in pairwise([None, *starts, None])))
    (fitted,) = training.fit_candidates(one, rows, split, training.FitOptions(settings.seed))
    return fitted.estimator


def scored(settings: Settings, snapshot: Snapshot, estimator: Any) -> Iterator[pd.DataFrame]:
    moment = now(settings, snapshot, PROJECT, None)
    runs = serving._runs_to_publish(settings, SPEC, PROJECT, snapshot, moment)
    return serving._predictions(settings, SPEC, estimator, snapshot, Queries.prediction(PROJECT, runs, moment))


@pytest.mark.parametrize("reference_rows", [1, 40, 10**6])
def test_pieces_of_whole_changes_make_up_the_predictions_of_one_piece(
    settings: Settings, snapshot: Snapshot, estimator: Any, monkeypatch: pytest.MonkeyPatch, reference_rows: int
) -> None:
    monkeypatch.setattr(serving, "REFERENCE_ROWS", reference_rows)
    (whole,) = scored(settings, snapshot, estimator)
    assert (whole["reasons"] != "[]").any()
    for piece_rows, least in ((1, RUNS + 1), (50, 2)):
        monkeypatch.setattr(serving, "PIECE_ROWS", piece_rows)
        pieces = list(scored(settings, snapshot, estimator))
        assert len(pieces) >= least
        assert sum(piece["change_id"].nunique() for piece in pieces) == whole["change_id"].nunique()
        pdt.assert_frame_equal(pd.concat(pieces, ignore_index=True), whole, check_exact=True)


def test_a_failure_in_the_second_piece_leaves_the_former_set(
    settings: Settings, snapshot: Snapshot, estimator: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = ModelVersion(MODEL, PROJECT, "1", "run", "models:/1", "sha")
    publication = Publication(version, "report", snapshot.snapshot_id, now(settings, snapshot, PROJECT, None))
    with open_warehouse(settings) as warehouse:
        former = warehouse.publish(publication, scored(settings, snapshot, estimator))
        before = warehouse.current_predictions(MODEL, PROJECT, limit=1_000)
        monkeypatch.setattr(serving, "PIECE_ROWS", 1)
        assert warehouse.publish(publication, scored(settings, snapshot, estimator)) == former

        judged: list[pd.DataFrame] = []

        def refuse_the_second(frame: pd.DataFrame) -> None:
            judged.append(frame)
            if len(judged) == 2:
                raise ContractError("the second piece")

        monkeypatch.setattr(validation, "require_predictions", refuse_the_second)
        with pytest.raises(ContractError, match="the second piece"):
            warehouse.publish(replace(publication, gate_report="later"), scored(settings, snapshot, estimator))
        assert len(judged) == 2
        pdt.assert_frame_equal(warehouse.current_predictions(MODEL, PROJECT, limit=1_000), before)
        assert warehouse.current_publication(MODEL, PROJECT)["publication_id"] == former
        assert [one.publication_id for one in warehouse.published_sets()] == [former]
    assert NEXT_RUN in set(before["change_id"])


def test_what_is_ordinary_comes_from_the_earliest_runs_that_hold_enough_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serving, "REFERENCE_ROWS", 3)
    rows = pd.DataFrame({"run_id": list("aabbccd"), "x": [0.0, 2.0, 4.0, 6.0, 99.0, 99.0, 99.0]})
    for cuts in ((7,), (2, 4, 6, 7), (4, 7), (2, 7)):
        pieces = [rows.iloc[start:end] for start, end in zip((0, *cuts), cuts, strict=False)]
        given = list(serving._with_reference(iter(pieces), ["x"]))
        assert [len(piece) for _, piece in given] == [len(piece) for piece in pieces]
        assert {reference["x"] for reference, _ in given} == {3.0}
