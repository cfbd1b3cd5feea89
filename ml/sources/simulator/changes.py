"""Changes to the code, and the regressions that come with some of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from ml.sources.simulator.world import (
    VARIANTS,
    Author,
    CodeBase,
    Flakiness,
    SimulatedTest,
    SourceFile,
    World,
    draw_test,
)

DOCS_SHARE = 0.08
NEW_TEST_SHARE = 0.07
REMOVED_TEST_SHARE = 0.04
SLIP_SHARE = 0.1  # of regressions that no pull-request run shows: they appear on trunk after the merge
ONE_VARIANT_SHARE = 0.15


@dataclass(frozen=True)
class FileChange:
    """Lines added to and deleted from one file."""

    path: str
    added: int
    deleted: int


@dataclass(frozen=True)
class Regression:
    """A bug in `path`, brought by `change_id`; `broken` holds the (variant, test_id) pairs that fail until the fix."""

    change_id: str
    path: str
    broken: frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Change:
    """One change. `slips`: its regression shows on trunk only; `removed` is the test_id of the test it deletes."""

    change_id: str
    branch: str
    author: Author
    files: tuple[FileChange, ...]
    regression: Regression | None = None
    slips: bool = False
    new_test: SimulatedTest | None = None
    removed: str | None = None


@dataclass(frozen=True)
class Scene:
    """What a change is drawn from: the code base, the tests on trunk, the next free test number per module."""

    world: World
    base: CodeBase
    tests: Sequence[SimulatedTest]
    next_number: Sequence[int]
    is_drifted: bool


def draw_change(scene: Scene, index: int, rng: np.random.Generator) -> Change:
    """Draw the pull request that is opened with run `index`."""
    change_id, module = f"pr-{index}", _module(scene, rng)
    author = _author(scene.base, module, rng)
    branch = f"{author.name}/{scene.base.modules[module]}-{index}"
    if rng.random() < DOCS_SHARE:
        page = FileChange(f"docs/{scene.base.modules[module]}.md", int(rng.integers(1, 60)), int(rng.integers(0, 20)))
        return Change(change_id, branch, author, (page,))
    sources = _sources(scene.base, module, rng)
    files = {file.path: _lines(file.path, rng) for file in sources}
    subject_tests = [test.path for test in scene.tests if test.module == module and sources[0].path in test.breaks]
    if subject_tests and rng.random() < 0.5:
        files[subject_tests[0]] = _lines(subject_tests[0], rng)
    change = Change(change_id, branch, author, tuple(files.values()))
    change = replace(change, regression=_regression(scene, change, sources, rng), slips=bool(rng.random() < SLIP_SHARE))
    return _with_tests(scene, change, module, rng)


def amend(change: Change, rng: np.random.Generator, *, is_fixed: bool) -> Change:
    """The change after one more commit, which touches the broken file again and may fix it."""
    if change.regression is None:
        return change
    more = _lines(change.regression.path, rng)
    files = tuple(
        FileChange(file.path, file.added + more.added // 4, file.deleted + more.deleted // 4)
        if file.path == more.path
        else file
        for file in change.files
    )
    return replace(change, files=files, regression=None if is_fixed else change.regression)


def draw_fix(regression: Regression, author: Author, index: int, rng: np.random.Generator) -> Change:
    """Draw the commit on trunk that repairs a regression which slipped through."""
    return Change(f"fix-{index}", "main", author, (_lines(regression.path, rng),))


def _module(scene: Scene, rng: np.random.Generator) -> int:
    heat = np.asarray(scene.base.module_heat)
    if scene.is_drifted:
        # The least changed modules become the most changed ones.
        order = np.argsort(heat)
        heat[order] = heat[order[::-1]]
    return int(rng.choice(len(heat), p=heat / heat.sum()))


def _author(base: CodeBase, module: int, rng: np.random.Generator) -> Author:
    owners = [author for author in base.authors if module in author.modules]
    people = owners if owners and rng.random() < 0.8 else list(base.authors)
    return people[int(rng.integers(len(people)))]


def _sources(base: CodeBase, module: int, rng: np.random.Generator) -> list[SourceFile]:
    files = base.files[module]
    heat = np.array([file.heat for file in files])
    count = min(len(files), int(rng.geometric(0.5)))
    chosen = [files[int(i)] for i in rng.choice(len(files), count, replace=False, p=heat / heat.sum())]
    others = [file for number, group in base.files.items() if number != module for file in group]
    if others and rng.random() < 0.2:
        chosen.append(others[int(rng.integers(len(others)))])
    return chosen


def _lines(path: str, rng: np.random.Generator) -> FileChange:
    churn = max(1, int(rng.lognormal(3.0, 1.0)))
    added = int(rng.binomial(churn, 0.65))
    return FileChange(path, added, churn - added)


def _regression(
    scene: Scene, change: Change, sources: Sequence[SourceFile], rng: np.random.Generator
) -> Regression | None:
    world = scene.world
    churn = {file.path: file.added + file.deleted for file in change.files}
    factor = world.drift_failure_factor if scene.is_drifted else 1.0
    rate = min(0.9, max(1e-9, world.regression_rate * factor))
    log_odds = (
        np.log(rate / (1 - rate))
        + 0.5 * np.log(sum(churn.values()) / 40)
        + max(file.fragility for file in sources)
        + change.author.carelessness
    )
    weights = np.array([np.exp(file.fragility) * np.sqrt(churn[file.path]) for file in sources])
    culprit = sources[int(rng.choice(len(sources), p=weights / weights.sum()))].path
    broken = _broken(scene.tests, culprit, rng)
    if not broken or rng.random() > 1 / (1 + np.exp(-log_odds)):
        return None
    return Regression(change.change_id, culprit, broken)


def _broken(tests: Sequence[SimulatedTest], culprit: str, rng: np.random.Generator) -> frozenset[tuple[str, str]]:
    depending = [test for test in tests if culprit in test.breaks]
    hit = [test for test in depending if rng.random() < test.breaks[culprit]]
    if depending and not hit:
        hit = [max(depending, key=lambda test: test.breaks[culprit])]
    variants = (VARIANTS[int(rng.integers(2))],) if rng.random() < ONE_VARIANT_SHARE else VARIANTS
    return frozenset((variant, test.test_id) for variant in variants for test in hit)


def _with_tests(scene: Scene, change: Change, module: int, rng: np.random.Generator) -> Change:
    mine = [test for test in scene.tests if test.module == module]
    drawn = rng.random()
    if drawn < NEW_TEST_SHARE:
        is_flaky, kind = rng.random() < scene.world.flaky_share, list(Flakiness)[int(rng.integers(len(Flakiness)))]
        new = draw_test(scene.base, (module, scene.next_number[module]), kind if is_flaky else None, rng)
        return replace(change, new_test=new, files=_touching(change.files, FileChange(new.path, 25, 0)))
    if drawn < NEW_TEST_SHARE + REMOVED_TEST_SHARE and len(mine) > 1:
        removed = mine[int(rng.integers(len(mine)))]
        files = _touching(change.files, FileChange(removed.path, 0, 25))
        return replace(change, removed=removed.test_id, files=files)
    return change


def _touching(files: tuple[FileChange, ...], more: FileChange) -> tuple[FileChange, ...]:
    return (*(file for file in files if file.path != more.path), more)
