"""How long the history of each project stays: its table ``[project."NAME"]`` in `fourgate.toml`."""

from collections.abc import Mapping
from datetime import UTC, datetime, time, timedelta
from typing import Annotated

import numpy as np
import pandas as pd
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ml.errors import SettingsError
from ml.fourgate_file import complaints, read_tables
from ml.schemas import RejectedRows, columns
from ml.settings import Settings
from ml.spec import Batch

TRAINING_DAYS = 30
TOO_OLD = "older_than_keep_days"
_RUN, _ATTEMPT = ["project", "run_id"], ["project", "run_id", "attempt"]


def _enough(days: int) -> int:
    if 0 < days < TRAINING_DAYS:
        raise ValueError(f"{days} days are fewer than training needs; right would be 0, for ever, or {TRAINING_DAYS}")
    return days


class ProjectOptions(BaseModel):
    """What `fourgate.toml` says of a project.

    Attributes:
        keep_days: How long its history stays in the lake; 0 = for ever.
        keep_payload_days: How long its payloads stay in landing; 0 = for ever, None = FOURGATE_KEEP_PAYLOADS_DAYS.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    keep_days: Annotated[int, Field(ge=0, le=36_500), AfterValidator(_enough)] = 0
    keep_payload_days: Annotated[int | None, Field(ge=0, le=36_500)] = None

    def begin(self, as_of: datetime) -> datetime | None:
        """Midnight (UTC) that history from before does not stay; None where all stays."""
        if not self.keep_days:
            return None
        day = (as_of.astimezone(UTC) - timedelta(days=self.keep_days)).date()
        return datetime.combine(day, time.min, UTC)


def project_options(settings: Settings) -> dict[str, ProjectOptions]:
    """The options of each project that the file has a table for.

    Raises:
        SettingsError: an option is unknown or malformed; names file, line and what would be right.
    """
    return {name: _options(settings, name, table) for name, table in read_tables(settings.sources)["project"].items()}


def begin_of(settings: Settings, project: str, as_of: datetime) -> datetime | None:
    """Start of the history that a project keeps; None where it keeps all. Raises as `project_options`."""
    return project_options(settings).get(project, ProjectOptions()).begin(as_of)


def leave_out(
    accepted: Mapping[str, pd.DataFrame], begin: datetime | None, batch: Batch
) -> tuple[dict[str, pd.DataFrame], pd.DataFrame]:
    """A batch without the attempts of runs that started before `begin`, their results and their changed files.

    Returns:
        the tables, and a line of `rejected_rows` per attempt that was left out. It holds nothing of the run but its
        start.
    """
    runs = accepted["runs"]
    is_old = runs["started_at"] < begin if begin else pd.Series(False, index=runs.index)
    old, kept = runs[is_old], runs[~is_old]
    same = {"batch_id": batch.batch_id, "project": batch.project, "contract": "runs", "column": "started_at"}
    told = [{**same, "reason": TOO_OLD, "value": moment.isoformat()} for moment in old["started_at"]]
    lines = pd.DataFrame(told, columns=columns(RejectedRows), dtype=object).replace({np.nan: None})
    if old.empty:
        return dict(accepted), lines
    gone = old[~_among(old, kept, _RUN)]
    results, files = accepted["test_results"], accepted["changed_files"]
    is_gone = _among(results, old, _ATTEMPT) | _among(results, gone, _RUN)
    frames = {"runs": kept, "test_results": results[~is_gone], "changed_files": files[~_among(files, gone, _RUN)]}
    return {**accepted, **{name: frame.reset_index(drop=True) for name, frame in frames.items()}}, lines


def _among(rows: pd.DataFrame, others: pd.DataFrame, key: list[str]) -> pd.Series:
    """Whether each row has the key of one of the others."""
    known = pd.MultiIndex.from_frame(others[key])
    return pd.Series(pd.MultiIndex.from_frame(rows[key]).isin(known), index=rows.index)


def _options(settings: Settings, name: str, table: Mapping[str, object]) -> ProjectOptions:
    try:
        return ProjectOptions.model_validate(dict(table))
    except ValidationError as error:
        raise SettingsError(complaints(settings.sources, ("project", name), error)) from None
