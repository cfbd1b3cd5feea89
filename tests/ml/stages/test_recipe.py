"""A recipe applies what was chosen then, and what held before a choice was one."""

from dataclasses import asdict
from pathlib import Path

from ml.settings import Settings
from ml.stages.recipe import EARLIER, Recipe, choices


def recipe(chosen: dict[str, object]) -> Recipe:
    texts = dict.fromkeys(("model", "project", "candidate", "as_of", "digest", "code"), "")
    return Recipe(**texts, snapshot_id=1, versions={}, choices=chosen, split={}, libraries={})


def test_choices_of_then_replace_those_of_now(tmp_path: Path) -> None:
    then = Settings(home=tmp_path, seed=3, max_frame_rows=500)
    applied = recipe(choices(then)).applied(Settings(home=tmp_path, threads=7, max_frame_rows=9))
    assert (applied.seed, applied.max_frame_rows, applied.threads) == (3, 500, 2)


def test_a_training_from_before_there_was_a_bound_had_every_row(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    old = {name: value for name, value in choices(settings).items() if name not in EARLIER}
    assert recipe(old).applied(settings).max_frame_rows == 0
    assert asdict(recipe(old))["choices"] == old
