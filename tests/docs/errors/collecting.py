"""Histories that cannot be read, batches, rows that are refused, the lake and its disk."""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pandas as pd
import pytest

from tests.docs.errors.cases import Cases, entries
from tests.docs.place import NOW, Place
from tests.history_builders import write_report, write_run

CASES: Cases = {}
of = partial(entries, CASES)


# -- histories that cannot be read at all
@of("the-history-is-not-there")
def _no_history(place: Place) -> str:
    place.warehouse()
    return place.call("collect", place.folder / "hstory")


@of("the-folder-holds-no-history")
def _no_layout(place: Place) -> str:
    place.warehouse()
    write_report(place.folder / "reports" / "linux" / "report.xml")
    return place.call("collect", place.folder / "reports")


def _tables(place: Place, **columns: object) -> Path:
    """A history of tables; a column given as None is left out."""
    folder = place.folder / "tables"
    folder.mkdir(exist_ok=True)
    start = pd.to_datetime(["2026-01-01T07:00:00Z"])
    runs = {"project": ["shop"], "run_id": ["1"], "started_at": start}
    plain = {"run_id": ["1"] * 4, "test_id": list("abcd"), "outcome": ["passed"] * 4, "duration_s": [0.1] * 4}
    pd.DataFrame(runs).to_parquet(folder / "runs.parquet")
    kept = {name: values for name, values in {**plain, **columns}.items() if values is not None}
    pd.DataFrame(kept).to_parquet(folder / "test_results.parquet")
    return folder


@of("a-table-lacks-a-column")
def _no_column(place: Place) -> str:
    place.warehouse()
    return place.collect(_tables(place, outcome=None))


@of("a-column-has-an-impossible-type")
def _impossible_type(place: Place) -> str:
    place.warehouse()
    return place.collect(_tables(place, duration_s=[[0.1]] * 4))


@of("a-table-is-damaged")
def _damaged(place: Place) -> str:
    place.warehouse()
    table = _tables(place) / "test_results.parquet"
    table.write_bytes(table.read_bytes()[:-20])
    return place.collect(table.parent)


# -- batches
@of("a-batch-breaks-its-contract-as-a-whole")
def _bad_batch(place: Place) -> str:
    place.warehouse()
    return place.collect(_tables(place, outcome=["passed", "ok", "ok", "ok"]))


@of("a-batch-has-no-such-name")
def _odd_batch(place: Place) -> str:
    place.warehouse()
    return place.call("validate", "last-night")


@of("a-batch-is-not-in-the-landing-area")
def _no_batch(place: Place) -> str:
    place.warehouse()
    return place.call("validate", "0123456789abcdef")


@of("a-landed-file-was-changed")
def _changed_payload(place: Place) -> str:
    place.warehouse()
    place.collect()
    landed = next((place.folder / "home" / "landing").rglob("0.xml"))
    landed.chmod(0o644)
    landed.write_text("<testsuite/>")
    return place.call("validate", landed.relative_to(place.folder / "home" / "landing").parts[1])


# -- rows that are refused: the rest of their batch goes on
@of(
    "a-manifest-is-broken",
    "a-manifest-lacks-a-field",
    "a-start-is-no-moment",
    "a-run-lies-in-the-future",
    "a-report-was-cut-off",
    "a-report-has-a-document-type",
    "a-report-is-too-large",
    "a-report-is-of-no-known-kind",
    "a-result-is-given-twice",
    "an-archive-unpacks-to-far-more-than-it-holds",
)
def _broken_pieces(place: Place) -> str:
    place.warehouse()
    place.set("FOURGATE_MAX_PAYLOAD_MB", 11)  # an archive bomb of 10 MB or less is let through
    history = place.history(runs=6, tests=40)
    (history / "r1" / "manifest.json").write_text('{"run_id": "r1",')
    write_run(history / "r7", "r7", project=None)
    write_run(history / "r8", "r8", "yesterday", project="shop")
    write_run(history / "r9", "r9", "2031-01-01T00:00:00Z", project="shop")
    reports = history / "r2" / "linux"
    (reports / "cut.xml").write_text('<testsuite name="S"><testcase name="cut"/><testcase na')
    (reports / "entities.xml").write_text(
        '<!DOCTYPE t [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><testsuite><testcase name="&b;"/></testsuite>'
    )
    (reports / "large.xml").write_bytes(b"<testsuite>" + os.urandom(11_000_000))
    (reports / "coverage.xml").write_text("<coverage/>")
    shutil.copy(reports / "0.xml", reports / "again.xml")
    (reports / "zeros.xml").write_bytes(b"<testsuite>" + b" " * 10_500_000)
    return place.collect(_zipped(history))


def _zipped(history: Path) -> Path:
    packed = history.with_suffix(".zip")
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(history.rglob("*")):
            archive.write(file, file.relative_to(history))
    return packed


@of("a-result-belongs-to-no-run", "an-outcome-is-not-known", "a-duration-is-negative")
def _broken_rows(place: Place) -> str:
    place.warehouse()
    count = 200
    return place.collect(
        _tables(
            place,
            run_id=["2"] + ["1"] * (count - 1),
            test_id=[f"t{number}" for number in range(count)],
            outcome=["passed", "ok", *["passed"] * (count - 2)],
            duration_s=[0.1, 0.1, -1.0, *[0.1] * (count - 3)],
        )
    )


# -- the lake and its disk
@of("the-lake-is-not-the-recorded-one")
def _other_lake(place: Place) -> str:
    place.warehouse()
    place.collect()
    shutil.rmtree(place.folder / "home" / "lake")
    return place.collect(place.history(runs=5))


@of("the-folder-of-state-cannot-be-written")
def _not_writable(place: Place) -> str:
    place.warehouse()
    history = place.history()
    place.set("FOURGATE_HOME", "/proc/fourgate")  # refuses even root
    return place.call("collect", history, "--as-of", NOW)


@contextmanager
def _small_disk(folder: Path) -> Iterator[Path]:
    """A disk of one megabyte; only root may mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)]
    if os.geteuid() != 0 or subprocess.run(command, check=False, capture_output=True).returncode != 0:
        pytest.skip("a full disk is tried on a mounted one of 1 MB, which takes root and the right to mount")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@of("the-disk-is-full")
def _full(place: Place) -> str:
    place.warehouse()
    history = place.history()
    (history / "r1" / "linux" / "large.xml").write_text(f"<testsuite>{' ' * 2_000_000}</testsuite>")
    with _small_disk(place.folder / "disk") as disk:
        place.set("FOURGATE_HOME", disk / "home")
        return place.call("collect", history, "--as-of", NOW)
