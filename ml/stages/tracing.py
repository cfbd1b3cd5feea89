"""From a prediction back to the commits behind it: model version, verdicts, training, snapshot, batches, runs."""

import difflib
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pandas as pd

from ml.errors import FourgateError, NotEnoughData
from ml.features import NEXT_RUN
from ml.settings import GATES, Settings
from ml.spec import ALL_PROJECTS, WHOLE_RUN
from ml.stages.opening import open_lake, open_registry, open_warehouse, serving_champion
from ml.warehouse import Warehouse

NEAR = 5
NEWEST = 5
_RUN = ["run_id", "attempt", "change_id", "commit_sha", "branch", "started_at", "finished_at", "status", "batch_id"]
_RESULT = ["run_id", "attempt", "variant", "test_id", "outcome", "duration_s", "batch_id"]


def explain(settings: Settings, prediction: str, test: str, wanted: Mapping[str, str]) -> dict[str, Any]:
    """Everything that one prediction rests on.

    Args:
        settings: warehouse, MLflow and lake. Without MLflow, or without the lake, that part says why it is missing.
        prediction: change id, or ``<change id>#<rank>``.
        test: name of the test, or a part of it; empty takes the rank, or the first rank.
        wanted: model; project, variant (empty: any); publication: the beginning of its id (empty: the current set).

    Returns:
        prediction, version, verdicts, training, snapshot, batches, runs: each a mapping or a list, ready for JSON.

    Raises:
        NotEnoughData: there is no such prediction; names what comes near.
    """
    with open_warehouse(settings) as warehouse:
        row, others = _find(warehouse, prediction, test, wanted)
        model, project = row["model"], row["project"]
        trained_on = ALL_PROJECTS if row["is_shared"] else project
        verdicts = warehouse.judgement_of(model, trained_on, row["model_version"])
        promotion = warehouse.promotion_of(model, trained_on, row["model_version"])
        champion = serving_champion(settings, warehouse, model, project)
        snapshot = warehouse.snapshot(row["snapshot_id"])
        batches = warehouse.batches(project, row["snapshot_id"])
    served = (champion.version.project, champion.version.version) if champion else ()
    version = {"version": row["model_version"], "is_shared": row["is_shared"], "promotion": promotion}
    told = {
        "prediction": {**row, "key": f"{row['change_id']}#{row['rank']}", "also_matched": others},
        "version": version | {"in_service": served == (trained_on, row["model_version"])},
        "verdicts": sorted(verdicts, key=lambda verdict: GATES.index(verdict["gate"])),
        "training": _training(settings, row["gate_report"]),
        "snapshot": {
            "snapshot_id": snapshot.snapshot_id,
            "versions": dict(snapshot.versions),
            "data_until": snapshot.data_until,
        },
        "batches": _batches(batches),
        "runs": _part(lambda: _runs(settings, row, snapshot.versions)),
    }
    return {name: _plain(part) for name, part in told.items()}


def _find(warehouse: Warehouse, prediction: str, test: str, wanted: Mapping[str, str]) -> tuple[dict[str, Any], int]:
    """The row that is meant, and how many more matched."""
    sets = {name: wanted.get(name, "") for name in ("model", "project", "publication")}
    change, rank = prediction, ""
    rows = warehouse.predictions_of(change, sets)
    if not rows and "#" in prediction:
        change, _, rank = prediction.rpartition("#")
        rows = warehouse.predictions_of(change, sets)
    if not rows:
        raise NotEnoughData(_no_change(change, warehouse.changes_of(sets), sets))
    matching = [row for row in rows if not rank or str(row["rank"]) == rank]
    matching = [row for row in matching if wanted.get("variant", "") in ("", row["variant"])]
    matching = _with_test(matching, test)
    if not matching:
        raise NotEnoughData(_no_test(rows, test or f"rank {rank}", wanted.get("variant", "")))
    projects = sorted({row["project"] for row in matching})
    if len(projects) > 1:
        raise NotEnoughData(f"{change} is a change of several projects: {', '.join(projects)}; name one (--project)")
    return matching[0], len(matching) - 1


def _with_test(rows: list[dict[str, Any]], test: str) -> list[dict[str, Any]]:
    """Rows of exactly this test, else those whose name holds the text."""
    return [row for row in rows if row["test_id"] == test] or [row for row in rows if test in row["test_id"]]


def _no_change(change: str, known: list[str], sets: Mapping[str, str]) -> str:
    where = f"set {sets['publication']}..." if sets["publication"] else "the current set"
    told = f"no prediction of {sets['model']} for change {change!r} in {where}"
    if not known:
        return f"{told}; nothing is published there (`fourgate publish`)"
    near = difflib.get_close_matches(change, known, n=NEAR, cutoff=0.4) or known[-NEAR:]
    return f"{told}; of {len(known)} changes these come near: {', '.join(near)}"


def _no_test(rows: list[dict[str, Any]], asked: str, variant: str) -> str:
    names = sorted({row["test_id"] for row in rows})
    near = difflib.get_close_matches(asked, names, n=NEAR, cutoff=0.3) or [row["test_id"] for row in rows[:NEAR]]
    on = f" on {variant} (variants: {', '.join(sorted({row['variant'] for row in rows}))})" if variant else ""
    return f"change {rows[0]['change_id']} has {len(rows)} predictions, none for {asked!r}{on}; near: {', '.join(near)}"


def _training(settings: Settings, gate_report: str) -> dict[str, Any]:
    """What MLflow has of the model's training; `gate_report` is ``runs:/<run id>/gate_report.html``."""

    def read() -> dict[str, Any]:
        found = open_registry(settings).training(gate_report)
        names = ("candidate", "snapshot_id", "as_of", "code", "choices", "split")
        return {
            "run_id": found.run_id,
            "url": found.url,
            "name": found.name,
            "chosen": found.chosen,
            "digest": found.digest,
            "dag_run": found.tags.get("dag_run", ""),
            "git_commit": found.tags.get("git_commit", ""),
            "sha256": found.version.sha256 if found.version else "",
            **{name: found.recipe[name] for name in names if name in found.recipe},
        }

    return _part(read)


def _part(read: Callable[[], dict[str, Any]]) -> dict[str, Any]:
    """A part of the story, or the reason why it cannot be told: the rest is still worth reading."""
    try:
        return read()
    except FourgateError as error:
        return {"missing": f"{type(error).__name__}: {error}"}


def _batches(ledger: pd.DataFrame) -> dict[str, Any]:
    names = ["batch_id", "snapshot_id", "source", "payload_count", "row_counts", "rejected", "quality_score", "as_of"]
    history = ledger.loc[ledger["kind"] != "maintenance", names]
    return {"count": len(history), "newest": history.tail(NEWEST).iloc[::-1].to_dict("records")}


def _runs(settings: Settings, row: Mapping[str, Any], versions: Mapping[str, int]) -> dict[str, Any]:
    """The run that was predicted, if it is known, and the newest ones known when it started, with their commits."""
    lake, project = open_lake(settings), row["project"]
    runs = lake.read("runs", versions["runs"], project, _RUN).to_pandas()
    runs["known_at"] = runs["finished_at"].fillna(runs["started_at"])
    own = runs.loc[runs["run_id"] == row["change_id"]] if row["change_id"] != NEXT_RUN else runs.iloc[:0]
    known = runs.loc[(runs["known_at"] < row["as_of"]) & (runs["run_id"] != row["change_id"])]
    known = known.sort_values(["known_at", "run_id"], ascending=False)
    if row["test_id"] != WHOLE_RUN:
        results = lake.read("test_results", versions["test_results"], project, _RESULT).to_pandas()
        results = results.loc[(results["test_id"] == row["test_id"]) & (results["variant"] == row["variant"])]
        own_results = results[["run_id", "attempt", "outcome", "duration_s"]]
        known = known.merge(own_results, on=["run_id", "attempt"], how="inner")
        own = own.merge(own_results, on=["run_id", "attempt"], how="left")
    return {
        "predicted": own.to_dict("records"),
        "known_count": int(known["run_id"].nunique()),
        "newest": known.head(NEWEST).to_dict("records"),
    }


def _plain(value: Any) -> Any:
    """Ready for JSON: moments as ISO-8601 texts, what is missing as None."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if value is pd.NaT or (isinstance(value, float) and pd.isna(value)):
        return None
    return value.isoformat() if isinstance(value, datetime) else value
