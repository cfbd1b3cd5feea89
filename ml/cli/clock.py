"""The command line is the edge of the system: the wall clock is read here, and below it time is an argument."""

from datetime import UTC, datetime


def now() -> datetime:
    """The wall clock, in UTC."""
    return datetime.now(UTC)
