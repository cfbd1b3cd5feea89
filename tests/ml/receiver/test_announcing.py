"""Airflow is told of pushed runs: at once, not too often, and again after it was away."""

import logging
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from ml.receiver.announcing import Announcer, Pace, announcer
from ml.settings import Settings
from tests.ml.receiver.airflow_server import PASSWORD, AirflowServer, airflow_server
from tests.ml.receiver.serving import Process, landed, manifest, new_token, parts, push

pytestmark = pytest.mark.integration
EVENT = {"asset_id": 7}
FAST = Pace(0.01, 0.02)


@pytest.fixture
def airflow() -> Iterator[AirflowServer]:
    with airflow_server() as server:
        yield server


@pytest.fixture
def told(settings: Settings, airflow: AirflowServer) -> Settings:
    return settings.model_copy(update={"airflow_url": airflow.url, "airflow_password": SecretStr(PASSWORD)})


def land(known: Announcer, *, is_new: bool = True) -> None:
    with known.landing() as is_landed:
        if is_new:
            is_landed()


def marker(settings: Settings) -> Path:
    return settings.home / "receiver" / "unannounced"


def test_what_lands_while_airflow_is_told_is_one_more_event(told: Settings, airflow: AirflowServer) -> None:
    known = announcer(told, FAST)
    airflow.may_answer.clear()
    with known.running():
        land(known)
        assert airflow.wait_for(asked=1)
        for _ in range(50):
            land(known)
        airflow.may_answer.set()
        assert airflow.wait_for_events(2)
    assert airflow.events == [EVENT, EVENT]
    assert not marker(told).exists()


def test_between_two_events_there_is_a_pause(told: Settings, airflow: AirflowServer) -> None:
    known = announcer(told, Pace(pause_s=3_600))
    with known.running():
        land(known)
        assert airflow.wait_for_events(1)
        land(known)
    assert airflow.events == [EVENT]
    assert marker(told).exists()


def test_what_was_there_already_is_no_event(told: Settings, airflow: AirflowServer) -> None:
    known = announcer(told, FAST)
    with known.running():
        land(known, is_new=False)
        land(known)
        assert airflow.wait_for_events(1)
    assert airflow.events == [EVENT]
    land(known, is_new=False)
    assert not marker(told).exists()


def test_an_airflow_that_refuses_is_logged_once_and_told_when_it_is_well(
    told: Settings, airflow: AirflowServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="ml.receiver.announcing")
    airflow.status = 500
    known = announcer(told, FAST)
    with known.running():
        land(known)
        assert airflow.wait_for(asked=4)
        assert marker(told).exists()
        airflow.status = 200
        assert airflow.wait_for_events(1)
    lines = [record.message for record in caplog.records]
    assert len(lines) == 2
    assert "Airflow is not told of pushed runs" in lines[0]
    assert "answered 500" in lines[0]
    assert "again" in lines[1]
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "changed",
    [{"airflow_url": "http://127.0.0.1:1"}, {"airflow_url": "no address"}, {"airflow_password": SecretStr("wrong")}],
    ids=["nobody there", "no address", "wrong password"],
)
def test_an_airflow_that_cannot_be_told_ends_nothing(
    told: Settings, airflow: AirflowServer, changed: dict[str, object], caplog: pytest.LogCaptureFixture
) -> None:
    known = announcer(told.model_copy(update=changed), FAST)
    with known.running():
        land(known)
        until = time.monotonic() + 30
        while "not told" not in caplog.text and time.monotonic() < until:
            threading.Event().wait(0.01)
    assert "Airflow is not told of pushed runs" in caplog.text
    assert marker(told).exists()
    assert airflow.events == []


def test_waits_grow_up_to_a_limit() -> None:
    assert [Pace(5, 60).after(failures) for failures in (0, 1, 2, 3, 4, 9_999)] == [5, 10, 20, 40, 60, 60]


def test_without_a_password_nobody_is_told_and_nothing_is_noted(settings: Settings, airflow: AirflowServer) -> None:
    known = announcer(settings.model_copy(update={"airflow_url": airflow.url}), FAST)
    with known.running():
        land(known)
    assert airflow.asked == 0
    assert not marker(settings).exists()


@pytest.mark.slow
def test_a_push_is_answered_while_airflow_is_silent_and_announced_after_a_kill(
    told: Settings, airflow: AirflowServer, tmp_path: Path
) -> None:
    token = new_token(told)
    with airflow_server() as silent:  # of its own: what it still holds of the killed receiver is no event
        silent.may_answer.clear()
        first = Process(told.model_copy(update={"airflow_url": silent.url}), tmp_path / "receiver.log")
        try:
            for number in range(3):
                assert push(first.url, token, parts(manifest(run_id=str(number)))).status_code == 201
            assert silent.wait_for(asked=1)
        finally:
            first.end(signal.SIGKILL)
    assert marker(told).exists()
    second = Process(told, tmp_path / "receiver.log")
    try:
        assert airflow.wait_for_events(1)
    finally:
        second.end()
    assert airflow.events == [EVENT]
    assert len(landed(told)) == 3
    assert PASSWORD not in (tmp_path / "receiver.log").read_text()
