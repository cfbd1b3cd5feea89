"""Tells Airflow that runs were pushed, so that they are collected at once; the hourly collection is the fallback."""

import logging
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Thread

import httpx

from ml.errors import FourgateError
from ml.settings import Settings
from ml.stack.airflow_api import AirflowApi
from ml.stages.opening import folder_of

LOG = logging.getLogger(__name__)
logging.getLogger("httpx").setLevel(logging.WARNING)  # it logs every request
ASSET = "pushed_runs"
MARKER = "unannounced"
TIMEOUT_S = 10.0
_FAILURES = (FourgateError, httpx.InvalidURL, OSError, ValueError, LookupError, TypeError)  # whatever answers there


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds between two events, and at most between two attempts while Airflow does not answer."""

    pause_s: float = 5.0
    longest_s: float = 300.0

    def after(self, failures: int) -> float:
        """Seconds to wait after so many failures in a row."""
        return min(self.longest_s, self.pause_s * 2.0 ** min(failures, 30))


class Announcer:
    """Calls `tell` from a thread of its own after runs landed: once for all that landed meanwhile.

    `marker` is a file that is there while something may have landed that nobody was told of; it outlives a kill.
    Without `tell`, nobody is told.
    """

    def __init__(self, marker: Path, tell: Callable[[], None] | None = None, pace: Pace | None = None) -> None:
        self._marker = marker
        self._tell = tell
        self._pace = pace or Pace()
        self._changed = Condition()
        self._is_stopped = False
        self._landing = 0
        self._landed = 1 if marker.exists() else 0
        self._told = 0
        self._failures = 0

    @contextmanager
    def landing(self) -> Iterator[Callable[[], None]]:
        """Around the landing of a run; what it gives is called when the run is new.

        The marker is there before the batch is, so that no kill comes between.
        """
        with self._changed:
            self._landing += 1
            if self._tell is not None:
                self._marker.touch()
        try:
            yield self._note
        finally:
            with self._changed:
                self._landing -= 1
                self._tidy()

    def _note(self) -> None:
        with self._changed:
            self._landed += 1
            self._changed.notify_all()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Tells while the block lasts; what was not told then is told after the next start."""
        thread = Thread(target=self._work, name="announcer", daemon=True)
        if self._tell is not None:
            thread.start()
        try:
            yield
        finally:
            with self._changed:
                self._is_stopped = True
                self._changed.notify_all()
            if self._tell is not None:
                thread.join(2 * TIMEOUT_S)

    def _work(self) -> None:
        while self._has_news():
            seen = self._landed
            if self._is_told():
                self._settle(seen)
            with self._changed:
                self._changed.wait_for(lambda: self._is_stopped, self._pace.after(self._failures))

    def _has_news(self) -> bool:
        """Wait for something that nobody was told of; False at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_stopped or self._landed > self._told)
            return not self._is_stopped

    def _is_told(self) -> bool:
        try:
            if self._tell is not None:
                self._tell()
        except _FAILURES as error:
            if not self._failures:
                LOG.warning("Airflow is not told of pushed runs; it is tried again, they come hourly: %s", error)
            self._failures += 1
            return False
        if self._failures:
            LOG.info("Airflow is told of pushed runs again")
        self._failures = 0
        return True

    def _settle(self, seen: int) -> None:
        with self._changed:
            self._told = seen
            self._tidy()

    def _tidy(self) -> None:
        if self._landed == self._told and not self._landing:
            self._marker.unlink(missing_ok=True)


def announcer(settings: Settings, pace: Pace | None = None) -> Announcer:
    """Announces to the Airflow of the settings; to nobody where they name none, or no password for it."""
    marker = folder_of(settings, "receiver", "") / MARKER
    if not settings.airflow_url or not settings.airflow_password.get_secret_value():
        LOG.info("pushed runs wait for the hourly collection: FOURGATE_AIRFLOW_URL or _PASSWORD is not set")
        return Announcer(marker)

    def tell() -> None:
        password = settings.airflow_password.get_secret_value()
        with closing(AirflowApi(settings.airflow_url, settings.airflow_user, password, TIMEOUT_S)) as airflow:
            airflow.emit(ASSET)

    return Announcer(marker, tell, pace)
