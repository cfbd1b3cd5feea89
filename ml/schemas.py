"""The contract of every table and frame: one Pandera model each, and the only place where columns are named.

Suffixes: `_at` UTC timestamp, `_s` seconds, `_count`, `_rate` in 0..1, `_7d` windows, `is_`/`has_`, `_id`.

A rule that a value or a row decides alone is a Pandera check whose name is its reason code. `TYPE_REASONS` are given
while a value is read into its column's type, `BATCH_REASONS` where the other rows or the clock decide.
"""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ml.spec import Decision, FailureState, Outcome

Utc = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
MAX_NAME = 1_000
MAX_PROJECT_BYTES = 80  # percent-encoded in a folder name: at most 240 of the 255 bytes that file systems allow
MAX_DURATION_S = 30 * 86_400.0
EARLIEST = datetime(2000, 1, 1, tzinfo=UTC)
CLOCK_SKEW = timedelta(days=1)

TYPE_REASONS = {
    "missing": "the value is null",
    "not_text": "the value is not a string, or one that UTF-8 cannot carry (a lone surrogate)",
    "not_an_integer": "the value is not a whole number of 64 bits",
    "not_a_number": "the value is not a number",
    "not_a_boolean": "the value is neither true nor false",
    "not_a_timestamp": "the value is not a date and time, or lies centuries away",
}
BATCH_REASONS = {
    "in_the_future": f"later than {CLOCK_SKEW.days} day after the batch was validated",
    "duplicate_key": "another row with the same key is kept: the worst outcome, the first among equals",
    "orphan": "the run is neither in this batch nor known already, or was itself refused",
}

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_ABSOLUTE = re.compile(r"[/\\]|[A-Za-z]:[/\\]")


def _texts(good: Callable[[str], Any]) -> Callable[["pd.Series[Any]"], "pd.Series[bool]"]:
    """Column test that calls `good` once per distinct text: a large column holds few of them."""

    def test(series: "pd.Series[Any]") -> "pd.Series[bool]":
        texts = series.astype("category").cat
        verdicts = np.fromiter((isinstance(text, str) and bool(good(text)) for text in texts.categories), dtype=bool)
        return pd.Series(verdicts[texts.codes], index=series.index)

    return test


def _rule(reason: str, description: str, good: Callable[["pd.Series[Any]"], Any]) -> pa.Check:
    return pa.Check(good, name=reason, description=description)


def _in_repository(path: str) -> bool:
    return not _ABSOLUTE.match(path) and ".." not in re.split(r"[/\\]", path)


_NOT_BLANK = _rule("empty", "not blank", _texts(str.strip))
_TEXT_RULES = (
    _rule("too_long", f"at most {MAX_NAME:,} characters", _texts(lambda text: len(text) <= MAX_NAME)),
    _rule(
        "control_character", "no line break, NUL or other control character", _texts(lambda t: not _CONTROL.search(t))
    ),
)
_NAME_RULES = (_NOT_BLANK, *_TEXT_RULES)
_PROJECT_RULES = (
    *_NAME_RULES,
    _rule(
        "unusable_project",
        f"names a folder of the lake: at most {MAX_PROJECT_BYTES} bytes of UTF-8",
        _texts(lambda text: len(text.encode("utf-8", "replace")) <= MAX_PROJECT_BYTES),
    ),
)
_NOT_NEGATIVE = _rule("negative", "0 or more", lambda values: values >= 0)
_FINITE = _rule("not_finite", "not infinite", lambda values: ~np.isinf(values.astype(float)))
_PLAUSIBLE = _rule("too_large", f"at most {MAX_DURATION_S:,.0f} s", lambda values: values <= MAX_DURATION_S)
_NOT_TOO_EARLY = _rule("too_early", f"not before {EARLIEST:%Y-%m-%d}", lambda moments: moments >= EARLIEST)
_ATTEMPTS = _rule("out_of_range", "1 to 10,000", lambda values: values.between(1, 10_000))
_PROBABILITY = _rule("out_of_range", "0 to 1", lambda values: values.between(0, 1))
_POSITIVE = _rule("out_of_range", "1 or more", lambda values: values >= 1)
_PATH = _rule("path_outside_repository", "relative, without '..' segments", _texts(_in_repository))
_OUTCOME = _rule("unknown_outcome", f"one of {', '.join(Outcome)}", _texts(lambda text: text in set(Outcome)))
_STATE = _rule("unknown_state", f"one of {', '.join(FailureState)}", _texts(lambda text: text in set(FailureState)))
_DECISION = _rule("unknown_decision", f"one of {', '.join(Decision)}", _texts(lambda text: text in set(Decision)))


def _field(*rules: pa.Check, nullable: bool = False, description: str | None = None) -> Any:
    """A column with rules of our own; Pandera's `Field` arguments cannot carry reason codes."""
    field = pa.Field(nullable=nullable, description=description)
    field.checks = list(rules)
    return field


def not_in_future(as_of: datetime) -> pa.Check:
    """Rule for every timestamp of a batch that is validated at `as_of`, with a day's grace for skewed clocks."""
    latest = pd.Timestamp(as_of + CLOCK_SKEW)
    return _rule("in_the_future", BATCH_REASONS["in_the_future"], lambda moments: moments <= latest)


class Runs(pa.DataFrameModel):
    """One CI execution of a change. Grain: (project, run_id, attempt)."""

    project: Series[str] = _field(*_PROJECT_RULES, description="repository or product, e.g. apache/ozone")
    run_id: Series[str] = _field(*_NAME_RULES, description="the CI system's id of the run")
    attempt: Series[int] = _field(_ATTEMPTS, description="1 for the first execution of the run")
    workflow: Series[str] = _field(*_TEXT_RULES, nullable=True, description="pipeline or job definition")
    event: Series[str] = _field(
        *_TEXT_RULES, nullable=True, description="what started it: push, pull_request, schedule"
    )
    branch: Series[str] = _field(*_TEXT_RULES, nullable=True, description="branch under test")
    commit_sha: Series[str] = _field(*_TEXT_RULES, nullable=True, description="commit under test")
    change_id: Series[str] = _field(
        *_TEXT_RULES, nullable=True, description="pull request or commit that the run tests"
    )
    author_id: Series[str] = _field(*_TEXT_RULES, nullable=True, description="salted hash of the author")
    started_at: Series[Utc] = _field(_NOT_TOO_EARLY, description="start of the run")
    finished_at: Series[Utc] = _field(
        nullable=True, description="end of the run; null where the CI system does not say"
    )
    status: Series[str] = _field(*_TEXT_RULES, nullable=True, description="the CI system's verdict")

    @pa.dataframe_check(name="finished_before_started", description="finished_at is not before started_at")
    @classmethod
    def _finished_after_start(cls, runs: pd.DataFrame) -> "pd.Series[bool]":
        return runs["finished_at"].isna() | runs["started_at"].isna() | (runs["finished_at"] >= runs["started_at"])


class TestResults(pa.DataFrameModel):
    """One execution of one test in one run. Grain: (project, run_id, attempt, variant, test_id)."""

    project: Series[str] = _field(*_PROJECT_RULES, description="repository or product")
    run_id: Series[str] = _field(*_NAME_RULES, description="run that executed the test")
    attempt: Series[int] = _field(_ATTEMPTS, description="attempt of the run, and 100 more for each rerun before")
    variant: Series[str] = _field(
        *_NAME_RULES, description="job, board, operating system or shard: part of a result's identity"
    )
    test_id: Series[str] = _field(*_NAME_RULES, description="class, case or suite, as the report names it")
    outcome: Series[str] = _field(_OUTCOME, description="how the execution ended")
    duration_s: Series[float] = _field(
        _NOT_NEGATIVE, _FINITE, _PLAUSIBLE, nullable=True, description="seconds; null where the report does not say"
    )
    imputed: Series[bool] = _field(description="taken over from a passing job instead of a report")


class ChangedFiles(pa.DataFrameModel):
    """One file touched by the change under test. Grain: (project, run_id, path)."""

    project: Series[str] = _field(*_PROJECT_RULES, description="repository or product")
    run_id: Series[str] = _field(*_NAME_RULES, description="run that tests the change")
    path: Series[str] = _field(*_NAME_RULES, _PATH, description="path within the repository")
    added: Series[pd.Int64Dtype] = _field(
        _NOT_NEGATIVE, nullable=True, description="added lines; null for binary files"
    )
    deleted: Series[pd.Int64Dtype] = _field(
        _NOT_NEGATIVE, nullable=True, description="deleted lines; null for binary files"
    )
    change_source: Series[str] = _field(*_TEXT_RULES, nullable=True, description="how the change was found")


class RejectedRows(pa.DataFrameModel):
    """One refused row or payload, kept for replay. `row` is the row as JSON, `value` the offending value, bounded."""

    batch_id: Series[str]
    project: Series[str]
    contract: Series[str]
    column: Series[str] = pa.Field(nullable=True)
    reason: Series[str]
    value: Series[str] = pa.Field(nullable=True)
    row: Series[str] = pa.Field(nullable=True)
    payload: Series[str] = pa.Field(nullable=True)


class FailureLabels(pa.DataFrameModel):
    """What a failure was held for at a moment. Grain: (project, run_id, variant, test_id, labelled_at, snapshot_id).

    Append-only: a label that later evidence revises gets one more row. As known at a moment, the label of a failure is
    its row with the latest `labelled_at` up to then, the highest `snapshot_id` among equals. A row is written when the
    state changes, or the probability by 0.05.
    """

    project: Series[str] = _field(*_PROJECT_RULES, description="repository or product")
    run_id: Series[str] = _field(*_NAME_RULES, description="run that the test failed in, in any attempt")
    variant: Series[str] = _field(*_NAME_RULES, description="variant that it failed on")
    test_id: Series[str] = _field(*_NAME_RULES, description="test that failed")
    state: Series[str] = _field(_STATE, description="what the failure is held for")
    probability: Series[float] = _field(_PROBABILITY, description="of the most probable state, also where unknown")
    evidence: Series[str] = _field(description="what speaks for that state, strongest first, joined by ';'")
    labelled_at: Series[Utc] = _field(_NOT_TOO_EARLY, description="moment up to which evidence was used")
    snapshot_id: Series[int] = _field(_POSITIVE, description="snapshot that the evidence was read from")


class Predictions(pa.DataFrameModel):
    """One row of the results table. Grain: (model, project, change_id, variant, test_id) among current rows.

    A prediction for a whole run has ``*`` for variant and test.
    """

    model: Series[str] = _field(*_NAME_RULES)
    project: Series[str] = _field(*_NAME_RULES)
    change_id: Series[str] = _field(*_NAME_RULES, description="run that the prediction is for; 'next' for the next run")
    variant: Series[str] = _field(*_NAME_RULES)
    test_id: Series[str] = _field(*_NAME_RULES)
    score: Series[float] = _field(_FINITE)
    probability: Series[float] = _field(_PROBABILITY)
    rank: Series[int] = _field(_POSITIVE)
    decision: Series[str] = _field(_DECISION)
    reasons: Series[str] = _field(description="JSON list of {feature, value, effect, words}, strongest first")
    as_of: Series[Utc]


LAKE_TABLES = {
    "runs": Runs,
    "test_results": TestResults,
    "changed_files": ChangedFiles,
    "rejected_rows": RejectedRows,
    "failure_labels": FailureLabels,
}
KEYS = {
    "runs": ("project", "run_id", "attempt"),
    "test_results": ("project", "run_id", "attempt", "variant", "test_id"),
    "changed_files": ("project", "run_id", "path"),
}


def columns(model: type[pa.DataFrameModel]) -> list[str]:
    """Column names of a contract, in order."""
    return list(model.to_schema().columns)


def _feature(group: str, description: str) -> Any:
    """A feature column: float64, NaN where unknown."""
    return pa.Field(nullable=True, description=description, metadata={"group": group})


class TestSelectionFrame(pa.DataFrameModel):
    """What the test-selection model learns from and scores. Grain: (project, run_id, variant, test_id).

    Facts known before the run started, and nothing else, make the features. In predictions `failed`, `duration_s` and
    `known_at` are null.
    """

    project: Series[str]
    run_id: Series[str]
    variant: Series[str]
    test_id: Series[str]
    started_at: Series[Utc]
    known_at: Series[Utc] = pa.Field(nullable=True)
    failed: Series[pd.BooleanDtype] = pa.Field(nullable=True)
    previous_failed: Series[bool]
    duration_s: Series[float] = pa.Field(nullable=True)

    executions_count: Series[float] = _feature("history", "executions of the test before")
    failures_count: Series[float] = _feature("history", "failures of the test before")
    failure_rate: Series[float] = _feature("history", "share of the test's executions that failed")
    failure_rate_last_5: Series[float] = _feature("history", "share of failures in the last 5 executions")
    failure_rate_last_10: Series[float] = _feature("history", "share of failures in the last 10 executions")
    failure_rate_last_30: Series[float] = _feature("history", "share of failures in the last 30 executions")
    ewma_failure_rate: Series[float] = _feature("history", "failures, each execution weighing 0.8 of the next")
    slow_ewma_failure_rate: Series[float] = _feature("history", "failures, each execution weighing 0.95 of the next")
    is_failing: Series[float] = _feature("history", "1 if the last execution failed")
    failures_in_a_row_count: Series[float] = _feature("history", "failures since the last pass")
    executions_since_failure_count: Series[float] = _feature("history", "executions since the last failure")
    since_failure_s: Series[float] = _feature("history", "seconds since the last failure became known")
    since_execution_s: Series[float] = _feature("history", "seconds since the last execution became known")
    age_s: Series[float] = _feature("history", "seconds since the test was first seen")
    flip_rate_last_20: Series[float] = _feature("history", "share of changed outcomes in the last 20 executions")
    new_failure_rate: Series[float] = _feature("history", "share of executions after a pass that failed")
    new_failure_rate_last_30: Series[float] = _feature("history", "the same over the last 30 executions")
    recovery_rate: Series[float] = _feature("history", "share of executions after a failure that passed")
    executions_since_new_failure_count: Series[float] = _feature(
        "history", "executions since a failure that followed a pass"
    )
    executions_7d: Series[float] = _feature("history", "executions in the last 7 days")
    failures_7d: Series[float] = _feature("history", "failures in the last 7 days")
    mean_duration_s: Series[float] = _feature("history", "mean duration of the test")
    last_duration_s: Series[float] = _feature("history", "duration of the last execution")
    duration_deviation_s: Series[float] = _feature("history", "last duration less the mean duration")
    test_last_failure_rate: Series[float] = _feature("neighbour", "share of variants that failed, the test's last run")
    test_failure_rate_last_10_runs: Series[float] = _feature("neighbour", "share of failures on any variant, 10 runs")
    variants_count: Series[float] = _feature("neighbour", "variants that the test's last run executed it on")
    package_last_failure_rate: Series[float] = _feature("neighbour", "share of failures in the package's last run")
    package_failure_rate_last_10_runs: Series[float] = _feature("neighbour", "share of the package's failures, 10 runs")
    package_new_failures_count: Series[float] = _feature("neighbour", "new failures in the package's last run")
    variant_last_failure_rate: Series[float] = _feature("neighbour", "share of failures in the variant's last run")
    variant_failure_rate_last_10_runs: Series[float] = _feature("neighbour", "share of the variant's failures, 10 runs")
    variant_new_failures_count: Series[float] = _feature("neighbour", "new failures in the variant's last run")
    variant_recoveries_count: Series[float] = _feature("neighbour", "tests that passed again in the variant's last run")
    author_cofailure_rate: Series[float] = _feature("neighbour", "how often the test failed in runs of this author")
    last_run_failure_rate: Series[float] = _feature("run", "share of failed results in the last run")
    last_5_runs_failure_rate: Series[float] = _feature("run", "share of failed results in the last 5 runs")
    last_run_results_count: Series[float] = _feature("run", "results of the last run")
    since_last_run_s: Series[float] = _feature("run", "seconds since the last run became known")
    is_pull_request: Series[float] = _feature("run", "1 if the run tests a pull request")
    change_runs_count: Series[float] = _feature("run", "earlier runs of the same change")
    change_failures_count: Series[float] = _feature("run", "failures of the test in earlier runs of the same change")
    is_failing_in_change: Series[float] = _feature("run", "1 if the test failed in the change's previous run")
    author_runs_count: Series[float] = _feature("change", "earlier runs of the same author")
    author_failure_rate: Series[float] = _feature("change", "share of the author's earlier runs with a failure")
    has_change: Series[float] = _feature("change", "1 if the changed files are known")
    files_count: Series[float] = _feature("change", "changed files")
    lines_added_count: Series[float] = _feature("change", "added lines")
    lines_deleted_count: Series[float] = _feature("change", "deleted lines")
    source_files_rate: Series[float] = _feature("change", "share of source files in the change")
    test_files_rate: Series[float] = _feature("change", "share of test files in the change")
    build_files_rate: Series[float] = _feature("change", "share of build and configuration files in the change")
    docs_files_rate: Series[float] = _feature("change", "share of documentation files in the change")
    has_build_file: Series[float] = _feature("change", "1 if a build or configuration file changed")
    folders_count: Series[float] = _feature("change", "folders with changed files")
    modules_count: Series[float] = _feature("change", "modules with changed files")
    mean_churn_30d: Series[float] = _feature("change", "mean number of runs, in 30 days, that touched a changed file")
    max_churn_30d: Series[float] = _feature("change", "highest number of runs, in 30 days, that touched a changed file")
    has_own_file: Series[float] = _feature("pair", "1 if the test's own file changed")
    has_subject_file: Series[float] = _feature("pair", "1 if the file that the test is named after changed")
    name_similarity_rate: Series[float] = _feature("pair", "highest overlap of the test's name with a changed file's")
    shared_words_count: Series[float] = _feature("pair", "telling words shared by the test and the changed paths")
    shared_words_weight: Series[float] = _feature("pair", "shared words, rare words weighing more")
    shared_words_rate: Series[float] = _feature("pair", "share of the change's words, by weight, found in the test")
    shared_words_relevance: Series[float] = _feature("pair", "the same, long test names held back")
    tree_distance_count: Series[float] = _feature("pair", "folders between the test's package and the nearest change")
    package_overlap_rate: Series[float] = _feature(
        "pair", "share of the test's package path that a changed file shares"
    )
    module_overlap_rate: Series[float] = _feature("pair", "share of a changed module's words found in the test")
    cofailure_file_rate: Series[float] = _feature("pair", "how often the test failed when a changed file was touched")
    cofailure_folder_rate: Series[float] = _feature(
        "pair", "how often the test failed when a changed folder was touched"
    )
    cofailure_suffix_rate: Series[float] = _feature(
        "pair", "how often the test failed when files of a changed type were"
    )
    cofailure_mean_rate: Series[float] = _feature(
        "pair", "mean over changed files of how often the test failed with them"
    )
    cofailure_count: Series[float] = _feature("pair", "earlier failures of the test together with the changed files")
    since_cofailure_file_s: Series[float] = _feature("pair", "seconds since the test failed with a changed file")
    since_cofailure_folder_s: Series[float] = _feature("pair", "seconds since the test failed with a changed folder")


class BuildRiskFrame(pa.DataFrameModel):
    """What the build-risk model learns from and scores: a row per run. Grain: (project, run_id, variant, test_id).

    Variant and test are ``*``, the whole run. `failed` is a failure of the run's own: not an outage, not a test that
    passed in another attempt. Outages have no row. Facts known before the run started, and nothing else, make the
    features. In predictions `failed`, `duration_s` and `known_at` are null. A branch, workflow, change or author that
    is not known, or was not seen before, has null features.
    """

    project: Series[str]
    run_id: Series[str]
    variant: Series[str]
    test_id: Series[str]
    started_at: Series[Utc]
    known_at: Series[Utc] = pa.Field(nullable=True)
    failed: Series[pd.BooleanDtype] = pa.Field(nullable=True)
    previous_failed: Series[bool]
    duration_s: Series[float] = pa.Field(nullable=True)

    runs_count: Series[float] = _feature("history", "runs before")
    failed_rate: Series[float] = _feature("history", "share of the runs before that failed")
    failed_rate_last_10: Series[float] = _feature("history", "share of the last 10 runs that failed")
    failed_rate_last_50: Series[float] = _feature("history", "share of the last 50 runs that failed")
    ewma_failed_rate: Series[float] = _feature("history", "failed runs, each run weighing 0.8 of the next")
    fast_ewma_failed_rate: Series[float] = _feature("history", "failed runs, each run weighing half of the next")
    is_last_failed: Series[float] = _feature("history", "1 if the last run failed")
    failed_in_a_row_count: Series[float] = _feature("history", "failed runs since the last one that passed")
    runs_since_failed_count: Series[float] = _feature("history", "runs since the last one that failed")
    since_failed_s: Series[float] = _feature("history", "seconds since the last failed run became known")
    flip_rate_last_20_runs: Series[float] = _feature("history", "share of changed outcomes in the last 20 runs")
    branch_ewma_failed_rate: Series[float] = _feature(
        "history", "failed runs of the branch, each run weighing 0.8 of the next"
    )
    branch_is_last_failed: Series[float] = _feature("history", "1 if the last run of the branch failed")
    branch_failed_in_a_row_count: Series[float] = _feature(
        "history", "failed runs of the branch since the last one that passed"
    )
    workflow_ewma_failed_rate: Series[float] = _feature(
        "history", "failed runs of the workflow, each run weighing 0.8 of the next"
    )
    workflow_is_last_failed: Series[float] = _feature("history", "1 if the last run of the workflow failed")
    workflow_failed_in_a_row_count: Series[float] = _feature(
        "history", "failed runs of the workflow since the last one that passed"
    )
    change_ewma_failed_rate: Series[float] = _feature(
        "history", "failed runs of the change, each run weighing 0.8 of the next"
    )
    change_is_last_failed: Series[float] = _feature("history", "1 if the last run of the change failed")
    change_failed_in_a_row_count: Series[float] = _feature(
        "history", "failed runs of the change since the last one that passed"
    )
    author_ewma_failed_rate: Series[float] = _feature(
        "history", "failed runs of the author, each run weighing 0.8 of the next"
    )
    author_is_last_failed: Series[float] = _feature("history", "1 if the last run of the author failed")
    author_failed_in_a_row_count: Series[float] = _feature(
        "history", "failed runs of the author since the last one that passed"
    )
    last_run_failure_rate: Series[float] = _feature("run", "share of failed results in the last run")
    last_5_runs_failure_rate: Series[float] = _feature("run", "share of failed results in the last 5 runs")
    last_run_results_count: Series[float] = _feature("run", "results of the last run")
    since_last_run_s: Series[float] = _feature("run", "seconds since the last run became known")
    is_pull_request: Series[float] = _feature("run", "1 if the run tests a pull request")
    change_runs_count: Series[float] = _feature("run", "earlier runs of the same change")
    author_runs_count: Series[float] = _feature("author", "earlier runs of the same author")
    author_failure_rate: Series[float] = _feature("author", "share of the author's earlier runs with a failure")
    has_change: Series[float] = _feature("change", "1 if the changed files are known")
    files_count: Series[float] = _feature("change", "changed files")
    lines_added_count: Series[float] = _feature("change", "added lines")
    lines_deleted_count: Series[float] = _feature("change", "deleted lines")
    source_files_rate: Series[float] = _feature("change", "share of source files in the change")
    test_files_rate: Series[float] = _feature("change", "share of test files in the change")
    build_files_rate: Series[float] = _feature("change", "share of build and configuration files in the change")
    docs_files_rate: Series[float] = _feature("change", "share of documentation files in the change")
    has_build_file: Series[float] = _feature("change", "1 if a build or configuration file changed")
    folders_count: Series[float] = _feature("change", "folders with changed files")
    modules_count: Series[float] = _feature("change", "modules with changed files")
    mean_churn_30d: Series[float] = _feature("change", "mean number of runs, in 30 days, that touched a changed file")
    max_churn_30d: Series[float] = _feature("change", "highest number of runs, in 30 days, that touched a changed file")
    file_failed_rate: Series[float] = _feature("files", "highest share of failed runs among those with a changed file")
    file_mean_failed_rate: Series[float] = _feature("files", "the same, mean over the changed files")
    folder_failed_rate: Series[float] = _feature(
        "files", "highest share of failed runs among those with a changed folder"
    )
    new_files_rate: Series[float] = _feature("files", "share of changed files that no run touched before")
    own_touches_rate: Series[float] = _feature("files", "share of earlier touches of the changed files by the author")
    file_authors_count: Series[float] = _feature("files", "authors who touched a changed file before, mean over files")


def feature_groups(contract: type[pa.DataFrameModel] = TestSelectionFrame) -> dict[str, tuple[str, ...]]:
    """Names of a frame's features by group, such as history, run, change; in the frame's order."""
    groups: dict[str, list[str]] = {}
    for name, column in contract.to_schema().columns.items():
        if column.metadata:
            groups.setdefault(column.metadata["group"], []).append(name)
    return {group: tuple(names) for group, names in groups.items()}


def feature_descriptions(contract: type[pa.DataFrameModel] = TestSelectionFrame) -> dict[str, str]:
    """One line per feature of a frame, for reasons and documentation."""
    described = contract.to_schema().columns.items()
    return {name: str(column.description) for name, column in described if column.metadata}


FEATURES = tuple(feature_descriptions())

# Counts and ages that only ever grow: they differ between any two periods, so drift says nothing about them.
GROWING_FEATURES = (
    "executions_count",
    "failures_count",
    "executions_since_failure_count",
    "since_failure_s",
    "age_s",
    "author_runs_count",
    "cofailure_count",
    "runs_count",
    "runs_since_failed_count",
    "since_failed_s",
    "file_authors_count",
)
