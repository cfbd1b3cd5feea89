"""Settings, moments, thresholds, set-up."""

import shutil
import subprocess
from functools import partial

from ml.settings import load_settings
from tests.docs.errors.cases import Cases, entries
from tests.docs.pages import ROOT
from tests.docs.place import Place

CASES: Cases = {}
of = partial(entries, CASES)


@of("a-setting-is-misspelt")
def _misspelt(place: Place) -> str:
    place.set("FOURGATE_THREAD", 2)
    return place.call("status")


@of("a-setting-has-a-value-of-the-wrong-kind")
def _wrong_kind(place: Place) -> str:
    place.set("FOURGATE_THREADS", "many")
    return place.call("status")


@of("a-moment-cannot-be-read")
def _no_moment(place: Place) -> str:
    return place.call("features", "--as-of", "yesterday")


@of("a-moment-has-no-time-zone")
def _no_zone(place: Place) -> str:
    return place.call("features", "--as-of", "2026-01-31T08:00:00")


@of("an-interval-ends-before-it-starts")
def _backwards(place: Place) -> str:
    return place.call("collect", place.history(), "--since", "2026-02-01T00:00:00Z", "--until", "2026-01-01T00:00:00Z")


@of("a-model-is-not-known")
def _unknown_model(place: Place) -> str:
    return place.call("train", "--model", "tarot")


@of("python-is-too-old-or-too-new")
def _python(place: Place) -> str:
    # what an interpreter of another version answers to the two questions that the Makefile asks
    old = place.folder / "python3.9"
    old.write_text('#!/bin/sh\n[ "$1" = --version ] && echo Python 3.9.2 || exit 1\n')
    old.chmod(0o755)
    shutil.copy(ROOT / "Makefile", place.folder)
    done = subprocess.run(
        ["make", ".tools/bin/uv", f"PYTHON={old}"], cwd=place.folder, capture_output=True, text=True, check=False
    )
    assert done.returncode != 0
    return done.stdout.replace(str(place.folder), "/usr/bin")


def _thresholds(place: Place, old: str, new: str) -> str:
    """Judge with thresholds of which one line was changed."""
    shipped = load_settings().gates_file.read_text()
    assert old in shipped
    (place.folder / "thresholds.toml").write_text(shipped.replace(old, new, 1))
    place.set("FOURGATE_GATES_FILE", place.folder / "thresholds.toml")
    place.warehouse()
    place.collect(place.history(runs=4))
    return place.call("train")


@of("a-threshold-is-misspelt")
def _misspelt_threshold(place: Place) -> str:
    return _thresholds(place, "min_train_rows", "min_train_row")


@of("a-threshold-has-an-impossible-value")
def _impossible_threshold(place: Place) -> str:
    return _thresholds(place, "max_rejected_rate = 0.05", "max_rejected_rate = 5")


@of("the-file-of-thresholds-is-missing")
def _no_thresholds(place: Place) -> str:
    place.warehouse()
    place.collect_runs()
    place.set("FOURGATE_GATES_FILE", place.folder / "gone.toml")
    return place.call("train")
