"""Hints at why a test is flaky: what its flaky failures have in common that its passes have not.

Each hint is a one-sided test against chance, and is given where it stays below 5 % after Holm's correction over the
hints of the test. Of a hundred tests without such a cause about five get a hint all the same: it says where to look
first.

A test that depends on the order of execution fails after the test that pollutes its state (Luo et al., *An Empirical
Analysis of Flaky Tests*, FSE 2014). iDFlakies (Lam et al., ICST 2019) finds such tests by running them in other orders;
here only the orders that a history happens to have are compared, and only the test that ran right before is looked at.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from ml.metrics import holm
from ml.spec import MERGED_RESULT, FailureKind, FailureState

SIGNIFICANCE = 0.05
LEAST_FAILURES = 2  # one failure has nothing in common with another
LEAST_PASSES = 5
CROWD = 3
FIRST = ""
MISLEADING_SHARE = 0.2  # of texts with a word of a kind: many a message quotes what was not the cause
Key = tuple[str, str]
Bools = npt.NDArray[np.bool_]


class HintKind(StrEnum):
    """Where to look first.

    TIMING: its failures take longer than its passes, or speak of a timeout. NETWORK: they speak of connections.
    RESOURCE: it fails when others fail for nothing as well, or they speak of memory, disk or the like.
    PLATFORM: it fails on this variant more often than on the others. ORDER: it fails right after a certain test, or as
    the first of its report.
    """

    TIMING = "timing"
    NETWORK = "network"
    RESOURCE = "resource"
    PLATFORM = "platform"
    ORDER = "order"


@dataclass(frozen=True, slots=True)
class Hint:
    """A hint with its evidence in numbers; `p_value` (0..1) is corrected for the number of hints that were tried."""

    kind: HintKind
    p_value: float
    evidence: str


SPOKEN = {
    FailureKind.TIMEOUT: (HintKind.TIMING, "a timeout"),
    FailureKind.NETWORK: (HintKind.NETWORK, "a connection"),
    FailureKind.RESOURCE: (HintKind.RESOURCE, "memory, disk or the like"),
}


def hints(
    executions: pd.DataFrame, labels: pd.DataFrame, texts: pd.DataFrame, neighbours: pd.DataFrame, tests: Iterable[Key]
) -> dict[Key, tuple[Hint, ...]]:
    """Hints of tests, as known at one moment.

    Args:
        executions: run_id, variant, test_id, failed, duration_s (NaN: unknown); attempts merged.
        labels: run_id, variant, test_id, state of the failures among them.
        texts: run_id, variant, test_id, kind of the failures whose text is known.
        neighbours: run_id, variant, test_id, failed, before (None: it was the first of its report) of the attempts
            whose order is known, in the order of time.
        tests: (variant, test_id) of the flaky tests to give hints for.

    Returns:
        For each of `tests` its hints, the most significant first; empty where nothing is significant. Compared are
        failures held for flaky with passes; other failures are left out.
    """
    wanted = list(tests)
    names = {test_id for _, test_id in wanted}
    rows = executions[executions["test_id"].isin(names)].merge(
        texts[[*MERGED_RESULT, "kind"]], on=MERGED_RESULT, how="left", sort=False
    )
    rows = _compared(rows, labels)
    rows = rows.assign(is_crowd=_others(rows, labels) >= CROWD)
    by_name = {str(name): part for name, part in rows.groupby("test_id")}
    placed = _compared(neighbours[neighbours["test_id"].isin(names)], labels)
    by_key = {(str(variant), str(name)): part for (variant, name), part in placed.groupby(["variant", "test_id"])}
    nowhere = placed.head(0)
    return {
        key: _hints(by_name[key[1]], key[0], by_key.get(key, nowhere)) if key[1] in by_name else () for key in wanted
    }


def _compared(rows: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Passes, and failures held for flaky: `is_flaky`."""
    told = rows.merge(labels[[*MERGED_RESULT, "state"]], on=MERGED_RESULT, how="left", sort=False)
    is_flaky = told["failed"] & (told["state"] == FailureState.FLAKY)
    return told.assign(is_flaky=is_flaky)[is_flaky | ~told["failed"]]


def _others(rows: pd.DataFrame, labels: pd.DataFrame) -> "pd.Series[int]":
    """How many other tests failed for nothing in the same run and variant."""
    flaky = labels[labels["state"] == FailureState.FLAKY]
    crowds = flaky.groupby(["run_id", "variant"]).size().rename("failures").reset_index()
    found = rows[["run_id", "variant"]].merge(crowds, on=["run_id", "variant"], how="left", sort=False)
    others = found["failures"].fillna(0).to_numpy(np.int64) - rows["is_flaky"].to_numpy(np.int64)
    return pd.Series(others, index=rows.index)


def _hints(rows: pd.DataFrame, variant: str, placed: pd.DataFrame) -> tuple[Hint, ...]:
    """Hints of one test on one variant; `rows` are those of all its variants, `placed` those with a known order."""
    own, elsewhere = rows[rows["variant"] == variant], rows[rows["variant"] != variant]
    tried = [*_timing(own), *_resource(own), *_platform(own, elsewhere), *_spoken(own), *_order(placed)]
    adjusted = holm([hint.p_value for hint in tried])
    told = [Hint(hint.kind, p, hint.evidence) for hint, p in zip(tried, adjusted, strict=True)]
    return tuple(sorted((hint for hint in told if hint.p_value < SIGNIFICANCE), key=lambda hint: hint.p_value))


def _timing(own: pd.DataFrame) -> Iterator[Hint]:
    """Mann-Whitney U test of durations."""
    known = own[own["duration_s"].notna()]
    failures, passes = known.loc[known["is_flaky"], "duration_s"], known.loc[~known["is_flaky"], "duration_s"]
    if len(failures) < LEAST_FAILURES or len(passes) < LEAST_PASSES or known["duration_s"].nunique() == 1:
        return
    p_value = stats.mannwhitneyu(failures, passes, alternative="greater", method="asymptotic").pvalue
    told = f"{len(failures)} failures took {failures.median():.3g} s (median), "
    yield Hint(HintKind.TIMING, float(p_value), f"{told}{len(passes)} passes {passes.median():.3g} s")


def _resource(own: pd.DataFrame) -> Iterator[Hint]:
    """Fisher's exact test of failing in runs in which others fail for nothing; labels tell outages apart."""
    is_flaky, is_crowd = own["is_flaky"].to_numpy(bool), own["is_crowd"].to_numpy(bool)
    if is_flaky.sum() < LEAST_FAILURES or (~is_flaky).sum() < LEAST_PASSES:
        return
    together, passed = int((is_flaky & is_crowd).sum()), int((~is_flaky & is_crowd).sum())
    told = f"in runs with {CROWD} or more other flaky failures: {together} of {is_flaky.sum()} failures, "
    yield Hint(HintKind.RESOURCE, _fisher(is_crowd, is_flaky), f"{told}{passed} of {(~is_flaky).sum()} passes")


def _platform(own: pd.DataFrame, elsewhere: pd.DataFrame) -> Iterator[Hint]:
    """Fisher's exact test of failing here against failing on the other variants of the test."""
    if own["is_flaky"].sum() < LEAST_FAILURES or len(elsewhere) < LEAST_PASSES:
        return
    is_own = np.r_[np.ones(len(own), bool), np.zeros(len(elsewhere), bool)]
    is_flaky = np.r_[own["is_flaky"].to_numpy(bool), elsewhere["is_flaky"].to_numpy(bool)]
    told = f"fails {own['is_flaky'].sum()} of {len(own)} times here, "
    others = f"{elsewhere['is_flaky'].sum()} of {len(elsewhere)} times on other variants"
    yield Hint(HintKind.PLATFORM, _fisher(is_own, is_flaky), told + others)


def _spoken(own: pd.DataFrame) -> Iterator[Hint]:
    """Binomial test of what the texts of its failures speak of, against the share of texts that mislead."""
    kinds = own.loc[own["is_flaky"] & own["kind"].notna(), "kind"]
    for kind, (hint, subject) in SPOKEN.items():
        count = int((kinds == kind).sum())
        if count < LEAST_FAILURES:
            continue
        p_value = float(stats.binom.sf(count - 1, len(kinds), MISLEADING_SHARE))
        yield Hint(hint, p_value, f"the text of {count} of {len(kinds)} failures speaks of {subject}")


def _order(placed: pd.DataFrame) -> Iterator[Hint]:
    """Fisher's exact test for each test that it ran right after in two runs or more, with Bonferroni's correction.

    Compared are the executions from the first to the last one after that test: a suite that grew would else make a test
    that turned flaky then depend on its new neighbour.
    """
    before = placed["before"].fillna(FIRST)  # no test's name is blank
    runs, failed_runs = (rows.groupby(before)["run_id"].nunique() for rows in (placed, placed[placed["is_flaky"]]))
    found = []
    for name in failed_runs.index[failed_runs >= LEAST_FAILURES]:
        places = np.flatnonzero(before == name)
        is_flaky = placed["is_flaky"].to_numpy(bool)[places[0] : places[-1] + 1]
        is_after = (before == name).to_numpy(bool)[places[0] : places[-1] + 1]
        if not is_after.all():  # an order that never changes tells nothing
            found.append((_fisher(is_after, is_flaky), _after(str(name), is_after, is_flaky)))
    if found:
        p_value, told = min(found)
        yield Hint(HintKind.ORDER, min(1.0, p_value * int((runs >= LEAST_FAILURES).sum())), told)


def _after(name: str, is_after: Bools, is_flaky: Bools) -> str:
    where = "as the first of its report" if name == FIRST else f"right after {name}"
    told = f"fails {(is_after & is_flaky).sum()} of {is_after.sum()} times {where}, "
    return told + f"{(~is_after & is_flaky).sum()} of {(~is_after).sum()} times otherwise"


def _fisher(holds: Bools, is_flaky: Bools) -> float:
    """Chance of so many failures among the rows for which it holds, or more, if failing had nothing to do with it."""
    both = int((holds & is_flaky).sum())
    return float(stats.hypergeom.sf(both - 1, len(holds), int(holds.sum()), int(is_flaky.sum())))
