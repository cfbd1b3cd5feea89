"""What ``fourgate run`` and ``fourgate status`` show at the end."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml.cli.output import console, grid, plain
from ml.settings import Settings
from ml.spec import ALL_PROJECTS, Measure
from ml.stages import reporting
from ml.stages.all_projects import words_of

VERDICT_COLUMNS = ("gate", "status", "check", "measured", "threshold", "detail")


def is_published(settings: Settings, model: str) -> bool:
    """Whether every champion's predictions are in the results table."""
    return all(project["is_published"] for project in reporting.status(settings, model)["projects"])


def print_summary(settings: Settings, models: Sequence[str], tasks: Sequence[Mapping[str, Any]], wall_s: float) -> None:
    """Top predictions, verdicts, champion against baselines, wall time per stage."""
    for model in models:
        print_status(reporting.status(settings, model))
    rows = [
        (task["dag_id"], task["task_id"], task["state"], f"{task['duration']:.1f}")
        for task in sorted(tasks, key=lambda task: str(task["start_date"]))
        if task["duration"] is not None
    ]
    console.print(grid("Wall time per stage", ("DAG", "task", "state", "seconds"), rows))
    console.print(f"All in all {wall_s:.0f} s")


def print_status(status: Mapping[str, Any]) -> None:
    """Verdicts, comparison and top predictions of each project."""
    for project in status["projects"]:
        _print_project(project)
    if not status["projects"]:
        console.print("Nothing was collected yet.")


def print_receiver(stack: Mapping[str, Any]) -> None:
    """Where CI jobs push runs to, while the embedded stack is up."""
    port = stack.get("ports", {}).get("receiver")
    if stack["status"] == "ready" and port:
        console.print(f"Runs are pushed to http://127.0.0.1:{port}", markup=False)


def _print_project(project: Mapping[str, Any]) -> None:
    console.rule(plain(f"{project['model']} for {words_of(project['project'])}"), align="left")
    verdicts = project["verdicts"]
    if not verdicts and project["champion_version"] is None and project["shared_version"] is None:
        console.print(
            f"[yellow]No candidate was judged yet, nothing is published. The log of task retrain.fit in DAG "
            f"train_{project['model']} says why, mostly how much data is missing.[/]"
        )
        return
    rows = [
        (verdict["gate"], verdict["status"], check["name"], _number(check["measured"]), _limit(check), check["detail"])
        for verdict in verdicts
        for check in _telling(verdict["checks"])
    ]
    if rows:
        console.print(grid(f"Verdicts on version {project['judged_version']}", VERDICT_COLUMNS, rows))
    measures = [(name, *(_interval(value) for value in row.values())) for name, row in project["comparison"].items()]
    if measures:
        names = next(iter(project["comparison"].values()))
        console.print(grid("Judged period: candidates and baselines", ("name", *names), measures))
    predictions = [
        (row["change_id"], row["rank"], row["test_id"], row["variant"], f"{row['probability']:.3f}", row["why"])
        for row in project["top"]
    ]
    columns = ("change", "rank", "test", "variant", "P(fail)", "moved by")
    if project["project"] != ALL_PROJECTS:
        console.print(grid(f"Top predictions ({project['published_rows']} published)", columns, predictions))
    if predictions:
        console.print("`fourgate explain CHANGE#RANK` leads a prediction back to its model, data and commits")
    if project["shared_version"] is not None:
        console.print(f"No champion of its own yet: version {project['shared_version']} of the shared model serves.")
    elif project["champion_version"] is None:
        console.print("[yellow]No champion: nothing is published. The verdicts above say why.[/]")


def _telling(checks: Sequence[Mapping[str, Any]], most: int = 6) -> list[Mapping[str, Any]]:
    """Failed checks first, then the rest, bounded; all of them are in the gate report."""
    return sorted(checks, key=lambda check: check["passed"])[:most]


def _limit(check: Mapping[str, Any]) -> str:
    if check["threshold"] is None:
        return ""
    return f"{'>=' if check['greater_is_better'] else '<='} {_number(check['threshold'])}"


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"


def _interval(measure: Measure) -> str:
    return f"{measure.value:.3f} [{measure.low:.3f}, {measure.high:.3f}]"
