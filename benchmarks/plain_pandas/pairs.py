"""How a test relates to the change: its own file, shared words and packages, and failing together before.

Tables hold only pairs that have something in common, by run_no and test; rows asked for are never multiplied by files.
"""

from collections.abc import Callable, Iterable

import numpy as np
import pandas as pd

from benchmarks.plain_pandas.asof import latest_before
from benchmarks.plain_pandas.facts import Facts
from benchmarks.plain_pandas.lineage import suffix
from ml.features import names

COMMON_WORDS_PER_TESTS = 5
SIMILAR = 0.25
PRIOR_TOUCHES = 2
MICRO = 1_000_000
SATURATION, LENGTH_SHARE = 1.2, 0.75
NAMED = {
    "has_own_file": "is_own",
    "has_subject_file": "is_subject",
    "name_similarity_rate": "similarity",
    "shared_words_count": "shared",
    "shared_words_weight": "weight",
    "shared_words_rate": "weight_rate",
    "shared_words_relevance": "relevance",
    "module_overlap_rate": "overlap",
}


def pair_features(asked: pd.DataFrame, facts: Facts) -> pd.DataFrame:
    """The features of each row asked for, in its order: null without known files, 0 where nothing is shared."""
    has_files = asked["run_no"].isin(facts.files["run_no"].unique())
    test_words = _words(facts.tests)
    pairs = [_names(facts), _shared_words(facts, test_words), _modules(facts, test_words)]
    found: dict[str, pd.Series] = {}
    for table in pairs:
        joined = asked[["run_no", "test"]].merge(table, on=["run_no", "test"], how="left")
        found |= {name: joined[source] for name, source in NAMED.items() if source in joined}
    found |= _packages(asked, facts)
    since = {}
    files = facts.files.assign(file=facts.files["line"], asked_file=facts.files["asked_line"])
    for kind, place in (("folder", facts.paths.str.rpartition("/")[0]), ("suffix", facts.paths.map(suffix))):
        files[kind] = files[f"asked_{kind}"] = pd.factorize(place)[0][files["path"]]
    for kind in ("file", "folder", "suffix"):
        joined = _cofailures(asked, facts, files.assign(place=files[kind], asked_place=files[f"asked_{kind}"]))
        found[f"cofailure_{kind}_rate"] = joined["rate"]
        if kind == "file":
            found |= {"cofailure_mean_rate": joined["mean_rate"], "cofailure_count": joined["failures"]}
        if kind != "suffix":
            since[f"since_cofailure_{kind}_s"] = joined["since_us"] / 1e6
    from_title = _titles(asked, facts, test_words)
    return pd.DataFrame(found).fillna(0).where(has_files).assign(**since, **from_title)


def _titles(asked: pd.DataFrame, facts: Facts, test_words: pd.DataFrame) -> dict[str, pd.Series]:
    """What the title of the change shares with the test; null without a title."""
    titles = facts.runs["change_title"].dropna()
    words = _words(titles).assign(run_no=lambda table: titles.index.to_numpy()[table["no"]])
    said = words[["run_no", "word"]].assign(at_us=lambda table: facts.runs["started_us"].to_numpy()[table["run_no"]])
    shared = _related(_weighed_words(facts, said, test_words), test_words)
    numbers, called = _exploded(titles, names.identifiers)
    names_said = pd.DataFrame({"run_no": titles.index.to_numpy()[numbers], "name": pd.Series(called, dtype=object)})
    known = names.name_table({no: names.segments(test) for no, test in facts.tests.items()}).to_pandas()
    known = pd.concat([known[["test_no", "name"]], known[["test_no", "subject"]].set_axis(["test_no", "name"], axis=1)])
    named = names_said.merge(known.dropna(), on="name").drop_duplicates(["run_no", "test_no"])
    named = named.rename(columns={"test_no": "test"}).assign(is_named=1.0)
    rows = asked[["run_no", "test"]]
    is_titled = rows["run_no"].isin(titles.index)
    found = {
        "title_words_relevance": rows.merge(shared, on=["run_no", "test"], how="left")["relevance"],
        "title_names_test": rows.merge(named, on=["run_no", "test"], how="left")["is_named"],
    }
    return {name: values.fillna(0).where(is_titled) for name, values in found.items()}


def _exploded(texts: Iterable[str], parts: Callable[[str], Iterable[object]]) -> tuple[np.ndarray, list[object]]:
    """Numbers of the texts, and a part of each, as one long list."""
    split = [list(parts(text)) for text in texts]
    return np.repeat(np.arange(len(split)), [len(found) for found in split]), [
        part for found in split for part in found
    ]


def _words(texts: Iterable[str]) -> pd.DataFrame:
    """no, word, words (how many words the text has)."""
    numbers, found = _exploded(texts, names.words)
    table = pd.DataFrame({"no": numbers, "word": pd.Series(found, dtype=object)})
    return table.assign(words=table.groupby("no")["word"].transform("size"))


def _names(facts: Facts) -> pd.DataFrame:
    """The file is the test's own, its subject's, or has a name of the same words (Jaccard index)."""
    parts = {number: names.segments(test) for number, test in facts.tests.items()}
    tests = names.name_table(parts).to_pandas().rename(columns={"test_no": "test"})
    stems = facts.paths.map(names.stem_of)
    paths = pd.DataFrame({"path": facts.paths.index, "stem": stems.str.lower(), "subject": stems.map(names.subject)})
    own = tests.merge(paths, left_on="name", right_on="stem")[["test", "path"]].drop_duplicates()
    subject = tests.dropna(subset="subject").merge(paths, on="subject").query("stem != name")[["test", "path"]]
    titles = _words(names.title_of(found) for found in parts.values())
    both = titles.merge(_words(stems), on="word", suffixes=("", "_path"))
    similar = both.groupby(["no", "no_path"], as_index=False).agg(
        shared=("word", "size"), words=("words", "first"), path_words=("words_path", "first")
    )
    similar["similarity"] = similar["shared"] / (similar["words"] + similar["path_words"] - similar["shared"])
    similar = similar.loc[similar["similarity"] >= SIMILAR, ["no", "no_path", "similarity"]]
    similar = similar.set_axis(["test", "path", "similarity"], axis=1)
    pairs = pd.concat([own.assign(is_own=1.0), subject.assign(is_subject=1.0), similar], ignore_index=True).fillna(0)
    pairs = pairs.groupby(["test", "path"], as_index=False).max()
    touched = facts.files[["run_no", "path"]].merge(pairs, on="path").drop(columns="path")
    return touched.groupby(["run_no", "test"], as_index=False).max()


def _shared_words(facts: Facts, test_words: pd.DataFrame) -> pd.DataFrame:
    """Words shared by the change's paths and the test, weighed by how rare they are among the tests known before."""
    path_words = _words(facts.paths)[["no", "word"]].rename(columns={"no": "path"})
    files = facts.files[["run_no", "path", "started_us"]].rename(columns={"started_us": "at_us"})
    wanted = files.merge(path_words, on="path")[["run_no", "at_us", "word"]].drop_duplicates()
    return _related(_weighed_words(facts, wanted, test_words), test_words)


def _related(weighed: pd.DataFrame, test_words: pd.DataFrame) -> pd.DataFrame:
    """Per run and test, what the words of the run tell of those of the test."""
    both = weighed.merge(test_words.rename(columns={"no": "test"}), on="word")
    length = 1 - LENGTH_SHARE + LENGTH_SHARE * both["words"] / both["mean_words"]
    # a half goes up, as in SQL; round() takes it to the even number
    both["relevance"] = np.floor(both["weight"] * (SATURATION + 1) / (1 + SATURATION * length) + 0.5)
    found = both.groupby(["run_no", "test"], as_index=False).agg(
        shared=("word", "size"), weight=("weight", "sum"), relevance=("relevance", "sum")
    )
    total = found["run_no"].map(weighed.groupby("run_no")["weight"].sum())
    rate = found["weight"] / total.where(total != 0)
    return found.assign(weight_rate=rate, weight=found["weight"] / MICRO, relevance=found["relevance"] / MICRO)


def _weighed_words(facts: Facts, wanted: pd.DataFrame, test_words: pd.DataFrame) -> pd.DataFrame:
    """run_no, word, weight, mean_words of the `wanted` words that some, but not too many, known tests have."""
    first = facts.executions.groupby("test")["known_us"].min()
    sizes = test_words.groupby("no").size().reindex(first.index, fill_value=0)
    tests = pd.DataFrame({"known_us": first, "words": sizes}).sort_values("known_us")
    tests["tests"], tests["words"] = np.arange(1, len(tests) + 1), tests["words"].cumsum()
    seen = test_words.assign(known_us=test_words["no"].map(first)).sort_values("known_us")[["word", "known_us"]]
    seen["tests"] = seen.groupby("word").cumcount() + 1
    known = latest_before(wanted, tests)
    found = latest_before(wanted, seen, "word").assign(all_tests=known["tests"], all_words=known["words"])
    found = found[found["tests"] * COMMON_WORDS_PER_TESTS <= found["all_tests"]]
    weight = (np.log((found["all_tests"] + 1) / (found["tests"] + 1)) * MICRO).round()
    return found[["run_no", "word"]].assign(weight=weight, mean_words=found["all_words"] / found["all_tests"])


def _modules(facts: Facts, test_words: pd.DataFrame) -> pd.DataFrame:
    """Share of a changed module's words that the test has."""
    module, modules = pd.factorize(facts.paths.map(names.module_of))
    words = _words(str(name).rpartition("/")[2] for name in modules).rename(columns={"no": "module"})
    both = words.merge(test_words[["no", "word"]].rename(columns={"no": "test"}), on="word")
    pairs = both.groupby(["module", "test"], as_index=False).agg(shared=("word", "size"), words=("words", "first"))
    pairs["overlap"] = pairs["shared"] / pairs["words"]
    touched = facts.files[["run_no"]].assign(module=module[facts.files["path"]]).drop_duplicates()
    found = touched.merge(pairs[["module", "test", "overlap"]], on="module")
    return found.groupby(["run_no", "test"], as_index=False)["overlap"].max()


def _packages(asked: pd.DataFrame, facts: Facts) -> dict[str, pd.Series]:
    """How deep the test's package and a changed file's go together, and how far apart they are at best."""
    package, packages = pd.factorize(facts.tests.map(lambda test: "/".join(names.segments(test)[:-1])))
    depths = pd.Series(packages).str.count("/") + 1
    prefixes = _prefixes(facts.paths.map(names.package_of))
    path_depths = prefixes.groupby("no").size().reindex(facts.paths.index, fill_value=0)
    files = facts.files[["run_no", "path"]].assign(depths=lambda table: path_depths.to_numpy()[table["path"]])
    shallowest = files.groupby("run_no")["depths"].min()
    touched = files.merge(prefixes, left_on="path", right_on="no").groupby(["run_no", "prefix"], as_index=False)
    both = touched["depths"].min().merge(_prefixes(packages).rename(columns={"no": "package"}), on="prefix")
    both["lead"] = both["depths"] - 2 * both["depth"]
    shared = both.groupby(["run_no", "package"], as_index=False).agg(depth=("depth", "max"), lead=("lead", "min"))
    rows = pd.DataFrame({"run_no": asked["run_no"], "package": package[asked["test"]]})
    joined = rows.merge(shared, on=["run_no", "package"], how="left")
    own, least = depths.to_numpy()[rows["package"]], rows["run_no"].map(shallowest)
    return {
        "tree_distance_count": own + np.minimum(joined["lead"].fillna(least), least),
        "package_overlap_rate": joined["depth"] / own,
    }


def _prefixes(packages: Iterable[str]) -> pd.DataFrame:
    """no, prefix, depth: one row per leading part of each package (``a``, ``a/b``, ...)."""
    numbers, found = _exploded(packages, _leading)
    prefixes = pd.Series(found, dtype=object)
    return pd.DataFrame({"no": numbers, "prefix": prefixes, "depth": prefixes.str.count("/") + 1})


def _leading(package: str) -> list[str]:
    parts = [part for part in package.split("/") if part]
    return ["/".join(parts[: end + 1]) for end in range(len(parts))]


def _cofailures(asked: pd.DataFrame, facts: Facts, files: pd.DataFrame) -> pd.DataFrame:
    """How often a test failed in known runs that touched files, folders, ... (`place`) like those changed."""
    touch = files.loc[files["is_telling"], ["run_no", "known_us", "place"]].drop_duplicates()
    touch = touch.sort_values("known_us", kind="stable")
    touches = touch.assign(touches=touch.groupby("place").cumcount() + 1)
    failed = facts.executions.loc[facts.executions["failed"] == 1, ["run_no", "line"]]
    failures = failed.merge(touch, on="run_no").sort_values("known_us", kind="stable")
    failures["failures"] = failures.groupby(["line", "place"]).cumcount() + 1
    wanted = (
        files[["run_no", "asked_place"]]
        .set_axis(["run_no", "place"], axis=1)
        .assign(at_us=files["started_us"])
        .drop_duplicates()
    )
    before = latest_before(wanted, touches[["place", "known_us", "touches"]], "place")
    before = before[["run_no", "place", "at_us", "touches"]].fillna({"touches": 0})
    together = failures[["place", "line"]].drop_duplicates()
    queries = before[before["touches"] > 0].merge(together, on="place")
    size = len(facts.series)
    queries["key"], failures["key"] = (table["place"] * size + table["line"] for table in (queries, failures))
    found = latest_before(queries, failures[["key", "known_us", "failures"]], "key").dropna(subset="failures")
    found["rate"] = found["failures"] / (found["touches"] + PRIOR_TOUCHES)
    found["since_us"] = found["at_us"] - found["known_us"]
    pairs = found.groupby(["run_no", "line"], as_index=False).agg(
        rate=("rate", "max"), failures=("failures", "sum"), since_us=("since_us", "min")
    )
    total = pairs["run_no"].map(before.groupby("run_no")["touches"].sum())
    pairs["mean_rate"] = pairs["failures"] / (total + PRIOR_TOUCHES)
    return asked[["run_no", "line"]].merge(pairs, on=["run_no", "line"], how="left")
