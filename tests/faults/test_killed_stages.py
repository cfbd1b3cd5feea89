"""Collect, train, promote and publish, each killed again and again; the seed fixes the points, the machine the rest."""

import random
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient

from ml.registry import registered_name
from ml.settings import Settings
from tests.faults import acts
from tests.faults.builders import Story, broken, final_state, lenient, write_story
from tests.faults.killing import Step, kill_at
from tests.faults.processes import run
from tests.postgres import Postgres

SEED = 20260101
ROUNDS = 2  # the first champion, and one that replaces it
KILLS = {"collect": 26, "train": 10, "promote": 38, "publish": 40}  # aimed at, per round; a training takes longest
LEAST_KILLS = 176  # 24 more are those of test_killed_collectors

pytestmark = pytest.mark.integration


def steps(settings: Settings, story: Story, number: int) -> dict[str, Step]:
    """The stages of one round."""
    project = (settings, story.project)
    return {
        "collect": (acts.collect, (settings, story.folder, *story.rounds[number])),
        "train": (acts.train, project),
        "promote": (acts.promote, project),
        "publish": (acts.publish, project),
    }


@pytest.mark.timeout(3_000)  # minutes on a quiet machine; a busy one must not fail it
def test_whoever_is_killed_at_whatever_point_the_end_is_that_of_an_undisturbed_pipeline(
    fourgate: Settings, postgres: Postgres, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = lenient(fourgate, tmp_path)
    calm, killed = (write_story(f"{name}/shop", tmp_path / name, ROUNDS) for name in ("calm", "killed"))
    chance, hits = random.Random(SEED), Counter[str]()
    for number in range(ROUNDS):
        usual = {name: len(run(step, *arguments)) for name, (step, arguments) in steps(settings, calm, number).items()}
        for name, step in steps(settings, killed, number).items():
            shares = sorted(chance.random() for _ in range(KILLS[name]))
            points = [1 + int(share * usual[name]) for share in shares]
            hits += kill_at(settings, chance, points, (name, step))
    with capsys.disabled():  # what was hit is part of the result
        print(f"\n{hits.total()} kills: {', '.join(f'{count} {where}' for where, count in sorted(hits.items()))}")
    assert broken(settings) == {}
    assert hits.total() >= LEAST_KILLS
    undisturbed = final_state(settings, postgres.admin_dsn, calm.project)
    assert undisturbed["promotions"].total() == undisturbed["publications"].total() == ROUNDS
    assert final_state(settings, postgres.admin_dsn, killed.project) == undisturbed
    assert versions_of(settings, killed) == versions_of(settings, calm) == ROUNDS


def versions_of(settings: Settings, story: Story) -> int:
    """Registered versions: what killed trainings left is gone."""
    client = MlflowClient(settings.mlflow_tracking_uri, settings.mlflow_tracking_uri)
    return len(client.search_model_versions(f"name = '{registered_name(acts.MODEL, story.project)}'"))
