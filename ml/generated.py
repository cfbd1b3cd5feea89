"""Writes the pages that are made from the code: ``python -m ml.generated``; a test holds them equal to it."""

from pathlib import Path

from ml import contracts_doc, metrics_doc, runbook
from ml.settings import PREFIX, SECRETS, Settings

ROOT = Path(__file__).resolve().parents[1]
READERS = {
    "home": "everything",
    "lake_uri": "ml.lake",
    "warehouse_dsn": "ml.warehouse",
    "warehouse_admin_dsn": "ml.warehouse.migrate",
    "mlflow_tracking_uri": "ml.registry",
    "airflow_url": "ml.stages, ml.receiver",
    "airflow_user": "ml.receiver",
    "airflow_password": "ml.receiver",  # pragma: allowlist secret
    "history": "ml.stages.fetching",
    "sources": "ml.sources.configured, dags",
    "engine": "ml.engine",
    "engine_memory_gb": "ml.engine",
    "max_frame_rows": "ml.features, ml.training",
    "clock": "plugins.fourgate, ml.stages",
    "threads": "ml.engine, ml.training",
    "seed": "ml.sources.simulator, ml.training, ml.gates",
    "author_salt": "ml.sources",
    "gates_file": "ml.gates",
    "max_payload_mb": "ml.sources, ml.receiver",
    "test_share": "ml.stages.retraining",
    "outage_share": "ml.features, ml.training",
    "author_features": "ml.features",
    "tuning_trials": "ml.training",
    "selection_budget": "ml.publishing, ml.gates",
    "shared_model": "ml.stages",
    "publish_runs": "ml.stages.serving",
    "projects": "plugins.fourgate",
    "keep_lake_days": "ml.stages.maintenance",
    "keep_working_days": "ml.stages.retention",
    "keep_payloads_days": "ml.stages.retention",
    "keep_reports_days": "ml.stages.retention",
    "keep_predictions_days": "ml.stages.maintenance",
    "keep_models_days": "ml.stages.maintenance",
    "keep_deleted_models_days": "ml.stages.maintenance",
    "keep_airflow_days": "ml.stages.maintenance, ml.stages.retention",
    "keep_log_mb": "ml.stages.retention",
    "mlflow_database": "ml.stages.maintenance",
    "airflow_database": "ml.stages.maintenance",
    "postgres_port": "ml.stack",
    "mlflow_port": "ml.stack",
    "airflow_port": "ml.stack",
    "receiver_port": "ml.stack",
}
HEAD = """\
# Every setting of Fourgate. Copy to .env and change what you need; a variable of the environment wins over it.
# An unknown or malformed setting stops the start with its name. Made by `make format` from ml/settings.py.
# A secret may stand in a file of its own: add _FILE to the name and give the path. These are secrets: {secrets}.
"""


def env_example() -> str:
    """Text of ``.env.example``: every setting with its meaning, unit, default and reader, commented out."""
    parts = [HEAD.format(secrets=", ".join(SECRETS))]
    for name, field in Settings.model_fields.items():
        default = field.default
        shown = default.get_secret_value() if hasattr(default, "get_secret_value") else default
        if name == "gates_file":
            shown = Path(shown).relative_to(ROOT)
        parts.append(f"# {field.description}\n# read by: {READERS[name]}\n#{PREFIX}{name.upper()}={shown}\n")
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """Path and text of every generated page."""
    return {
        ROOT / ".env.example": env_example(),
        ROOT / "docs" / "data-contracts.md": contracts_doc.render(),
        ROOT / "docs" / "metrics.md": metrics_doc.render(),
        runbook.PAGE: runbook.render(runbook.PAGE.read_text(encoding="utf-8")),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
