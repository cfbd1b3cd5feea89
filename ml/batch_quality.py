"""A batch judged as a whole (Great Expectations): volume, freshness, keys, orphans, ranges, refused rows, null rates.

The suites are the JSON files of `data/great_expectations`: limits, weights and severities are changed there. The suite
`batch` judges one row of figures about the batch, the others the accepted rows of a table.
"""

import errno
import html
import json
import math
import statistics
import tempfile
import warnings
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined

from ml.errors import ContractError
from ml.schemas import CLOCK_SKEW, EARLIEST, tables_of
from ml.spec import Check

OVERVIEW = "overview.html"
SUITES = Path(__file__).parent.parent / "data" / "great_expectations"
# Data Docs load a logo with a time stamp from their maker's server whenever somebody opens a page.
_POLICY = """<meta http-equiv="Content-Security-Policy" content="img-src 'self' data:; connect-src 'none'">"""


@dataclass(frozen=True, slots=True)
class BatchHistory:
    """What is usual for this project.

    `results_per_run` has the mean number of results per run of each earlier batch, in any order; empty for none.
    `max_age` is how old the youngest run may be; None where freshness means nothing: in the replay of an old history.
    """

    results_per_run: tuple[float, ...] = ()
    max_age: timedelta | None = None


@dataclass(frozen=True, slots=True)
class BatchQuality:
    """The judgement of one batch.

    `score` is in 0..1, 1.0 without any complaint: the mean of the check scores by the weights in the suites. A check
    scores 1 when it passed; when it failed, a check over rows scores the share of rows that meet it, any other check 0.
    The shares of refused and orphan rows score 1 minus the share even when they pass: each such row is a complaint.

    A table without rows has no checks of its own.

    `passed` is false when a check of severity `critical` failed. `data_docs` is the path of the first page of the
    report, which leads to the Data Docs.
    """

    score: float
    checks: tuple[Check, ...]
    data_docs: str
    passed: bool


@dataclass(frozen=True, slots=True)
class _Judged:
    check: Check
    score: float
    weight: float
    is_critical: bool


def judge_batch(
    accepted: Mapping[str, pd.DataFrame],
    rejected: pd.DataFrame,
    history: BatchHistory,
    as_of: datetime,
    docs_folder: Path,
) -> BatchQuality:
    """Judge a validated batch and write its report.

    Args:
        accepted: accepted rows of `runs`, `test_results`, `changed_files`, and `commits` where there are any.
        rejected: refused rows and payloads, in the columns of `rejected_rows`.
        history: what is usual for the project.
        as_of: now, in UTC.
        docs_folder: the folder of this batch's report and of nothing else (name it by the batch id): it is replaced.

    Raises:
        ContractError: a suite is missing or cannot be read.
    """
    frames = {"batch": _figures(accepted, rejected, as_of)}
    frames |= {name: _for_docs(accepted[name]) for name in tables_of(accepted) if len(accepted[name])}
    suites = {name: _suite(name) for name in frames}
    limits = _limits(history, as_of, suites["batch"]["meta"]["volume"])
    for suite in suites.values():
        suite["expectations"] = [one for one in suite["expectations"] if _has_limits(one, limits)]
    docs_folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=docs_folder.parent, prefix=f".{docs_folder.name}-") as building:
        built = Path(building) / docs_folder.name
        judged = [_judged(result) for result in _run_suites(frames, suites, limits, as_of, built)]
        quality = BatchQuality(
            score=sum(one.score * one.weight for one in judged) / sum(one.weight for one in judged),
            checks=tuple(one.check for one in judged),
            data_docs=str(docs_folder / OVERVIEW),
            passed=all(one.check.passed for one in judged if one.is_critical),
        )
        (built / OVERVIEW).write_text(_overview(quality, built), encoding="utf-8")
        _put_in_place(built, docs_folder)
    return quality


def _overview(quality: BatchQuality, folder: Path) -> str:
    """A first page that needs no script: the one of Data Docs fills its table with scripts from elsewhere."""
    environment = Environment(loader=PackageLoader("ml", "."), autoescape=True, undefined=StrictUndefined)
    pages = sorted(page.relative_to(folder).as_posix() for page in folder.glob("validations/**/*.html"))
    return environment.get_template("batch_overview.html.jinja").render(
        batch=folder.name,
        score=quality.score,
        passed=quality.passed,
        checks=sorted(quality.checks, key=lambda check: check.passed),
        pages=pages,
    )


def _suite(name: str) -> dict[str, Any]:
    path = SUITES / f"{name}.json"
    try:
        suite: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ContractError(f"expectation suite {path} cannot be read: {error}; it is part of the checkout") from error
    return suite


def _limits(history: BatchHistory, as_of: datetime, volume: Mapping[str, float]) -> dict[str, Any]:
    """Values of the suites' ``$PARAMETER`` names; None where there is nothing to judge by."""
    usual = [count for count in history.results_per_run if math.isfinite(count)]
    is_known = len(usual) >= volume["fewest_batches"]
    median = statistics.median(usual) if is_known else math.nan
    return {
        "results_per_run_low": median / volume["factor"] if is_known else volume["lowest_without_history"],
        "results_per_run_high": median * volume["factor"] if is_known else None,
        "max_age_h": None if history.max_age is None else history.max_age / timedelta(hours=1),
        "earliest": EARLIEST.isoformat(),
        "latest": (as_of + CLOCK_SKEW).isoformat(),
    }


def _has_limits(expectation: Mapping[str, Any], limits: Mapping[str, Any]) -> bool:
    names = [value["$PARAMETER"] for value in expectation["kwargs"].values() if isinstance(value, dict)]
    return all(limits[name] is not None for name in names)


def _figures(accepted: Mapping[str, pd.DataFrame], rejected: pd.DataFrame, as_of: datetime) -> pd.DataFrame:
    """One row of figures about the batch; NaN where a figure has no rows to come from."""
    runs, results = accepted["runs"], accepted["test_results"]
    kept = sum(len(accepted[name]) for name in tables_of(accepted))
    orphans = int(rejected["reason"].eq("orphan").sum())
    age = (as_of - runs["started_at"].max()) / timedelta(hours=1) if len(runs) else math.nan
    tested = len(results[["project", "run_id"]].drop_duplicates())
    return pd.DataFrame(
        {
            "runs": [len(runs)],
            "results": [len(results)],
            "changed_files": [len(accepted["changed_files"])],
            "rejected": [len(rejected)],
            "results_per_run": [_share(len(results), max(tested, len(runs)))],
            "hours_since_last_start": [age],
            "rejected_share": [_share(len(rejected), kept + len(rejected))],
            "orphan_share": [_share(orphans, kept + len(rejected))],
            "duration_null_share": [_share(int(results["duration_s"].isna().sum()), len(results))],
            "commit_null_share": [_share(int(runs["commit_sha"].isna().sum()), len(runs))],
        }
    )


def _share(part: int, whole: int) -> float:
    return part / whole if whole else math.nan


def _for_docs(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its text as categoricals, and as HTML text.

    Categoricals: comparing the keys of 500,000 rows is then a matter of integers. HTML: Data Docs print the values that
    fail, and do not escape them; a test may well be named ``<script>``. Escaping keeps different texts different.
    """
    texts = frame.select_dtypes(["object", "category"]).columns
    return frame.assign(**{name: frame[name].astype("category").cat.rename_categories(html.escape) for name in texts})


def _run_suites(
    frames: Mapping[str, pd.DataFrame],
    suites: Mapping[str, dict[str, Any]],
    limits: Mapping[str, Any],
    moment: datetime,
    folder: Path,
) -> list[Any]:
    """Results of all expectations, in the order of the suites; Data Docs are written to `folder`.

    Without checkpoints: they would hand one frame to all of their suites, and check again what was just made.
    """
    with warnings.catch_warnings():
        # imported here: it takes 7 seconds, which nobody should pay who merely imports the stages; and it imports
        # modules that Python deprecates, which is no news for the reader of our logs
        warnings.simplefilter("ignore", DeprecationWarning)
        import great_expectations as gx  # noqa: PLC0415 - see above

    context = gx.get_context(project_config=_config(folder), mode="ephemeral")
    asset = context.data_sources.add_pandas("batch").add_dataframe_asset("rows")
    rows = asset.add_batch_definition_whole_dataframe("all")
    run = gx.RunIdentifier(run_name=folder.name, run_time=moment)
    results = []
    for name, suite in suites.items():
        definition = gx.ValidationDefinition(
            name=name,
            data=rows,
            suite=context.suites.add(gx.ExpectationSuite(**suite)),
        )
        outcome = definition.run(
            batch_parameters={"dataframe": frames[name]}, expectation_parameters=dict(limits), run_id=run
        )
        results += outcome.results
    context.build_data_docs()
    for page in folder.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        page.write_text(text.replace("<head>", f"<head>{_POLICY}", 1), encoding="utf-8")
    return results


def _config(folder: Path) -> Any:
    """A context in memory that sends nothing, prints nothing and writes nothing but its Data Docs."""
    from great_expectations.data_context.types.base import (  # noqa: PLC0415 - as above
        DataContextConfig,
        InMemoryStoreBackendDefaults,
        ProgressBarsConfig,
    )

    site = {
        "class_name": "SiteBuilder",
        "show_how_to_buttons": False,
        "store_backend": {"class_name": "TupleFilesystemStoreBackend", "base_directory": str(folder)},
        "site_index_builder": {"class_name": "DefaultSiteIndexBuilder", "view": _view("IndexPage")},
        "site_section_builders": {name: {"view": _view("Page")} for name in ("expectations", "validations")},
    }
    return DataContextConfig(
        analytics_enabled=False,
        progress_bars=ProgressBarsConfig(globally=False),
        data_docs_sites={"data_docs": site},
        store_backend_defaults=InMemoryStoreBackendDefaults(),
    )


def _view(name: str) -> dict[str, str]:
    return {"module_name": "ml.data_docs_view", "class_name": name}


def _put_in_place(built: Path, folder: Path) -> None:
    """Swap the finished report in, so that nobody opens half of one.

    Two processes may judge the same batch. Both only ever move whole reports, so the one that finds the other's in
    its way leaves that: it is equal.
    """
    with suppress(FileNotFoundError):
        folder.rename(built.with_name("previous"))
    try:
        built.rename(folder)
    except OSError as error:
        if error.errno not in {errno.ENOTEMPTY, errno.EEXIST}:
            raise


def _judged(result: Any) -> _Judged:
    """Great Expectations' result in our terms."""
    config, found = result.expectation_config, result.result
    if "observed_value" in found:
        check, share = _figure_check(config, found), 0.0
    else:
        check, share = _rows_check(config, found)
    passed = bool(result.success) and check.measured is not None
    score = 1.0 if passed else share
    if config.meta.get("score") == "share":
        score = 0.0 if check.measured is None else 1.0 - check.measured
    return _Judged(replace(check, passed=passed), score, float(config.meta["weight"]), config.severity == "critical")


def _figure_check(config: Any, found: Mapping[str, Any]) -> Check:
    """A figure of the batch against its one limit."""
    is_floor = config.kwargs.get("min_value") is not None
    limit = float(config.kwargs["min_value" if is_floor else "max_value"])
    observed = found["observed_value"]
    measured = None if observed is None or not math.isfinite(observed) else float(observed)
    detail = "the batch has no rows to measure it on" if measured is None else ""
    return Check(config.meta["check"], measured, limit, is_floor, passed=False, detail=detail)


def _rows_check(config: Any, found: Mapping[str, Any]) -> tuple[Check, float]:
    """The share of rows that break a rule, and of those that meet it."""
    allowed = 1.0 - float(config.kwargs.get("mostly", 1.0))
    if "unexpected_count" not in found:
        return Check(config.meta["check"], None, allowed, False, passed=False, detail="it could not be measured"), 0.0
    broken, rows = int(found["unexpected_count"]), int(found["element_count"])
    share = broken / rows if rows else 0.0
    detail = f"{broken:,} of {rows:,} rows"
    return Check(config.meta["check"], share, allowed, False, passed=False, detail=detail), 1.0 - share
