"""A simulated history on disk: well-formed reports that hold exactly the results, written once."""

import json
import shutil
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pandas as pd
import pytest
from lxml import etree

from ml import schemas
from ml.errors import SourceError
from ml.sources.junit import JUnit
from ml.sources.simulator import History, World, simulate, write_history
from ml.sources.source import Limits
from ml.spec import Interval
from tests.ml.sources.simulator_builders import SMALL, digests


def test_a_longer_history_begins_with_the_same_bytes(simulated: Path, tmp_path: Path) -> None:
    write_history(simulate(replace(SMALL, run_count=60)), tmp_path / "longer")
    short, longer = digests(simulated), digests(tmp_path / "longer")
    first_runs = {name: value for name, value in short.items() if name[:9] <= "run-00040" and name.startswith("run-")}
    assert len(first_runs) > 40 * 2 * 4
    assert {name: longer.get(name) for name in first_runs} == first_runs


def test_reports_are_well_formed_and_hold_exactly_the_results(small: History, simulated: Path) -> None:
    outcomes = {"failure": "failed", "error": "error", "skipped": "skipped"}
    read = set()
    for manifest_file in simulated.glob("*/manifest.json"):
        manifest = json.loads(manifest_file.read_text("utf-8"))
        for report in manifest_file.parent.glob("*/TEST-*.xml"):
            for case in etree.parse(report).getroot().iter("testcase"):
                outcome = outcomes[case[0].tag] if len(case) else "passed"
                test_id = f"{case.get('classname')}::{case.get('name')}"
                place = (manifest["run_id"], manifest["attempt"], report.parent.name)
                read.add((*place, test_id, outcome, float(case.get("time"))))
    columns = ["run_id", "attempt", "variant", "test_id", "outcome", "duration_s"]
    assert read == set(small.test_results[columns].itertuples(index=False, name=None))


def test_hostile_looking_names_are_escaped(simulated: Path) -> None:
    text = "".join(report.read_text("utf-8") for report in (simulated / "run-00001" / "linux").glob("*.xml"))
    assert 'name="test_parses[a&lt;b &amp; &quot;c&quot;]"' in text
    assert "a<b" not in text


def test_suite_counts_agree_with_the_cases(simulated: Path) -> None:
    failing = 0
    for report in simulated.glob("*/*/TEST-*.xml"):
        suite = etree.parse(report).getroot()
        counts = {tag: len(suite.findall(f"testcase/{tag}")) for tag in ("failure", "error", "skipped")}
        failing += counts["failure"] + counts["error"]
        assert int(suite.get("tests")) == len(suite)
        assert int(suite.get("failures")) == counts["failure"]
        assert int(suite.get("errors")) == counts["error"]
        assert int(suite.get("skipped")) == counts["skipped"]
    assert failing > 0


def test_manifests_say_what_the_frames_say(small: History, simulated: Path) -> None:
    assert len(list(simulated.glob("*/manifest.json"))) == len(small.runs)
    first = json.loads((simulated / "run-00001" / "manifest.json").read_text("utf-8"))
    row = small.runs.iloc[0]
    assert datetime.fromisoformat(first["started_at"]) == row["started_at"]
    assert datetime.fromisoformat(first["finished_at"]).utcoffset() == timedelta(0)
    assert (first["author"], first["commit_sha"], first["attempt"]) == (row["author_id"], row["commit_sha"], 1)
    files = small.changed_files[small.changed_files["run_id"] == "run-00001"]
    assert [file["path"] for file in first["changed_files"]] == list(files["path"])
    announced = json.loads((simulated / "run-00041" / "manifest.json").read_text("utf-8"))
    assert (announced["status"], announced["finished_at"]) == ("announced", None)
    assert [path.name for path in (simulated / "run-00041").iterdir()] == ["manifest.json"]


def test_the_junit_source_reads_back_the_frames(small: History, simulated: Path, tmp_path: Path) -> None:
    limits = Limits(max_payload_bytes=1_000_000, author_salt="salt")
    source = JUnit(simulated, tmp_path / "landing", limits)
    parsed = [source.read(batch, limits) for batch in source.fetch(Interval())]
    assert sum(len(part.refused) for part in parsed) == 0
    for name in schemas.tables_of(()):
        key = schemas.KEYS[name]
        read = pd.concat([part.frames[name] for part in parsed])
        written = getattr(small, name)
        # a report tells the order within its module
        kept = [name for name in written.columns if name not in ("author_id", "position")]
        # categories have NaN where text is null
        read = read.astype(object).where(read.notna(), None).astype(written.dtypes)
        left, right = (frame[kept].sort_values(list(key), ignore_index=True) for frame in (read, written))
        pd.testing.assert_frame_equal(left, right)


def test_the_truth_is_written_beside_the_runs(small: History, simulated: Path) -> None:
    truth = json.loads((simulated / "truth.json").read_text("utf-8"))
    assert len(truth["failures"]) == len(small.failures)
    assert {test["test_id"] for test in truth["tests"]} == set(small.tests["test_id"])
    assert all(test["dependencies"] for test in truth["tests"])


def test_writing_the_same_world_again_does_nothing(small: History, tmp_path: Path) -> None:
    target = tmp_path / "simulated"
    assert write_history(small, target)
    (target / "run-00001" / "manifest.json").write_text("touched")
    assert not write_history(small, target)
    assert (target / "run-00001" / "manifest.json").read_text() == "touched"


def test_the_same_world_of_an_earlier_release_is_left_as_it_is(small: History, tmp_path: Path) -> None:
    target = tmp_path / "simulated"
    assert write_history(small, target)
    world = json.loads((target / "world.json").read_text())
    (target / "world.json").write_text(json.dumps({**world, "format": 1}))
    before = digests(target)
    assert not write_history(small, target)
    assert digests(target) == before
    with pytest.raises(SourceError, match="differs in format, run_count"):
        write_history(simulate(replace(SMALL, run_count=45)), target)


@pytest.mark.slow
def test_a_longer_history_replaces_its_beginning(simulated: Path, tmp_path: Path) -> None:
    target = tmp_path / "simulated"
    shutil.copytree(simulated, target)
    longer = simulate(replace(SMALL, run_count=45))
    assert write_history(longer, target)
    assert (target / "run-00045" / "linux").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["simulated"]


@pytest.mark.parametrize("other", [replace(SMALL, seed=8), replace(SMALL, run_count=39), replace(SMALL, drift_at=0.5)])
def test_a_folder_with_another_world_is_refused_and_kept(simulated: Path, other: World) -> None:
    before = digests(simulated)
    with pytest.raises(SourceError, match="holds another simulated world"):
        write_history(simulate(other), simulated)
    assert digests(simulated) == before


def test_a_folder_of_someone_else_is_refused_and_kept(small: History, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(SourceError, match="is not a folder of the simulator"):
        write_history(small, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_write_that_was_killed_before_is_finished_by_the_next(
    small: History, simulated: Path, tmp_path: Path
) -> None:
    (tmp_path / ".simulated.partial" / "run-00001").mkdir(parents=True)
    (tmp_path / "simulated").mkdir()
    assert write_history(small, tmp_path / "simulated")
    assert digests(tmp_path / "simulated") == digests(simulated)
