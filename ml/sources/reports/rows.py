"""What a dialect fills: the results of one report, column by column."""

from dataclasses import dataclass, field

from ml.sources.refusals import Refusal


@dataclass(slots=True)
class ReportRows:
    """Results of one report in document order; the three lists have one length.

    `outcomes` are values of `ml.spec.Outcome`; `durations` are seconds, NaN where the report gives none.
    """

    test_ids: list[str] = field(default_factory=list)
    outcomes: list[str] = field(default_factory=list)
    durations: list[float] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
