"""Where things stand: snapshot, champions, verdicts, predictions; for the command line and the summary of a run."""

import json
from collections.abc import Hashable
from typing import Any

from ml.errors import NotEnoughData
from ml.gates.statistical import compare
from ml.gates.thresholds import load_thresholds
from ml.settings import Settings
from ml.spec import ALL_PROJECTS, Measure
from ml.stages import evidence
from ml.stages.opening import learners, open_warehouse, serving_champion
from ml.stages.retraining import newest_candidate

TOP = 10


def status(settings: Settings, model: str) -> dict[str, Any]:
    """State of the lake and of one model in each project, and of the shared one, ready for JSON."""
    with open_warehouse(settings) as warehouse:
        overall = warehouse.status()
    return {**overall, "projects": [_project(settings, model, project) for project in learners(settings)]}


def _project(settings: Settings, model: str, project: str) -> dict[str, Any]:
    with open_warehouse(settings) as warehouse:
        champion = warehouse.champion(model, project)
        serving = serving_champion(settings, warehouse, model, project)
        publication = warehouse.current_publication(model, project)
        top = warehouse.likeliest_failures(model, project, TOP)
        judged = _judged(settings, model, project)
        version = judged["version"]["version"] if judged else (champion.version.version if champion else "")
        verdicts = warehouse.verdicts(model, project, version)
    version_in_service = champion.version.version if champion else None
    is_shared = champion is None and serving is not None
    wanted = None if serving is None else (serving.version.version, is_shared)
    published = (publication.get("model_version"), publication.get("is_shared"))
    return {
        "model": model,
        "project": project,
        "champion_version": version_in_service,
        "shared_version": serving.version.version if serving and is_shared else None,
        "judged_version": version,
        "verdicts": [verdict.to_dict() for verdict in verdicts],
        "comparison": _comparison(settings, judged) if judged else {},
        # what the shared champion publishes belongs to the projects that it serves
        "is_published": wanted is None or project == ALL_PROJECTS or published == wanted,
        "published_rows": publication.get("row_count", 0),
        "top": [_shown(row) for row in top.to_dict("records")],
    }


def _judged(settings: Settings, model: str, project: str) -> dict[str, Any] | None:
    try:
        return newest_candidate(settings, model, project)
    except NotEnoughData:
        return None


def _comparison(settings: Settings, candidate: dict[str, Any]) -> dict[str, dict[str, Measure]]:
    """Mean of the gate's metric over the judged runs, and the candidate's lead, per contestant; empty without them."""
    thresholds = load_thresholds(settings.gates_file, candidate["model"]).statistical
    try:
        judged = evidence.ranking(settings, candidate)
    except FileNotFoundError:  # scores are working files: they may have been cleared, the verdicts are kept
        return {}
    found = compare(judged, thresholds)
    nothing = Measure(0.0, 0.0, 0.0)
    return {
        name: {found.metric: mean, "candidate's lead": found.leads.get(name, nothing)}
        for name, mean in sorted(found.means.items(), key=lambda item: -item[1].value)
    }


def _shown(row: dict[Hashable, Any]) -> dict[Hashable, Any]:
    reasons = row["reasons"] if isinstance(row["reasons"], list) else json.loads(row["reasons"])
    why = ", ".join(f"{reason['feature']}={reason['value']:.3g}" for reason in reasons if reason["value"] is not None)
    return {**row, "why": why}
