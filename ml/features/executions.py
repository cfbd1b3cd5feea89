"""Executions of tests, those of a test under all of its names together."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from ml.features.lineage import Lines
from ml.features.merged import Merged
from ml.features.queries import Engine
from ml.features.sequences import Moments, Numbers, Values, starts


@dataclass(frozen=True)
class Executions:
    """All executions, ordered by lineage, then by place in the order of becoming known, then by series.

    Attributes:
        moments: When runs became known.
        codes: `Moments.codes` of lineage and place.
        lineage_no, series_no, run_no, place: Of each execution.
        start: Where its lineage starts.
        failed: 0 or 1.
        is_flip: Whether the execution before it ended otherwise.
        duration_s: NaN where unknown.
    """

    moments: Moments
    codes: Numbers
    lineage_no: Numbers
    series_no: Numbers
    run_no: Numbers
    place: Numbers
    start: Numbers
    failed: Numbers
    is_flip: npt.NDArray[np.int8]
    duration_s: Values

    @classmethod
    def of(cls, merged: Merged, lines: Lines) -> "Executions":
        """Those of a test under its names together."""
        lineage_no = lines.of(merged.series_no, merged.place)
        codes = merged.codes
        columns: tuple[Numbers, ...] = (
            lineage_no,
            merged.series_no,
            merged.run_no,
            merged.place,
            merged.failed,
            merged.duration_s,
        )
        if lineage_no is not merged.series_no:
            codes = merged.moments.codes(lineage_no, merged.place)
            order = np.argsort(codes, kind="stable")
            codes, columns = codes[order], tuple(values[order] for values in columns)
        lineage_no, series_no, run_no, place, failed, duration_s = columns
        start = starts(lineage_no)
        is_flip = np.zeros(len(codes), np.int8)
        is_flip[1:] = (failed[1:] != failed[:-1]) & (start[1:] != np.arange(1, len(codes)))
        return cls(merged.moments, codes, lineage_no, series_no, run_no, place, start, failed, is_flip, duration_s)

    def register_failures(self, engine: Engine) -> None:
        """Create ``failure_place``, a row per failed one, for what is told of failures alone.

        Its columns: lineage_no, series_no, run_no, known_us, n (1, 2, ... among all executions of the lineage),
        previous (outcome of the execution before), next_failed and next_us (outcome of the next one, and when it was
        known); null where there is none.
        """
        at = np.flatnonzero(self.failed)
        has_next = np.zeros(len(self.codes), bool)
        has_next[:-1] = self.lineage_no[1:] == self.lineage_no[:-1]
        after = np.minimum(at + 1, len(self.codes) - 1)
        known_us = self.moments.known_us
        columns = {
            **{name: pa.array(getattr(self, name)[at], pa.int32()) for name in ("lineage_no", "series_no", "run_no")},
            "known_us": pa.array(known_us[self.place[at]], pa.int64()),
            "n": pa.array(at + 1 - self.start[at], pa.int64()),
            "previous": pa.array(1 - self.is_flip[at], pa.int32(), mask=self.start[at] == at),
            "next_failed": pa.array(self.failed[after], pa.int32(), mask=~has_next[at]),
            "next_us": pa.array(known_us[self.place[after]], pa.int64(), mask=~has_next[at]),
        }
        engine.register_frame("failure_place", pa.table(columns))
