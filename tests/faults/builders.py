"""A small simulated history in rounds, settings that judge on few runs, and what a project's final state is."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import pandas as pd

from ml.settings import Settings
from ml.sources.simulator import World, simulate
from ml.stages import verification
from ml.stages.opening import HISTORY_TABLES, open_lake, open_warehouse
from ml.warehouse.session import Session

FIRST_RUNS, MORE_RUNS = 180, 40


@dataclass(frozen=True)
class Story:
    """A project's history on disk, and the span of time that each round collects."""

    project: str
    folder: str
    rounds: list[tuple[str, str]]


def write_story(project: str, folder: Path, rounds: int) -> Story:
    """Write a history for the tables source, with one batch per round."""
    run_count = FIRST_RUNS + MORE_RUNS * (rounds - 1)
    shape = {"module_count": 3, "tests_per_module": 4, "regression_rate": 0.6, "announced_count": 0}
    world = simulate(World(project=project, run_count=run_count, **shape))
    folder.mkdir(parents=True)
    for name in HISTORY_TABLES:
        getattr(world, name).to_parquet(folder / f"{name}.parquet", index=False)
    starts = world.runs.drop_duplicates("run_id")["started_at"].sort_values(ignore_index=True)
    cuts = [FIRST_RUNS + MORE_RUNS * number for number in range(rounds - 1)]
    texts = ["", *(starts.iloc[cut].isoformat() for cut in cuts), ""]
    return Story(project, str(folder), list(pairwise(texts)))


def lenient(settings: Settings, folder: Path) -> Settings:
    """Settings for short rounds; see `few_runs_gates`."""
    gates = few_runs_gates(settings.gates_file, folder)
    return Settings.model_validate({**settings.model_dump(), "gates_file": gates, "publish_runs": 5, "test_share": 0.2})


def few_runs_gates(shipped: Path, folder: Path) -> Path:
    """A file of thresholds in `folder` whose statistical gate asks for three failing runs only."""
    file = folder / "thresholds.toml"
    file.write_text(shipped.read_text().replace("min_failing_runs = 20 ", "min_failing_runs = 3 "))
    return file


def broken(settings: Settings) -> dict[str, list[str]]:
    """Names of the invariants that do not hold, with what is wrong."""
    found = [finding for finding in verification.verify(settings) if finding.status != "pass"]
    return {finding.name: [problem.what for problem in finding.problems] for finding in found}


def final_state(settings: Settings, admin_dsn: str, project: str) -> dict[str, Any]:
    """Everything that is kept of a project, without the names that chance or the project gives."""
    with open_warehouse(settings) as warehouse:
        head = warehouse.head()
        assert head is not None
        counts = [dict(row) for row in warehouse.batches(project, head.snapshot_id)["row_counts"]]
    lake = open_lake(settings)
    rows = {
        table: _rows(lake.read(table, version, project).to_pandas().drop(columns=["project", "batch_id"]))
        for table, version in head.versions.items()
    }
    with Session(admin_dsn) as owner, owner.transaction() as cursor:
        return {
            "ledger": counts,
            **rows,
            **{name: _query(cursor, query, project) for name, query in _KEPT.items()},
        }


_KEPT = {
    "promotions": "SELECT route, period_start, period_end, as_of FROM fourgate.promotion WHERE project = %s",
    "verdicts": "SELECT gate, status, period_start FROM fourgate.gate_verdict WHERE project = %s",
    "champion": "SELECT route, as_of, previous ->> 'route', previous ->> 'as_of' FROM fourgate.champion "
    "WHERE project = %s",
    "publications": "SELECT as_of, row_count, is_current FROM fourgate.publication WHERE project = %s",
    "predictions": "SELECT as_of, change_id, variant, test_id, score, probability, rank, decision, reasons::text, "
    "expected_duration_s, rank_by_cost "
    "FROM fourgate.prediction WHERE project = %s",
    "audit": "SELECT action, count(*) FROM fourgate.audit_log "
    "WHERE coalesce(detail ->> 'project', split_part(subject, ' ', 2)) = %s GROUP BY action",
}


def _query(cursor: Any, query: str, project: str) -> Counter[str]:
    cursor.execute(query, (project,))
    return Counter(map(str, cursor.fetchall()))


def _rows(frame: pd.DataFrame) -> Counter[str]:
    return Counter(map(str, frame[sorted(frame)].astype(str).itertuples(index=False, name=None)))
