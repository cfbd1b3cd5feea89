"""The features as plain definitions, run by run: slow, and simple enough to be believed."""

import math
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from ml.features import Context, names
from ml.schemas import FEATURES
from ml.spec import PULL_REQUESTS, TRUNKS
from tests.feature_builders import History
from tests.lineage_definitions import Key, lines_of_files, lines_of_tests
from tests.text_definitions import past_texts, texts_of, title_features


class Facts:
    """Merged runs and results of a history, as plain Python."""

    def __init__(self, frames: History, context: Context) -> None:
        self.context = context
        self.runs: dict[str, dict[str, Any]] = {}
        for row in frames["runs"].to_dict("records"):
            known = row["started_at"] if pd.isna(row["finished_at"]) else row["finished_at"]
            new = {**row, "known": known}
            old = self.runs.get(row["run_id"])
            if old:
                new["started_at"] = min(old["started_at"], new["started_at"])
                new["known"] = max(old["known"], known)
            self.runs[row["run_id"]] = new
        self.results: dict[str, dict[tuple[str, str], tuple[bool, float]]] = defaultdict(dict)
        for row in frames["test_results"].to_dict("records"):
            if row["outcome"] == "skipped" or row["run_id"] not in self.runs:
                continue
            key = (row["variant"], row["test_id"])
            failed, spent = self.results[row["run_id"]].get(key, (False, math.nan))
            failed = failed or row["outcome"] in ("failed", "error")
            self.results[row["run_id"]][key] = (
                failed,
                float(np.fmax(spent, row["duration_s"] if row["duration_s"] is not None else math.nan)),
            )
        self.texts = texts_of(frames)
        self.files: dict[str, dict[str, tuple[float, float]]] = defaultdict(dict)
        for row in frames["changed_files"].to_dict("records"):
            self.files[row["run_id"]][row["path"]] = (row["added"], row["deleted"])
        order = self.known_before(datetime.max.replace(tzinfo=UTC))
        at = {run_id: self.runs[run_id]["known"] for run_id in order}
        self.tests = lines_of_tests([(r, at[r], set(self.results[r])) for r in order if r in self.results])
        self.paths = lines_of_files([(at[r], self.files.get(r, {})) for r in order])
        self.lines = {r: {key: self.tests.of_fact(key, at[r]) for key in self.results[r]} for r in list(self.results)}
        self.by_line: dict[str, dict[Key, list[Key]]] = defaultdict(lambda: defaultdict(list))
        for run_id, lines in self.lines.items():
            for key in sorted(lines):
                self.by_line[run_id][lines[key]].append(key)
        self.touched = {
            r: {self.paths.of_fact(path, at[r]) for path in self.files[r]} for r in order if r in self.files
        }

    def of_line(self, line: Key, runs: list[str]) -> list[tuple[str, bool, float]]:
        """Run, outcome and duration of what `runs` executed under the names that stood for `line`."""
        return [(r, *self.results[r][key]) for r in runs if r in self.by_line for key in self.by_line[r].get(line, ())]

    def has_failed(self, run_id: str, line: Key) -> bool:
        return any(failed for _, failed, _ in self.of_line(line, [run_id]))

    def known_before(self, moment: datetime) -> list[str]:
        """Runs known strictly before `moment`, in the order of becoming known."""
        found = [run_id for run_id, about in self.runs.items() if about["known"] < moment]
        return sorted(found, key=lambda r: (self.runs[r]["known"], self.runs[r]["started_at"], r))

    def change(self, run_id: str) -> Any:
        about = self.runs[run_id]
        if _given(about["change_id"]):
            return about["change_id"]
        return about["branch"] if _given(about["branch"]) and about["branch"].lower() not in TRUNKS else None

    def failures(self, run_id: str) -> int:
        return sum(failed for failed, _ in self.results.get(run_id, {}).values())

    def tells(self, run_id: str) -> bool:
        results = self.results.get(run_id)
        is_small = len(self.files.get(run_id, {})) <= self.context.max_files
        return bool(results) and is_small and self.failures(run_id) <= self.context.outage_share * len(results)


def _given(value: Any) -> bool:
    return isinstance(value, str)


def _seconds(span: timedelta) -> float:
    return span / timedelta(seconds=1)


def expected_features(facts: Facts, run_id: str, key: tuple[str, str]) -> dict[str, float]:
    """Every feature of one row."""
    start = facts.runs[run_id]["started_at"]
    known = facts.known_before(start)
    line = facts.tests.before(key, start)
    executions = [(r, one) for r in known if r in facts.by_line for one in facts.by_line[r].get(line, ())]
    tests = {test_id for r in known for _, test_id in facts.results.get(r, {})}
    return {
        **_history(facts, start, known, line),
        **past_texts(facts.texts, executions),
        **title_features(facts.runs[run_id]["change_title"], tests, key[1]),
        **_run(facts, run_id, start, [r for r in known if r in facts.results], line),
        **_change(facts, run_id, start, known),
        **_pair(facts, run_id, known, key),
        **_neighbours(facts, run_id, known, key),
    }


def _history(facts: Facts, start: datetime, known: list[str], line: Key) -> dict[str, float]:
    executions = facts.of_line(line, known)
    runs = [r for r, _, _ in executions]
    failed = [one for _, one, _ in executions]
    spent = [one for _, _, one in executions]
    moments = [facts.runs[r]["known"] for r in runs]
    week = start - timedelta(days=7)
    fast = slow = 0.0
    streak = 0
    for one in failed:
        fast, slow = 0.8 * fast + 0.2 * one, 0.95 * slow + 0.05 * one
        streak = streak + 1 if one else 0
    flips = [a != b for a, b in pairwise(failed)][-20:]
    after_pass = [b for a, b in pairwise(failed) if not a]
    recent_after_pass = [b for a, b in pairwise(failed[-31:]) if not a]
    starts = [i for i, one in enumerate(failed) if one and (i == 0 or not failed[i - 1])]
    last = max((i for i, one in enumerate(failed) if one), default=None)
    durations = [d for d in spent if not math.isnan(d)]
    mean = float(np.mean(durations)) if durations else math.nan
    return {
        "executions_count": len(failed),
        "failures_count": sum(failed),
        "failure_rate": _mean(failed),
        "failure_rate_last_5": _mean(failed[-5:]),
        "failure_rate_last_10": _mean(failed[-10:]),
        "failure_rate_last_30": _mean(failed[-30:]),
        "ewma_failure_rate": fast,
        "slow_ewma_failure_rate": slow,
        "is_failing": float(failed[-1]) if failed else math.nan,
        "failures_in_a_row_count": streak,
        "executions_since_failure_count": math.nan if last is None else len(failed) - 1 - last,
        "since_failure_s": math.nan if last is None else _seconds(start - moments[last]),
        "since_execution_s": _seconds(start - moments[-1]) if runs else math.nan,
        "age_s": _seconds(start - moments[0]) if runs else math.nan,
        "flip_rate_last_20": _mean(flips),
        "new_failure_rate": _mean(after_pass),
        "new_failure_rate_last_30": _mean(recent_after_pass),
        "recovery_rate": _mean([not b for a, b in pairwise(failed) if a]),
        "executions_since_new_failure_count": len(failed) - 1 - starts[-1] if starts else math.nan,
        "executions_7d": sum(m >= week for m in moments),
        "failures_7d": sum(one and m >= week for one, m in zip(failed, moments, strict=True)),
        "mean_duration_s": mean,
        "last_duration_s": spent[-1] if spent else math.nan,
        "duration_deviation_s": spent[-1] - mean if spent else math.nan,
    }


def _mean(values: list[Any]) -> float:
    return float(np.mean(values)) if values else math.nan


def _run(facts: Facts, run_id: str, start: datetime, known: list[str], line: Key) -> dict[str, float]:
    about = facts.runs[run_id]
    change, author = facts.change(run_id), about["author_id"]
    same = [r for r in known if change is not None and facts.change(r) == change]
    written = [r for r in known if _given(author) and facts.runs[r]["author_id"] == author]
    last_5 = known[-5:]
    event = about["event"]
    failed_in = [r for r in same if facts.has_failed(r, line)]
    results_5 = sum(len(facts.results[r]) for r in last_5)
    return {
        "last_run_failure_rate": facts.failures(known[-1]) / len(facts.results[known[-1]]) if known else math.nan,
        "last_5_runs_failure_rate": sum(map(facts.failures, last_5)) / results_5 if known else math.nan,
        "last_run_results_count": len(facts.results[known[-1]]) if known else math.nan,
        "since_last_run_s": _seconds(start - facts.runs[known[-1]]["known"]) if known else math.nan,
        "is_pull_request": float(event in PULL_REQUESTS) if _given(event) else math.nan,
        "change_runs_count": len(same),
        "change_failures_count": len(failed_in),
        "is_failing_in_change": float(same[-1] in failed_in) if same else math.nan,
        "author_runs_count": len(written) if _given(author) else math.nan,
        "author_failure_rate": _mean([facts.failures(r) > 0 for r in written]),
    }


def _change(facts: Facts, run_id: str, start: datetime, known: list[str]) -> dict[str, float]:
    files = facts.files.get(run_id, {})
    if not files:
        return {"has_change": 0.0}
    kinds = [names.file_kind(path) for path in files]
    recent = [r for r in known if facts.runs[r]["known"] >= start - timedelta(days=30)]
    lines = [facts.paths.before(path, start) for path in files]
    churn = [sum(line in facts.touched.get(r, ()) for r in recent) for line in lines]
    added = [a for a, _ in files.values() if not pd.isna(a)]
    deleted = [d for _, d in files.values() if not pd.isna(d)]
    return {
        "has_change": 1.0,
        "files_count": len(files),
        "lines_added_count": sum(added) if added else math.nan,
        "lines_deleted_count": sum(deleted) if deleted else math.nan,
        **{f"{kind}_files_rate": kinds.count(kind) / len(files) for kind in ("source", "test", "build", "docs")},
        "has_build_file": float("build" in kinds),
        "folders_count": len({path.rpartition("/")[0] for path in files}),
        "modules_count": len({names.module_of(path) for path in files}),
        "mean_churn_30d": _mean(churn),
        "max_churn_30d": max(churn),
    }


def _pair(facts: Facts, run_id: str, known: list[str], key: tuple[str, str]) -> dict[str, float]:
    files = list(facts.files.get(run_id, {}))
    if not files:
        return {}
    parts = names.segments(key[1])
    own = {part.lower() for part in parts[-4:] if len(part) > 2 and part.lower() not in names.EMPTY_WORDS}
    subjects = {(part, names.subject(part)) for part in own} | {
        (part.lower(), names.subject(part)) for part in parts[-4:] if part.lower() in own
    }
    title = names.words(names.title_of(parts))
    similar = [_jaccard(title, names.words(names.stem_of(path))) for path in files]
    package = "/".join(parts[:-1]).split("/")
    modules = [names.words(names.module_of(path).rpartition("/")[2]) for path in files]
    mine = names.words(key[1])
    stems = [(names.stem_of(path).lower(), names.subject(names.stem_of(path))) for path in files]
    return {
        "has_own_file": float(any(stem in own for stem, _ in stems)),
        "has_subject_file": float(
            any(len(s) > 2 and subject == s and stem != part for stem, subject in stems for part, s in subjects)
        ),
        "name_similarity_rate": max([s for s in similar if s >= 0.25], default=0.0),
        "tree_distance_count": min(_distance(package, _folders(names.package_of(path))) for path in files),
        "package_overlap_rate": max(_shared_depth(package, names.package_of(path).split("/")) for path in files)
        / len(package),
        "module_overlap_rate": max((len(m & mine) / len(m) for m in modules if m), default=0.0),
        **_words(facts, files, known, mine),
        **_cofailures(facts, run_id, known, key),
    }


def _jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    return len(one & other) / len(one | other) if one | other else 0.0


def _shared_depth(one: list[str], other: list[str]) -> int:
    depth = 0
    for a, b in zip(one, other, strict=False):
        if a != b or not a:
            break
        depth += 1
    return depth


def _folders(package: str) -> list[str]:
    return [folder for folder in package.split("/") if folder]


def _distance(one: list[str], other: list[str]) -> int:
    return len(one) + len(other) - 2 * _shared_depth(one, other)


def _words(facts: Facts, files: list[str], known: list[str], mine: frozenset[str]) -> dict[str, float]:
    tests = {test_id for r in known for _, test_id in facts.results.get(r, {})}
    weights = {}
    for word in frozenset().union(*(names.words(path) for path in files)):
        with_word = sum(word in names.words(test_id) for test_id in tests)
        if 0 < with_word <= 0.2 * len(tests):
            weights[word] = math.log((len(tests) + 1) / (with_word + 1))
    shared = [weight for word, weight in weights.items() if word in mine]
    total = sum(weights.values())
    length = len(mine) / _mean([len(names.words(test_id)) for test_id in tests])
    return {
        "shared_words_count": len(shared),
        "shared_words_weight": sum(shared),
        "shared_words_rate": sum(shared) / total if shared else 0.0,
        "shared_words_relevance": sum(shared) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * length)) if shared else 0.0,
    }


def _cofailures(facts: Facts, run_id: str, known: list[str], key: tuple[str, str]) -> dict[str, float]:
    files, start = list(facts.files[run_id]), facts.runs[run_id]["started_at"]
    line = facts.tests.before(key, start)
    keys = {
        "file": None,
        "folder": lambda path: path.rpartition("/")[0],
        "suffix": lambda path: path.rpartition(".")[2] if "." in path else "",
    }
    telling = [r for r in known if facts.tells(r)]
    out: dict[str, float] = {}
    for kind, of in keys.items():
        failures, touches, ages = [], [], []
        for value in {of(path) if of else facts.paths.before(path, start) for path in files}:
            runs = [
                r
                for r in telling
                if value in ({of(path) for path in facts.files.get(r, {})} if of else facts.touched.get(r, ()))
            ]
            touches.append(len(runs))
            failed = [r for r in runs if facts.has_failed(r, line)]
            failures.append(len(failed))
            ages += [_seconds(start - facts.runs[r]["known"]) for r in failed]
        out[f"cofailure_{kind}_rate"] = max(f / (t + 2) for f, t in zip(failures, touches, strict=True))
        if kind != "suffix":
            out[f"since_cofailure_{kind}_s"] = min(ages, default=math.nan)
        if kind == "file":
            out["cofailure_count"] = sum(failures)
            out["cofailure_mean_rate"] = sum(failures) / (sum(touches) + 2)
    return out


def _neighbours(facts: Facts, run_id: str, known: list[str], key: tuple[str, str]) -> dict[str, float]:
    variant, test_id = key
    package = names.segments(test_id)[:-1]
    line = facts.tests.before(key, facts.runs[run_id]["started_at"])
    groups = {
        "test": lambda _, other: other[1] == line[1],
        "package": lambda other, _: names.segments(other[1])[:-1] == package,
        "variant": lambda other, _: other[0] == variant,
    }
    out: dict[str, float] = {}
    for name, belongs in groups.items():
        runs = [r for r in known if any(belongs(*one) for one in facts.lines.get(r, {}).items())]
        if not runs:
            continue
        outcomes = [
            {k: f for k, (f, _) in facts.results[r].items() if belongs(k, facts.lines[r][k])} for r in runs[-10:]
        ]
        last = outcomes[-1]
        moves = {k: (_previous(facts, known, runs[-1], k), failed) for k, failed in last.items()}
        out[f"{name}_last_failure_rate"] = _mean(list(last.values()))
        out[f"{name}_failure_rate_last_10_runs"] = _mean([failed for run in outcomes for failed in run.values()])
        if name == "test":
            out["variants_count"] = len(last)
        else:
            out[f"{name}_new_failures_count"] = sum(move == (False, True) for move in moves.values())
        if name == "variant":
            out["variant_recoveries_count"] = sum(move == (True, False) for move in moves.values())
    author = facts.runs[run_id]["author_id"]
    if _given(author):
        written = [r for r in known if r in facts.results and facts.runs[r]["author_id"] == author]
        calm = [r for r in written if facts.failures(r) <= facts.context.outage_share * len(facts.results[r])]
        failures = sum(facts.has_failed(r, line) for r in calm)
        out["author_cofailure_rate"] = failures / (len(written) + 2)
    return out


def _previous(facts: Facts, known: list[str], run_id: str, key: tuple[str, str]) -> bool | None:
    """Outcome of the execution before the one in `run_id`, in the order of becoming known."""
    before = facts.of_line(facts.lines[run_id][key], known[: known.index(run_id)])
    return before[-1][1] if before else None


def differences(frame: pd.DataFrame, facts: Facts) -> list[str]:
    """Features of `frame` that differ from the plain definition, as readable lines."""
    found = []
    for row in frame.to_dict("records"):
        expected = expected_features(facts, row["run_id"], (row["variant"], row["test_id"]))
        for name in FEATURES:
            want, got = expected.get(name, math.nan), row[name]
            if not (math.isnan(want) and math.isnan(got)) and not math.isclose(want, got, rel_tol=1e-5, abs_tol=1e-6):
                found.append(f"{row['run_id']} {row['variant']} {row['test_id']} {name}: {got} instead of {want}")
    return found
