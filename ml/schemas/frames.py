"""Contracts of the frames that models learn from and score, with a description of every feature."""

from typing import Any

import pandas as pd
import pandera.pandas as pa
from pandera.typing import Series

from ml.schemas.rules import Utc


def _feature(group: str, description: str) -> Any:
    """A feature column: float64, NaN where unknown."""
    return pa.Field(nullable=True, description=description, metadata={"group": group})


class _Frame(pa.DataFrameModel):
    """What every frame has beside its features."""

    project: Series[str]
    run_id: Series[str]
    variant: Series[str]
    test_id: Series[str]
    started_at: Series[Utc]
    known_at: Series[Utc] = pa.Field(nullable=True)
    failed: Series[pd.BooleanDtype] = pa.Field(nullable=True)
    previous_failed: Series[bool]
    duration_s: Series[float] = pa.Field(nullable=True)


class TestSelectionFrame(_Frame):
    """What the test-selection model learns from and scores. Grain: (project, run_id, variant, test_id).

    Facts known before the run started, and nothing else, make the features. In predictions `failed`, `duration_s` and
    `known_at` are null.
    """

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
    repeated_failure_rate: Series[float] = _feature("history", "share of failures that read like an earlier one")
    environment_failure_rate: Series[float] = _feature(
        "history", "share of failures that speak of a timeout, the network or a lack of resources"
    )
    last_failure_alike_count: Series[float] = _feature(
        "history", "other tests whose failure in the run of the last failure read like it"
    )
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
    title_words_relevance: Series[float] = _feature(
        "pair", "words shared by the test and the title of the change, weighed like those of the paths"
    )
    title_names_test: Series[float] = _feature("pair", "1 if the title of the change names the test or its subject")
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


class BuildRiskFrame(_Frame):
    """What the build-risk model learns from and scores: a row per run. Grain: (project, run_id, variant, test_id).

    Variant and test are ``*``, the whole run. `failed` is a failure of the run's own: not an outage, not a test that
    passed in another attempt. Outages have no row. Facts known before the run started, and nothing else, make the
    features. In predictions `failed`, `duration_s` and `known_at` are null. A branch, workflow, change or author that
    is not known, or was not seen before, has null features.
    """

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


class FlakyTestsFrame(_Frame):
    """What the model of flaky tests learns from and scores: one failure. Grain: (project, run_id, variant, test_id).

    Asked is when the run is over, so `started_at` is the moment at which it became known, attempts merged, and features
    see what the run itself shows beside what was known before that moment. `failed` says that this failure is flaky;
    `known_at` is when its label had settled. Failures that are not settled, or held for unknown, have no row in
    training; in predictions `failed` and `known_at` are null.
    """

    executions_count: Series[float] = _feature("history", "executions of the test before")
    failures_count: Series[float] = _feature("history", "failures of the test before")
    failure_rate: Series[float] = _feature("history", "share of the test's executions that failed")
    failure_rate_last_10: Series[float] = _feature("history", "share of failures in the last 10 executions")
    failure_rate_last_30: Series[float] = _feature("history", "share of failures in the last 30 executions")
    ewma_failure_rate: Series[float] = _feature("history", "failures, each execution weighing 0.8 of the next")
    is_failing: Series[float] = _feature("history", "1 if the last execution failed")
    failures_in_a_row_count: Series[float] = _feature("history", "failures since the last pass")
    executions_since_failure_count: Series[float] = _feature("history", "executions since the last failure")
    since_failure_s: Series[float] = _feature("history", "seconds since the last failure became known")
    since_execution_s: Series[float] = _feature("history", "seconds since the last execution became known")
    age_s: Series[float] = _feature("history", "seconds since the test was first seen")
    flip_rate_last_20: Series[float] = _feature("history", "share of changed outcomes in the last 20 executions")
    new_failure_rate: Series[float] = _feature("history", "share of executions after a pass that failed")
    recovery_rate: Series[float] = _feature("history", "share of executions after a failure that passed")
    mean_duration_s: Series[float] = _feature("history", "mean duration of the test")
    flaky_failures_count: Series[float] = _feature(
        "flaky", "earlier failures of the test that had also passed on the same code"
    )
    flaky_failure_rate: Series[float] = _feature(
        "flaky", "share of the test's earlier failures that had also passed on the same code"
    )
    test_flaky_failures_count: Series[float] = _feature("flaky", "the same failures on any variant")
    lone_failures_count: Series[float] = _feature("flaky", "earlier failures of the test between two passes")
    lone_failure_rate: Series[float] = _feature(
        "flaky", "share of the test's earlier failures that lie between two passes"
    )
    same_failures_count: Series[float] = _feature("flaky", "earlier failures of the test that read like this one")
    same_failure_recovery_rate: Series[float] = _feature("flaky", "share of them that the test's next execution passed")
    run_failure_rate: Series[float] = _feature("own", "share of the run's results that failed")
    run_failures_count: Series[float] = _feature("own", "failed results of the run")
    run_new_failures_count: Series[float] = _feature(
        "own", "failed results of the run that had passed before, or were never executed"
    )
    run_packages_count: Series[float] = _feature("own", "packages with a failure in the run")
    package_failures_count: Series[float] = _feature("own", "failures of the test's package in the run")
    failed_variants_count: Series[float] = _feature("own", "variants that the test failed on in the run")
    passed_variants_count: Series[float] = _feature("own", "variants that the test passed on in the run")
    duration_ratio: Series[float] = _feature("own", "duration of the failed test over its mean duration")
    alike_failures_count: Series[float] = _feature("own", "other tests of the run whose failure reads like this one")
    is_environment_failure: Series[float] = _feature(
        "own", "1 if the failure speaks of a timeout, the network or a lack of resources"
    )
    last_run_failure_rate: Series[float] = _feature("run", "share of failed results in the last run")
    last_5_runs_failure_rate: Series[float] = _feature("run", "share of failed results in the last 5 runs")
    is_pull_request: Series[float] = _feature("run", "1 if the run tests a pull request")
    change_runs_count: Series[float] = _feature("run", "earlier runs of the same change")
    change_failures_count: Series[float] = _feature("run", "failures of the test in earlier runs of the same change")
    is_failing_in_change: Series[float] = _feature("run", "1 if the test failed in the change's previous run")
    has_change: Series[float] = _feature("change", "1 if the changed files are known")
    files_count: Series[float] = _feature("change", "changed files")
    lines_added_count: Series[float] = _feature("change", "added lines")
    lines_deleted_count: Series[float] = _feature("change", "deleted lines")
    source_files_rate: Series[float] = _feature("change", "share of source files in the change")
    test_files_rate: Series[float] = _feature("change", "share of test files in the change")
    build_files_rate: Series[float] = _feature("change", "share of build and configuration files in the change")
    docs_files_rate: Series[float] = _feature("change", "share of documentation files in the change")
    has_build_file: Series[float] = _feature("change", "1 if a build or configuration file changed")
    is_docs_only: Series[float] = _feature("change", "1 if only documentation files changed")
    has_own_file: Series[float] = _feature("pair", "1 if the test's own file changed")
    has_subject_file: Series[float] = _feature("pair", "1 if the file that the test is named after changed")
    name_similarity_rate: Series[float] = _feature("pair", "highest overlap of the test's name with a changed file's")
    module_overlap_rate: Series[float] = _feature("pair", "share of a changed module's words found in the test")
    tree_distance_count: Series[float] = _feature("pair", "folders between the test's package and the nearest change")
    package_overlap_rate: Series[float] = _feature(
        "pair", "share of the test's package path that a changed file shares"
    )


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
    "flaky_failures_count",
    "test_flaky_failures_count",
    "lone_failures_count",
    "same_failures_count",
)
