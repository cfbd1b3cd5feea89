"""The command for people who opt out."""

import getpass
from typing import Annotated, Any

import typer

from ml.cli import app, clock
from ml.cli.output import console, grid, plain, show
from ml.cli.pipeline import AsJson
from ml.cli.upkeep import DryRun
from ml.settings import load_settings

LATER = (
    "Older versions of the lake still have the pseudonym: they go with the next `fourgate maintain` that finds no live "
    "model naming them and FOURGATE_KEEP_LAKE_DAYS over."
)


@app.command(epilog="Example: fourgate forget ada --project acme/shop --dry-run")
def forget(
    person: Annotated[str, typer.Argument(help="Name exactly as the CI system gives it; it is stored nowhere.")],
    project: Annotated[str, typer.Option(help="The project that the person opts out of.")],
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Forget who a person is, in what is stored of a project and in what will be collected. Twice is fine.

    Exit code 1: something of landing could not be read or written; what the message names may still name the person.
    """
    from ml.stages import forgetting

    done = forgetting.forget(load_settings(), (person, project), clock.now(), getpass.getuser(), dry_run=dry_run)
    if as_json:
        show({**done, "later": LATER}, as_json)
    else:
        _tell(done)
    if done["unread"]:
        raise typer.Exit(1)


def _tell(done: dict[str, Any]) -> None:
    rows = [("staged batches", done["staged_batches"]), ("landed manifests", done["landed_manifests"])]
    rows += [(f"rows of {table}", count) for table, count in done["lake_rows"].items() if count]
    console.print(grid("Would be changed" if done["dry_run"] else "Changed", ("what", "number"), rows))
    for place in done["unread"]:
        console.print(f"[yellow]could not be read or written:[/] {plain(place)}", soft_wrap=True)
    if not done["is_new"]:
        console.print("The person had opted out before.")
    console.print(LATER, soft_wrap=True)
