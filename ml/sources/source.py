"""What every source is: two verbs, and the limits it keeps to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from ml.spec import Batch, Interval, Parsed

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may read, and how it hides people.

    `max_payload_bytes` bounds one report or manifest file; `author_salt` keys the hash of authors' names.
    """

    max_payload_bytes: int
    author_salt: str = field(repr=False)


class Source(Protocol):
    """A place that CI history comes from."""

    name: str

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """Land the payloads of the runs that started in `interval`, one batch at a time, in time order per project.

        `on_progress` is called with (runs landed, runs to land) after each batch.

        Raises:
            SourceError: the history as a whole cannot be read. One broken payload is no error: `read` reports it.
        """
        ...

    def read(self, batch: Batch, limits: Limits) -> Parsed:
        """Rows of a landed batch, from the landing area alone.

        Raises:
            SourceError: the landed batch is missing or no longer as it was landed.
        """
        ...
