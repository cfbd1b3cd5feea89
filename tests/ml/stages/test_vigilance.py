"""Projects that dry up, seen in a real lake and ledger."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml.errors import SourceError
from ml.settings import Settings
from ml.stages.opening import open_lake, open_warehouse
from ml.stages.vigilance import require_life
from tests.lake_builders import record, runs
from tests.postgres import Postgres

NOW = datetime(2026, 6, 1, tzinfo=UTC)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    file = tmp_path / "fourgate.toml"
    file.write_text('[source.shop-ci]\nkind = "jenkins"\nproject = "shop"\nurl = "https://ci"\njob = "shop"\n')
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), sources=file)


def fill(settings: Settings, per_week: list[int], source: str = "jenkins") -> None:
    """So many runs in each week before `NOW`, the latest first."""
    starts = [NOW - timedelta(days=7 * week + 3) for week, count in enumerate(per_week) for _ in range(count)]
    frame = runs(*((f"r{number}", start.isoformat()) for number, start in enumerate(starts)))
    lake = open_lake(settings)
    with open_warehouse(settings) as warehouse, warehouse.lake_lock():
        sequence = warehouse.next_sequence()
        done = lake.append({"runs": frame}, "b1", sequence, lake.create())
        warehouse.record_batch(record("b1", done.versions, source=source), sequence)


@pytest.mark.parametrize(
    "per_week",
    [[20, 20, 20, 20, 20, 20], [2, 20, 20, 20, 20, 20], [0, 20, 20, 20, 20], [0, 0, 0, 0, 1, 90], [0, 0, 20, 20, 0, 0]],
    ids=["as usual", "a tenth", "too young to tell", "died out long ago", "at a loss"],
)
def test_a_week_that_is_no_worse_than_may_be_is_fine(settings: Settings, per_week: list[int]) -> None:
    fill(settings, per_week)
    require_life(settings, NOW)


def test_a_week_with_less_than_a_tenth_of_the_usual_is_an_alert(settings: Settings) -> None:
    fill(settings, [1, 20, 22, 20, 3, 20])
    expected = (
        "shop-ci brought 1 runs of shop in the last 7 days, a usual week has 20; see `fourgate source test shop-ci`"
    )
    with pytest.raises(SourceError, match=expected):
        require_life(settings, NOW)


def test_the_share_can_be_lowered_or_switched_off(settings: Settings) -> None:
    fill(settings, [1, 20, 20, 20, 20, 20])
    settings.sources.write_text(settings.sources.read_text() + "least_share = 0\n")
    require_life(settings, NOW)


def test_a_source_that_has_no_runs_is_not_asked_where_they_are(settings: Settings) -> None:
    fill(settings, [1, 20, 22, 20, 3, 20])
    settings.sources.write_text('[source.code]\nkind = "git"\nproject = "shop"\nurl = "/srv/shop.git"\n')
    require_life(settings, NOW)


def test_a_project_that_is_pushed_no_more_is_an_alert(settings: Settings) -> None:
    fill(settings, [1], "push")
    arrived = datetime.now(UTC)
    require_life(settings, arrived + timedelta(days=13))
    with pytest.raises(SourceError, match=r"nothing of shop was pushed since 20.*; do its CI jobs still"):
        require_life(settings, arrived + timedelta(days=15))


def test_an_empty_lake_has_nothing_to_miss(settings: Settings) -> None:
    require_life(settings, NOW)
