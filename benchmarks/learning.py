"""A test-selection model learned and asked: `ml.training` against scikit-learn's own fit and `predict_proba`."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from threadpoolctl import threadpool_limits

from benchmarks.histories import PROJECT, TABLES, frames, to_lake
from benchmarks.pairing import Contender, Pairing, Unequal
from ml.engine import open_engine
from ml.features import Context, Queries, build
from ml.models import test_selection
from ml.publishing import Explanation, Origin, prediction_rows
from ml.schemas import feature_descriptions
from ml.spec import Interval, Split
from ml.training import FitOptions, by_cost, fit_candidates, occluder, predict
from ml.training.calibration import LogOdds

CANDIDATE = "blend"
RUNS, QUICK_RUNS = 1_200, 60
PAIRS, QUICK_PAIRS = 100_000, 2_000
TESTS = 1_000  # of a change, among the pairs
FIT, CALIBRATE = 0.65, 0.8
THREADS = 2
SEED = 1
TOLERANCE = 1e-12
NOW = datetime(2100, 1, 1, tzinfo=UTC)
SPEC = replace(test_selection.SPEC, candidates={CANDIDATE: test_selection.SPEC.candidates[CANDIDATE]})


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """One candidate fitted and calibrated; then so many (change, test) pairs scored, without and with reasons."""
    frame = _frame(QUICK_RUNS if quick else RUNS, scratch)
    options = FitOptions(SEED, max_rows=len(frame))
    rows = int((frame["started_at"] < _moments(frame)[1]).sum())
    yield Pairing(
        family=f"fit of {CANDIDATE}",
        size=f"{rows:,} rows",
        count=rows,
        unit="rows",
        ours=Contender("ml.training.fit_candidates", lambda: partial(_fit, frame, options)),
        peer=Contender("scikit-learn", lambda: partial(_sklearn_fit, frame)),
        check=partial(_same_probabilities, frame),
        note="ours also finds periods and outages and measures; and would sample more rows than FitOptions.max_rows",
    )
    estimator = _fit(frame, options)
    pairs = _pairs(frame, QUICK_PAIRS if quick else PAIRS)
    for title, work, note in (
        ("scores", _score, "ours gives the uncalibrated score too, and on one thread the same one in any company"),
        (
            "published rows",
            _publish,
            "ours also ranks, decides, and gives the three strongest reasons of each score",
        ),
    ):
        yield Pairing(
            family=title,
            size=f"{len(pairs):,} pairs",
            count=len(pairs),
            unit="pairs",
            ours=Contender(f"ml {title}", lambda work=work: partial(work, estimator, pairs)),
            peer=Contender("scikit-learn predict_proba", lambda: partial(_sklearn_score, estimator, pairs)),
            check=_same,
            note=note,
        )


def _frame(run_count: int, scratch: Path) -> pd.DataFrame:
    lake, versions = to_lake(frames(run_count), scratch / "lake")
    with open_engine("duckdb", threads=THREADS) as engine:
        for name in TABLES:
            engine.register_files(name, lake.files(name, versions[name], PROJECT), lake.schema(name, versions[name]))
        return build(engine, Queries.training(PROJECT), Context())


def _pairs(frame: pd.DataFrame, count: int) -> pd.DataFrame:
    """Rows of the frame, some of them several times, as tests of so many changes."""
    drawn = frame.sample(count, replace=True, random_state=SEED, ignore_index=True)
    numbers = np.arange(count)
    run_ids, test_ids = (numbers // TESTS).astype(str).astype(object), (numbers % TESTS).astype(str).astype(object)
    return drawn.assign(project=PROJECT, run_id=run_ids, variant="linux", test_id=test_ids)


def _moments(frame: pd.DataFrame) -> tuple[datetime, datetime]:
    """Ends of the periods to fit and to calibrate on."""
    starts = frame.drop_duplicates("run_id")["started_at"].sort_values(ignore_index=True)
    fit, calibrate = (starts.iloc[int(len(starts) * share)].to_pydatetime() for share in (FIT, CALIBRATE))
    return fit, calibrate


def _fit(frame: pd.DataFrame, options: FitOptions) -> Any:
    fit, calibrate = _moments(frame)
    split = Split(Interval(None, fit), Interval(fit, calibrate), Interval(calibrate, NOW), Interval(NOW, None))
    return fit_candidates(SPEC, frame, split, options)[0].estimator


def _sklearn_fit(frame: pd.DataFrame) -> Any:
    """What somebody would write who knows of periods and outages as well."""
    fit, calibrate = _moments(frame)
    share = frame.groupby("run_id")["failed"].transform("mean")
    started, known = frame["started_at"], frame["known_at"]
    rows = frame[(started < fit) & (known < fit) & (share > 0) & (share <= 0.5)]
    later = frame[(started >= fit) & (started < calibrate) & (known < calibrate) & (share <= 0.5)]
    columns = [name for name in SPEC.features if rows[name].notna().any()]
    estimator = SPEC.candidates[CANDIDATE](SEED)
    estimator.set_params(scale__n_quantiles=min(estimator.get_params()["scale__n_quantiles"], len(rows)))
    estimator.fit(rows[columns], rows["failed"].astype(bool))
    calibrated = CalibratedClassifierCV(FrozenEstimator(LogOdds(estimator)), method="sigmoid")
    return calibrated.fit(later[columns], later["failed"].astype(bool))


def _score(estimator: Any, pairs: pd.DataFrame) -> np.ndarray[Any, Any]:
    return predict(estimator, pairs)["probability"].to_numpy()


def _publish(estimator: Any, pairs: pd.DataFrame) -> np.ndarray[Any, Any]:
    explanation = Explanation(
        occluder(estimator, THREADS),
        pairs[list(SPEC.features)].median(),
        feature_descriptions(SPEC.contract),
    )
    predicted = predict(estimator, pairs).join(by_cost(SPEC, estimator, pairs))
    rows = prediction_rows(pairs, predicted, explanation, Origin(SPEC.name, 0.3, NOW))
    in_order = rows.assign(change=rows["change_id"].astype(int), test=rows["test_id"].astype(int))
    return in_order.sort_values(["change", "test"])["probability"].to_numpy()


def _sklearn_score(estimator: Any, pairs: pd.DataFrame) -> np.ndarray[Any, Any]:
    found: np.ndarray[Any, Any] = estimator.predict_proba(pairs[estimator.feature_names_in_])[:, 1]
    return found


def _same_probabilities(frame: pd.DataFrame, ours: Any, peer: Any) -> str:
    """Of the peer on one thread, as ours: on two, boosting sums in another order, and equal splits fall otherwise."""
    with threadpool_limits(1):
        peer = _sklearn_fit(frame)
    return _same(_score(ours, frame), _sklearn_score(peer, frame))


def _same(ours: np.ndarray[Any, Any], peer: np.ndarray[Any, Any]) -> str:
    differs = ~np.isclose(ours, peer, rtol=0.0, atol=TOLERANCE)
    if differs.any():
        at = int(np.flatnonzero(differs)[0])
        raise Unequal(f"{differs.sum()} of {len(ours)} probabilities, first {at}: ours {ours[at]!r}, peer {peer[at]!r}")
    return f"{len(ours):,} probabilities within {TOLERANCE:g}"
