"""Taking history, or who wrote it, out of a lake table: one Delta commit, or none where there is nothing to take out.

What is taken out stays readable in older versions until a vacuum removes the files that only they need.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Protocol

from deltalake import DeltaTable

from ml.lake.delta import explained, literal, literals, scan, schema_of, stamp
from ml.lake.rows import NO_PARTITION

AUTHOR = "author_id"
DATED = ("runs", "test_results", "changed_files", "failure_labels", "commits")
REFUSED = "rejected_rows"
TEXTS = ("row", "value")  # of a refused row, which may quote its author


@dataclass(frozen=True, slots=True)
class Removed:
    """The version of each table afterwards, and how many of its rows were concerned."""

    versions: Mapping[str, int]
    counts: Mapping[str, int]


class Removal(Protocol):
    """What is taken out of the tables."""

    def where(self, table: str, delta: DeltaTable) -> str | None:
        """Predicate of the rows concerned; None where a table can have none."""
        ...

    def commit(self, delta: DeltaTable, where: str, sequence: int) -> None:
        """Take it out."""
        ...


@dataclass(frozen=True, slots=True)
class Outdated:
    """History of a project from before `day` (``2026-01-31``), and refused rows of the batches in `batch_ids`."""

    project: str
    day: str
    batch_ids: Set[str]

    def where(self, table: str, delta: DeltaTable) -> str | None:
        """Whole partitions of history; refused rows have no day, but a batch."""
        if table in DATED:
            return f"project = {literal(self.project)} AND day < {literal(self.day)} AND day <> {literal(NO_PARTITION)}"
        if table != REFUSED:
            return None
        there = self.batch_ids & set(scan(delta, ["batch_id"])["batch_id"].unique().to_pylist())
        return f"batch_id IN ({literals(there)})" if there else None

    def commit(self, delta: DeltaTable, where: str, sequence: int) -> None:
        """Remove the rows."""
        with explained(delta.table_uri):
            delta.delete(where, commit_properties=stamp(sequence))


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote the rows of a project, where it is this one: in every table that says so.

    `pseudonym` is hexadecimal digits, and that of no other person or project.
    """

    project: str
    pseudonym: str

    def where(self, table: str, delta: DeltaTable) -> str | None:
        """Rows that name the person; a refused row does so in its text."""
        if table == REFUSED:
            return " OR ".join(f"{column} LIKE {literal(f'%{self.pseudonym}%')}" for column in TEXTS)
        if AUTHOR not in schema_of(delta).names:
            return None
        return f"project = {literal(self.project)} AND {AUTHOR} = {literal(self.pseudonym)}"

    def commit(self, delta: DeltaTable, where: str, sequence: int) -> None:
        """Make it null, and in a text nothing; the rows stay."""
        cut = {column: f"replace({column}, {literal(self.pseudonym)}, '')" for column in TEXTS}
        updates = {AUTHOR: "NULL"} if AUTHOR in schema_of(delta).names else cut
        with explained(delta.table_uri):
            delta.update(updates, predicate=where, commit_properties=stamp(sequence))
