"""How a refusal reads, and the input example of a model."""

import numpy as np

from ml import training
from ml.spec import Check, Status, Verdict
from ml.stages.retraining import EXAMPLE_ROWS, _example, _why_not
from tests.ml.training.training_builders import frame_of, small_spec


def test_a_refusal_names_each_gate_that_did_not_pass_with_its_failed_checks_only() -> None:
    verdicts = [
        Verdict("data_quality", Status.PASS, (Check("rows", 9.0, 1.0, True, True, "9 rows"),)),
        Verdict(
            "statistical",
            Status.FAIL,
            (
                Check("lead", -0.1, 0.0, True, False, "lower bound -0.1"),
                Check("period_reuse", 0.0, 0.0, False, True, "never used"),
                Check("floor", 0.25, 0.5, True, False),
            ),
        ),
        Verdict("stability", Status.ERROR, (Check("spread", None, 0.2, False, False, "needs 20 runs, has 3"),)),
    ]
    assert _why_not(verdicts) == (
        "statistical: fail: lead (lower bound -0.1), floor (0.25); stability: error: spread (needs 20 runs, has 3)"
    )


def test_the_input_example_leaves_out_a_feature_that_was_never_known_in_the_fit() -> None:
    rows = frame_of().assign(noise=np.nan)
    split = training.split_by_time(training.runs_of(rows), 0.4)
    rows.loc[rows["started_at"] >= split.test.start, "noise"] = 1.0
    for one in training.fit_candidates(small_spec(), rows, split, training.FitOptions(1)):
        example = _example(one.estimator, rows)
        assert list(example.columns) == ["rate"]
        assert one.estimator.predict_proba(example).shape == (EXAMPLE_ROWS, 2)
