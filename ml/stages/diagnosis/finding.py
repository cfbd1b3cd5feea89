"""What an examination works on, and what it says."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from ml.settings import Settings

LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class Health(StrEnum):
    """State of a subject. WARNING works today; SKIPPED could not be looked at for another finding."""

    OK = "ok"
    WARNING = "warning"
    WRONG = "wrong"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about one subject, and the command that mends it (empty where nothing is to mend)."""

    subject: str
    health: Health
    found: str
    mend: str = ""


@dataclass(frozen=True, slots=True)
class Patient:
    """What is examined.

    `problem` says why the settings cannot be read (then `settings` are the defaults); `stack` is the embedded stack as
    recorded: status, ports, session, detail; `now` reads the clock of this machine.
    """

    settings: Settings
    now: Callable[[], datetime]
    problem: str = ""
    stack: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_up(self) -> bool:
        """Whether the embedded stack says that it runs."""
        return self.stack.get("status") == "ready"

    def start(self, variable: str, host: str = "") -> str:
        """How to bring a service back: the embedded one by a command, another one by its owner."""
        if host and host not in LOOPBACK:
            return f"start the server at {host}, or correct {variable}"
        return "fourgate down && fourgate up" if self.is_up else "fourgate up"


def place(address: str) -> str:
    """Host and port of an address, without what may be secret in it."""
    parts = urlsplit(address)
    return f"{parts.hostname}:{parts.port}" if parts.port else str(parts.hostname)
