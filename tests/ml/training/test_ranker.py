"""The learning-to-rank candidate: what it learns from runs, when it stops, and what it does with odd groups."""

import numpy as np
import pandas as pd
import pytest

from ml import artifact, training
from ml.errors import LibraryMissing
from ml.training import Plan, Ranker, ranker
from ml.training.evaluation import primary_by_run, scored
from ml.training.fitting import chance
from tests.ml.training.training_builders import small_spec

OPTIONS = training.FitOptions(seed=7)
SPEC = small_spec(candidates={"ranker": lambda seed: Ranker(seed=seed, least_rows=5, features_share=1.0)})


@pytest.fixture(scope="module")
def fitted(frame, split):
    [one] = training.fit_candidates(SPEC, frame, split, OPTIONS)
    return one


def runs_with(failed_of, runs=60, tests=10, seed=1):
    """Features a and b, outcomes and run numbers; `failed_of` is given both features and the run number."""
    generator = np.random.default_rng(seed)
    rows = pd.DataFrame(generator.random((runs * tests, 2)), columns=["a", "b"])
    run = np.repeat(np.arange(runs), tests)
    return rows, np.asarray(failed_of(rows["a"].to_numpy(), rows["b"].to_numpy(), run), bool), run


def order(model, feature):
    """Rank correlation of the score with one feature, the other one held."""
    rows = pd.DataFrame({"a": 0.5, "b": 0.5}, index=range(50)).assign(**{feature: np.linspace(0, 1, 50)})
    return pd.Series(model.decision_function(rows)).corr(rows[feature], method="spearman")


def quick(**changes):
    return Ranker(**({"least_rows": 5, "features_share": 1.0} | changes))


def test_it_ranks_what_fails_first_and_gives_calibrated_chances(frame, split, fitted):
    rows = scored(SPEC, fitted.estimator, training.period_rows(frame, split, "validate"))
    assert primary_by_run(SPEC, rows).mean() > 0.7
    assert rows["probability"].mean() == pytest.approx(rows["failed"].mean(), abs=0.05)
    assert chance(fitted.estimator, rows).mean() == pytest.approx(rows["failed"].mean(), abs=0.06)


def test_it_learns_the_order_within_a_run_not_which_runs_fail():
    # Runs with a high b fail more, but within a run a alone decides.
    rows, _, run = runs_with(lambda a, b, run: a > 2)
    rows["b"] = (run % 2) * 1.0
    failed = rows.groupby(run)["a"].rank(ascending=False).to_numpy() <= 1 + 3 * (run % 2)
    model = quick().fit(rows, failed, run=run)
    assert order(model, "a") > 0.9
    assert np.ptp(model.decision_function(pd.DataFrame({"a": 0.5, "b": [0.0, 1.0]}))) < 0.5


def test_the_number_of_trees_is_found_on_later_runs(monkeypatch):
    monkeypatch.setattr(ranker, "FEWEST_TREES", 1)
    # What decides turns round before the later runs: each tree more orders them worse.
    rows, failed, run = runs_with(lambda a, b, run: np.where(run < 160, a > 0.8, a < 0.2), runs=200)
    turned = quick().fit(rows, failed, run=run).trees_
    rows, failed, run = runs_with(lambda a, b, run: a * b > 0.6, runs=200)
    steady = quick().fit(rows, failed, run=run).trees_
    assert turned < 3
    assert steady > 20


def test_rows_may_come_in_any_order():
    rows, failed, run = runs_with(lambda a, b, run: a > 0.9)
    mixed = np.random.default_rng(2).permutation(len(rows))
    scores = [
        quick().fit(rows.iloc[at], failed[at], run=run[at]).decision_function(rows)
        for at in (np.arange(len(rows)), np.concatenate([mixed[run[mixed] == one] for one in range(60)][::-1]))
    ]
    assert np.corrcoef(*scores)[0, 1] > 0.99


def test_a_row_that_stands_for_many_counts_as_many():
    rows, failed, run = runs_with(lambda a, b, run: np.random.default_rng(3).random(len(a)) < 0.6 * a, runs=400)
    half = np.where(failed | (np.arange(len(rows)) % 2 == 0), 1.0, 0.0)
    kept = half > 0
    weight = np.where(failed, 1.0, 2.0)
    plain = quick().fit(rows, failed, run=run).predict_proba(rows)[:, 1].mean()
    weighed = quick().fit(rows[kept], failed[kept], weight[kept], run[kept]).predict_proba(rows)[:, 1].mean()
    unweighed = quick().fit(rows[kept], failed[kept], run=run[kept]).predict_proba(rows)[:, 1].mean()
    assert abs(weighed - plain) < 0.03
    assert unweighed - plain > 0.1


@pytest.mark.parametrize(
    "failed_of",
    [
        lambda a, b, run: np.where(run % 3 == 0, a > 0.5, run % 3 == 1),  # runs that failed or passed as a whole
        lambda a, b, run: (run == 59) & (a > 0.5),  # nothing failed before the later runs
        lambda a, b, run: (run == 0) & (a > 0.5),  # nothing failed in them
        lambda a, b, run: np.arange(len(a)) == 3,
    ],
)
def test_groups_of_one_outcome_do_no_harm(failed_of):
    rows, failed, run = runs_with(failed_of)
    assert np.isfinite(quick().fit(rows, failed, run=run).decision_function(rows)).all()


def test_one_run_and_features_that_nobody_knows_do_no_harm():
    rows, failed, run = runs_with(lambda a, b, run: a > 0.5, runs=1, tests=40)
    model = quick().fit(rows.assign(b=np.nan), failed, run=run)
    assert np.isfinite(model.decision_function(rows.assign(a=np.nan))).all()


def test_a_run_of_more_tests_than_lightgbm_takes_is_learned_in_parts(monkeypatch):
    assert ranker._pieces(10_000) == [10_000]
    assert ranker._pieces(20_001) == [6_667] * 3
    monkeypatch.setattr(ranker, "MAX_GROUP", 7)
    assert ranker._pieces(10) == [5, 5]
    rows, failed, run = runs_with(lambda a, b, run: a > 0.8)
    assert order(quick().fit(rows, failed, run=run), "a") > 0.6


def test_it_is_fitted_on_runs_in_time_order_whatever_they_are_called(frame, split, fitted):
    # Ids that go down while time goes on: by their order, the model would stop by what came first.
    named = frame.assign(run_id=[f"run-{9999 - int(name[4:]):04d}" for name in frame["run_id"]])
    [one] = training.fit_candidates(SPEC, named, split, OPTIONS)
    pd.testing.assert_frame_equal(
        training.predict(one.estimator, frame), training.predict(fitted.estimator, frame), rtol=0, atol=0
    )


def test_fitted_again_it_scores_the_same(frame, split, fitted):
    again = training.refit(SPEC, Plan("ranker"), frame, split, OPTIONS)
    pd.testing.assert_frame_equal(
        training.predict(again.estimator, frame), training.predict(fitted.estimator, frame), rtol=0, atol=0
    )


def test_a_row_gets_the_same_score_in_any_company_and_after_a_file(frame, fitted):
    together = training.predict(fitted.estimator, frame)
    alone = pd.concat([training.predict(fitted.estimator, frame.iloc[[at]]) for at in range(0, 50, 7)])
    pd.testing.assert_frame_equal(alone, together.iloc[range(0, 50, 7)], rtol=0, atol=1e-9)
    data = artifact.dump(fitted.estimator)
    again = artifact.load(data, artifact.sha256(data))
    pd.testing.assert_frame_equal(training.predict(again, frame), together, rtol=0, atol=0)


def test_a_system_without_openmp_is_told_what_is_missing(monkeypatch):
    def broken(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(ranker, "import_module", broken)
    with pytest.raises(LibraryMissing, match=r"libgomp.so.1: .*apt-get install libgomp1"):
        quick().fit(*runs_with(lambda a, b, run: a > 0.5)[:2])


def test_without_its_library_the_candidate_is_left_out_and_the_others_are_fitted(frame, split, monkeypatch, caplog):
    def broken(name):
        raise OSError("libgomp.so.1: cannot open shared object file")

    monkeypatch.setattr(ranker, "import_module", broken)
    both = small_spec(candidates={**SPEC.candidates, "linear": small_spec().candidates["linear"]})
    assert [one.name for one in training.fit_candidates(both, frame, split, OPTIONS)] == ["linear"]
    assert "candidate ranker of small is left out: LightGBM cannot be loaded: libgomp.so.1" in caplog.text
    with pytest.raises(LibraryMissing):
        training.fit_candidates(SPEC, frame, split, OPTIONS)
