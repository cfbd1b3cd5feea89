"""Publishing predictions through `ml.warehouse` against a bare COPY into the same columns without constraints."""

import io
import json
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path

import numpy as np
import pandas as pd
import psycopg2
from psycopg2 import extensions

from benchmarks.histories import PROJECT, history
from benchmarks.pairing import Contender, Pairing, Unequal, Work
from benchmarks.warehouse import running
from ml.schemas import FEATURES, Predictions, columns
from ml.spec import Interval, ModelVersion
from ml.warehouse import BatchRecord, Publication, Warehouse

ROWS = 100_000
QUICK_ROWS = 2_000
DONE_AT = datetime(2026, 6, 1, tzinfo=UTC)
VERSION = ModelVersion("test_selection", PROJECT, "1", "run", "artifact", "0" * 64)
STAMPED = {
    "model_version": "1",
    "gate_report": "report",
    "snapshot_id": 1,
    "publication_id": "f" * 64,
    "is_shared": False,
}
TARGET = ", ".join((*columns(Predictions), *STAMPED))
OURS = "fourgate.publication, fourgate.prediction_row"
COPY = f"COPY raw_prediction ({TARGET}) FROM STDIN"
READ = f"COPY raw_prediction ({TARGET}) TO STDOUT"
AS_CSV = " WITH (FORMAT csv)"


def pairings(quick: bool, scratch: Path) -> Iterator[Pairing]:
    """The same rows from a frame, and from either text of COPY, ready before the clock starts."""
    wanted = QUICK_ROWS if quick else ROWS
    frame = _predictions(history(20 if quick else 600).test_results, wanted)
    moments = count()
    with (
        running(scratch / "postgres") as dsns,
        Warehouse(dsns.pipeline) as warehouse,
        closing(psycopg2.connect(dsns.owner)) as raw,
    ):
        _record_snapshot(warehouse)
        _make_raw_table(raw)
        csv = _csv(frame)
        text = _text(raw, csv)
        ours = Contender(
            "Warehouse.publish", partial(_ready, raw, OURS, lambda: _publish(warehouse, frame, next(moments)))
        )
        for family, name, work, note in (
            (
                "peer starts from the frame",
                "to_csv + psycopg2 COPY",
                lambda: _copy(raw, _csv(frame), AS_CSV),
                "ours also checks the grain, sorts, hashes",
            ),
            (
                "peer starts from CSV",
                "psycopg2 COPY, FORMAT csv",
                lambda: _copy(raw, csv, AS_CSV),
                "ours also encodes, checks the grain, sorts, hashes",
            ),
            (
                "peer starts from text",
                "psycopg2 COPY, FORMAT text",
                lambda: _copy(raw, text),
                "ours also encodes, checks the grain, sorts, hashes",
            ),
        ):
            yield Pairing(
                family=family,
                size=f"{len(frame):,} rows",
                count=len(frame),
                unit="rows",
                ours=ours,
                peer=Contender(f"{name}, no constraints", partial(_ready, raw, "raw_prediction", work)),
                check=lambda ours, peer: _check(raw, len(frame)),
                note=f"{note}; ours keeps an index, NOT NULL and CHECKs, switches sets and audits, in one transaction",
            )


def _ready(raw: extensions.connection, tables: str, work: Work) -> Work:
    """Start each round from empty tables."""
    with raw, raw.cursor() as cursor:
        cursor.execute(f"TRUNCATE {tables}")
    return work


def _predictions(results: pd.DataFrame, wanted: int) -> pd.DataFrame:
    """Rows of the contract with the names of a history and drawn scores."""
    keys = results[["run_id", "variant", "test_id"]].drop_duplicates().head(wanted)
    score = np.random.default_rng(1).random(len(keys))
    reasons = [
        json.dumps([{"feature": name, "value": 0.25, "effect": float(f"{one / part:.6g}")} for part, name in _REASONS])
        for one in score
    ]
    return pd.DataFrame(
        {
            "model": VERSION.model,
            "project": PROJECT,
            "change_id": keys["run_id"].to_numpy(object),
            "variant": keys["variant"].to_numpy(object),
            "test_id": keys["test_id"].to_numpy(object),
            "score": score,
            "probability": score / 2,
            "rank": keys.groupby("run_id").cumcount().to_numpy() + 1,
            "decision": np.where(score > 0.5, "select", "skip").astype(object),
            "reasons": reasons,
            "as_of": pd.Series(pd.Timestamp(DONE_AT), index=range(len(keys))).astype("datetime64[us, UTC]"),
            "expected_duration_s": np.round(10 * score, 3),
            "rank_by_cost": keys.groupby("run_id").cumcount().to_numpy() + 1,
        }
    )[columns(Predictions)]


_REASONS = tuple(enumerate(FEATURES[:3], start=1))


def _record_snapshot(warehouse: Warehouse) -> None:
    """A publication names the snapshot that it comes from."""
    record = BatchRecord(
        batch_id="first",
        source="simulator",
        project=PROJECT,
        kind="history",
        payload_count=1,
        row_counts={"runs": 1},
        duplicates={},
        rejected=0,
        quality_score=1.0,
        versions={"runs": 1},
        data_until=DONE_AT,
        interval=Interval(None, DONE_AT),
        seconds=1.0,
        as_of=DONE_AT,
    )
    with warehouse.lake_lock():
        warehouse.record_batch(record, 1)


def _make_raw_table(raw: extensions.connection) -> None:
    with raw, raw.cursor() as cursor:
        cursor.execute("CREATE TABLE raw_prediction AS TABLE fourgate.prediction WITH NO DATA")


def _publish(warehouse: Warehouse, frame: pd.DataFrame, number: int) -> None:
    """Each time as of another moment: the same set again would be found and change nothing."""
    warehouse.publish(Publication(VERSION, "report", 1, DONE_AT + timedelta(seconds=number)), [frame])


def _csv(frame: pd.DataFrame) -> bytes:
    return frame.assign(**STAMPED).to_csv(header=False, index=False).encode()


def _text(raw: extensions.connection, csv: bytes) -> bytes:
    """The same rows as the server itself writes them."""
    _copy(raw, csv, AS_CSV)
    written = io.BytesIO()
    with raw, raw.cursor() as cursor:
        cursor.copy_expert(READ, written)
    return written.getvalue()


def _copy(raw: extensions.connection, text: bytes, options: str = "") -> None:
    with raw, raw.cursor() as cursor:
        cursor.copy_expert(COPY + options, io.BytesIO(text), size=1 << 20)


def _check(raw: extensions.connection, wanted: int) -> str:
    """Both tables hold the same set, but for the id of the publication."""
    names = ", ".join(name for name in TARGET.split(", ") if name != "publication_id")
    with raw, raw.cursor() as cursor:
        cursor.execute(
            "SELECT (SELECT count(*) FROM fourgate.current_prediction), (SELECT count(*) FROM raw_prediction)"
        )
        found = cursor.fetchone()
        cursor.execute(f"SELECT {names} FROM raw_prediction EXCEPT SELECT {names} FROM fourgate.current_prediction")
        first = cursor.fetchone()
    if found != (wanted, wanted) or first is not None:
        raise Unequal(f"{found} rows stored of {wanted}; first row that only the peer has: {first}")
    return f"{wanted:,} rows equal in every column"
