"""Commands that look whether things are as they should be."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from ml.cli import app
from ml.cli.output import console, grid, plain, progress, show
from ml.cli.pipeline import AsJson
from ml.settings import load_settings

if TYPE_CHECKING:
    from ml.stages.verification import Finding

Mend = Annotated[bool, typer.Option("--mend", help="First set MLflow's aliases again by the champions' rows.")]


@app.command(epilog="Example: fourgate verify --json | jq '.[] | select(.status != \"pass\")'")
def verify(mend: Mend = False, as_json: AsJson = False) -> None:
    """Check that lake, PostgreSQL and MLflow agree: batches, verdicts, sets, champions, model files, snapshots.

    Each broken invariant is told with the command that mends it. Exit code 1: one is broken.
    """
    from ml.stages import verification

    with progress(as_json) as bar:
        bar.add_task("verifying", total=None)
        findings = verification.verify(load_settings(), mend)
    if as_json:
        show(findings, as_json)
    else:
        _print(findings)
    if any(finding.status != "pass" for finding in findings):
        raise typer.Exit(1)


def _print(findings: "Sequence[Finding]") -> None:
    rows = [
        (finding.name, finding.status.value, finding.looked_at, finding.problem_count or "", finding.invariant)
        for finding in findings
    ]
    console.print(grid("Invariants", ("name", "status", "looked at", "problems", "holds when"), rows))
    for finding in findings:
        for problem in finding.problems:
            console.print(f"[bold red]{finding.name}:[/] {plain(problem.what)}", soft_wrap=True)
            console.print(f"  mend: {plain(problem.mend)}", soft_wrap=True)
        if finding.problem_count > len(finding.problems):
            console.print(f"  and {finding.problem_count - len(finding.problems)} more")
