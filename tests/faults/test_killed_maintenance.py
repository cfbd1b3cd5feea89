"""Maintenance of everything at once, killed again and again: it removes what may go, and nothing else."""

import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from ml.settings import Settings
from ml.stages import maintenance, retention
from ml.warehouse.session import Session
from tests.faults import acts
from tests.faults.builders import broken, final_state, lenient, write_story
from tests.faults.killing import kill_at
from tests.faults.processes import run
from tests.postgres import Postgres

SEED = 20260102
ROUNDS = 2  # so that a version, its predecessor and a set that is no longer current are there
POINTS = 40  # aimed at
REACH = 40  # outside effects: about as many as an undisturbed maintenance has
LEAST_KILLS = 20

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_800)]


def test_maintenance_killed_at_whatever_point_removes_what_may_go_and_nothing_else(
    fourgate: Settings, postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = lenient(fourgate, tmp_path).model_copy(update={"keep_lake_days": 0})
    story = write_story("apache/shop", tmp_path / "story", ROUNDS)
    for since, until in story.rounds:
        run(acts.collect, settings, story.folder, since, until)
        for act in (acts.train, acts.promote, acts.publish):
            run(act, settings, story.project)
    before = kept(settings, postgres, story.project)
    assert current_and_past(postgres)["past"] > 0

    chance = random.Random(SEED)
    points = sorted(chance.randint(1, REACH) for _ in range(POINTS))
    hits = kill_at(settings, chance, points, ("maintain", (acts.maintain, (settings,))))
    with capsys.disabled():
        print(f"\n{hits.total()} kills: {', '.join(f'{count} {where}' for where, count in sorted(hits.items()))}")
    assert hits.total() >= LEAST_KILLS
    assert broken(settings) == {}
    assert kept(settings, postgres, story.project) == before
    assert current_and_past(postgres)["past"] == 0
    assert not any(maintenance.maintain(settings, acts.MUCH_LATER)["deleted_files"].values())
    assert maintenance.clean_predictions(settings, acts.MUCH_LATER)["rows"] == 0
    assert maintenance.clean_models(settings, acts.MUCH_LATER)["runs"] == 0
    assert retention.clean_files(settings, acts.MUCH_LATER)["removed"] == 0


def kept(settings: Settings, postgres: Postgres, project: str) -> dict[str, Any]:
    """What maintenance must leave as it is: all but rows of past sets, and that somebody removed them."""
    state = final_state(settings, postgres.admin_dsn, project)
    left = {name: value for name, value in state.items() if name not in ("predictions", "audit")}
    return {**left, "current": current_and_past(postgres)["current"]}


def current_and_past(postgres: Postgres) -> Counter[str]:
    """Rows of the results table."""
    with Session(postgres.admin_dsn) as owner, owner.transaction() as cursor:
        cursor.execute(
            "SELECT CASE WHEN is_current THEN 'current' ELSE 'past' END FROM fourgate.prediction "
            "JOIN fourgate.publication USING (publication_id)"
        )
        return Counter(row[0] for row in cursor.fetchall())
