"""Commands of the pipeline: every stage without Airflow, on the servers of the settings."""

import getpass
from datetime import datetime
from typing import Annotated

import typer

from ml.cli import app, clock
from ml.cli.output import plain, progress, show
from ml.errors import NotEnoughData, SettingsError
from ml.settings import GATES, MODELS, Settings, load_settings

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
AsOf = Annotated[
    str, typer.Option("--as-of", help="Moment taken as now, e.g. 2026-01-31T08:00:00Z. Default: end of the history.")
]


def _known(model: str) -> str:
    if model not in MODELS:
        raise SettingsError(f"{model!r} is not a model of Fourgate; the models are {', '.join(MODELS)}")
    return model


Model = Annotated[str, typer.Option(help=f"One of: {', '.join(MODELS)}.", callback=_known)]
Project = Annotated[str, typer.Option(help="Only this project. Default: every project in the lake.")]


@app.command()
def validate(batch_id: str, as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Hold a landed batch against today's contracts again and append the rows that are accepted now (replay)."""
    from ml.stages import collection

    show(collection.replay(load_settings(), batch_id, now(as_of)), as_json)


@app.command()
def label(project: Project = "", as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Say of each failure whether it is a regression, flaky or infrastructure; keep what is new or revised."""
    from ml.stages import labelling

    settings = load_settings()
    moment = moment_of(settings, as_of)
    labelled = []
    names = projects_of(settings, project)
    with progress(as_json) as bar:
        task = bar.add_task("labelling failures", total=len(names))
        for name in names:
            labelled += labelling.label(settings, name, moment)
            bar.advance(task)
    show(labelled, as_json)


@app.command()
def features(model: Model = MODELS[0], project: Project = "", as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Build the point-in-time feature frame of each project and say where it is."""
    from ml.stages import preparation

    settings = load_settings()
    moment = moment_of(settings, as_of)
    names, frames = projects_of(settings, project), []
    with progress(as_json) as bar:
        task = bar.add_task("building features", total=len(names))
        for name in names:
            frames.append(preparation.features(settings, model, name, moment))
            bar.advance(task)
    show(frames, as_json)


@app.command()
def drift(model: Model = MODELS[0], project: Project = "", as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Compare the newest runs with the champion's reference."""
    from ml.stages import preparation

    settings = load_settings()
    moment = moment_of(settings, as_of)
    with progress(as_json) as bar:
        bar.add_task("measuring drift", total=None)
        reports = preparation.drift(settings, model, project, moment)
    show(reports, as_json)


@app.command()
def train(model: Model = MODELS[0], project: Project = "", as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Fit the candidates, choose one and log all of it to MLflow. Exit code 8: not enough data."""
    from ml.stages import preparation, retraining

    settings = load_settings()
    moment = moment_of(settings, as_of)
    trained = []
    for name in learners_of(settings, project):
        with progress(as_json) as bar:
            bar.add_task(f"training for {plain(name)}", total=None)
            frame = preparation.features(settings, model, name, moment)
            trained.append(retraining.train(settings, frame))
    show(trained, as_json)
    if all(candidate["version"] is None for candidate in trained):
        raise NotEnoughData("; ".join(str(candidate["reason"]) for candidate in trained))


@app.command()
def judge(model: Model = MODELS[0], project: Project = "", as_json: AsJson = False) -> None:
    """Hold the newest candidate of each project against the four gates, without promoting it."""
    show([verdict for _, verdicts in _judge(load_settings(), model, project) for verdict in verdicts], as_json)


@app.command()
def promote(model: Model = MODELS[0], project: Project = "", as_json: AsJson = False) -> None:
    """Judge the newest candidate and promote it if all four gates pass. Exit code 1: refused."""
    from ml.stages import retraining

    settings = load_settings()
    actor = getpass.getuser()
    outcomes = [
        retraining.promote(settings, candidate, verdicts, actor)
        for candidate, verdicts in _judge(settings, model, project)
    ]
    show(outcomes, as_json)
    if not all(outcome["promoted"] for outcome in outcomes):
        raise typer.Exit(1)


@app.command()
def publish(model: Model = MODELS[0], project: Project = "", as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Score with the champions and make the sets current in the results table."""
    from ml.stages import serving

    settings = load_settings()
    moment = moment_of(settings, as_of)
    with progress(as_json) as bar:
        bar.add_task("scoring and publishing", total=None)
        published = serving.publish(settings, model, project, moment)
    show(published, as_json)
    if not published:
        raise NotEnoughData("no project has a champion yet: nothing to publish")


@app.command()
def monitor(model: Model = MODELS[0], project: Project = "", as_of: AsOf = "", as_json: AsJson = False) -> None:
    """Measure published predictions against the outcomes that came in."""
    from ml.stages import serving

    settings = load_settings()
    moment = moment_of(settings, as_of)
    with progress(as_json) as bar:
        bar.add_task("measuring published predictions", total=None)
        measured = serving.monitor(settings, model, project, moment)
    show(measured, as_json)


@app.command()
def rollback(
    project: Annotated[str, typer.Argument(help="Project whose champion goes back.")],
    reason: Annotated[str, typer.Option(help="Kept in the audit log.", prompt=True)],
    model: Model = MODELS[0],
    as_of: AsOf = "",
    as_json: AsJson = False,
) -> None:
    """Make the previous champion champion again."""
    from ml.stages import retraining, serving

    settings = load_settings()
    leaving = serving.champion_of(settings, model, project)
    show(retraining.rollback(settings, leaving, moment_of(settings, as_of), getpass.getuser(), reason), as_json)


@app.command()
def status(model: Model = MODELS[0], as_json: AsJson = False) -> None:
    """Show champions, verdicts and top predictions."""
    from ml import stack
    from ml.cli.summary import print_receiver, print_status
    from ml.stages import reporting

    found = reporting.status(load_settings(), model)
    if as_json:
        show(found, as_json)
    else:
        print_status(found)
        print_receiver(stack.condition(load_settings()))


def _judge(settings: Settings, model: str, project: str) -> list[tuple[dict[str, object], list[dict[str, object]]]]:
    from ml.stages import retraining

    judged = []
    names = learners_of(settings, project)
    for name in names:
        try:
            candidate = retraining.newest_candidate(settings, model, name)
        except NotEnoughData:
            if len(names) == 1:
                raise
            continue  # a project without a candidate must not keep the others from being judged
        with progress(as_json=False) as bar:
            task = bar.add_task(f"judging {plain(name)}", total=len(GATES))
            verdicts = []
            for gate in GATES:
                verdicts.append(retraining.judge(settings, gate, candidate))
                bar.advance(task)
        judged.append((candidate, verdicts))
    if not judged:
        raise NotEnoughData(f"no candidate of {model} was trained here; `fourgate train` makes one")
    return judged


def projects_of(settings: Settings, only: str) -> list[str]:
    """The given project, or all of the lake; an empty lake is an error."""
    from ml.stages.opening import projects

    found = projects(settings, only)
    if not found:
        raise NotEnoughData("the lake is empty: collect a history first (`fourgate collect`)")
    return found


def learners_of(settings: Settings, only: str) -> list[str]:
    """The given project, or all of the lake and the shared model; an empty lake is an error."""
    from ml.stages.opening import learners

    found = learners(settings, only)
    if not found:
        raise NotEnoughData("the lake is empty: collect a history first (`fourgate collect`)")
    return found


def moment_of(settings: Settings, text: str) -> datetime | None:
    """The given moment; else in wall-clock mode the wall clock; else None: the stage takes the end of the data."""
    return now(text) if settings.clock == "wall" else _given(text)


def now(text: str) -> datetime:
    """The moment given, else that of the wall clock."""
    return _given(text) or clock.now()


def _given(text: str) -> datetime | None:
    from ml.stages.opening import to_span

    return to_span(text, None).start
