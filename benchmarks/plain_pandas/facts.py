"""What is known: runs, merged results and changed files, with numbers in place of names."""

from dataclasses import dataclass

import pandas as pd

from benchmarks.plain_pandas.lineage import file_lines, line_of, test_lines

TRUNKS = ("main", "master", "trunk", "develop")
DESCRIPTION = ("event", "branch", "change_id", "change_title", "author_id")
SURROUNDINGS = ("timeout", "network", "resource")
OUTAGE_SHARE = 0.5
MAX_FILES = 200


@dataclass(frozen=True)
class Facts:
    """Runs by run_no, executions ordered by (line, known_us, run_no), names of series, tests and paths by number.

    texts are the failures (run_no, series) that have one, by its number in ``text``, with ``environment`` (0/1).
    ``line`` is what a test or file was known as first (its lineage); ``asked_line`` the same, as known before the run.
    """

    runs: pd.DataFrame
    executions: pd.DataFrame
    texts: pd.DataFrame
    series: pd.DataFrame
    tests: pd.Series
    files: pd.DataFrame
    paths: pd.Series


def read(runs: pd.DataFrame, results: pd.DataFrame, files: pd.DataFrame) -> Facts:
    """Merge attempts and number everything in the order of its names; runs in the order of their start."""
    merged = _runs(runs)
    run_no = pd.Series(merged.index, index=merged["run_id"])
    executions, series, tests = _executions(merged, run_no, results)
    counts = executions.groupby("run_no")["failed"].agg(["size", "sum"])
    merged["results"], merged["failures"] = counts["size"], counts["sum"]
    merged["is_outage"] = ~(merged["failures"] <= OUTAGE_SHARE * merged["results"])
    changed, paths = _files(merged, run_no, files)
    return Facts(merged, executions, _texts(run_no, results, series), series, tests, changed, paths)


def _texts(run_no: pd.Series, results: pd.DataFrame, series: pd.DataFrame) -> pd.DataFrame:
    told = results[results["outcome"].isin(["failed", "error"]) & results["failure_fingerprint"].notna()]
    number = pd.MultiIndex.from_frame(series)
    table = pd.DataFrame(
        {
            "run_no": told["run_id"].map(run_no).to_numpy(),
            "series": number.get_indexer(pd.MultiIndex.from_frame(told[["variant", "test_id"]])),
            "text": pd.factorize(told["failure_fingerprint"], sort=True)[0],
            "environment": told["failure_kind"].isin(SURROUNDINGS).to_numpy("int64"),
        }
    )
    return table.groupby(["run_no", "series"], as_index=False).max()


def _runs(runs: pd.DataFrame) -> pd.DataFrame:
    """Attempts merged: a run starts with its first and is known with its last."""
    known = runs["finished_at"].fillna(runs["started_at"])
    table = pd.DataFrame({"run_id": runs["run_id"], "started_us": _us(runs["started_at"]), "known_us": _us(known)})
    merged = table.groupby("run_id").agg({"started_us": "min", "known_us": "max"})
    for name in DESCRIPTION:
        named = runs.loc[runs[name].notna(), ["run_id", name]].sort_values(name)
        merged[name] = named.drop_duplicates("run_id", keep="last").set_index("run_id")[name]
    merged = merged.reset_index().sort_values(["started_us", "run_id"], ignore_index=True)
    branch = merged["branch"].where(~merged["branch"].str.lower().isin(TRUNKS))
    merged["change"] = pd.factorize(merged["change_id"].fillna(branch))[0]
    merged["author"] = pd.factorize(merged["author_id"])[0]
    return merged


def _us(moments: pd.Series) -> pd.Series:
    return moments.dt.as_unit("us").astype("int64")


def _executions(
    runs: pd.DataFrame, run_no: pd.Series, results: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame, pd.Series]:
    """One row per (run, variant, test) that was not skipped, in the order in which each series became known."""
    done = results[results["outcome"] != "skipped"]
    variant, variants = pd.factorize(done["variant"], sort=True)
    test, tests = pd.factorize(done["test_id"], sort=True)
    pair, pairs = pd.factorize(variant.astype("int64") * len(tests) + test, sort=True)
    table = pd.DataFrame(
        {
            "series": pair,
            "run_no": done["run_id"].map(run_no).to_numpy(),
            "failed": done["outcome"].isin(["failed", "error"]).to_numpy("int64"),
            "duration_s": done["duration_s"].to_numpy("float64"),
        }
    )
    merged = table.groupby(["series", "run_no"], as_index=False, sort=False).agg({"failed": "max", "duration_s": "max"})
    merged["test"] = (pairs % len(tests))[merged["series"]]
    merged["variant_no"] = (pairs // len(tests))[merged["series"]]
    for name in ("started_us", "known_us"):
        merged[name] = runs[name].to_numpy()[merged["run_no"]]
    merged["duration_ms"] = (merged["duration_s"] * 1000).round()
    names = pd.DataFrame({"variant": variants.take(pairs // len(tests)), "test_id": tests.take(pairs % len(tests))})
    merged = _with_lines(merged, "series", test_lines(merged, pd.Series(tests)))
    for name in ("line", "asked_line"):
        merged[f"{name}_test"] = (pairs % len(tests))[merged[name]]
    return merged.sort_values(["line", "known_us", "run_no", "series"], ignore_index=True), names, pd.Series(tests)


def _with_lines(table: pd.DataFrame, name: str, pieces: pd.DataFrame) -> pd.DataFrame:
    known = line_of(table[name], table["known_us"], pieces, is_known=True)
    asked = line_of(table[name], table["started_us"], pieces, is_known=False)
    return table.assign(line=known, asked_line=asked)


def _files(runs: pd.DataFrame, run_no: pd.Series, files: pd.DataFrame) -> tuple[pd.DataFrame, pd.Series]:
    """One row per run and path, with the most lines of those that name it twice."""
    path, paths = pd.factorize(files["path"], sort=True)
    table = pd.DataFrame(
        {"run_no": files["run_id"].map(run_no), "path": path, "added": files["added"], "deleted": files["deleted"]}
    )
    table = table.dropna(subset="run_no").astype({"run_no": "int64", "added": "float64", "deleted": "float64"})
    merged = table.groupby(["run_no", "path"], as_index=False).max()
    for name in ("started_us", "known_us", "is_outage"):
        merged[name] = runs[name].to_numpy()[merged["run_no"]]
    merged = _with_lines(merged, "path", file_lines(merged, pd.Series(paths)))
    count = merged.groupby("run_no")["path"].transform("size")
    return merged.assign(is_telling=(count <= MAX_FILES) & ~merged["is_outage"].astype(bool)), pd.Series(paths)
