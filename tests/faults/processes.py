"""Processes that are forked warm, watched while they work, and killed or stopped where a test wants them to be.

They come from a server that imported everything once and never used it: importing takes longer than a stage.
"""

import multiprocessing
import os
import select
import signal
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

import psutil

from ml.errors import FourgateError
from tests.faults import effects

KILLED = -signal.SIGKILL
PRELOAD = ["tests.faults.warm"]
ENDS_WITHIN_S = 1_800  # only what hangs takes as long


class Act:
    """A function in a process of its own; `seen` are its outside effects so far, oldest first.

    Args:
        target: importable function of tests/faults.
        arguments: of the function; picklable.
        pause_at: number of the effect before which the process stops itself until `go_on`; 0 means never.
    """

    def __init__(self, target: Callable[..., None], *arguments: Any, pause_at: int = 0) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(PRELOAD)
        self._receiver, sender = context.Pipe(duplex=False)
        self._process = context.Process(target=_perform, args=(sender, pause_at, target, arguments))
        self._process.start()
        sender.close()
        self._text = b""

    @property
    def seen(self) -> list[str]:
        """Kinds of the outside effects that were about to happen."""
        return [line.decode() for line in self._text.split(effects.SEPARATOR)[:-1]]

    @property
    def told(self) -> str:
        """The error of Fourgate that ended it, as the command line would tell it."""
        return self._text.split(effects.SEPARATOR)[-1].decode()

    def wait_for(self, count: int) -> bool:
        """Wait until the process is about to have its effect number `count`; False if it ended before."""
        limit = time.monotonic() + ENDS_WITHIN_S
        while len(self.seen) < count:
            if not self._read(limit):
                return False
        return True

    def _read(self, limit: float) -> bool:
        """Take what the process wrote; False when it ended."""
        ready, _, _ = select.select([self._receiver.fileno()], [], [], max(0.0, limit - time.monotonic()))
        if not ready:
            raise TimeoutError(f"the process was still at work after {len(self.seen)} effects")
        found = os.read(self._receiver.fileno(), 65_536)
        self._text += found
        return bool(found)

    def go_on(self) -> None:
        """Continue a process that stopped itself."""
        process = psutil.Process(self._process.pid)
        while process.status() not in (psutil.STATUS_STOPPED, psutil.STATUS_ZOMBIE):
            time.sleep(0.01)
        process.resume()

    def kill(self) -> int:
        """SIGKILL; the exit code, which is KILLED unless the process ended before."""
        self._process.kill()
        return self.join()

    def join(self) -> int:
        """Wait for the end; the exit code."""
        while self._read(time.monotonic() + ENDS_WITHIN_S):
            pass
        self._process.join(ENDS_WITHIN_S)
        self._receiver.close()
        assert self._process.exitcode is not None
        return self._process.exitcode


def _perform(sender: Connection, pause_at: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    effects.report(sender, pause_at)
    try:
        target(*arguments)
    except FourgateError as error:
        os.write(sender.fileno(), f"{type(error).__name__}: {error}".replace("\n", " ").encode())
        sys.exit(error.exit_code)


def run(target: Callable[..., None], *arguments: Any) -> list[str]:
    """Perform an act undisturbed; its outside effects."""
    act = Act(target, *arguments)
    assert act.join() == 0, f"{target.__name__} did not end well: {act.told}"
    return act.seen
