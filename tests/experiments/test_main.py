"""The command names what is absent and goes on."""

from pathlib import Path

import pytest

from experiments import __main__ as command
from experiments.histories import data_folder


def test_sets_that_are_absent_are_named_and_nothing_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command.measure(tmp_path)
    told = capsys.readouterr().out.splitlines()
    assert told == [
        f"{name}: absent, no folder of that name in the data"
        for name in ("iofrol", "druid", "dune", "ozone", "ozone_gha", "zephyr")
    ]


def test_the_folder_of_data_is_what_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("FOURGATE_REAL_DATA", str(tmp_path))
    assert data_folder() == tmp_path
