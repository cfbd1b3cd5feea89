"""Tells on the page of a training in MLflow why its candidate won or lost: a description, and ``training.html``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from jinja2 import Environment, PackageLoader, StrictUndefined

from ml import models
from ml.gates.report import Plot, number, plot, rule, word
from ml.legible import legible
from ml.metrics import CATALOGUE, Described
from ml.settings import Settings
from ml.spec import CandidateRecord, LoggedTraining, Measure, ModelVersion, Status, Verdict
from ml.stages.opening import key_of, open_registry, open_warehouse, report_url

TEMPLATE = "training.html.jinja"
PERIODS = ("validation", "test")


@dataclass(frozen=True, slots=True)
class Story:
    """Why a candidate was chosen and what became of it.

    `metric` is what it was chosen by, without its period; `order` are the contestants by it, best first; `links` maps a
    text to an address.
    """

    training: LoggedTraining
    verdicts: tuple[Verdict, ...]
    metric: str
    order: tuple[CandidateRecord, ...]
    links: dict[str, str]

    @property
    def described(self) -> Described:
        """Unit and meaning of the metric."""
        return CATALOGUE[self.metric.rpartition("_")[0]]

    @property
    def chosen(self) -> CandidateRecord:
        """The candidate that went to the gates."""
        return next(one for one in self.order if one.name == self.training.chosen)

    @property
    def plot(self) -> Plot | None:
        """Everybody's interval on the validation period."""
        return plot({one.name: measured for one in self.order if (measured := self.at("validation", one))})

    def at(self, period: str, one: CandidateRecord) -> Measure | None:
        """A contestant's metric on a period; None where it was not measured."""
        return one.metrics.get(f"{period}.{self.metric}")


def describe(settings: Settings, version: ModelVersion) -> None:
    """Write the description of a training anew, from what MLflow has of it and the verdicts stored so far."""
    registry = open_registry(settings)
    training = registry.training(version.mlflow_run_id)
    with open_warehouse(settings) as warehouse:
        verdicts = tuple(warehouse.verdicts(version.model, version.project, version.version))
    links = {f"version {version.version} of the registered model": registry.model_url(version)}
    if verdicts and settings.airflow_url:
        name = f"{key_of(version.model, version.project, version.version)}.html"
        links["gate report (also gate_report.html of this run)"] = report_url(settings, f"gates/{name}")
    if training.tags.get("dag_run", "").startswith(("http://", "https://")):
        links["Airflow task that trained it"] = training.tags["dag_run"]
    story = _story(training, verdicts, links)
    registry.describe(training.run_id, note(story), page(story))


def _story(training: LoggedTraining, verdicts: tuple[Verdict, ...], links: dict[str, str]) -> Story:
    metric = models.load_model(training.model).primary_metric
    lowest = Measure(float("-inf"), 0, 0)
    order = sorted(training.candidates, key=lambda one: -one.metrics.get(f"validation.{metric}", lowest).value)
    return Story(training, verdicts, metric, tuple(order), links)


def outcome(verdicts: Sequence[Verdict]) -> str:
    """One sentence: what the gates said."""
    if not verdicts:
        return "Not judged yet."
    failed = [verdict.gate.replace("_", " ") for verdict in verdicts if verdict.status is not Status.PASS]
    if not failed:
        return f"It passed all {len(verdicts)} gates."
    return f"It was refused by {', '.join(failed)}; whatever was champion stays."


def reason(story: Story) -> str:
    """One or two sentences: by how much the candidate was ahead on the validation period."""
    own = story.at("validation", story.chosen)
    if own is None:
        return f"{story.chosen.name} was chosen; nothing could be measured on the validation period."
    told = f"{story.chosen.name} was chosen: the best mean {story.metric} of the candidates on the validation period, "
    told += f"{number(own.value)} [{number(own.low)}, {number(own.high)}]."
    rivals = {"the next candidate": False, "the best baseline": True}
    gaps = []
    for words, is_baseline in rivals.items():
        best = next((one for one in story.order if one.is_baseline == is_baseline and one is not story.chosen), None)
        theirs = story.at("validation", best) if best else None
        if best and theirs:
            gaps.append(f"{number(own.value - theirs.value, signed=True)} against {best.name}, {words}")
    return f"{told} Its lead: {'; '.join(gaps)}." if gaps else told


def page(story: Story) -> str:
    """The whole story as an HTML document that stands alone."""
    # StrictUndefined: a name missing from the page is a defect, not an empty cell.
    environment = Environment(
        loader=PackageLoader("ml.stages", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = number
    return environment.get_template(TEMPLATE).render(
        story=story, reason=reason(story), outcome=outcome(story.verdicts), periods=PERIODS, rule=rule, word=word
    )


def note(story: Story) -> str:
    """The same in short, in the Markdown that MLflow shows above a run."""
    run = story.training.run_id
    lines = [f"**{_plain(outcome(story.verdicts))}** {_plain(reason(story))}", "", *_contestants(story), ""]
    lines += [f"- {verdict.gate}: **{verdict.status}**{_failed(verdict)}" for verdict in story.verdicts]
    lines += [f"- [{_plain(text)}]({_address(url)})" for text, url in story.links.items()]
    lines += [
        f"- the rows: `fourgate frame {run}`",
        f"- the same model again: `fourgate reproduce {run}`",
        "- everything on one page: *Artifacts*, `training.html`",
    ]
    return "\n".join(lines)


def _contestants(story: Story) -> list[str]:
    lines = [f"| contestant | | validation {story.metric} | test {story.metric} |", "| --- | --- | --- | --- |"]
    for one in story.order:
        kind = "baseline" if one.is_baseline else "**chosen**" if one is story.chosen else "candidate"
        cells = [_interval(story.at(period, one)) for period in PERIODS]
        lines.append(f"| {_plain(one.name)} | {kind} | {cells[0]} | {cells[1]} |")
    return lines


def _interval(measure: Measure | None) -> str:
    return "" if measure is None else f"{measure.value:.4f} ({measure.low:.4f} to {measure.high:.4f})"


def _failed(verdict: Verdict) -> str:
    names = [_plain(f"{check.name} ({check.detail or check.measured})") for check in verdict.checks if not check.passed]
    return f": {', '.join(names)}" if names else ""


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: names come from outside."""
    return re.sub(r"([\\`*_{}\[\]<>()#+!|~-])", r"\\\1", " ".join(legible(text).split()))


def _address(url: str) -> str:
    return url.replace("(", "%28").replace(")", "%29").replace(" ", "%20")
