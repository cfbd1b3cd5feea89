"""Every error that Fourgate raises on purpose.

::

    FourgateError
    ├── SettingsError        a setting is unknown, missing or malformed        (exit code 2)
    │   └── LibraryMissing   the system lacks a library that a part of Fourgate needs
    ├── SourceError          a source or one of its payloads cannot be read    (exit code 3)
    │   ├── UnreadableHistory  a folder or file holds no history that can be read
    │   ├── RefusedPayload   one payload is hostile or broken; the rest goes on
    │   └── RefusedRequest   a pushed run is not taken; it can be sent again when it is right
    ├── ContractError        a batch as a whole breaks its contract            (exit code 4)
    ├── LakeError            the lake is missing, locked or not as recorded    (exit code 5)
    ├── WarehouseError       PostgreSQL refuses or cannot be reached           (exit code 6)
    ├── RegistryError        MLflow refuses or cannot be reached               (exit code 7)
    │   └── ArtifactRefused  a model file is not the one that was promoted
    ├── NotEnoughData        a step needs more history; says how much          (exit code 8)
    ├── StackError           a process of the embedded stack did not start     (exit code 9)
    └── StorageError         a disk is full or cannot be written               (exit code 10)

A message says what went wrong, where, and what would have been right.
"""

from ml.legible import legible


class FourgateError(Exception):
    """Root of the tree. `exit_code` is what the command line returns.

    A message may quote a name from outside: as text it holds nothing that a terminal or a log would act on.
    """

    exit_code = 1

    def __str__(self) -> str:
        """The message, legible."""
        return legible(super().__str__())


class SettingsError(FourgateError):
    """A setting is unknown, missing or malformed."""

    exit_code = 2


class LibraryMissing(SettingsError):
    """The system lacks a library that no wheel brings along."""


class SourceError(FourgateError):
    """A source, or the folder behind it, cannot be read."""

    exit_code = 3


class UnreadableHistory(SourceError):
    """A folder or file is not there, or holds no history in a layout that can be read."""


class RefusedPayload(SourceError):
    """One payload is hostile or broken.

    `reason` is a short code for `rejected_rows.reason`, e.g. ``truncated_xml``.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class RefusedRequest(SourceError):
    """A pushed run is not taken.

    `status` is that of HTTP, `expected` what would have been right, `wait_s` after how long it may be sent again;
    `headers` go with the answer.
    """

    def __init__(self, status: int, message: str, expected: str, wait_s: float | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status = status
        self.expected = expected
        self.wait_s = wait_s
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}


class ContractError(FourgateError):
    """A batch as a whole breaks its contract."""

    exit_code = 4


class LakeError(FourgateError):
    """The lake is missing, locked or not as the ledger recorded it."""

    exit_code = 5


class WarehouseError(FourgateError):
    """PostgreSQL refuses or cannot be reached."""

    exit_code = 6


class RegistryError(FourgateError):
    """MLflow refuses or cannot be reached."""

    exit_code = 7


class ArtifactRefused(RegistryError):
    """A model file is not the promoted one, or holds a type that is not allowed."""


class NotEnoughData(FourgateError):
    """A step needs more history than there is; the message gives both numbers."""

    exit_code = 8


class StackError(FourgateError):
    """A process of the embedded stack did not start or did not stop."""

    exit_code = 9


class StorageError(FourgateError):
    """A disk is full or cannot be written."""

    exit_code = 10
