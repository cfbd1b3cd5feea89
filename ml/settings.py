"""What can be configured: one frozen value, read once from the environment.

Sources, first wins: process environment, ``.env`` in the working folder,
``<home>/stack.env`` (written by the embedded stack). Every name starts with ``FOURGATE_``.
A secret may stand in a file instead: ``FOURGATE_WAREHOUSE_DSN_FILE`` names it.
"""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from ml.errors import SettingsError
from ml.fourgate_file import read_tables

PREFIX = "FOURGATE_"
FILE = "_FILE"
TOKEN = "TOKEN_"  # noqa: S105 -- begins FOURGATE_TOKEN_<SOURCE>, the name of a source's secret
UPLOAD_TOKEN = PREFIX + "UPLOAD_TOKEN"  # of a CI job; no setting, for nothing but `fourgate upload` reads it
REAL_DATA = PREFIX + "REAL_DATA"  # real histories for tests, benchmarks and `make results`; no setting either
MAX_SECRET_BYTES = 10_000
MODELS = ("test_selection", "build_risk", "flaky_tests")
GATES = ("data_quality", "statistical", "stability", "consistency")


class Settings(BaseSettings):
    """Every setting with its unit and default; `.env.example` is generated from it."""

    model_config = SettingsConfigDict(frozen=True, extra="forbid")

    home: Path = Field(
        Path(".fourgate"), description="folder of all local state: lake, landing, logs, embedded servers"
    )
    lake_uri: str = Field("", description="Delta tables: folder or s3://, gs://, abfss:// address; empty = <home>/lake")
    warehouse_dsn: SecretStr = Field(
        SecretStr(""), description="PostgreSQL address of the role that the pipeline writes with"
    )
    warehouse_admin_dsn: SecretStr = Field(
        SecretStr(""), description="PostgreSQL address of the owner role; used by migrations only"
    )
    mlflow_tracking_uri: str = Field("", description="address of the MLflow server, e.g. http://127.0.0.1:5000")
    airflow_url: str = Field(
        "",
        description="address of Airflow, e.g. http://127.0.0.1:8080; for links, and for `fourgate receive` to tell it "
        "of pushed runs",
    )
    airflow_user: str = Field("admin", description="user that `fourgate receive` logs in to Airflow as")
    airflow_password: SecretStr = Field(
        SecretStr(""), description="password of that user; without it pushed runs wait for the hourly collection"
    )
    history: str = Field(
        "", description="history folder, zip or tar to collect; empty = the simulated history in <home>/simulated"
    )
    sources: Path = Field(
        Path("fourgate.toml"), description="file that names the CI servers to collect from; need not be there"
    )
    engine: Literal["duckdb", "spark"] = Field(
        "duckdb", description="query engine: duckdb, or spark (uv sync --group spark)"
    )
    clock: Literal["history", "wall"] = Field(
        "history",
        description="what a stage takes as now without --as-of: the end of the collected history, or the wall clock",
    )
    threads: int = Field(2, ge=1, le=256, description="threads of the query engine, and processes that read reports")
    engine_memory_gb: float = Field(
        6.0,
        ge=0.5,
        le=100_000,
        description="GB; beyond it, or beyond 80 % of the machine, the query engine works on disk, in <home>/spill",
    )
    max_frame_rows: int = Field(
        3_000_000,
        ge=0,
        description="rows that a model learns from and is judged on; of a longer history that many are drawn, as whole "
        "runs, while features look at all of it; 1 GB of memory per million rows, and twice that in training; "
        "0 = no bound",
    )
    seed: int = Field(20260101, ge=0, le=2**32 - 1, description="seed of the simulator, of fitting and of resampling")
    author_salt: SecretStr = Field(
        SecretStr("fourgate"), description="salt of the author hash; set your own so that hashes cannot be looked up"
    )
    gates_file: Path = Field(
        Path(__file__).parent / "gates" / "thresholds.toml", description="versioned thresholds of the four gates"
    )
    max_payload_mb: int = Field(200, ge=1, le=100_000, description="MB; a larger report file is refused")
    test_share: float = Field(
        0.4,
        ge=0.1,
        le=0.8,
        description="share (0..1) of the runs that promoted nobody yet, the latest ones, kept for judging",
    )
    outage_share: float = Field(
        0.5, gt=0, le=1, description="share of failed results (0..1) above which a run counts as an outage"
    )
    tuning_trials: int = Field(
        0,
        ge=0,
        le=10_000,
        description="sets of parameters that a training of test_selection tries per candidate before it fits; 0 = none",
    )
    selection_budget: float = Field(
        0.3, gt=0, le=1, description="share of tests (0..1) that a published selection may run"
    )
    author_features: bool = Field(
        True, description="whether features look at who wrote a change (salted hashes of authors, never names)"
    )
    shared_model: bool = Field(
        True,
        description="whether a model of all projects is trained, and serves a project without a champion of its own",
    )
    publish_runs: int = Field(
        20, ge=0, le=100_000, description="runs before as-of that a replay publishes, each as of its start"
    )
    projects: str = Field(
        "", description="projects that the forms of the DAGs offer, with commas between; empty = any name may be typed"
    )
    keep_lake_days: int = Field(
        7, ge=1, le=36_500, description="days that versions of the lake which nothing live names stay readable"
    )
    keep_working_days: int = Field(
        14, ge=1, le=36_500, description="days that staged batches, feature frames and candidates' files stay"
    )
    keep_payloads_days: int = Field(
        0, ge=0, le=36_500, description="days that payloads stay in landing, to be read again; 0 = for ever"
    )
    keep_reports_days: int = Field(180, ge=7, le=36_500, description="days that Data Docs and gate reports stay")
    keep_predictions_days: int = Field(
        180, ge=7, le=36_500, description="days that the rows of published sets which are no longer current stay"
    )
    keep_models_days: int = Field(
        90, ge=7, le=36_500, description="days that MLflow keeps trainings which are neither in service nor the newest"
    )
    keep_deleted_models_days: int = Field(
        7, ge=0, le=3_650, description="days that what was deleted in MLflow, by whomever, can be restored"
    )
    keep_airflow_days: int = Field(60, ge=7, le=36_500, description="days that Airflow's runs and task logs stay")
    keep_log_mb: int = Field(50, ge=1, le=100_000, description="MB; of a longer service log only the end is kept")
    mlflow_database: SecretStr = Field(
        SecretStr(""),
        description="address of MLflow's own database; with it `maintain` removes for good what was deleted in MLflow",
    )
    airflow_database: SecretStr = Field(
        SecretStr(""), description="address of Airflow's own database; with it `maintain` removes old runs from it"
    )
    postgres_port: int = Field(54329, ge=1024, le=65535, description="port of the embedded PostgreSQL, on loopback")
    mlflow_port: int = Field(5000, ge=1024, le=65535, description="port of the embedded MLflow, on loopback")
    airflow_port: int = Field(8080, ge=1024, le=65535, description="port of the embedded Airflow, on loopback")
    receiver_port: int = Field(
        8090, ge=1024, le=65535, description="port of the embedded stack's push endpoint, on loopback"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only the values handed over count: `load_settings` alone decides where they come from."""
        return (init_settings,)

    @property
    def project_choices(self) -> tuple[str, ...]:
        """Projects that forms offer; empty where any name may be typed."""
        return tuple(name.strip() for name in self.projects.split(",") if name.strip())

    @property
    def lake(self) -> str:
        """Address of the Delta tables."""
        return self.lake_uri or str(self.home.absolute() / "lake")


SECRETS = tuple(PREFIX + name.upper() for name, field in Settings.model_fields.items() if field.annotation is SecretStr)


def load_settings(environ: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        SettingsError: a ``FOURGATE_`` variable is unknown or malformed; names it and what would be right.
    """
    environ = os.environ if environ is None else environ
    local = _named(dotenv_values(".env"))
    home = home_only(environ).home
    given = {**_named(dotenv_values(home / "stack.env")), **local, **_named(environ)}
    _refuse_unknown(given)
    try:
        return Settings.model_validate({_field(name): value for name, value in given.items() if value != ""})
    except ValidationError as error:
        raise SettingsError(_explain(error)) from error


def source_token(source: str, environ: Mapping[str, str] | None = None) -> SecretStr:
    """The secret of a source, for `shop-ci` in ``FOURGATE_TOKEN_SHOP_CI`` of the environment or ``.env``; else empty.

    Raises:
        SettingsError: its file cannot be read.
    """
    name = token_name(source)
    for given in (os.environ if environ is None else environ, dotenv_values(".env")):
        if found := read_secret(name, given):
            return SecretStr(found)
    return SecretStr("")


def local_tokens() -> dict[str, str]:
    """Variables of ``.env`` that hold secrets of sources, or name their files."""
    return {name: value for name, value in dotenv_values(".env").items() if name.startswith(PREFIX + TOKEN) and value}


def token_name(source: str) -> str:
    """Name of the variable that holds the secret of a source."""
    return f"{PREFIX}{TOKEN}{source.upper().replace('-', '_')}"


def source_names(settings: Settings) -> tuple[str, ...]:
    """Names of the configured sources, in their order; `ml.sources.configured` says what is wrong with the rest.

    Raises:
        SettingsError: the file is no TOML.
    """
    return tuple(read_sources(settings.sources))


def read_sources(file: Path) -> dict[str, Any]:
    """The tables ``[source.NAME]`` of a file, by name; empty where there is no file.

    Raises:
        SettingsError: see `ml.fourgate_file.read_tables`.
    """
    return read_tables(file)["source"]


def home_only(environ: Mapping[str, str] | None = None) -> Settings:
    """Defaults with the configured home: enough to stop what runs there, however wrong the other settings are."""
    environ = os.environ if environ is None else environ
    local = _named(dotenv_values(".env"))
    home = environ.get(f"{PREFIX}HOME") or local.get(f"{PREFIX}HOME") or ".fourgate"
    return Settings.model_validate({"home": home})


def read_secret(name: str, environ: Mapping[str, str | None]) -> str:
    """Value of a secret: the variable itself, or what the file holds that ``<name>_FILE`` names; else empty.

    Raises:
        SettingsError: both are given, or the file cannot be read; the message never holds the secret.
    """
    value, path = environ.get(name) or "", environ.get(name + FILE) or ""
    if value and path:
        raise SettingsError(f"{name} and {name}{FILE} are both set; right would be one of them")
    return _content(name + FILE, Path(path)) if path else value


def _content(variable: str, path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_SECRET_BYTES + 1)
        text = content.decode("utf-8").strip()
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise SettingsError(f"{variable}: {path} cannot be read: {reason}") from None
    if not text or len(content) > MAX_SECRET_BYTES:
        raise SettingsError(f"{variable}: {path} should hold one secret of 1 to {MAX_SECRET_BYTES} bytes")
    return text


def _named(values: Mapping[str, str | None]) -> dict[str, str]:
    """Our variables of one source; a secret's file is read, so that which source wins does not depend on the form."""
    found = {
        name: value or ""
        for name, value in values.items()
        if name.startswith(PREFIX) and not name.startswith((PREFIX + TOKEN, UPLOAD_TOKEN)) and name != REAL_DATA
    }
    for name in SECRETS:
        if found.get(name + FILE):
            found[name] = read_secret(name, found)
        found.pop(name + FILE, None)
    return found


def _refuse_unknown(given: Mapping[str, str]) -> None:
    known = [PREFIX + field.upper() for field in Settings.model_fields]
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"did you mean {near[0]}?" if near else "see .env.example for all settings"
            raise SettingsError(f"{name} is not a setting of Fourgate; {hint}")


def _field(name: str) -> str:
    return name.removeprefix(PREFIX).lower()


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_context=False, include_input=False):
        field = str(item["loc"][0])
        about = Settings.model_fields[field].description
        lines.append(f"{PREFIX}{field.upper()}: {item['msg']} ({about})")
    return "; ".join(lines)
