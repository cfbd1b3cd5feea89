"""The command for CI jobs, where nothing of Fourgate runs: sends a job's reports to `fourgate receive`."""

import os
from pathlib import Path
from typing import Annotated, Any

import typer

from ml.cli import app
from ml.cli.output import console, grid, plain, show
from ml.cli.pipeline import AsJson
from ml.errors import SettingsError
from ml.settings import FILE, UPLOAD_TOKEN, read_secret


@app.command(epilog="Example: fourgate upload build/reports --url https://fourgate.example.org --set project=acme/shop")
def upload(  # noqa: PLR0913, PLR0917 - each is something that a job has at hand
    folder: Annotated[Path, typer.Argument(help="Folder with the reports of this run, and its manifest.json if any.")],
    url: Annotated[str, typer.Option(help="Address of the push endpoint.")],
    token_file: Annotated[str, typer.Option(help=f"File with the token. Default: {UPLOAD_TOKEN}.")] = "",
    ca_file: Annotated[
        Path | None, typer.Option(help="PEM file of an authority that is believed beside those of this machine.")
    ] = None,
    fields: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field of the manifest; may be repeated.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Push a run and its reports; again changes nothing. GitHub Actions, GitLab CI and Jenkins tell most fields.

    Exit code 3: refused as a whole, or not reached.
    """
    from ml.receiver import uploading
    from ml.sources.http import patient_transport

    given = {name: value for name, _, value in (text.partition("=") for text in fields or [])}
    run = uploading.gather(folder, given, os.environ)
    told = uploading.send(run, url, read_secret(UPLOAD_TOKEN, _where(token_file)), patient_transport(ca_file))
    here = [{"reason": one.reason, "payload": one.payload, "value": one.value} for one in run.refused]
    _tell({**told, "refused": [*here, *told["refused"]]}, as_json)


def _where(token_file: str) -> dict[str, str | None]:
    if token_file:
        return {UPLOAD_TOKEN + FILE: token_file}
    if not any(os.environ.get(name) for name in (UPLOAD_TOKEN, UPLOAD_TOKEN + FILE)):
        raise SettingsError(f"there is no token; right would be {UPLOAD_TOKEN}, or --token-file")
    return dict(os.environ)


def _tell(told: dict[str, Any], as_json: bool) -> None:
    if as_json:
        show(told, as_json)
        return
    what = "accepted" if told["is_new"] else "was there already:"
    run = f"run {told['run_id']}, attempt {told['attempt']}, of {told['project']}"
    console.print(f"[green]{what}[/] {plain(run)} with {told['reports']} reports as batch {plain(told['batch_id'])}")
    if told["refused"]:
        rows = [(one["reason"], one["payload"], one["value"]) for one in told["refused"]]
        console.print(grid("Refused", ("reason", "payload", "value"), rows))
