"""Results with their attempts merged, in the order of becoming known, and the tables that are made of them."""

from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from ml.features.queries import Engine
from ml.features.results import Results
from ml.features.sequences import Moments, Numbers, Values, numbered, starts, tally


@dataclass(frozen=True)
class Merged:
    """One execution for each series and run with a result, ordered by series, then by place.

    Attributes:
        moments: When runs became known.
        codes: `Moments.codes` of series and place; ascending, none twice.
        series_no, run_no, place: Of each execution.
        failed: 1 if any attempt failed, else 0.
        duration_s: Of the longest attempt; NaN where unknown.
    """

    moments: Moments
    codes: Numbers
    series_no: Numbers
    run_no: Numbers
    place: Numbers
    failed: Numbers
    duration_s: Values

    @classmethod
    def of(cls, results: Results, moments: Moments) -> "Merged":
        """Of the results of all attempts."""
        place = moments.place[results.run_no - 1]
        codes, nth = numbered(moments.codes(results.series_no, place))
        failed, duration_s = np.zeros(len(codes), np.int8), np.full(len(codes), np.nan)
        np.maximum.at(failed, nth, results.failed)
        np.fmax.at(duration_s, nth, results.duration_s)
        at = np.empty(len(codes), np.int64)
        at[nth] = np.arange(len(nth))  # one attempt of each
        return cls(moments, codes, results.series_no[at], results.run_no[at], place[at], failed, duration_s)

    def register(self, engine: Engine, name: str = "execution", among: Numbers | None = None) -> None:
        """Create table `name` with a row for each: series_no, run_no, known_us, failed, duration_s.

        Args:
            engine: Where to.
            name: Of the table.
            among: Numbers of the series whose executions it holds; None for all.
        """
        at = np.arange(len(self.codes)) if among is None else np.flatnonzero(np.isin(self.series_no, among))
        columns = {
            "series_no": pa.array(self.series_no[at], pa.int32()),
            "run_no": pa.array(self.run_no[at], pa.int32()),
            "known_us": pa.array(self.moments.known_us[self.place[at]], pa.int64()),
            "failed": pa.array(self.failed[at].astype(np.int32), pa.int32()),
            "duration_s": pa.array(self.duration_s[at], pa.float64(), from_pandas=True),
        }
        engine.register_frame(name, pa.table(columns))

    def register_counts(self, engine: Engine) -> None:
        """Create ``run_count``, the results and failures of each run, and ``series_first``: where each series began.

        A series has several rows in the latter where runs became known at one moment.
        """
        failed = np.bincount(self.run_no[np.flatnonzero(self.failed)], minlength=len(self.moments.place) + 1)
        results = np.bincount(self.run_no, minlength=len(failed))
        runs = np.flatnonzero(results)
        counts = {"run_no": pa.array(runs, pa.int32()), "results": results[runs], "failures": failed[runs]}
        engine.register_frame("run_count", pa.table(counts))
        first_place = self.place[starts(self.series_no)]
        known_us = self.moments.known_us
        at = np.flatnonzero(known_us[self.place] == known_us[first_place])
        columns = {name: pa.array(getattr(self, name)[at], pa.int32()) for name in ("series_no", "run_no")}
        engine.register_frame("series_first", pa.table({**columns, "first_us": known_us[self.place[at]]}))

    def register_variants(self, engine: Engine) -> None:
        """Create ``variant_run``: the runs of each variant, numbered in the order of becoming known."""
        variant_of = engine.fetch("SELECT variant_no FROM series ORDER BY series_no")["variant_no"].to_numpy(np.int64)
        codes, _ = tally(self.moments.codes(variant_of[self.series_no - 1], self.place))
        variant_no, place = self.moments.groups(codes), self.moments.places(codes)
        columns = {
            "variant_no": pa.array(variant_no, pa.int32()),
            "run_no": pa.array(np.argsort(self.moments.place)[place] + 1, pa.int32()),
            "known_us": pa.array(self.moments.known_us[place], pa.int64()),
            "n": pa.array(np.arange(1, len(codes) + 1) - starts(variant_no), pa.int32()),
        }
        engine.register_frame("variant_run", pa.table(columns))
