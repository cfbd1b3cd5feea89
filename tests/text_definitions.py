"""What titles of changes and texts of failures tell, as plain definitions."""

import math
import re
from collections.abc import Sequence
from typing import Any

import pandas as pd

from ml.features import names
from tests.feature_builders import History

Key = tuple[str, str]
Texts = dict[str, dict[Key, tuple[str, bool]]]


def texts_of(frames: History) -> Texts:
    """Fingerprint of the failures with a text, and whether one of their kinds speaks of the surroundings, per run."""
    found: Texts = {}
    for row in frames["test_results"].to_dict("records"):
        text = row["failure_fingerprint"]
        if row["outcome"] in ("failed", "error") and isinstance(text, str):
            texts = found.setdefault(row["run_id"], {})
            key = (row["variant"], row["test_id"])
            before = texts.get(key, ("", False))
            is_environment = row["failure_kind"] in ("timeout", "network", "resource")
            texts[key] = (max(text, before[0]), is_environment or before[1])
    return found


def alike(texts: Texts, run_id: str, key: Key) -> int:
    """Other tests of the run whose failure has the same text."""
    text = texts[run_id][key][0]
    return len({test_id for (_, test_id), (other, _) in texts[run_id].items() if other == text} - {key[1]})


def past_texts(texts: Texts, executions: Sequence[tuple[str, Key]]) -> dict[str, float]:
    """Features of the test-selection frame, from the executions of a test that are known, in that order."""
    told = [(r, key) for r, key in executions if key in texts.get(r, {})]
    if not told:
        return {}
    found = [texts[r][key] for r, key in told]
    return {
        "repeated_failure_rate": 1 - len({text for text, _ in found}) / len(found),
        "environment_failure_rate": sum(is_environment for _, is_environment in found) / len(found),
        "last_failure_alike_count": alike(texts, *told[-1]),
    }


def own_text(texts: Texts, run_id: str, key: Key, executions: Sequence[tuple[str, Key, bool]]) -> dict[str, float]:
    """Features of a failure, from the executions (with their outcome) of its test before that are known, in order."""
    if key not in texts.get(run_id, {}):
        return {}
    text, is_environment = texts[run_id][key]
    same = [i for i, (r, k, _) in enumerate(executions) if texts.get(r, {}).get(k, ("", False))[0] == text]
    answers = [not executions[i + 1][2] for i in same if i + 1 < len(executions)]
    return {
        "same_failures_count": len(same),
        "same_failure_recovery_rate": sum(answers) / len(answers) if answers else math.nan,
        "alike_failures_count": alike(texts, run_id, key),
        "is_environment_failure": float(is_environment),
    }


def title_features(title: Any, tests: set[str], test_id: str) -> dict[str, float]:
    """What the title of a change and a test share; `tests` are those known before."""
    if pd.isna(title):
        return {}
    mine, relevance = names.words(test_id), 0.0
    mean_words = sum(len(names.words(test)) for test in tests) / len(tests) if tests else math.nan
    for word in names.words(title) & mine:
        with_word = sum(word in names.words(test) for test in tests)
        if 0 < with_word <= 0.2 * len(tests):
            weight = math.log((len(tests) + 1) / (with_word + 1))
            relevance += weight * 2.2 / (1 + 1.2 * (0.25 + 0.75 * len(mine) / mean_words))
    said = {found.lower() for found in re.findall(r"\w+", title) if re.search(r"[a-z][A-Z]|_[a-z]", found)}
    parts = [part for part in names.segments(test_id)[-4:] if len(part) > 2 and part.lower() not in names.EMPTY_WORDS]
    called = {part.lower() for part in parts} | {names.subject(part) for part in parts}
    return {"title_words_relevance": relevance, "title_names_test": float(bool(said & called))}
