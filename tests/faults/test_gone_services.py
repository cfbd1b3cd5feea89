"""PostgreSQL, MLflow or the disk is gone in the middle of every stage: a clear message, and a repeat that succeeds."""

import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ml.settings import Settings
from ml.stack.postgres import EmbeddedPostgres
from ml.warehouse import PIPELINE_ROLE, migrate
from tests.faults import acts
from tests.faults.builders import Story, broken, lenient, write_story
from tests.faults.processes import Act, run
from tests.mlflow_server import MlflowServer, free_port

SEED = 20260101
SECRET = "pipe-secret"  # pragma: allowlist secret
POSTGRES = ("statement", "commit", "copy")
MLFLOW = ("request",)
STORE_MB = 64
# Bytes that are left: for nothing, for payloads, for staged rows and their pages, for part of the lake.
ROOMS = (0, 30_000, 120_000, 400_000)

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1_800)]


@pytest.fixture(scope="module")
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A server that may be stopped, on a port, with passwords."""
    folder = Path(tempfile.mkdtemp(prefix="fg-pg-", dir="/tmp"))
    server = EmbeddedPostgres(folder / "server", free_port(), "owner-secret")
    try:
        server.start()
        server.ensure_database("fourgate", "fourgate_owner", "owner-secret")
        migrate(server.owner_dsn, SECRET, "reader-secret")
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="module")
def impatient() -> Iterator[None]:
    """MLflow's client gives up at once: waiting for a server is its business, not that of this test."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        yield


def prepared(settings: Settings, story: Story) -> dict[str, tuple[list[str], Callable[..., None], tuple[Any, ...]]]:
    """Run a first round; by stage: the effects it had, and what is to be done next."""
    project = (settings, story.project)
    usual = {"collect": run(acts.collect, settings, story.folder, *story.rounds[0]), "train": run(acts.train, *project)}
    usual |= {"promote": run(acts.promote, *project), "publish": run(acts.publish, *project)}
    run(acts.collect, settings, story.folder, *story.rounds[1])
    run(acts.train, *project)
    other_seed = Settings.model_validate({**settings.model_dump(), "seed": settings.seed + 1})
    return {
        "collect": (usual["collect"], acts.collect, (settings, story.folder, *story.rounds[2])),
        "train": (usual["train"], acts.train, (other_seed, story.project)),
        "promote": (usual["promote"], acts.promote, project),
        "publish": (usual["publish"], acts.publish, project),
    }


def outage(
    steps: dict[str, tuple[list[str], Callable[..., None], tuple[Any, ...]]], kinds: tuple[str, ...], stop: Any
) -> dict[str, tuple[int, str]]:
    """Let every stage come to a seeded point where it needs the service, stop that, go on; exit code and message."""
    chance, acting = random.Random(SEED), {}
    for name, (usual, step, arguments) in steps.items():
        points = [number for number, kind in enumerate(usual, 1) if kind in kinds]
        if points:
            point = chance.choice(points[: max(1, len(points) * 3 // 4)])
            acting[name] = Act(step, *arguments, pause_at=point)
            assert acting[name].wait_for(point), f"{name} ended before: {acting[name].told}"
    stop()
    for act in acting.values():
        act.go_on()
    return {name: (act.join(), act.told) for name, act in acting.items()}


def test_postgresql_and_then_mlflow_are_stopped_in_the_middle_of_every_stage(
    own_postgres: EmbeddedPostgres, mlflow_server: MlflowServer, impatient: None, fourgate: Settings, tmp_path: Path
) -> None:
    dsn = own_postgres.dsn(PIPELINE_ROLE, SECRET, "fourgate")
    settings = lenient(Settings.model_validate({**fourgate.model_dump(), "warehouse_dsn": dsn}), tmp_path)
    story = write_story("outage/shop", tmp_path / "history", 3)
    steps = prepared(settings, story)

    told = outage(steps, POSTGRES, own_postgres.stop)
    assert set(told) == {"collect", "train", "promote", "publish"}
    for name, (code, message) in told.items():
        assert code == 6, (name, message)
        assert message.startswith("WarehouseError: ")
        assert f"PostgreSQL at 127.0.0.1:{own_postgres.port}/fourgate" in message
        assert "was lost" in message or "cannot be reached" in message
        assert "repeat" in message or "is the server running" in message
        assert SECRET not in message
    own_postgres.start()
    assert broken(settings) == {}

    try:
        told = outage({name: step for name, step in steps.items() if name != "collect"}, MLFLOW, mlflow_server.stop)
    finally:
        mlflow_server.start()
    assert set(told) == {"train", "promote", "publish"}
    for name, (code, message) in told.items():
        assert code == 7, (name, message)
        assert message.startswith(f"RegistryError: MLflow at {mlflow_server.uri} did not ")
        assert "is the server running and the address right (FOURGATE_MLFLOW_TRACKING_URI)?" in message
    found = broken(settings)
    assert set(found) <= {"aliases_agree"}, found  # the champion's row may be ahead of what MLflow was told

    for _, step, arguments in steps.values():
        run(step, *arguments)
    assert broken(settings) == {}


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={STORE_MB}m", "tmpfs", str(place)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("only root may mount the small file system that this test fills")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def leave(disk: Path, room: int) -> None:
    """Fill a disk but for some bytes."""
    filler = disk / "filler"
    filler.unlink(missing_ok=True)
    free = shutil.disk_usage(disk).free - room
    with filler.open("wb") as file:
        file.write(bytes(max(0, free)))


def test_the_disk_is_full_in_the_middle_of_every_stage(small_disk: Path, fourgate: Settings, tmp_path: Path) -> None:
    settings = lenient(Settings.model_validate({**fourgate.model_dump(), "home": small_disk / "home"}), tmp_path)
    story = write_story("disk/shop", tmp_path / "history", 1)
    collecting = (acts.collect, (settings, story.folder, *story.rounds[0]))
    project = (settings, story.project)
    kinds = set()
    for step, arguments, rooms in (
        (*collecting, ROOMS),
        (acts.train, project, ROOMS[:1]),
        (acts.promote, project, ROOMS[:1]),
    ):
        for room in rooms:
            leave(small_disk, room)
            act = Act(step, *arguments)
            code = act.join()
            if code == 0:
                break
            assert code in (3, 5, 10), act.told
            kinds.add(code)
            assert "No space left on device" in act.told
            assert str(small_disk) in act.told
            assert "room" in act.told
            assert broken(settings) == {}
        leave(small_disk, 32_000_000)
        run(step, *arguments)
    assert kinds >= {3, 10}
    leave(small_disk, 0)
    run(acts.publish, *project)  # writes nothing on this machine
    assert broken(settings) == {}
