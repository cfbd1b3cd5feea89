"""Which tests are flaky, over a collected history."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ml.errors import NotEnoughData
from ml.settings import Settings
from ml.stages import collection, fetching, flakiness
from tests.flaky_history import collect
from tests.history_builders import write_report, write_run
from tests.postgres import Postgres

NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path) -> Settings:
    """Twelve runs of one commit: one test fails in every third of them, two always pass."""
    history = tmp_path / "history"
    for number in range(12):
        day = f"2026-01-{number + 1:02d}"
        about = {"finished_at": f"{day}T00:30:00Z", "commit_sha": "c", "branch": "main"}
        run = write_run(history / f"r{number}", f"r{number}", f"{day}T00:00:00Z", **about)
        write_report(run / "linux" / "shaky.xml", "shaky", failed=number % 3 == 2)
        for test in ("steady", "calm"):
            write_report(run / "linux" / f"{test}.xml", test)
    settings = Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))
    batches = fetching.fetch_history(settings, str(history))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])
    return settings


def test_a_test_with_both_outcomes_on_one_commit_leads_the_list(settings: Settings) -> None:
    first, *others = flakiness.assess(settings, "p")
    assert (first["test_id"], first["variant"], first["executions"]) == ("S::shaky", "linux", 12)
    assert first["state"] in ("flaky", "quarantine candidate")
    assert first["probability"] > 0.95
    # four flaky failures in twelve executions, and a prior worth 0.05 in 20
    assert first["rate"] == pytest.approx((4 + 0.05) / (12 + 20), rel=0.05)
    assert [one["state"] for one in others] == ["healthy", "healthy"]


def test_what_becomes_known_later_does_not_count(settings: Settings) -> None:
    early = flakiness.assess(settings, "p", datetime(2026, 1, 2, 12, tzinfo=UTC))
    assert {one["executions"] for one in early} == {2}
    assert {one["state"] for one in early} == {"healthy"}
    with pytest.raises(NotEnoughData, match="0 executions"):
        flakiness.assess(settings, "p", datetime(2025, 1, 1, tzinfo=UTC))


def test_the_history_tells_when_a_test_became_flaky_and_why(settings: Settings) -> None:
    found = flakiness.history(settings, "p", "S::shaky", looks=10)
    assert [moment.isoformat()[:10] for moment in found["looked_at"]] == ["2026-01-05", "2026-01-12"]
    (first, second) = found["changes"]
    assert (first["was"], first["state"], first["executions"]) == (None, "healthy", 5)
    assert (second["was"], second["variant"], second["at"]) == ("healthy", "linux", found["looked_at"][1])
    assert second["state"] in ("flaky", "quarantine candidate")
    assert (second["failed_in"], second["held_for"]) == ("r11", "flaky")
    assert "passed_on_same_code" in second["evidence"]


def test_a_past_look_sees_what_was_known_then(settings: Settings) -> None:
    late = flakiness.history(settings, "p", "S::shaky", looks=10)
    early = flakiness.history(settings, "p", "S::shaky", looks=10, as_of=late["looked_at"][0])
    assert early["changes"] == late["changes"][:1]


def test_a_test_that_never_ran_is_answered_with_what_comes_near(settings: Settings) -> None:
    with pytest.raises(
        NotEnoughData, match="'S::shakey' was never executed in p; of 3 tests these come near: S::shaky"
    ):
        flakiness.history(settings, "p", "S::shakey", looks=3)


@pytest.mark.parametrize(
    ("days", "most", "count", "apart"), [(0, 5, 1, 7), (20, 5, 3, 7), (70, 5, 5, 14), (7, 1, 1, 7)]
)
def test_moments_are_a_week_apart_or_as_many_as_allowed(days: int, most: int, count: int, apart: int) -> None:
    end = datetime(2026, 3, 1, tzinfo=UTC)
    found = flakiness.moments_until(end, end - timedelta(days=days), most)
    assert (len(found), found[-1]) == (count, end)
    assert {later - earlier for earlier, later in pairwise(found)} <= {timedelta(days=apart)}


@pytest.fixture
def empty(postgres: Postgres, tmp_path: Path) -> Settings:
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn))


OTHERS = {("linux", f"calm{number}"): "p" * 12 for number in range(3)}


def told(settings: Settings, project: str = "p") -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["variant"], one["test_id"]): one for one in flakiness.assess(settings, project)}


def test_a_flaky_test_has_its_cost_and_hints_beside_its_state(empty: Settings) -> None:
    tests = {("linux", "t"): "ppppppxpxpxp", ("mac", "t"): "p" * 12, **OTHERS}
    collect(empty, tests, seconds={"p": 60, "f": 300})
    found = told(empty)
    flaky = found[("linux", "S::t")]
    assert flaky["failed_runs"] == 3
    assert flaky["rerun_minutes"] == 15  # three attempts that repeated five tests of a minute
    assert [hint["kind"] for hint in flaky["hints"]] == ["timing"]
    assert flaky["hints"][0]["evidence"] == "3 failures took 300 s (median), 9 passes 60 s"
    assert found[("mac", "S::t")]["failed_runs"] == 0
    assert found[("mac", "S::t")]["hints"] == []


def test_a_test_that_fails_right_after_another_has_a_hint_that_names_it(empty: Settings, tmp_path: Path) -> None:
    """Each run has the three tests in another order; t fails where b ran right before."""
    for number, order in enumerate(["abt", "tab", "bat", "atb"] * 6):
        day = f"2026-01-{number + 1:02d}"
        about = {"finished_at": f"{day}T00:30:00Z", "commit_sha": "c", "branch": "main"}
        run = write_run(tmp_path / "history" / f"r{number}", f"r{number}", f"{day}T00:00:00Z", **about)
        inside = {"t": "<failure/>" if "bt" in order else ""}
        cases = [f'<testcase name="{name}">{inside.get(name, "")}</testcase>' for name in order]
        (run / "report.xml").write_text(f'<testsuite name="S">{"".join(cases)}</testsuite>', encoding="utf-8")
    batches = fetching.fetch_history(empty, str(tmp_path / "history"))
    collection.append(empty, [collection.validate(empty, batch, NOW) for batch in batches])
    (hint,) = told(empty)[("default", "S::t")]["hints"]
    assert (hint["kind"], hint["evidence"]) == (
        "order",
        "fails 6 of 6 times right after S::b, 0 of 15 times otherwise",
    )
    assert hint["p_value"] < 0.001


def test_a_history_without_failures_has_healthy_tests_that_cost_nothing(empty: Settings) -> None:
    collect(empty, OTHERS)
    found = told(empty).values()
    assert {(one["state"], one["failed_runs"], one["rerun_minutes"]) for one in found} == {("healthy", 0, 0.0)}
    history = flakiness.history(empty, "p", "S::calm0", looks=5)
    assert [(one["was"], one["state"], one["failed_in"]) for one in history["changes"]] == [(None, "healthy", None)]


def test_a_test_that_only_ever_failed_is_broken_and_not_flaky(empty: Settings) -> None:
    collect(empty, {("linux", "t"): "f" * 12, ("mac", "t"): "f" * 12}, commits="abcdefghijkl")
    found = told(empty).values()
    assert {(one["state"], one["failed_runs"], tuple(one["hints"])) for one in found} == {("broken", 0, ())}


@pytest.mark.parametrize("letter", ["p", "f"])
def test_one_run_of_one_test_tells_nothing_yet(empty: Settings, letter: str) -> None:
    collect(empty, {("linux", "t"): letter})
    (one,) = told(empty).values()
    assert (one["state"], one["executions"], one["hints"]) == ("healthy", 1, [])
    assert one["probability"] < 0.95
    assert len(flakiness.history(empty, "p", "S::t", looks=5)["changes"]) == 1


def test_without_any_duration_the_minutes_of_reruns_are_unknown(empty: Settings) -> None:
    collect(empty, {("linux", "t"): "ppppppxpxpxp", **OTHERS})
    flaky = told(empty)[("linux", "S::t")]
    assert (flaky["failed_runs"], flaky["rerun_minutes"], flaky["hints"]) == (3, None, [])


def test_projects_with_the_same_test_names_are_assessed_apart(empty: Settings) -> None:
    collect(empty, {("linux", "t"): "ppfpppfpppfp", **OTHERS}, project="one")
    collect(empty, {("linux", "t"): "p" * 12, **OTHERS}, project="two")
    one, two = (told(empty, project)[("linux", "S::t")] for project in ("one", "two"))
    assert one["state"] in ("flaky", "quarantine candidate")
    assert (two["state"], two["executions"], two["failed_runs"]) == ("healthy", 12, 0)
    assert [change["state"] for change in flakiness.history(empty, "two", "S::t", looks=5)["changes"]] == ["healthy"]
