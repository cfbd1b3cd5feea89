"""Labels lie beside the history and are appended on the newest base only."""

import shutil
from pathlib import Path

import pandas as pd
import pytest

from ml.errors import LakeError
from ml.lake import FIRST_VERSIONS, Lake
from tests.lake_builders import first_batch, stored


def label_rows(*states: str) -> pd.DataFrame:
    """One label of run r1 and test b per state, a day apart."""
    days = pd.date_range("2026-01-02", periods=len(states), tz="UTC").as_unit("us")
    named = {"project": "shop", "run_id": "r1", "variant": "linux", "test_id": "b", "state": list(states)}
    return pd.DataFrame({**named, "probability": 0.9, "evidence": "", "labelled_at": days, "snapshot_id": 1})


def test_labels_are_appended_by_day_beside_the_stored_ones(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    first = lake.append_labels(label_rows("unknown"), "l1", 2, base)
    assert first == {**base, "failure_labels": 1}
    second = lake.append_labels(label_rows("unknown", "flaky")[1:], "l2", 3, first)
    told = stored(lake, "failure_labels", second["failure_labels"], ["state", "day", "batch_id"])
    assert told == [("flaky", "2026-01-03", "l2"), ("unknown", "2026-01-02", "l1")]
    assert stored(lake, "failure_labels", first["failure_labels"], ["state"]) == [("unknown",)]


def test_labels_on_an_overtaken_base_are_refused(lake: Lake) -> None:
    base = lake.append(first_batch(), "b1", 1, FIRST_VERSIONS).versions
    lake.append_labels(label_rows("flaky"), "l1", 2, base)
    with pytest.raises(LakeError, match="another writer came in between"):
        lake.append_labels(label_rows("flaky"), "l2", 3, base)


def test_a_lake_of_an_older_release_without_labels_goes_on(tmp_path: Path) -> None:
    older = {table: version for table, version in FIRST_VERSIONS.items() if table != "failure_labels"}
    lake = Lake(str(tmp_path))
    lake.create()
    shutil.rmtree(tmp_path / "failure_labels")
    head = {**older, **Lake(str(tmp_path)).append(first_batch(), "b1", 1, older).versions}
    assert "failure_labels" not in head
    lake.create()
    base = lake.restore(head, 2)
    assert base == {**head, "failure_labels": 0}
    labelled = lake.append_labels(label_rows("flaky"), "l1", 3, base)
    assert lake.restore(head, 4) == {**head, "failure_labels": 2}
    assert lake.read("failure_labels", 2).num_rows == 0
    compacted = lake.compact({**labelled, "failure_labels": 2}, 5)
    assert lake.vacuum([head, compacted], 0)["runs"] == 0
