"""The parameters of a simulated project, and the code base that follows from them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from itertools import product

import numpy as np

# fmt: off
MODULES = (
    "cart", "catalog", "checkout", "payment", "shipping", "search",
    "account", "inventory", "pricing", "review", "notification", "report",
)
# fmt: on
STEMS = ("model", "service", "api", "store", "rules", "export", "cache", "events")
# One name in each cycle needs escaping in XML: reports of real parametrised tests do too.
CASES = (
    "rejects_empty",
    "rounds_half_up",
    "keeps_order",
    'parses[a<b & "c"]',
    "is_idempotent",
    "times_out",
    "handles_unicode[Zürich]",
    "survives_restart",
)
VARIANTS = ("linux", "windows")


class Flakiness(StrEnum):
    """Why a test fails now and then on unchanged code."""

    TIMING = "timing"
    ORDER = "order"
    NETWORK = "network"
    PLATFORM = "platform"


@dataclass(frozen=True)
class World:
    """Parameters of a simulated CI history. Equal worlds give equal histories, byte for byte.

    A world that differs only by a larger `run_count` begins with the same runs; with `drift_at` this holds up to
    the earlier of the two drifts, because the drift moves with the length.

    Attributes:
        seed: root of every random stream.
        run_count: runs with results; attempts of a run are not counted.
        announced_count: runs after them that are announced and have no results yet.
        module_count: modules of the code base.
        tests_per_module: tests of a module at the start of the history.
        files_per_module: source files of a module.
        author_count: people who change the code.
        start: first working hour of the history, UTC, 08:00 of a working day.
        runs_per_day: mean number of runs in a working day (08:00-18:00, Monday to Friday).
        project: name of the project; its last part is the root folder of the code.
        regression_rate: probability (0..1) that a change of ordinary size, place and author breaks something.
        flaky_share: share of tests (0..1) that are flaky.
        outage_every: one outage falls into each stretch of so many runs.
        drift_at: share of the history (0..1) after which the world drifts; None for a steady world.
        drift_duration_factor: what durations are multiplied with after the drift.
        drift_failure_factor: what regression and flaky rates are multiplied with after the drift.
    """

    seed: int = 20260101
    run_count: int = 600
    announced_count: int = 2
    module_count: int = 12
    tests_per_module: int = 9
    files_per_module: int = 6
    author_count: int = 14
    start: datetime = datetime(2026, 1, 5, 8, tzinfo=UTC)
    runs_per_day: float = 5.6
    project: str = "simulated/shop"
    regression_rate: float = 0.17
    flaky_share: float = 0.08
    outage_every: int = 250
    drift_at: float | None = None
    drift_duration_factor: float = 3.0
    drift_failure_factor: float = 3.0

    @property
    def drift_index(self) -> float:
        """Number of the last run before the drift; infinite without drift."""
        return float("inf") if self.drift_at is None else float(round(self.drift_at * self.run_count))


@dataclass(frozen=True)
class SourceFile:
    """A file of the product. `heat` weighs how often it is changed, `fragility` (-1..1.5) how easily it breaks."""

    path: str
    module: int
    heat: float
    fragility: float


@dataclass(frozen=True)
class SimulatedTest:
    """One test and its truth.

    `breaks` maps every file that the test depends on to the probability that a regression in it breaks the test.
    `log_duration_s` is the log of the median duration in seconds, `trend` its growth per 1,000 runs.
    """

    classname: str
    name: str
    path: str
    module: int
    breaks: Mapping[str, float]
    flakiness: Flakiness | None
    log_duration_s: float
    trend: float
    is_skipped_on_windows: bool

    @property
    def test_id(self) -> str:
        """Identity of the test inside a variant, as a reader of the JUnit reports makes it."""
        return f"{self.classname}::{self.name}"


@dataclass(frozen=True)
class Author:
    """Someone who changes code. `modules` are owned; `carelessness` (-0.6..0.9) adds to the log-odds of a bug."""

    name: str
    modules: tuple[int, ...]
    carelessness: float


@dataclass(frozen=True)
class CodeBase:
    """The project before its first run.

    `module_heat` weighs how often a module is changed; `imports` maps a module to the modules that it uses.
    """

    root: str
    modules: tuple[str, ...]
    module_heat: tuple[float, ...]
    imports: Mapping[int, tuple[int, ...]]
    files: Mapping[int, tuple[SourceFile, ...]]
    authors: tuple[Author, ...]
    tests: tuple[SimulatedTest, ...] = ()


def build_code_base(world: World) -> CodeBase:
    """Draw the code base of a world; depends on the seed and the sizes, never on the length of the history."""
    rng = np.random.default_rng([world.seed, 0])
    numbers = range(world.module_count)
    names = tuple(_numbered(MODULES, number) for number in numbers)
    root = world.project.rsplit("/", 1)[-1]
    base = CodeBase(
        root=root,
        modules=names,
        module_heat=tuple(float(heat) for heat in rng.permutation(1.0 / (1 + np.arange(world.module_count)) ** 0.7)),
        imports={number: _imports(number, rng) for number in numbers},
        files={number: _files(f"{root}/{name}", number, world, rng) for number, name in enumerate(names)},
        authors=tuple(_author(number, world, rng) for number in range(world.author_count)),
    )
    places = list(product(numbers, range(world.tests_per_module)))
    kinds = _spread_flakiness(len(places), world.flaky_share, rng)
    tests = (draw_test(base, place, kind, rng) for place, kind in zip(places, kinds, strict=True))
    return replace(base, tests=tuple(tests))


def draw_test(
    base: CodeBase, place: tuple[int, int], flakiness: Flakiness | None, rng: np.random.Generator
) -> SimulatedTest:
    """Draw the test at `place` (module, number in it): a case in the test file of one source file."""
    module, number = place
    files = base.files[module]
    subject = files[number % len(files)]
    stem = subject.path.rsplit("/", 1)[-1].removesuffix(".py")
    folder = f"{base.root}/{base.modules[module]}/tests"
    path = f"{folder}/test_{stem}.py"
    return SimulatedTest(
        classname=path.removesuffix(".py").replace("/", "."),
        name="test_" + _numbered(CASES, number),
        path=path,
        module=module,
        breaks=_dependencies(base, subject, path, rng),
        flakiness=flakiness,
        log_duration_s=float(rng.normal(0.7, 1.1)),
        trend=float(rng.normal(0.1, 0.3)),
        is_skipped_on_windows=bool(rng.random() < 0.03),
    )


def _numbered(names: tuple[str, ...], number: int) -> str:
    lap, index = divmod(number, len(names))
    return names[index] if lap == 0 else f"{names[index]}_{lap + 1}"


def _imports(module: int, rng: np.random.Generator) -> tuple[int, ...]:
    # Only lower numbers: the graph has no cycle, and the first modules become the ones that everything rests on.
    count = min(module, int(rng.integers(1, 4)))
    return tuple(sorted(int(other) for other in rng.choice(module, count, replace=False))) if count else ()


def _files(folder: str, module: int, world: World, rng: np.random.Generator) -> tuple[SourceFile, ...]:
    name = folder.rsplit("/", 1)[-1]
    heat = rng.permutation(1.0 / np.arange(1, world.files_per_module + 1))
    return tuple(
        SourceFile(
            f"{folder}/src/{name}_{_numbered(STEMS, number)}.py",
            module,
            float(heat[number]),
            float(rng.uniform(-1, 1.5)),
        )
        for number in range(world.files_per_module)
    )


def _author(number: int, world: World, rng: np.random.Generator) -> Author:
    count = min(world.module_count, int(rng.integers(1, 4)))
    # Authors take one module each in turn, so that with enough people no module is left without an owner.
    others = rng.choice(world.module_count, count, replace=False)
    owned = {number % world.module_count, *(int(other) for other in others)}
    return Author(f"dev-{number + 1:02d}", tuple(sorted(owned)), float(rng.uniform(-0.6, 0.9)))


def _dependencies(base: CodeBase, subject: SourceFile, path: str, rng: np.random.Generator) -> dict[str, float]:
    breaks = {path: 0.3, subject.path: float(rng.uniform(0.75, 0.95))}
    siblings = [file for file in base.files[subject.module] if file is not subject]
    for index in rng.permutation(len(siblings))[: rng.integers(1, 3)]:
        breaks[siblings[index].path] = float(rng.uniform(0.2, 0.6))
    imported = [file for module in base.imports[subject.module] for file in base.files[module]]
    if imported and rng.random() < 0.6:
        for index in rng.permutation(len(imported))[: rng.integers(1, 3)]:
            breaks[imported[index].path] = float(rng.uniform(0.2, 0.5))
    return breaks


def _spread_flakiness(test_count: int, share: float, rng: np.random.Generator) -> list[Flakiness | None]:
    # Kinds take turns, so that a small world has each of them as soon as it has four flaky tests.
    kinds: list[Flakiness | None] = [None] * test_count
    for turn, index in enumerate(rng.permutation(test_count)[: round(share * test_count)]):
        kinds[index] = list(Flakiness)[turn % len(Flakiness)]
    return kinds
