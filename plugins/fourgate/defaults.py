"""What the DAGs have in common: retries, timeouts, typed form fields, how a task learns its moment and its interval."""

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import (
    AssetOrTimeSchedule,
    Context,
    CronTriggerTimetable,
    ExceptionRetryPolicy,
    Param,
    RetryAction,
    RetryRule,
    get_current_context,
)

from fourgate.assets import pushed_runs
from fourgate.notifier import notify
from ml.errors import ArtifactRefused, ContractError, NotEnoughData, SettingsError, UnreadableHistory
from ml.settings import MODELS, Settings, load_settings, source_names

OWNER = "fourgate"
LAKE_POOL = "lake_writers"
TRAINING_POOL = "training"
REPORT_KEY = "report_url"
BACKFILL = "backfill"
HOURLY = CronTriggerTimetable("0 * * * *", timezone="UTC", interval=timedelta(hours=1))
HOURLY_OR_PUSHED = AssetOrTimeSchedule(assets=[pushed_runs], timetable=HOURLY)

# What stays as it is until a person changes something; whatever else fails may have passed a minute later.
LASTING: list[type[BaseException] | str] = [
    ArtifactRefused,
    ContractError,
    NotEnoughData,
    SettingsError,
    UnreadableHistory,
]

TASK = {
    "owner": OWNER,
    "retries": 2,
    "retry_delay": timedelta(seconds=20),
    "retry_exponential_backoff": True,
    "max_retry_delay": timedelta(minutes=10),
    "retry_policy": ExceptionRetryPolicy([RetryRule(LASTING, RetryAction.FAIL, reason="another try would end alike")]),
    "execution_timeout": timedelta(hours=1),
    "on_failure_callback": notify,
}
DAG = {
    "catchup": False,
    "max_active_runs": 1,
    "default_args": TASK,
    "render_template_as_native_obj": False,
}


def moment_field(title: str, description: str) -> Param:
    """An optional moment of a form; without a time zone it is in UTC."""
    # `format` draws the picker and checks nothing; the pattern refuses what no stage could read.
    pattern = r"^(|\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d+)?)?(Z|[+-]\d\d:\d\d)?)$"
    return Param(
        None, type=["null", "string"], format="date-time", pattern=pattern, title=title, description=description
    )


AS_OF = moment_field(
    "As of",
    "Moment (UTC) that the run takes as now. Empty: the end of the collected history, or in wall-clock mode "
    "(FOURGATE_CLOCK=wall) the moment that this run stands for.",
)
MODEL = Param(
    "",
    type="string",
    enum=["", *MODELS],
    values_display={"": "every model"},
    title="Model",
    description="Only this model.",
)

SPAN = {
    "since": moment_field("Since", "First start (UTC)."),
    "until": moment_field("Until", "First start after."),
}


def source_field() -> Param:
    """The CI server of a form: one of `fourgate.toml`, as it is whenever the file of the DAG is read."""
    return Param(
        "",
        type="string",
        enum=["", *source_names(load_settings())],
        values_display={"": "every source"},
        title="Source",
        description="Only this CI server.",
    )


def project_field(*, required: bool = False) -> Param:
    """The project of a form: one of `FOURGATE_PROJECTS`, or any name where that is not set.

    Args:
        required: whether one has to be chosen; else empty stands for every project in the lake.
    """
    choices = load_settings().project_choices
    rules: dict[str, Any] = {"minLength": 1} if required else {}
    if choices:
        rules |= {"enum": [*([] if required else [""]), *choices], "values_display": {"": "every project"}}
    return Param(
        choices[0] if required and choices else "",
        type="string",
        maxLength=1000,
        title="Project",
        description="The project's name as in the lake." if required else "Only this one. Empty: all in the lake.",
        **rules,
    )


def moment(settings: Settings, context: Context) -> datetime | None:
    """The run's now: the form's `as_of`; else in wall-clock mode the moment the run stands for; else None.

    None lets a stage take the end of the collected history, so that a replay of an old history is reproducible.
    """
    if settings.clock != "wall":
        return _form(context)
    run: Any = context["dag_run"]
    return _form(context) or run.data_interval_end or run.logical_date or run.run_after


def collected_at(context: Context) -> datetime:
    """The form's `as_of`, else when the run really started: data comes in then, also data of an old history.

    Not the moment that the run stands for: a run that is late or was cleared days after would refuse, as lying in the
    future, what came in meanwhile.
    """
    run: Any = context["dag_run"]
    started: datetime = run.start_date or run.run_after
    return _form(context) or started


def no_later_than_start(context: Context) -> datetime:
    """The form's `as_of`, but never later than the run's start: nothing may count as old that is not."""
    run: Any = context["dag_run"]
    started: datetime = run.start_date or run.run_after
    return min(_form(context) or started, started)


def span(context: Context) -> tuple[str | None, str | None]:
    """Since and until: the data interval in a backfill, else what the form says; None leaves a side open."""
    run: Any = context["dag_run"]
    if run.run_type == BACKFILL:
        return run.data_interval_start.isoformat(), run.data_interval_end.isoformat()
    since, until = (found.isoformat() if (found := _form(context, side)) else None for side in ("since", "until"))
    return since, until


def is_pushed(context: Context) -> bool:
    """Whether the run was started by runs that CI jobs pushed, so that nothing else is to be collected."""
    # not `in`: the mapping has an empty list for any asset that it is asked for
    return pushed_runs.name in {asset.name for asset in context["triggering_asset_events"]}


def _form(context: Context, field: str = "as_of") -> datetime | None:
    """A moment of the form; a text without a time zone is in UTC, as the form says."""
    given = context["params"].get(field)
    if not given:
        return None
    found = datetime.fromisoformat(str(given))
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)


def link_report(url: str) -> None:
    """Let the running task's *Report* button open `url`."""
    get_current_context()["ti"].xcom_push(REPORT_KEY, url)


def data_docs_history(settings: Settings) -> str:
    """Address of the page that lists the Data Docs of all batches."""
    return f"{settings.airflow_url}/fourgate/reports/data_docs/index.html"
