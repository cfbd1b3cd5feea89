"""Thresholds of the gates: versioned configuration, read once into frozen values."""

import difflib
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ml.errors import SettingsError
from ml.settings import MODELS

Share = Annotated[float, Field(ge=0, le=1)]
Amount = Annotated[float, Field(ge=0)]
Positive = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=0)]
AtLeastOne = Annotated[int, Field(ge=1)]
RunMetric = Literal[
    "apfd",
    "apfdc",
    "napfd",
    "napfd_time",
    "test_recall",
    "test_recall_time",
    "change_recall",
    "change_recall_time",
    "quadratic_score",
]


class _Limits(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class DataQualityLimits(_Limits):
    """Units and reasons stand beside the numbers in thresholds.toml; the same holds for the classes below."""

    min_batch_score: Share
    low_batch_score: Share
    max_low_batch_share: Share
    max_rejected_rate: Share
    max_contract_violations: Count
    min_train_rows: AtLeastOne
    min_train_failures: AtLeastOne
    min_test_rows: AtLeastOne
    min_test_failing_runs: AtLeastOne
    max_mean_null_rate: Share
    empty_null_rate: Share
    max_empty_feature_share: Share
    max_freshness_h: Positive
    max_period_overlaps: Count
    max_late_label_periods: Count


class StatisticalLimits(_Limits):
    """Limits of the statistical gate, and the metric that the stability gate shares."""

    metric: RunMetric
    view: Literal["all", "new"]
    confidence: Annotated[float, Field(gt=0.5, lt=1)]
    resamples: Annotated[int, Field(ge=200, le=100_000)]
    min_failing_runs: Annotated[int, Field(ge=2)]
    min_block_length: AtLeastOne
    default_block_length: AtLeastOne
    min_blocks: Annotated[int, Field(ge=2)]
    min_improvement: Amount
    min_baseline_lift: Amount
    refresh_margin: Amount
    anchor_margin: Amount
    max_champion_age_days: Positive
    min_pr_auc_lift: Amount
    min_change_recall: Share
    max_period_reuse: Count
    max_rows_outside_period: Count


class StabilityLimits(_Limits):
    """Limits of the stability gate."""

    window_runs: AtLeastOne
    min_worst_window_ratio: Share
    min_refits: AtLeastOne
    max_refit_spread: Amount
    min_slice_runs: Annotated[int, Field(ge=2)]
    max_reported_slices: Count
    slice_margin: Amount
    slice_alpha: Annotated[float, Field(gt=0, lt=1)]
    new_test_age_days: Positive
    max_brier: Share
    max_brier_ratio: Positive
    max_brier_increase: Amount
    max_ece: Share
    max_ece_increase: Amount


class ConsistencyLimits(_Limits):
    """Limits of the consistency gate."""

    same_score_tolerance: Amount
    max_nonfinite_scores: Count
    max_probability_violations: Count
    max_contract_violations: Count
    max_invariance_share: Share
    max_directional_share: Share
    min_rank_correlation: Annotated[float, Field(ge=-1, le=1)]
    psi_edges: Annotated[tuple[Share, ...], Field(min_length=1, strict=False)]
    psi_floor: Annotated[float, Field(gt=0, lt=0.1)]
    max_psi: Amount
    max_flipped_share: Share

    @model_validator(mode="after")
    def _edges_rise(self) -> "ConsistencyLimits":
        if list(self.psi_edges) != sorted(set(self.psi_edges)):
            raise ValueError("psi_edges must rise from one to the next")
        return self


class Thresholds(_Limits):
    """Every limit of the four gates for one model; `version` is stored with each verdict."""

    version: Annotated[str, Field(min_length=1)]
    data_quality: DataQualityLimits
    statistical: StatisticalLimits
    stability: StabilityLimits
    consistency: ConsistencyLimits


def load_thresholds(path: Path, model: str) -> Thresholds:
    """Read the limits that hold for a model: the file's own, replaced by those under ``[models.<model>]``.

    Every override in the file is checked, also those of other models.

    Raises:
        SettingsError: the file is missing or not TOML; a key is unknown, missing or malformed; names the key and
            what would be right.
    """
    raw = _read(path)
    overrides = raw.pop("models", {})
    _require_table(overrides, "models", path)
    for name in (*overrides, model):
        if name not in MODELS:
            raise SettingsError(f"{path}: models.{name} is not a model of Fourgate; right: {', '.join(MODELS)}")
    versions = {
        name: _validated(_merged(raw, overrides.get(name, {}), name, path), path)
        for name in dict.fromkeys((model, *overrides))  # the model asked for tells its problems first
    }
    return versions[model]


def _read(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SettingsError(f"{path}: no such file; FOURGATE_GATES_FILE names the thresholds of the gates") from error
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsError(f"{path}: cannot be read as TOML: {error}") from error


def _merged(raw: Mapping[str, Any], override: object, model: str, path: Path) -> dict[str, Any]:
    merged = dict(raw)
    for gate, limits in _require_table(override, f"models.{model}", path).items():
        where = f"models.{model}.{gate}"
        if gate not in Thresholds.model_fields or gate == "version":
            raise SettingsError(f"{path}: {where} is unknown; {_near(gate, list(Thresholds.model_fields)[1:])}")
        merged[gate] = {**_require_table(raw.get(gate, {}), gate, path), **_require_table(limits, where, path)}
    return merged


def _require_table(value: object, name: str, path: Path) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingsError(f"{path}: {name} must be a table, written [{name}]; got {value!r}")
    return value


def _validated(raw: Mapping[str, Any], path: Path) -> Thresholds:
    try:
        return Thresholds.model_validate(raw)
    except ValidationError as error:
        raise SettingsError(f"{path}: " + "; ".join(_explained(error))) from error


def _explained(error: ValidationError) -> Iterator[str]:
    for problem in error.errors(include_url=False):
        key = ".".join(str(part) for part in problem["loc"])
        if problem["type"] == "extra_forbidden":
            yield f"{key} is unknown; {_near(str(problem['loc'][-1]), _known(problem['loc'][:-1]))}"
        elif problem["type"] == "missing":
            yield f"{key} is missing; take it from the file that ships with Fourgate"
        else:
            yield f"{key} = {problem['input']!r}: {problem['msg']}"


def _known(table: tuple[int | str, ...]) -> list[str]:
    fields = Thresholds.model_fields
    if not table:
        return [*fields, "models"]
    limits = fields[str(table[0])].annotation
    return list(limits.model_fields) if isinstance(limits, type) and issubclass(limits, BaseModel) else []


def _near(name: str, known: list[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {near[0]}?" if near else f"known here: {', '.join(known)}"
