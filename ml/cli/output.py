"""How the command line shows a result: JSON for machines, tables for people."""

import json
import math
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from typing import Any

from rich.console import Console
from rich.markup import escape  # noqa: TID251 - here is where both are done
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from ml.legible import legible

# a log file or a pipe has no width of its own; tables need some
console = Console(width=None if sys.stdout.isatty() else 150)


def plain(value: Any) -> str:
    """Text from outside, as it is: it moves no cursor, sets no colour and is no markup."""
    return escape(legible(str(value)))


def show(value: Any, as_json: bool) -> None:
    """Print a stage's result."""
    if as_json:
        print(json.dumps(_plain(value), indent=2, default=str, allow_nan=False))  # noqa: T201 - the command's output
    elif isinstance(value, Mapping):
        console.print(key_values(value))
    else:
        for item in value:
            console.print(key_values(item) if isinstance(item, Mapping) else plain(item))


def _plain(value: Any) -> Any:
    """JSON-ready: value objects as mappings, null for NaN and infinity, which JSON does not have."""
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def key_values(values: Mapping[str, Any]) -> Table:
    """Two columns: what and how much."""
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in values.items():
        if not isinstance(value, Mapping | list):
            table.add_row(f"[cyan]{plain(name)}[/]", plain(value))
    return table


def grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> Table:
    """A titled table; text from outside is shown as it is, never as markup."""
    table = Table(title=plain(title), title_justify="left", title_style="bold", header_style="cyan")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(plain(cell) for cell in row))
    return table


def progress(as_json: bool) -> Progress:
    """A bar that stays silent when the output is JSON or no terminal."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        disable=as_json,
    )
