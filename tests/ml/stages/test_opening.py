"""Moments from text, names from values, and files that are whole or not there."""

import fcntl
import json
import math
from datetime import UTC, datetime
from pathlib import Path

import pytest

from ml.errors import SettingsError
from ml.settings import Settings
from ml.spec import Interval
from ml.stages.opening import LARGE_ROWS, alone_if_large, key_of, replacing, to_span, without_nan, write_json


def test_a_span_is_read_in_any_time_zone_and_may_be_open() -> None:
    span = to_span("2026-01-31T08:00:00Z", "2026-01-31T10:00:00+01:00")
    assert span == Interval(datetime(2026, 1, 31, 8, tzinfo=UTC), datetime(2026, 1, 31, 9, tzinfo=UTC))
    assert to_span(None, "") == Interval()


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01T00:00:00Z", "2026-01-31T25:00:00Z", "\x00", "0"])
def test_a_text_that_is_no_moment_is_refused_with_one_that_is(text: str) -> None:
    with pytest.raises(SettingsError, match="is no moment; right would be 2026-01-31T08:00:00Z"):
        to_span(text, None)


def test_a_moment_without_a_time_zone_is_refused_with_the_right_spelling() -> None:
    with pytest.raises(SettingsError, match="no time zone; right would be 2026-01-31T08:00:00Z for UTC"):
        to_span(None, "2026-01-31T08:00:00")


@pytest.mark.parametrize("end", ["2026-01-31T08:00:00Z", "2026-01-31T07:59:59Z", "2026-01-31T08:30:00+01:00"])
def test_a_span_that_ends_where_it_starts_or_earlier_is_refused(end: str) -> None:
    with pytest.raises(SettingsError, match="the start must be earlier"):
        to_span("2026-01-31T08:00:00Z", end)


def test_a_key_is_the_same_on_every_machine() -> None:
    # printf '["ozone", "7", "a b"]' | sha256sum
    assert key_of("ozone", 7, "a b") == "d340d3ead65ec086"  # pragma: allowlist secret


def test_keys_tell_values_apart_that_would_run_together_as_text() -> None:
    assert len({key_of("a", "b"), key_of("ab"), key_of("a b"), key_of("b", "a"), key_of("a", "b", "")}) == 5
    assert len(key_of("a")) == 16


def test_a_file_that_could_not_be_written_whole_leaves_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "value.json"
    write_json(path, {"version": 1})
    with pytest.raises(TypeError):
        write_json(path, {"version": {1: 2}, ("no", "key"): 3})
    assert json.loads(path.read_text()) == {"version": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["value.json"]


def test_a_write_that_breaks_off_leaves_the_old_file_and_no_scratch(tmp_path: Path) -> None:
    path = tmp_path / "frame"
    path.write_text("old")
    with pytest.raises(UnicodeEncodeError), replacing(path) as scratch:
        scratch.write_text("half of it, then \ud800", encoding="utf-8")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_two_writers_of_one_file_do_not_write_into_each_others_scratch(tmp_path: Path) -> None:
    path = tmp_path / "frame"
    with replacing(path) as first:
        first.write_text("first")
        with replacing(path) as second:
            second.write_text("the second one")
        assert path.read_text() == "the second one"
    assert path.read_text() == "first"


def test_numbers_that_json_lacks_become_null_at_any_depth() -> None:
    value = {"a": math.nan, "b": [1.5, math.inf, ("x", -math.inf)], "c": {"d": 0.0, "e": None}}
    assert without_nan(value) == {"a": None, "b": [1.5, None, ["x", None]], "c": {"d": 0.0, "e": None}}


def test_two_large_frames_wait_for_each_other_and_small_ones_for_nobody(tmp_path: Path) -> None:
    settings = Settings(home=tmp_path)
    with alone_if_large(settings, LARGE_ROWS + 1), (tmp_path / "large_frame.lock").open("w") as other:
        with pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with alone_if_large(settings, LARGE_ROWS):
            pass
    with (tmp_path / "large_frame.lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
