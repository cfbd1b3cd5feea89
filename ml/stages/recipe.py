"""What a training can be made from again: snapshot, moment, seed, periods, code, libraries; kept with its run."""

import hashlib
import json
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from importlib.metadata import version as installed
from typing import Any

import pandas as pd
from threadpoolctl import threadpool_info

from ml.errors import RegistryError
from ml.settings import Settings
from ml.spec import DataSet, Interval, LoggedTraining, Snapshot, Split
from ml.stages.all_projects import words_of

# What decides about a number: the rows are built by the first two, the models fitted by the others.
LIBRARIES = ("duckdb", "pyarrow", "pandas", "numpy", "scipy", "scikit-learn", "lightgbm", "skops")
# Settings that a frame or a model depends on.
CHOICES = (
    "seed",
    "threads",
    "outage_share",
    "author_features",
    "selection_budget",
    "tuning_trials",
    "max_frame_rows",
)
EARLIER = {"tuning_trials": 0, "max_frame_rows": 0}  # what a choice was before it was one
_TYPES = {"b": "boolean", "f": "double", "i": "long", "M": "datetime", "O": "string"}


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that a training depends on besides the lake itself.

    `choices` are the settings of `CHOICES`; `versions` those of the lake's tables; `digest` is that of the frame, see
    `digest_of`; `split` has the four periods as ISO-8601 texts; `code` is `preparation.code_version`; `plan` says
    what the candidate leans on, and is empty in recipes of releases where none leaned.
    """

    model: str
    project: str
    candidate: str
    snapshot_id: int
    versions: Mapping[str, int]
    as_of: str
    digest: str
    choices: Mapping[str, Any]
    split: Mapping[str, Any]
    code: str
    libraries: Mapping[str, str]
    plan: Mapping[str, Any] = field(default_factory=dict)

    @property
    def snapshot(self) -> Snapshot:
        """State of the lake that the rows come from."""
        return Snapshot(self.snapshot_id, self.versions, None)

    @property
    def moment(self) -> datetime:
        """What counted as now."""
        return datetime.fromisoformat(self.as_of)

    def applied(self, settings: Settings) -> Settings:
        """The settings with the choices of then."""
        return settings.model_copy(update={**EARLIER, **self.choices})

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready form."""
        return asdict(self)


def recipe_of(training: LoggedTraining) -> Recipe:
    """The recipe that a training left.

    Raises:
        RegistryError: it left none, or one of another release.
    """
    if not training.recipe:
        raise RegistryError(
            f"run {training.run_id} ({training.name}, {training.status}) has no training.json: it was logged by an "
            "earlier release or was cut off; train again (`fourgate train`) to have a run that can be repeated"
        )
    try:
        return Recipe(**training.recipe)
    except TypeError as error:
        raise RegistryError(f"training.json of run {training.run_id} is of another release: {error}") from error


def choices(settings: Settings) -> dict[str, Any]:
    """The settings that a frame or a model depends on."""
    return {name: getattr(settings, name) for name in CHOICES}


def data_set(recipe: Recipe, rows: pd.DataFrame) -> DataSet:
    """The training frame as MLflow lists it."""
    source = {"project": recipe.project, "snapshot": recipe.snapshot_id, "versions": recipe.versions}
    return DataSet(
        name=f"{recipe.model} frame of {words_of(recipe.project)}",
        digest=recipe.digest,
        columns={str(name): _TYPES.get(kind.kind, str(kind)) for name, kind in rows.dtypes.items()},
        source={**source, "as_of": recipe.as_of},
        sizes={
            "num_rows": len(rows),
            "num_runs": int(rows["run_id"].nunique()),
            "num_failed": int(rows["failed"].sum()),
        },
    )


def digest_of(frame: pd.DataFrame) -> str:
    """32 hexadecimal digits of names, types and every value, in the order of rows and columns; without the index."""
    names = [(str(name), str(kind)) for name, kind in frame.dtypes.items()]
    found = hashlib.sha256(json.dumps(names).encode())
    found.update(pd.util.hash_pandas_object(frame, index=False).to_numpy().tobytes())
    return found.hexdigest()[:32]


def libraries() -> dict[str, str]:
    """Versions of what decides about a number, and what linear algebra runs on."""
    found = {"python": platform.python_version(), **{name: installed(name) for name in LIBRARIES}}
    machine = {platform.machine()} | {
        f"{one['internal_api']} {one.get('version') or ''} {one.get('architecture') or ''}".strip()
        for one in threadpool_info()
        if one["user_api"] == "blas"
    }
    return {**found, "machine": ", ".join(sorted(machine))}


def changes(recipe: Recipe, code: str) -> dict[str, tuple[str, str]]:
    """What is not as it was: name -> (then, now); empty where everything is."""
    then = {"code": recipe.code, **recipe.libraries}
    now = {"code": code, **libraries()}
    return {name: (then.get(name, "unknown"), now.get(name, "none")) for name in now if then.get(name) != now[name]}


def split_texts(split: Split) -> dict[str, list[str | None]]:
    """The four periods as ISO-8601 texts, None for an open side; `evidence.split_of` reads them again."""
    return {name: _texts(getattr(split, name)) for name in Split.__slots__}


def _texts(span: Interval) -> list[str | None]:
    return [span.start.isoformat() if span.start else None, span.end.isoformat() if span.end else None]
