"""Which names are one test, and which paths one file; how the pieces follow each other is said by `ml.features`."""

import numpy as np
import pandas as pd

from benchmarks.plain_pandas.asof import latest_before
from ml.features import names
from ml.features.lineage import ALWAYS, RECENT_RUNS, lineage_table


def test_lines(executions: pd.DataFrame, tests: pd.Series) -> pd.DataFrame:
    """Pieces of the lineages of tests: name, lineage_no, from_us, until_us."""
    titles = tests.map(lambda test: names.title_of(names.segments(test)))
    born = executions.groupby("series", as_index=False).agg(
        variant_no=("variant_no", "first"), test=("test", "first"), first_us=("known_us", "min")
    )
    born["title"] = pd.factorize(titles)[0][born["test"]]
    kin = _recent(_kin(born, executions), executions)
    both = _with_runs(kin, executions, "heir").merge(
        _with_runs(kin, executions, "before"), on=["heir", "before", "since_us", "run_no", "known_us"]
    )
    together = both.groupby(["heir", "before"])["known_us"].min().rename("until_us")
    links = kin.join(together, on=["heir", "before"]).fillna({"until_us": ALWAYS}).astype("int64")
    return _pieces(links[links["until_us"] > links["since_us"]])


def file_lines(files: pd.DataFrame, paths: pd.Series) -> pd.DataFrame:
    """Pieces of the lineages of files; `files` are run_no, path, added, deleted, known_us."""
    name = paths.map(names.stem_of).str.lower() + "." + paths.map(suffix)
    table = files[["run_no", "path", "added", "deleted", "known_us"]].assign(name=pd.factorize(name)[0][files["path"]])
    table["first_us"] = table.groupby("path")["known_us"].transform("min")
    new = table[table["known_us"] == table["first_us"]]
    both = new.merge(table, on=["run_no", "name"], suffixes=("", "_old"))
    is_renamed = both["added_old"].isna() & both["deleted_old"].isna()
    is_moved = (both["added_old"] == 0) & (both["deleted_old"] > 0) & (both["deleted"] == 0)
    found = both[(both["first_us_old"] < both["first_us"]) & (is_renamed | is_moved)]
    links = found[["path", "path_old", "first_us"]].set_axis(["heir", "before", "since_us"], axis=1)
    return _pieces(links.drop_duplicates().assign(until_us=ALWAYS))


def line_of(fact: pd.Series, moments: pd.Series, pieces: pd.DataFrame, is_known: bool) -> np.ndarray:
    """What each name stands for: as a fact that became known then, or as asked strictly after what was known."""
    asked = pd.DataFrame({"name": fact.to_numpy(), "at_us": moments.to_numpy(), "row": np.arange(len(fact))})
    found = asked[asked["name"].isin(pieces["name"].unique())].merge(pieces, on="name")
    at = found["at_us"]
    if is_known:
        within = (found["from_us"] <= at) & (at < found["until_us"])
    else:
        within = (found["from_us"] < at) & (at <= found["until_us"])
    lines = asked["name"].to_numpy().copy()
    lines[found.loc[within, "row"]] = found.loc[within, "lineage_no"]
    return lines


def suffix(path: str) -> str:
    """What follows the last dot; empty without one."""
    return path.rpartition(".")[2] if "." in path else ""


def _kin(born: pd.DataFrame, executions: pd.DataFrame) -> pd.DataFrame:
    """New tests with those that they may have been: of the same title, or the same on a variant of their first run."""
    renamed = born.merge(born, on=["variant_no", "title"], suffixes=("", "_old"))
    variants = executions[["run_no", "variant_no"]].drop_duplicates()
    births = executions[["series", "run_no", "known_us"]].merge(born.drop(columns="title"), on="series")
    births = births[(births["known_us"] == births["first_us"]) & (births["first_us"] > born["first_us"].min())]
    moved = births.drop(columns="variant_no").merge(variants, on="run_no")
    moved = moved.merge(born, on=["variant_no", "test"], suffixes=("", "_old"))
    columns = ["series", "series_old", "first_us", "variant_no"]
    both = pd.concat([table.loc[table["first_us_old"] < table["first_us"], columns] for table in (renamed, moved)])
    return both.drop_duplicates().set_axis(["heir", "before", "since_us", "variant_no"], axis=1)


def _recent(kin: pd.DataFrame, executions: pd.DataFrame) -> pd.DataFrame:
    """Kin that ran in the last runs of its variant before the new test did."""
    runs = executions[["variant_no", "run_no", "known_us"]].drop_duplicates().sort_values(["known_us", "run_no"])
    by = runs.groupby("variant_no")["known_us"]
    runs["recent_us"] = by.shift(RECENT_RUNS - 1).fillna(by.transform("first"))
    queries = kin.rename(columns={"since_us": "at_us"})
    since = latest_before(queries, runs[["variant_no", "known_us", "recent_us"]], "variant_no")["recent_us"]
    kin = kin.assign(recent_us=since.to_numpy())
    ran = _with_runs(kin, executions, "before").merge(kin, on=["heir", "before", "since_us"])
    ran = ran[(ran["known_us"] >= ran["recent_us"]) & (ran["known_us"] < ran["since_us"])]
    return ran[["heir", "before", "since_us"]].drop_duplicates()


def _with_runs(kin: pd.DataFrame, executions: pd.DataFrame, name: str) -> pd.DataFrame:
    runs = executions[["series", "run_no", "known_us"]].rename(columns={"series": name})
    return kin[["heir", "before", "since_us"]].merge(runs[runs[name].isin(kin[name])], on=name)


def _pieces(links: pd.DataFrame) -> pd.DataFrame:
    """Only those with one predecessor that no other claims first, or at once."""
    only = links[links.groupby("heir")["before"].transform("size") == 1]
    first = only[only["since_us"] == only.groupby("before")["since_us"].transform("min")]
    first = first[first.groupby("before")["heir"].transform("size") == 1]
    return lineage_table("name", first).to_pandas()
