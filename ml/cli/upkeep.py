"""Commands of upkeep: what lies on the disk, and removing what is old."""

from typing import Annotated, Any

import typer

from ml.cli import app, clock
from ml.cli.output import console, grid, progress, show
from ml.cli.pipeline import AsJson
from ml.settings import load_settings

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would go.")]


@app.command(epilog="Example: fourgate disk --json")
def disk(as_json: AsJson = False) -> None:
    """Show what lies below home, by kind, and what the disk has left."""
    from ml.stages import retention

    found = retention.disk_use(load_settings())
    if as_json:
        show(found, as_json)
        return
    rows = [(row["kind"], _size(row["bytes"]), row["files"], row["path"]) for row in found["kinds"]]
    console.print(grid(f"Disk use below {found['home']}", ("kind", "size", "files", "where"), rows))
    console.print(f"All in all {_size(found['bytes'])}; the disk has {_size(found['free_bytes'])} left")


@app.command(epilog="Example: fourgate maintain --dry-run")
def maintain(dry_run: DryRun = False, as_json: AsJson = False) -> None:
    """Compact the lake and remove what is old, as the weekly DAG does.

    FOURGATE_KEEP_... say how long things stay, and keep_days in fourgate.toml how long the history of a project does.
    """
    from ml.stages import maintenance, retention

    settings = load_settings()
    now = clock.now()
    steps = {
        "lake": maintenance.maintain,
        "predictions": maintenance.clean_predictions,
        "models": maintenance.clean_models,
        "airflow": maintenance.clean_airflow,
        "files": retention.clean_files,
    }
    done: dict[str, dict[str, Any]] = {}
    with progress(as_json) as bar:
        task = bar.add_task("maintaining", total=len(steps))
        for name, step in steps.items():
            done[name] = step(settings, now, dry_run=dry_run)
            bar.advance(task)
    if as_json:
        show(done, as_json)
        return
    rows = [(name, what, number) for name, result in done.items() for what, number in _numbers(result)]
    title = "Would be done" if dry_run else "Done"
    console.print(grid(title, ("step", "what", "number"), rows))


def _numbers(result: dict[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    """The numbers of a nested result, each with its path."""
    told: list[tuple[str, Any]] = []
    for name, value in result.items():
        if isinstance(value, dict):
            told += _numbers(value, f"{prefix}{name}: ")
        elif name != "dry_run":
            told.append((prefix + name, value))
    return told


def _size(count: int | None) -> str:
    """Bytes as people read them."""
    if count is None:
        return "elsewhere"
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1_000:
            break
        size, unit = size / 1_000, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
