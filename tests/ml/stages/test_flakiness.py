"""Which tests are flaky, over a collected history."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml.errors import NotEnoughData
from ml.settings import Settings
from ml.stages import collection, fetching, flakiness
from tests.history_builders import write_report, write_run
from tests.postgres import Postgres

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    """Twelve runs of one commit: one test fails in every third of them, two always pass."""
    history = tmp_path / "history"
    for number in range(12):
        day = f"2026-01-{number + 1:02d}"
        about = {"finished_at": f"{day}T00:30:00Z", "commit_sha": "c", "branch": "main"}
        run = write_run(history / f"r{number}", f"r{number}", f"{day}T00:00:00Z", **about)
        write_report(run / "linux" / "shaky.xml", "shaky", failed=number % 3 == 2)
        for test in ("steady", "calm"):
            write_report(run / "linux" / f"{test}.xml", test)
    settings = Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))
    batches = fetching.fetch_history(settings, str(history))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])
    return settings


def test_a_test_with_both_outcomes_on_one_commit_leads_the_list(settings: Settings) -> None:
    first, *others = flakiness.assess(settings, "p")
    assert (first["test_id"], first["variant"], first["executions"]) == ("S::shaky", "linux", 12)
    assert first["state"] in ("flaky", "quarantine candidate")
    assert first["probability"] > 0.95
    # four flaky failures in twelve executions, and a prior worth 0.05 in 20
    assert first["rate"] == pytest.approx((4 + 0.05) / (12 + 20), rel=0.05)
    assert [one["state"] for one in others] == ["healthy", "healthy"]


def test_what_becomes_known_later_does_not_count(settings: Settings) -> None:
    early = flakiness.assess(settings, "p", datetime(2026, 1, 2, 12, tzinfo=UTC))
    assert {one["executions"] for one in early} == {2}
    assert {one["state"] for one in early} == {"healthy"}
    with pytest.raises(NotEnoughData, match="0 executions"):
        flakiness.assess(settings, "p", datetime(2025, 1, 1, tzinfo=UTC))
