"""How things are called in MLflow: names, tags and notes, without MLflow itself."""

import hashlib
import math
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from ml.errors import RegistryError
from ml.spec import ALL_PROJECTS, Measure, ModelVersion, TrainingRecord

MAX_NAME = 200
KEY = "fourgate.key_id"
CHAMPION, PREVIOUS = "champion", "previous"  # aliases


def registered_name(model: str, project: str) -> str:
    """Name of the registered model: ``apache/ozone`` becomes ``test_selection.apache~2Fozone``.

    MLflow allows no ``/`` and ``:`` in it. The code is that of web addresses with ``~`` for ``%``, so two projects
    never share a name; beyond 200 characters a digest keeps them apart.
    The tag ``fourgate.project`` has the exact name. The shared model has the model's name alone.
    """
    if project == ALL_PROJECTS:
        return model
    slug = quote(project, safe="").replace("~", "~7E").replace("%", "~")
    if len(slug) > MAX_NAME:
        slug = f"{slug[: MAX_NAME - 17]}-{key_id(project)[:16]}"
    return f"{model}.{slug}"


def key_id(key: str) -> str:
    """Digest of a key that may hold anything, for MLflow's filter language."""
    if not key:
        raise RegistryError('a training record needs tags["key"], the same for the same retraining')
    return hashlib.sha256(key.encode()).hexdigest()[:32]


def own(tags: Mapping[str, str]) -> dict[str, str]:
    """Tags under the product's prefix."""
    return {f"fourgate.{name}": value for name, value in tags.items()}


def common(record: TrainingRecord) -> dict[str, str]:
    """What every run of a retraining and its registered model carry."""
    return {"model": record.model, "project": record.project}


def version_tags(version: ModelVersion) -> dict[str, str]:
    """Tags from which `version_of` reads the version again."""
    return own({"version": version.version, "artifact_uri": version.artifact_uri, "sha256": version.sha256})


def version_of(run: Any) -> ModelVersion:
    """The version that a finished retraining got."""
    names = ("model", "project", "version", "artifact_uri", "sha256")
    model, project, number, uri, digest = (run.data.tags[f"fourgate.{name}"] for name in names)
    return ModelVersion(model, project, number, run.info.run_id, uri, digest)


def title(version: ModelVersion) -> str:
    """A version's name in messages."""
    return f"version {version.version} of {version.model} for {version.project[:MAX_NAME]}"


def run_id_of(text: str) -> str:
    """The run that somebody means, who gives its id or the address of its page.

    Raises:
        RegistryError: there is no run id in it.
    """
    found = re.findall(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])", text)
    if not found:
        raise RegistryError(
            f"{text!r} names no MLflow run; right would be its 32 hexadecimal digits or the address of its page"
        )
    return str(found[-1])


def numbers(metrics: Mapping[str, Measure]) -> dict[str, float]:
    """One metric per number; a bound that could not be computed is left out, as MLflow would draw it as 0."""
    flat: dict[str, float] = {}
    for name, measure in metrics.items():
        flat |= {name: measure.value, f"{name}.low": measure.low, f"{name}.high": measure.high}
    return {name: float(value) for name, value in flat.items() if math.isfinite(value)}


def measures(flat: Mapping[str, float]) -> dict[str, Measure]:
    """Inverse of `numbers`: a bound that was not logged is NaN."""
    bounds = (".low", ".high")
    return {
        name: Measure(value, *(flat.get(f"{name}{bound}", math.nan) for bound in bounds))
        for name, value in flat.items()
        if not name.endswith(bounds)
    }


def finite(value: Any) -> Any:
    """The value with null for every number that JSON cannot hold."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {name: finite(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [finite(each) for each in value]
    return value
