"""Airflow's LocalExecutor with the libraries of the stages already loaded.

A task runs in a fork of a worker, which is a fork of the scheduler: what the scheduler has loaded the task need not
load again. Only libraries that most tasks use: Great Expectations and Evidently would delay the first task by more
than their one or two tasks gain. No code of ours: what a developer edits is read anew by the next task.
"""

from importlib import import_module

from airflow.executors.local_executor import LocalExecutor

LIBRARIES = (
    "deltalake",
    "duckdb",
    "jinja2",
    "lxml.etree",
    "matplotlib.backends.backend_agg",
    "mlflow.sklearn",
    "pandera.pandas",
    "psycopg2.extras",
    "pyarrow.dataset",
    "pydantic_settings",
    "scipy.stats",
    "sklearn.calibration",
    "sklearn.ensemble",
    "sklearn.linear_model",
    "sklearn.pipeline",
    "skops.io",
)


class WarmLocalExecutor(LocalExecutor):
    """Loads `LIBRARIES` once, before the workers are forked. Where workers are spawned (macOS) it gains nothing."""

    def start(self) -> None:
        """Load, then fork the workers."""
        if self.is_mp_using_fork:
            load()
        super().start()


def load() -> None:
    """Import `LIBRARIES`."""
    for name in LIBRARIES:
        import_module(name)
