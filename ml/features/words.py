"""Words that a change shares with the names of tests, rare words weighing more.

Weight: ln((tests + 1) / (tests with the word + 1)) over the tests known before the run, in millionths; words of more
than `COMMON_WORD_SHARE` of them do not count (inverse document frequency, Spärck Jones 1972). relevance holds back long
names: BM25 (Robertson and Zaragoza 2009), a word counting once per name.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.features.assembly import Pair, Related, Rows
from ml.features.merged import Merged
from ml.features.queries import Engine
from ml.features.sequences import Facts, Numbers, Values, batches, numbered, rate, spans, total

COMMON_WORD_SHARE = 0.2
MICRO = 1_000_000
AT_ONCE = 1_000_000
# Of BM25: how fast a repeated word saturates, and how much long names are held back.
SATURATION, LENGTH_SHARE = 1.2, 0.75
# Words of the files of each run asked for, and of the title of its change.
SAID = {
    "files": """
        SELECT c.query_no, s.word_no
        FROM change_set AS c
        JOIN (SELECT DISTINCT f.change_no, n.word_no
              FROM set_file AS f JOIN path_word AS w ON w.path_no = f.path_no JOIN word AS n ON n.word = w.word) AS s
            ON s.change_no = c.change_no
        ORDER BY c.query_no, s.word_no
        """,
    "title": """
        SELECT w.query_no, n.word_no
        FROM change_word AS w JOIN word AS n ON n.word = w.word ORDER BY w.query_no, n.word_no
        """,
}
COLUMNS = {
    "files": ("shared_words_count", "shared_words_weight", "shared_words_rate", "shared_words_relevance"),
    "title": ("title_words_relevance",),
}


@dataclass(frozen=True)
class Words:
    """Words of the names of tests, and of what changes say.

    Attributes:
        first: When each test became known: its place, ascending.
        lengths: Sums of how many words their names have, before each and after the last.
        known: Tests by word, in the order of becoming known.
        start: Where the tests of each word start, by its number, and where those of the last one end.
        test_no, length: Of these tests, and how many words the name has.
        before: How many places each run asked for may know, by query_no - 1.
        said: query_no and word_no, ordered by both, of each kind of `SAID`.
    """

    first: Numbers
    lengths: Numbers
    known: Facts
    start: Numbers
    test_no: Numbers
    length: Numbers
    before: Numbers
    said: Mapping[str, Pair]

    @classmethod
    def of(cls, engine: Engine, merged: Merged) -> "Words":
        """Of the tables of `pairs` and ``query_run``."""
        engine.store("word", "SELECT word, ROW_NUMBER() OVER (ORDER BY word) AS word_no FROM test_word GROUP BY word")
        found = engine.fetch(
            "SELECT n.word_no, t.test_no, t.words FROM test_word AS t JOIN word AS n ON n.word = t.word "
            "ORDER BY n.word_no, t.test_no"
        )
        word_no, test_no, length = (found[name].to_numpy(np.int64) for name in found)
        first = _first_places(engine, merged)
        lengths = np.zeros(len(first), np.int64)
        lengths[test_no] = length
        order = np.argsort(first[1:], kind="stable") + 1
        at_us = engine.fetch("SELECT at_us FROM query_run ORDER BY query_no")["at_us"].to_numpy(np.int64)
        return cls(
            first[order],
            total(lengths[order]),
            Facts.of(merged.moments, np.sort(merged.moments.codes(word_no, first[test_no]))),
            np.searchsorted(word_no, np.arange(int(word_no.max(initial=0)) + 2)),
            test_no,
            length,
            merged.moments.before(at_us),
            {kind: _pairs(engine.fetch(sql)) for kind, sql in SAID.items()},
        )

    def related(self, kind: str, rows: Rows, absent: Values) -> Related:
        """Features of the rows asked for; `absent` is that of each run for all tests that share nothing with it."""
        query_no, word_no = self.said[kind]
        first, last = np.searchsorted(query_no, np.add(rows.span("query_no"), (0, 1)))
        query_no, word_no = query_no[first:last], word_no[first:last]
        sizes = self.start[word_no + 1] - self.start[word_no]
        parts = [self._shared(query_no[at], word_no[at]) for at in batches(query_no, sizes, AT_ONCE)]
        known = (np.concatenate([part[0][0] for part in parts]), np.concatenate([part[0][1] for part in parts]))
        values = {name: np.concatenate([part[1][name.split("_", 2)[2]] for part in parts]) for name in COLUMNS[kind]}
        return Related.of(rows, ("query_no", "test_no"), known, values, dict.fromkeys(values, absent))

    def _shared(self, query_no: Numbers, word_no: Numbers) -> tuple[Pair, dict[str, Values]]:
        """Each run and test with a word in common, and what is told of them."""
        before = self.before[query_no - 1]
        tests = np.searchsorted(self.first, before)
        having = self.known.count(word_no, before)
        at = np.flatnonzero((having > 0) & (having <= COMMON_WORD_SHARE * tests))
        query_no, word_no, tests, having = query_no[at], word_no[at], tests[at], having[at]
        weight = _whole(np.log((tests + 1) / (having + 1)) * MICRO)
        owner, nth = spans(self.start[word_no], self.start[word_no + 1])
        length = (1 - LENGTH_SHARE) + LENGTH_SHARE * self.length[nth] / (self.lengths[tests] / tests)[owner]
        relevance = _whole(weight[owner] * (SATURATION + 1) / (1 + SATURATION * length))
        width = int(self.test_no.max(initial=0)) + 1
        codes, pair = numbered(query_no[owner] * width + self.test_no[nth])
        asked, test_no = np.divmod(codes, width)
        weights = np.bincount(pair, weights=weight[owner], minlength=len(codes))
        all_of_run = np.bincount(query_no, weights=weight)[asked]
        told = {
            "count": np.bincount(pair, minlength=len(codes)).astype(np.float64),
            "weight": weights / MICRO,
            "rate": np.nan_to_num(rate(weights, all_of_run)),
            "relevance": np.bincount(pair, weights=relevance, minlength=len(codes)) / MICRO,
        }
        return (asked, test_no), told


def _pairs(said: pd.DataFrame) -> Pair:
    return said["query_no"].to_numpy(np.int64), said["word_no"].to_numpy(np.int64)


def _first_places(engine: Engine, merged: Merged) -> Numbers:
    """The place in which each test became known, by test_no; after all others for numbers without an execution."""
    test_of = engine.fetch("SELECT test_no FROM series ORDER BY series_no")["test_no"].to_numpy(np.int64)
    at = np.flatnonzero(np.diff(merged.series_no, prepend=-1))
    found = np.full(int(test_of.max(initial=0)) + 1, len(merged.moments.place), np.int64)
    np.minimum.at(found, test_of[merged.series_no[at] - 1], merged.place[at])
    return found


def _whole(values: Values) -> Numbers:
    """Rounded to whole numbers, and halves up."""
    return np.floor(values + 0.5).astype(np.int64)
