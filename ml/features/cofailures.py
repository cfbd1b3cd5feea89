"""How often a test failed in earlier runs that touched files like those of the change: per file, folder and suffix.

rate: highest over the change of failures / (touches + `PRIOR_TOUCHES`), counted per file, folder or suffix;
since: time since the latest of these failures became known. Outages and very large changes are left out. All are null
where no changed file is known, and rates and counts 0 where nothing failed together, of which there is no since.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ml.features.assembly import Pair, Related, Rows
from ml.features.executions import Executions
from ml.features.queries import Engine
from ml.features.sequences import Moments, Numbers, Values, batches, below, numbered, spans, total

PRIOR_TOUCHES = 2
AT_ONCE = 4_000_000
KINDS = {"file": "file_no", "folder": "folder_no", "suffix": "suffix_no"}
COLUMNS = {
    "file": {
        "cofailure_file_rate": "rate",
        "cofailure_mean_rate": "mean_rate",
        "cofailure_count": "failures",
        "since_cofailure_file_s": "since_s",
    },
    "folder": {"cofailure_folder_rate": "rate", "since_cofailure_folder_s": "since_s"},
    "suffix": {"cofailure_suffix_rate": "rate"},
}


@dataclass(frozen=True)
class Touched:
    """What runs touched, and what failed in them; a thing is a file, folder or suffix, a pair a thing and a test.

    Attributes:
        moments: When runs became known.
        touches: `Moments.codes` of thing and place, of each touch; ascending.
        pair, place: Of each failure of a test in a run that touched a thing; ordered by both.
        start: Where the failures of each pair start.
        pair_thing, pair_test: Of each pair.
        firsts: `Moments.codes` of thing and place, of the first failure of each pair; ascending.
        tests: How many numbers tests have.
        query_no, at_us, thing: What the runs asked for touch, ordered by query_no.
    """

    moments: Moments
    touches: Numbers
    pair: Numbers
    place: Numbers
    start: Numbers
    pair_thing: Numbers
    pair_test: Numbers
    firsts: Numbers
    tests: int
    query_no: Numbers
    at_us: Numbers
    thing: Numbers


def touched(engine: Engine, done: Executions) -> dict[str, Touched]:
    """Of each kind of thing; the tables of `changes` are there."""
    return {kind: _touched(engine, done, key) for kind, key in KINDS.items()}


def _touched(engine: Engine, done: Executions, key: str) -> Touched:
    moments, tests = done.moments, int(done.series_no.max(initial=0)) + 1
    touch = engine.fetch(f"SELECT DISTINCT run_no, {key} AS thing FROM run_file WHERE is_telling ORDER BY run_no")
    run_no, thing = touch["run_no"].to_numpy(np.int64), touch["thing"].to_numpy(np.int64)
    failed = np.flatnonzero(done.failed)
    failed_run = done.run_no[failed]
    nth, at = spans(np.searchsorted(run_no, failed_run), np.searchsorted(run_no, failed_run, side="right"))
    failures = np.sort(moments.codes(thing[at] * tests + done.lineage_no[failed][nth], done.place[failed][nth]))
    groups, place = moments.groups(failures), moments.places(failures)
    is_first = np.diff(groups, prepend=-1) != 0
    start = np.flatnonzero(is_first)
    pair_thing, pair_test = np.divmod(groups[start], tests)
    asked = engine.fetch(f"SELECT DISTINCT query_no, at_us, {key} AS thing FROM touched_file ORDER BY query_no")
    return Touched(
        moments,
        np.sort(moments.codes(thing, moments.place[run_no - 1])),
        np.cumsum(is_first) - 1,
        place,
        start,
        pair_thing,
        pair_test,
        np.sort(moments.codes(pair_thing, place[start])),
        tests,
        *(asked[name].to_numpy(np.int64) for name in ("query_no", "at_us", "thing")),
    )


def related(kinds: Mapping[str, Touched], rows: Rows, change: Values) -> Iterator[Related]:
    """Features of the rows asked for; `change` is 0 for each run whose changed files are known, else NaN."""
    nothing = np.full(len(change), np.nan)
    for kind, names in COLUMNS.items():
        pieces = [_together(kinds[kind], part) for part in _parts(kinds[kind], rows)]
        known = (np.concatenate([piece[0][0] for piece in pieces]), np.concatenate([piece[0][1] for piece in pieces]))
        values = {name: np.concatenate([piece[1][told] for piece in pieces]) for name, told in names.items()}
        otherwise = {name: nothing if told == "since_s" else change for name, told in names.items()}
        yield Related.of(rows, ("query_no", "lineage_no"), known, values, otherwise)


def _parts(touched: Touched, rows: Rows) -> Iterator[slice]:
    """What the runs of the rows touch, in parts of whole runs with at most some `AT_ONCE` pairs; at least one part."""
    start, end = np.searchsorted(touched.query_no, np.add(rows.span("query_no"), (0, 1)))
    sizes = np.subtract(*_tests(touched, slice(start, end)))
    for part in batches(touched.query_no[start:end], sizes, AT_ONCE):
        yield slice(start + part.start, start + part.stop)


def _tests(touched: Touched, part: slice) -> tuple[Numbers, Numbers]:
    """Up to where, and from where, in `firsts` the tests are that failed with each thing before."""
    codes, thing = touched.moments.codes, touched.thing[part]
    before = codes(thing, touched.moments.before(touched.at_us[part]))
    return np.searchsorted(touched.firsts, before), np.searchsorted(touched.firsts, codes(thing, 0))


def _together(touched: Touched, part: slice) -> tuple[Pair, dict[str, Values]]:
    """Each run and test that something of the run's change failed with before, and what is told of them."""
    moments, query_no, at_us, thing = touched.moments, touched.query_no[part], touched.at_us[part], touched.thing[part]
    before = moments.before(at_us)
    touches = below(touched.touches, moments.codes(thing, before)) - below(touched.touches, moments.codes(thing, 0))
    owner, pair, latest = _latest(touched, moments.codes(thing, before))
    count = latest + 1 - touched.start[pair]
    ago = at_us[owner] - moments.known_us[touched.place[latest]]
    codes, nth = numbered(query_no[owner] * touched.tests + touched.pair_test[pair])
    asked, test_no = np.divmod(codes, touched.tests)
    failures = np.bincount(nth, weights=count).astype(np.float64, copy=False)
    of_run = np.bincount(query_no, weights=touches)
    best, least = np.zeros(len(codes)), np.full(len(codes), np.iinfo(np.int64).max)
    np.maximum.at(best, nth, count / (touches[owner] + PRIOR_TOUCHES))
    np.minimum.at(least, nth, ago)
    told: dict[str, Values] = {
        "rate": best,
        "failures": failures,
        "mean_rate": failures / (of_run[asked] + PRIOR_TOUCHES),
        "since_s": least.astype(np.float64) / 1e6,
    }
    return (asked, test_no), told


def _latest(touched: Touched, asked: Numbers) -> tuple[Numbers, Numbers, Numbers]:
    """Of each question and pair of its thing that it knows a failure of: which ones, and the latest failure.

    Questions of a thing in the order of their moments, below each other for each pair: a failure is placed where the
    first question sees it, and a running count over all of them says what each one sees.

    Args:
        touched: What failed.
        asked: `Moments.codes` of thing, and number of places that are known, of each question.
    """
    codes, start = touched.moments.codes, touched.start
    turn = np.argsort(asked)
    ordered = asked[turn]
    seen = np.searchsorted(ordered, codes(touched.pair_thing[touched.pair], touched.place + 1))
    first, end = seen[start], np.searchsorted(ordered, codes(touched.pair_thing + 1, 0))
    pair, at = spans(first, end)
    is_seen = seen < end[touched.pair]
    cell = ((total(end - first)[:-1] - first)[touched.pair] + seen)[is_seen]
    running = np.cumsum(np.bincount(cell, minlength=len(at)))
    return turn[at], pair, running - 1 + (start - total(is_seen)[start])[pair]
