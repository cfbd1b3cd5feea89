"""Contracts of the tables of the lake and of the results table."""

from collections.abc import Container

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ml.schemas.rules import (
    ATTEMPTS,
    DECISION,
    FAILURE_KIND,
    FINITE,
    NAME_RULES,
    NOT_NEGATIVE,
    NOT_TOO_EARLY,
    OUTCOME,
    PATH,
    PLAUSIBLE,
    POSITIVE,
    PROBABILITY,
    PROJECT_RULES,
    STATE,
    TEXT_RULES,
    Utc,
    field,
)


class Runs(pa.DataFrameModel):
    """One CI execution of a change. Grain: (project, run_id, attempt)."""

    project: Series[str] = field(*PROJECT_RULES, description="repository or product, e.g. apache/ozone")
    run_id: Series[str] = field(*NAME_RULES, description="the CI system's id of the run")
    attempt: Series[int] = field(ATTEMPTS, description="1 for the first execution of the run")
    workflow: Series[str] = field(*TEXT_RULES, nullable=True, description="pipeline or job definition")
    event: Series[str] = field(*TEXT_RULES, nullable=True, description="what started it: push, pull_request, schedule")
    branch: Series[str] = field(*TEXT_RULES, nullable=True, description="branch under test")
    commit_sha: Series[str] = field(*TEXT_RULES, nullable=True, description="commit under test")
    change_id: Series[str] = field(*TEXT_RULES, nullable=True, description="pull request or commit that the run tests")
    change_title: Series[str] = field(
        *TEXT_RULES, nullable=True, description="subject of the newest commit under test, as known at the start"
    )
    author_id: Series[str] = field(*TEXT_RULES, nullable=True, description="salted hash of the author")
    started_at: Series[Utc] = field(NOT_TOO_EARLY, description="start of the run")
    finished_at: Series[Utc] = field(nullable=True, description="end of the run; null where the CI system does not say")
    status: Series[str] = field(*TEXT_RULES, nullable=True, description="the CI system's verdict")
    is_fork: Series[pd.BooleanDtype] = field(
        nullable=True,
        description="whether the change comes from a fork, so that nobody vouches for what its run reports",
    )

    @pa.dataframe_check(name="finished_before_started", description="finished_at is not before started_at")
    @classmethod
    def _finished_after_start(cls, runs: pd.DataFrame) -> "pd.Series[bool]":
        return runs["finished_at"].isna() | runs["started_at"].isna() | (runs["finished_at"] >= runs["started_at"])


class TestResults(pa.DataFrameModel):
    """One execution of one test in one run. Grain: (project, run_id, attempt, variant, test_id)."""

    project: Series[str] = field(*PROJECT_RULES, description="repository or product")
    run_id: Series[str] = field(*NAME_RULES, description="run that executed the test")
    attempt: Series[int] = field(ATTEMPTS, description="attempt of the run, and 100 more for each rerun before")
    variant: Series[str] = field(
        *NAME_RULES, description="job, board, operating system or shard: part of a result's identity"
    )
    test_id: Series[str] = field(*NAME_RULES, description="class, case or suite, as the report names it")
    outcome: Series[str] = field(OUTCOME, description="how the execution ended")
    duration_s: Series[float] = field(
        NOT_NEGATIVE, FINITE, PLAUSIBLE, nullable=True, description="seconds; null where the report does not say"
    )
    imputed: Series[bool] = field(description="taken over from a passing job instead of a report")
    failure_kind: Series[str] = field(
        FAILURE_KIND, nullable=True, description="what the text of a failure speaks of; null where there is none"
    )
    failure_fingerprint: Series[str] = field(
        *NAME_RULES,
        nullable=True,
        description="the same for failures whose texts differ in numbers, paths and quoted values only",
    )
    position: Series[pd.Int64Dtype] = field(
        POSITIVE,
        nullable=True,
        description="place in the order of execution within attempt and variant: consecutive numbers ran one after the "
        "other, a gap parts reports; null for skipped tests, reruns, and where the report does not say",
    )


class ChangedFiles(pa.DataFrameModel):
    """One file touched by the change under test. Grain: (project, run_id, path)."""

    project: Series[str] = field(*PROJECT_RULES, description="repository or product")
    run_id: Series[str] = field(*NAME_RULES, description="run that tests the change")
    path: Series[str] = field(*NAME_RULES, PATH, description="path within the repository")
    added: Series[pd.Int64Dtype] = field(NOT_NEGATIVE, nullable=True, description="added lines; null for binary files")
    deleted: Series[pd.Int64Dtype] = field(
        NOT_NEGATIVE, nullable=True, description="deleted lines; null for binary files"
    )
    change_source: Series[str] = field(*TEXT_RULES, nullable=True, description="how the change was found")


class Commits(pa.DataFrameModel):
    """One commit of the repository. Grain: (project, commit_sha).

    Lines and files are those of the difference to its first parent; a root commit adds all that is in it.
    """

    project: Series[str] = field(*PROJECT_RULES, description="repository or product")
    commit_sha: Series[str] = field(*NAME_RULES, description="full id of the commit")
    author_id: Series[str] = field(*TEXT_RULES, nullable=True, description="salted hash of the author")
    committed_at: Series[Utc] = field(NOT_TOO_EARLY, description="when it was committed, by the committer's clock")
    parent_count: Series[int] = field(NOT_NEGATIVE, description="0 for a root commit, 2 or more for a merge")
    subject: Series[str] = field(*TEXT_RULES, nullable=True, description="first line of the message, bounded")
    file_count: Series[int] = field(NOT_NEGATIVE, description="touched files; a renamed one counts once")
    added: Series[int] = field(NOT_NEGATIVE, description="added lines; binary files count 0")
    deleted: Series[int] = field(NOT_NEGATIVE, description="deleted lines; binary files count 0")


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

    project: Series[str] = field(*PROJECT_RULES, description="repository or product")
    run_id: Series[str] = field(*NAME_RULES, description="run that the test failed in, in any attempt")
    variant: Series[str] = field(*NAME_RULES, description="variant that it failed on")
    test_id: Series[str] = field(*NAME_RULES, description="test that failed")
    state: Series[str] = field(STATE, description="what the failure is held for")
    probability: Series[float] = field(PROBABILITY, description="of the most probable state, also where unknown")
    evidence: Series[str] = field(description="what speaks for that state, strongest first, joined by ';'")
    labelled_at: Series[Utc] = field(NOT_TOO_EARLY, description="moment up to which evidence was used")
    snapshot_id: Series[int] = field(POSITIVE, description="snapshot that the evidence was read from")


class Predictions(pa.DataFrameModel):
    """One row of the results table. Grain: (model, project, change_id, variant, test_id) among current rows.

    A prediction for a whole run has ``*`` for variant and test.
    """

    model: Series[str] = field(*NAME_RULES)
    project: Series[str] = field(*NAME_RULES)
    change_id: Series[str] = field(*NAME_RULES, description="run that the prediction is for; 'next' for the next run")
    variant: Series[str] = field(*NAME_RULES)
    test_id: Series[str] = field(*NAME_RULES)
    score: Series[float] = field(FINITE)
    probability: Series[float] = field(PROBABILITY)
    rank: Series[int] = field(POSITIVE)
    decision: Series[str] = field(DECISION)
    reasons: Series[str] = field(description="JSON list of {feature, value, effect, words}, strongest first")
    as_of: Series[Utc]
    expected_duration_s: Series[float] = field(
        NOT_NEGATIVE, FINITE, nullable=True, description="seconds that the test takes; null where it is not known"
    )
    rank_by_cost: Series[pd.Int64Dtype] = field(
        POSITIVE,
        nullable=True,
        description="place in the order that finds failures in the least time; null where nothing is ordered by time",
    )


LAKE_TABLES = {
    "runs": Runs,
    "test_results": TestResults,
    "changed_files": ChangedFiles,
    "rejected_rows": RejectedRows,
    "failure_labels": FailureLabels,
    "commits": Commits,
}
KEYS = {
    "runs": ("project", "run_id", "attempt"),
    "test_results": ("project", "run_id", "attempt", "variant", "test_id"),
    "changed_files": ("project", "run_id", "path"),
    "commits": ("project", "commit_sha"),
}
# Only some sources have them: a batch may do without.
OPTIONAL = ("commits",)


def tables_of(given: Container[str]) -> list[str]:
    """Names of the collected tables that a batch has to have, and of those `OPTIONAL` ones that are `given`."""
    return [name for name in KEYS if name in given or name not in OPTIONAL]


def columns(model: type[pa.DataFrameModel]) -> list[str]:
    """Column names of a contract, in order."""
    return list(model.to_schema().columns)
