"""Commands that lead back: from a prediction to its commits, from a run in MLflow to its rows and its model."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from ml.cli import app
from ml.cli.output import console, grid, progress, show
from ml.cli.pipeline import AsJson, Model, Project
from ml.settings import MODELS, load_settings

Run = Annotated[str, typer.Argument(metavar="RUN", help="Id of an MLflow run of `train`, or the address of its page.")]
SHOWN = 20


@app.command(epilog="Example: fourgate explain run-01194 test_payment_export   (or: fourgate explain 'run-01194#1')")
def explain(  # noqa: PLR0913 - each is something that a user may have at hand
    prediction: Annotated[str, typer.Argument(help="Change, as `fourgate status` shows it, or CHANGE#RANK.")],
    test: Annotated[str, typer.Argument(help="Test, or a part of its name. Default: the first rank.")] = "",
    *,
    variant: Annotated[str, typer.Option(help="Only this variant.")] = "",
    publication: Annotated[
        str, typer.Option(help="Id of a past set, or its beginning. Default: the current set.")
    ] = "",
    model: Model = MODELS[0],
    project: Project = "",
    as_json: AsJson = False,
) -> None:
    """Lead a prediction back to its model, verdicts, training, snapshot, batches, runs and commits.

    Exit code 8: there is no such prediction; what comes near is named.
    """
    from ml.cli.lineage import print_lineage
    from ml.stages import tracing

    wanted = {"model": model, "project": project, "variant": variant, "publication": publication}
    found = tracing.explain(load_settings(), prediction, test, wanted)
    if as_json:
        show(found, as_json)
    else:
        print_lineage(found)


@app.command(epilog="Example: fourgate frame 2e4a5ccc457d4b4da11d869b376c32b6 --output frame.parquet")
def frame(
    run: Run,
    output: Annotated[Path, typer.Option("--output", "-o", help="Parquet file to write.")] = Path("frame.parquet"),
    as_json: AsJson = False,
) -> None:
    """Build the rows that a training saw again, from the snapshot of the lake that its run names.

    Exit code 1: they are not the recorded ones.
    """
    from ml.stages import reproduction

    found = reproduction.frame(load_settings(), run, output.absolute())
    if as_json:
        show(found, as_json)
    else:
        show({name: found[name] for name in ("path", "rows", "columns", "snapshot_id", "as_of")}, as_json)
        _print_digest(found)
        _print_changes(found["changes"])
    _exit(found["is_equal"])


@app.command(epilog="Example: fourgate reproduce 2e4a5ccc457d4b4da11d869b376c32b6")
def reproduce(run: Run, as_json: AsJson = False) -> None:
    """Fit the chosen candidate of a training again and compare rows, scores and measures with what was logged.

    Exit code 1: something differs.
    """
    from ml.stages import reproduction

    with progress(as_json) as bar:
        bar.add_task("building the rows, fitting and measuring again", total=None)
        found = reproduction.reproduce(load_settings(), run)
    if as_json:
        show(found, as_json)
    else:
        _print_reproduction(found)
    _exit(found["is_equal"])


def _print_reproduction(found: Mapping[str, Any]) -> None:
    scores, metrics = found["scores"], found["metrics"]
    console.print(f"{found['candidate']}, version {found['version']}, run {found['run_id']}", markup=False)
    _print_digest(found["frame"])
    rows = [
        ("scores and probabilities", scores["rows"], scores["differing"], f"{scores['largest_difference']:.3g}"),
        ("measures", metrics["compared"], len(metrics["different"]), f"{metrics['largest_difference']:.3g}"),
    ]
    console.print(grid("Compared with what was logged", ("what", "compared", "differing", "largest difference"), rows))
    if metrics["different"]:
        lines = [tuple(one.values()) for one in metrics["different"][:SHOWN]]
        console.print(grid("Measures that differ", ("of", "measure", "recorded", "again"), lines))
    _print_changes(found["changes"])
    console.print("[green]equal, bit for bit[/]" if found["is_equal"] else "[bold red]not equal[/]")


def _print_digest(found: Mapping[str, Any]) -> None:
    if found["is_equal"]:
        console.print(f"[green]digest {found['digest']}: the {found['rows']} recorded rows[/]")
    else:
        told = f"digest {found['digest']}, but the run recorded {found['recorded_digest']}: other rows"
        console.print(told, style="bold red", markup=False)


def _print_changes(changes: Mapping[str, tuple[str, str]]) -> None:
    if changes:
        rows = [(name, then, now) for name, (then, now) in changes.items()]
        title = "Not as it was then: if something differs, this may be why"
        console.print(grid(title, ("what", "then", "now"), rows))


def _exit(is_right: bool) -> None:
    if not is_right:
        raise typer.Exit(1)
