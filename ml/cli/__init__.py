"""``fourgate``: every stage without Airflow, the embedded stack, and what is going on."""

import errno
from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from ml.errors import FourgateError, StorageError


class Guarded(TyperGroup):
    """Turns Fourgate's own errors into one line on stderr and their exit code; anything else is a bug and shows."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except FourgateError as error:
            _tell(error)
            raise typer.Exit(error.exit_code) from error
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            full = StorageError(f"{error}; make room there and repeat: what was half written does not count")
            _tell(full)
            raise typer.Exit(full.exit_code) from error


def _tell(error: FourgateError) -> None:
    Console(stderr=True, soft_wrap=True).print(f"[bold red]{type(error).__name__}:[/] ", end="")
    Console(stderr=True, soft_wrap=True, markup=False, highlight=False).print(str(error))


app = typer.Typer(
    cls=Guarded,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Turns CI history into predictions. Every stage runs here without Airflow; `fourgate run` runs all with it.",
    epilog="Exit codes: 0 done, 1 refused by a gate or an invariant is broken, 2 settings, 3 source, 4 contract, "
    "5 lake, 6 PostgreSQL, 7 MLflow, 8 not enough data, 9 stack, 10 disk.",
)


def complete() -> typer.Typer:
    """`app` with every command: each module registers its own on import, and the help of one names all."""
    from ml.cli import checks, doctor, flaky, forget, pipeline, receiver, sources, stack, trace, upkeep, upload  # noqa: F401 - see above

    return app


def main() -> None:
    """Entry point of the ``fourgate`` command."""
    complete()()
