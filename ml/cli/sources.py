"""Commands that collect, and that add and test the CI servers to collect from."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress, TaskID

from ml.cli import app, clock
from ml.cli.output import console, grid, plain, progress, show
from ml.cli.pipeline import AsJson, AsOf, now
from ml.errors import FourgateError, SettingsError, SourceError
from ml.settings import load_settings, source_names, token_name

if TYPE_CHECKING:
    from ml.settings import Settings
    from ml.stages.fetching import Request

What = Annotated[
    str,
    typer.Argument(help="History folder or archive, a source of fourgate.toml, or `push`. Default: all that is set."),
]
Name = Annotated[str, typer.Argument(help="Name of the source: small letters, digits and hyphens.")]

source_app = typer.Typer(no_args_is_help=True, help="The CI servers to collect from: `fourgate.toml`.")
app.add_typer(source_app, name="source")


@app.command()
def collect(what: What = "", since: str = "", until: str = "", as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Land what is new, hold it against its contracts and append it to the lake. Twice changes nothing.

    A source that fails does not keep the others from the lake; its error comes last.
    """
    from ml.stages import collection, fetching, vigilance
    from ml.stages.opening import to_span

    settings, moment = load_settings(), now(as_of)
    folder = "" if what == fetching.PUSH else _folder(what, source_names(settings))
    names = fetching.names(settings, fetching.HISTORY if folder else what)
    requests = [fetching.Request(name, moment, to_span(since, until), history=folder) for name in names]
    failures: list[FourgateError] = []
    checked: list[dict[str, Any]] = []
    with progress(as_json) as bar:
        task = bar.add_task("validating and appending", total=None)

        def validated() -> Iterator[dict[str, Any]]:
            batches = _fetched(settings, requests, bar, failures)
            for one in collection.validate_each(settings, batches, moment):
                checked.append(one)
                yield one
                bar.update(task, completed=len(checked))

        appended = collection.append(settings, validated())
        bar.update(task, total=len(checked))
    if failures and not checked:
        raise failures[0]
    show({"validated": checked, **appended}, as_json)
    refused = [(batch["batch_id"], reason, rows) for batch in checked for reason, rows in batch["reasons"].items()]
    if refused and not as_json:
        console.print(grid("Refused rows", ("batch", "reason", "rows"), refused))
    for failure in failures:
        raise failure
    vigilance.require_health(settings, checked, moment)


def _folder(what: str, sources: Sequence[str]) -> str:
    """Where the history lies that `what` names; empty where it names a source, or nothing."""
    if not what or what in sources:
        return ""
    folder = Path(what).absolute()
    if sources and not folder.exists():
        raise SourceError(f"{what!r} is no file or folder, and no source either; sources are {', '.join(sources)}")
    return str(folder)


def _fetched(
    settings: "Settings", requests: "Sequence[Request]", bar: Progress, failures: list[FourgateError]
) -> Iterator[dict[str, Any]]:
    """Batches of all sources as they land; the errors of those that failed come to `failures`."""
    from ml.stages import fetching

    for request in requests:
        task = bar.add_task(f"landing {plain(request.name)}", total=None)
        try:
            yield from fetching.fetch_each(settings, request, partial(_advance, bar, task))
        except FourgateError as error:
            failures.append(error)


def _advance(bar: Progress, task: TaskID, done: int, total: int) -> None:
    bar.update(task, completed=done, total=total)


@source_app.command("list")
def list_sources(as_json: AsJson = False) -> None:
    """Show every source, and where its secret would come from."""
    from ml.sources import configured

    settings = load_settings()
    found = [
        {
            "name": source.name,
            "kind": source.kind,
            "project": source.options.project,
            "url": str(source.options.url),
            "secret": token_name(source.name),
        }
        for source in configured.load(settings.sources).values()
    ]
    if as_json:
        show(found, as_json)
    elif found:
        console.print(grid(str(settings.sources), tuple(found[0]), [tuple(one.values()) for one in found]))
    else:
        console.print(f"{plain(settings.sources)} names no source; `fourgate source add --help` shows how to add one")


@source_app.command(
    epilog="Example: fourgate source add shop-ci --kind github_actions --project acme/shop --set repository=acme/shop"
)
def add(
    name: Name,
    kind: Annotated[str, typer.Option(help="bucket, git, github_actions, gitlab, jenkins or sql.")],
    project: Annotated[str, typer.Option(help="Name that its runs go into the lake under.")],
    url: Annotated[
        str, typer.Option(help="Root of the server's API, or the repository. Default: that of the public service.")
    ] = "",
    options: Annotated[
        list[str] | None, typer.Option("--set", metavar="OPTION=VALUE", help="Any other option; may be repeated.")
    ] = None,
) -> None:
    """Write a source into fourgate.toml, if it is right; its secret stays in the environment."""
    from ml.sources import configured

    settings = load_settings()
    table = {"kind": kind, "project": project, **({"url": url} if url else {}), **_given(options or [])}
    added = configured.add(settings.sources, name, table)
    console.print(f"[green]added[/] {name} to {plain(settings.sources)}")
    token = f"put its token into {token_name(name)}, then " if added.options.needs_secret else ""
    console.print(f"next: {token}`fourgate source test {name}`")


@source_app.command("test")
def examine(name: Name, as_json: AsJson = False) -> None:
    """Say what of a source can be reached, which permission is missing and how much history there is.

    Exit code 1: something is missing.
    """
    from ml.stages import fetching

    findings = list(fetching.examine(load_settings(), name, clock.now()))
    if as_json:
        show(findings, as_json)
    else:
        marks = {True: "[green]ok[/]", False: "[bold red]missing[/]"}
        for finding in findings:
            console.print(f"{marks[finding.is_ok]}  {plain(finding.subject)}: {plain(finding.detail)}", soft_wrap=True)
    if not all(finding.is_ok for finding in findings):
        raise typer.Exit(1)


def _given(options: Sequence[str]) -> Mapping[str, Any]:
    """``name=value`` pairs; several values of one name, or commas in one, make a list."""
    found: dict[str, Any] = {}
    for text in options:
        name, mark, value = text.partition("=")
        if not mark or not name:
            raise SettingsError(f"{text!r} is no option of a source; right would be --set name=value")
        values = value.split(",")
        found[name] = values if len(values) > 1 else _number_or_text(value)
    return found


def _number_or_text(value: str) -> float | str:
    """A whole number stays one: ``path=42`` names a project."""
    for kind in (int, float):
        try:
            return kind(value)
        except ValueError:
            continue
    return value
