import random
import time
from pathlib import Path

from ml.lake import Lake
from ml.spec import Snapshot
from ml.warehouse import Warehouse
from tests.faults.collectors import BATCHES, batch, collect
from tests.faults.processes import KILLED, Act
from tests.lake_builders import commit, stored
from tests.postgres import Postgres

KILLS = 24
TORN = 3
MOST_ROUNDS = 60
FINISHED = 20
EFFECTS = 16  # on the world outside: about two batches


def rows_of(batch_ids: list[str]) -> dict[str, list[tuple[object, ...]]]:
    return {
        "runs": [(batch_id,) for batch_id in batch_ids],
        "test_results": [(batch_id, test_id) for batch_id in batch_ids for test_id in ("a", "b", "c")],
        "changed_files": [(batch_id, "src/a.py") for batch_id in batch_ids],
    }


def rows_in(lake: Lake, snapshot: Snapshot) -> dict[str, list[tuple[object, ...]]]:
    versions = snapshot.versions
    return {
        "runs": stored(lake, "runs", versions["runs"], ["run_id"]),
        "test_results": stored(lake, "test_results", versions["test_results"], ["run_id", "test_id"]),
        "changed_files": stored(lake, "changed_files", versions["changed_files"], ["run_id", "path"]),
    }


def check_head(warehouse: Warehouse, lake: Lake) -> Snapshot:
    """The head holds exactly the batches of the ledger, each once."""
    head = warehouse.head()
    assert head is not None
    in_ledger = sorted(warehouse.batches("shop", head.snapshot_id)["batch_id"])
    assert rows_in(lake, head) == rows_of(in_ledger)
    return head


def test_collectors_killed_at_any_moment_lose_and_double_nothing(postgres: Postgres, tmp_path: Path) -> None:
    """Two collectors at once, both killed again and again: after a number of effects, and a moment, by the seed."""
    chance = random.Random(20260101)
    lake = Lake(str(tmp_path / "lake"))
    lake.create()
    with Warehouse(postgres.pipeline_dsn) as warehouse:
        begun = time.monotonic()
        commit(warehouse, lake, BATCHES[0], batch(BATCHES[0]))
        commit(warehouse, lake, BATCHES[1], batch(BATCHES[1]))
        pace = (time.monotonic() - begun) / 2
        kills = torn = rounds = 0
        while (kills < KILLS or torn < TORN) and rounds < MOST_ROUNDS:
            rounds += 1
            missing = tuple(name for name in BATCHES if warehouse.find_batch(name) is None)
            collectors = [
                Act(collect, postgres.pipeline_dsn, str(tmp_path / "lake"), order) for order in (missing, missing[::-1])
            ]
            assert all(collector.wait_for(1) for collector in collectors)
            for collector in chance.sample(collectors, 2):
                assert collector.wait_for(chance.randint(1, EFFECTS)), "the collector ended by itself"
                time.sleep(chance.uniform(0, pace / EFFECTS))
                assert collector.kill() == KILLED, "the collector ended by itself"
                kills += 1
                head = check_head(warehouse, lake)
            torn += lake.versions() != dict(head.versions)
        assert torn >= TORN
        assert kills >= KILLS
        finish(postgres, tmp_path)
        head = check_head(warehouse, lake)
        assert set(BATCHES[:FINISHED]) <= set(warehouse.batches("shop", head.snapshot_id)["batch_id"])


def finish(postgres: Postgres, folder: Path) -> None:
    collectors = [Act(collect, postgres.pipeline_dsn, str(folder / "lake"), BATCHES[:FINISHED]) for _ in range(2)]
    assert [collector.join() for collector in collectors] == [0, 0]
