import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.__main__ import BENCHMARKS, main

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[2]
PAIRED = [
    name for name in BENCHMARKS if name not in ("scaling", "orchestration", "spark")
]  # Spark: tests/ml/test_spark
QUICK = [name if name != "publishing" else pytest.param(name, marks=pytest.mark.integration) for name in PAIRED]


@pytest.mark.parametrize("name", QUICK)
def test_each_benchmark_runs_and_writes_ratios(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--quick", "--only", name, "--results", str(tmp_path)]) == 0
    assert [path.name for path in tmp_path.iterdir()] == [f"{name}.json"]
    document = json.loads((tmp_path / f"{name}.json").read_text())
    assert (document["benchmark"], document["quick"], document["rounds"]) == (name, True, 3)
    assert len(document["outcomes"]) >= 2
    for outcome in document["outcomes"]:
        assert len(outcome["ratios"]) == 3
        assert math.isfinite(outcome["ratio"])
        assert outcome["ratio"] > 0
        assert outcome["equal"]
        assert outcome["count"] > 0
    grown = {"simulated"} if name in ("features", "labels") else set()
    assert {slope["family"] for slope in document["slopes"]} == grown
    assert capsys.readouterr().out.count("ratio ") >= len(document["outcomes"])


@pytest.mark.parametrize(("name", "family"), [("scaling", "all features"), ("orchestration", "DAG file")])
def test_figures_without_a_peer_are_printed_and_written(
    name: str, family: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--quick", "--only", name, "--results", str(tmp_path)]) == 0
    figures = json.loads((tmp_path / f"{name}.json").read_text())["figures"]
    assert {figure["family"] for figure in figures} == {family}
    shown = capsys.readouterr().out
    assert shown.count(f"{family}, ") == len(figures)
    if name == "scaling":
        assert [figure["count"] for figure in figures] == sorted(figure["count"] for figure in figures)
        assert all(0 < figure["asked"] < figure["count"] for figure in figures)
        assert "grow as rows^" in shown


def test_two_rounds_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--rounds", "2"])
    assert "expected 3 or more" in capsys.readouterr().err


def test_an_unknown_name_is_refused_with_those_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--only", "nothing"])
    assert "publishing" in capsys.readouterr().err


def test_help_names_every_benchmark() -> None:
    command = [sys.executable, "-m", "benchmarks", "--help"]
    shown = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(BENCHMARKS) <= set(shown.replace(",", " ").split())
