"""Simulated histories on their way into the lake."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ml.settings import Settings
from ml.sources.simulator import History
from ml.stages import collection, fetching, opening

NOW = datetime(2026, 11, 1, tzinfo=UTC)


def write_tables(world: History, folder: Path) -> None:
    folder.mkdir()
    for name in opening.HISTORY_TABLES:
        getattr(world, name).to_parquet(folder / f"{name}.parquet", index=False)


def collect(settings: Settings, folder: Path) -> dict[str, Any]:
    batches = fetching.fetch_history(settings, str(folder))
    return collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])


def collect_world(settings: Settings, world: History, folder: Path) -> None:
    write_tables(world, folder)
    collect(settings, folder)
