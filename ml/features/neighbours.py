"""How the surroundings of a test behaved before: the test in every variant, its package, its variant, its author.

A board or machine that breaks, or a package that is being rewritten, shows in many tests at once; each test alone has
too short a history to tell. Every state is summed over whole runs: a run of the group is one fact, known at once.
All features are null until the group has a known run.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ml.features.assembly import Named, Rows
from ml.features.executions import Executions
from ml.features.sequences import Facts, Numbers, Values, rate, starts, tally, total, without

PRIOR_RUNS = 2
LAST_RUNS = 10
GROUPS = {"test": "lineage_test_no", "package": "package_no", "variant": "variant_no"}


@dataclass(frozen=True)
class GroupRuns:
    """Runs of each group, those of a group together and in the order of becoming known, with totals before each.

    Attributes:
        facts: The runs.
        start: Where the group starts.
        results, failures, new_failures, recoveries: Totals over all groups before each run, and after the last.
    """

    facts: Facts
    start: Numbers
    results: Numbers
    failures: Numbers
    new_failures: Numbers
    recoveries: Numbers

    @classmethod
    def of(cls, done: Executions, group: Numbers) -> "GroupRuns":
        """Runs of the groups that the executions belong to."""
        codes = done.moments.codes(group, done.place)
        runs, results = tally(codes)
        counted = (done.failed, done.is_flip & done.failed, done.is_flip & (1 - done.failed))
        places = (np.searchsorted(runs, codes[np.flatnonzero(flags)]) for flags in counted)
        totals = (total(np.bincount(place, minlength=len(runs))) for place in places)
        return cls(Facts.of(done.moments, runs), starts(done.moments.groups(runs)), total(results), *totals)

    def features(self, name: str, group: Numbers, before: Numbers) -> Named:
        """What each question (its group, and how many runs it may know) is told."""
        found = self.facts.latest(group, before)
        at = np.maximum(found, 0)
        lately = np.maximum(at + 1 - LAST_RUNS, self.start[at])
        results, failures = self.results, self.failures
        end, unknown = at + 1, np.flatnonzero(found < 0)
        last = results[end] - results[at]
        yield f"{name}_last_failure_rate", without(rate(failures[end] - failures[at], last), unknown)
        since = rate(failures[end] - failures[lately], results[end] - results[lately])
        yield f"{name}_failure_rate_last_10_runs", without(since, unknown)
        if name == "test":
            yield "variants_count", without(last, unknown)
        else:
            yield f"{name}_new_failures_count", without(self.new_failures[end] - self.new_failures[at], unknown)
        if name == "variant":
            yield "variant_recoveries_count", without(self.recoveries[end] - self.recoveries[at], unknown)


def group_runs(done: Executions, series: Mapping[str, Numbers]) -> dict[str, GroupRuns]:
    """The runs of each kind of group.

    Args:
        done: All executions.
        series: test_no, package_no and variant_no by series_no - 1.
    """
    of_series = done.series_no - 1
    groups = {
        "test": series["test_no"][done.lineage_no - 1],
        "package": series["package_no"][of_series],
        "variant": series["variant_no"][of_series],
    }
    return {name: GroupRuns.of(done, group) for name, group in groups.items()}


def features(groups: Mapping[str, GroupRuns], rows: Rows) -> Named:
    """Name and value of each row asked for."""
    for name, key in GROUPS.items():
        yield from groups[name].features(name, rows[key], rows["before"])


def author_features(failures: Numbers, author_runs: Values) -> Named:
    """Of failures of the test in runs of the author, by these runs; NaN without an author."""
    yield "author_cofailure_rate", failures / (author_runs + PRIOR_RUNS)
