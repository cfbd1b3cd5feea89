"""Commands of the push endpoint: its tokens, and the service itself."""

import getpass
from dataclasses import asdict
from typing import Annotated

import typer

from ml.cli import app
from ml.cli.output import console, grid, plain, show
from ml.cli.pipeline import AsJson
from ml.settings import load_settings

Name = Annotated[str, typer.Argument(help="What the token is called: for whom it is.")]

token_app = typer.Typer(no_args_is_help=True, help="The tokens that CI jobs push runs with.")
app.add_typer(token_app, name="token")


@token_app.command("create")
def create(
    name: Name,
    project: Annotated[str, typer.Option(help="The one project that it may push runs of.")],
    as_json: AsJson = False,
) -> None:
    """Make a token and show it, this once: only its hash is stored."""
    from ml.stages.opening import open_warehouse

    with open_warehouse(load_settings()) as warehouse:
        token = warehouse.create_push_token(name, project, getpass.getuser())
    if as_json:
        show({"name": name, "project": project, "token": token}, as_json)
    else:
        console.print(token, markup=False, highlight=False, soft_wrap=True)


@token_app.command("list")
def list_tokens(as_json: AsJson = False) -> None:
    """Show every token, also those that were revoked; of none more than its name can be told."""
    from ml.stages.opening import open_warehouse

    with open_warehouse(load_settings()) as warehouse:
        found = [asdict(token) for token in warehouse.push_tokens()]
    for token in found:
        del token["sha256"]
    if as_json:
        show(found, as_json)
    elif found:
        console.print(grid("Tokens", tuple(found[0]), [tuple(token.values()) for token in found]))
    else:
        console.print("there are no tokens; `fourgate token create NAME --project PROJECT` makes one")


@token_app.command("revoke")
def revoke(name: Name) -> None:
    """Make a token useless, at once and for good."""
    from ml.stages.opening import open_warehouse

    with open_warehouse(load_settings()) as warehouse:
        warehouse.revoke_push_token(name, getpass.getuser())
    console.print(f"[green]revoked[/] {plain(name)}")


@app.command()
def receive(
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8090,
) -> None:
    """Take the runs that CI jobs push, until it is interrupted. TLS is the business of a proxy before it."""
    from ml.receiver.server import serve

    def tell(url: str) -> None:
        console.print(f"listening on {url}", soft_wrap=True, highlight=False)

    serve(load_settings(), host, port, tell)
