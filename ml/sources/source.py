"""What every source is: two verbs, and the limits it keeps to."""

from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, Self
from urllib.parse import urlsplit, urlunsplit

from pydantic import AnyUrl, BaseModel, ConfigDict, Field

from ml.spec import Batch, Interval, Parsed

Progress = Callable[[int, int], None]
RunAttempt = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may read, and how it hides people.

    `max_payload_bytes` bounds one report or manifest file; `author_salt` keys the hash of authors' names; `forgotten`
    are the pseudonyms of those who opted out.
    """

    max_payload_bytes: int
    author_salt: str = field(repr=False)
    forgotten: Set[str] = frozenset()


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


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at: is it as it should be, and what to do where it is not."""

    subject: str
    is_ok: bool
    detail: str


class SourceOptions(BaseModel):
    """What the part of `fourgate.toml` for any source says; the module of each kind adds its own.

    Attributes:
        asks_for_commits: Whether sources of this kind want to know `Known.commits` and `Known.landed`.
        needs_secret: Whether none of this kind can be read without a secret.
        brings_runs: Whether sources of this kind have runs, and may fall silent.
        project: Name that the runs go into the lake under.
        url: Where it is; each kind says what form it has.
        history_days: How far back the first collection goes.
        overlap_days: How far before the end of what is collected each further collection begins again: for runs that
            were still running then, and for later attempts of runs.
        silent_days: A collection fails when there has been no run for longer than this; 0 = never.
        least_share: A collection fails when the last seven days brought less than this share (0..1) of the runs of a
            usual week; 0 = never.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")
    asks_for_commits: ClassVar[bool] = False
    needs_secret: ClassVar[bool] = True
    brings_runs: ClassVar[bool] = True

    project: str = Field(min_length=1, max_length=200)
    url: AnyUrl | str
    history_days: float = Field(90, gt=0, le=3_650)
    overlap_days: float = Field(3, ge=0, le=90)
    silent_days: float = Field(14, ge=0, le=3_650)
    least_share: float = Field(0.1, ge=0, lt=1)

    @property
    def origin(self) -> str:
        """The address without what may be secret in it."""
        parts = urlsplit(str(self.url))
        return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))

    @property
    def host(self) -> str:
        """Whom a collection asks; empty where that is no server."""
        return urlsplit(str(self.url)).hostname or ""


@dataclass(frozen=True, slots=True)
class Known:
    """What the lake has of a source's project.

    Attributes:
        attempts: Of runs.
        commits: Run to commit, of the runs in the span that name no files yet.
        landed: Ids of the commits in table `commits`.
    """

    attempts: Set[RunAttempt] = frozenset()
    commits: Mapping[str, str] = field(default_factory=dict)
    landed: Set[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a configured source works with: root of the landing area, limits, what is known already, and a folder
    below which it may keep what it can fetch again.
    """

    landing: Path
    limits: Limits
    known: Known = Known()
    cache: Path = Path(".fourgate", "cache")


class OpenSource(Protocol):
    """A configured source with its connections, which end with the block."""

    name: str

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def fetch(self, interval: Interval, on_progress: Progress | None = None) -> Iterator[Batch]:
        """As `Source.fetch`; what is known already is not asked for again."""
        ...

    def test(self) -> Iterator[Finding]:
        """What can be reached with these credentials, which permission is missing, how much history there is."""
        ...
