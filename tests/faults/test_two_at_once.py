"""Two of a stage at once end as one of them would have."""

from pathlib import Path

import pytest

from ml.settings import Settings
from tests.faults import acts
from tests.faults.builders import broken, final_state, lenient, write_story
from tests.faults.processes import Act, run
from tests.postgres import Postgres

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_800)]


def test_two_collectors_two_promotions_and_two_publishers_end_as_one_of_each(
    fourgate: Settings, postgres: Postgres, tmp_path: Path
) -> None:
    settings = lenient(fourgate, tmp_path)
    alone, twice = (write_story(f"{name}/shop", tmp_path / name, 1) for name in ("alone", "twice"))
    for story, count in ((alone, 1), (twice, 2)):
        project = (settings, story.project)
        at_once(count, acts.collect, settings, story.folder, *story.rounds[0])
        run(acts.train, *project)
        at_once(count, acts.promote, *project)
        at_once(count, acts.publish, *project)
    assert broken(settings) == {}
    state = final_state(settings, postgres.admin_dsn, twice.project)
    assert state == final_state(settings, postgres.admin_dsn, alone.project)

    # two candidates that were judged against the same champion: one wins, the other is told to be judged again
    rivals = [replace_seed(settings, number) for number in (1, 2)]
    newer = write_story("rivals/shop", tmp_path / "rivals", 1)
    run(acts.collect, settings, newer.folder, *newer.rounds[0])
    for rival in rivals:
        run(acts.train, rival, newer.project)
    promotions = [Act(acts.promote_nth, settings, newer.project, number) for number in (0, 1)]
    codes = sorted(act.join() for act in promotions)
    assert codes == [0, 6], [act.told for act in promotions]
    (refused,) = (act.told for act in promotions if act.told)
    assert "was judged against no champion, but" in refused
    assert broken(settings) == {}


def replace_seed(settings: Settings, number: int) -> Settings:
    return Settings.model_validate({**settings.model_dump(), "seed": settings.seed + number})


def at_once(count: int, *act: object) -> None:
    acting = [Act(*act) for _ in range(count)]
    assert [one.join() for one in acting] == [0] * count, [one.told for one in acting]
