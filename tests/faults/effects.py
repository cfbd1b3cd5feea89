"""What a process does to the world outside it, step by step: statements and commits, Delta writes, requests, renames.

Each such step passes a C function; a profile hook writes its name to a pipe just before it happens. Whoever reads the
pipe knows how far the process has come, and where it was when it died.
"""

import os
import signal
import sys
from itertools import count
from multiprocessing.connection import Connection
from types import FrameType, ModuleType
from typing import Any

SEPARATOR = b"\n"
_DELTA = {
    "write_to_deltalake": "delta write",
    "create_deltalake": "delta create",
    "write": "delta write",
    "restore": "delta restore",
    "merge_execute": "delta merge",
}
_KINDS = {
    "psycopg2.extensions": {"execute": "statement", "copy_expert": "copy", "__exit__": "commit"},
    "deltalake._internal": _DELTA,
    "_socket": {"sendall": "request"},
    "posix": {"rename": "rename", "replace": "rename"},
}
_NAMES = {name for kinds in _KINDS.values() for name in kinds}


def report(sender: Connection, pause_at: int) -> None:
    """Write each outside effect of this thread to a pipe from now on, just before it happens.

    Before effect number `pause_at` the process stops itself (SIGSTOP); 0 means never.
    """
    descriptor, number = sender.fileno(), count(1)

    def hook(frame: FrameType, event: str, function: Any) -> None:
        if event == "c_call" and function.__name__ in _NAMES:
            kind = _kind(function)
            if kind is not None:
                os.write(descriptor, kind.encode() + SEPARATOR)
                if next(number) == pause_at:
                    os.kill(os.getpid(), signal.SIGSTOP)

    sys.setprofile(hook)


def _kind(function: Any) -> str | None:
    """What a C function does outside; None for nothing."""
    owner = getattr(function, "__self__", None)
    if owner is None or isinstance(owner, ModuleType):
        places = [function.__module__]
    else:
        places = [one.__module__ for one in type(owner).__mro__]
    return next((kind for place in places if (kind := _KINDS.get(place, {}).get(function.__name__))), None)
