"""``fourgate doctor``: can Fourgate work here, and what would mend it."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from ml import stack
from ml.cli import app, clock
from ml.cli.output import console, plain, progress, show
from ml.cli.pipeline import AsJson
from ml.errors import SettingsError
from ml.settings import home_only, load_settings

if TYPE_CHECKING:
    from ml.stages.diagnosis import Finding, Patient

COLOURS = {"ok": "green", "warning": "yellow", "wrong": "bold red", "skipped": "dim"}


@app.command(epilog="Example: fourgate doctor --json")
def doctor(
    repair: Annotated[bool, typer.Option("--repair", help="First point MLflow's aliases at the champions.")] = False,
    as_json: AsJson = False,
) -> None:
    """Examine settings, versions, ports, disk, database, clock, MLflow, Airflow, lake and aliases.

    Each finding comes with the command that mends it. Exit code 1: something is wrong.
    """
    from ml.stages.diagnosis import SUBJECTS, Health, examine
    from ml.stages.diagnosis.services import repair_aliases

    if repair:
        repair_aliases(load_settings())
    findings: list[Finding] = []
    with progress(as_json) as bar:
        task = bar.add_task("examining", total=len(SUBJECTS))
        for finding in examine(_patient()):
            findings.append(finding)
            bar.update(task, completed=len({one.subject for one in findings}), description=finding.subject)
    is_well = all(finding.health is not Health.WRONG for finding in findings)
    if as_json:
        show({"is_well": is_well, "findings": findings}, as_json)
    else:
        _print(findings)
    if not is_well:
        raise typer.Exit(1)


def _patient() -> "Patient":
    """What is examined; settings that cannot be read are a finding, not an end."""
    from ml.stages.diagnosis import Patient

    home = home_only()
    try:
        settings, problem = load_settings(), ""
    except SettingsError as error:
        settings, problem = home, str(error)
    return Patient(settings, clock.now, problem, stack.condition(home))


def _print(findings: list["Finding"]) -> None:
    table = Table(header_style="cyan")
    for name in ("subject", "state", "found", "mend"):
        table.add_column(name, overflow="fold")
    for one in findings:
        state = f"[{COLOURS[one.health.value]}]{one.health.value}[/]"
        table.add_row(one.subject, state, plain(one.found), plain(one.mend))
    console.print(table)
    wrong = sum(one.health.value == "wrong" for one in findings)
    console.print(f"[bold red]{wrong} wrong[/]" if wrong else "[green]nothing is wrong[/]")
