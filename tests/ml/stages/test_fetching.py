"""Fetching from a CI server that answers over HTTP, into a real lake and ledger."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from ml.errors import SettingsError, SourceError
from ml.settings import Settings
from ml.spec import Interval
from ml.stages import collection, fetching
from ml.stages.opening import open_lake
from tests.lake_builders import stored
from tests.ml.sources.github.server import TOKEN, Answer, GitHubServer, add_run, run_payload
from tests.postgres import Postgres

NOW = datetime(2026, 2, 1, tzinfo=UTC)
ALWAYS = Interval()


@pytest.fixture
def server() -> Iterator[GitHubServer]:
    with GitHubServer() as served:
        for number, day in ((1, 1), (2, 20), (3, 31)):
            add_run(served, number, f"2026-01-{day:02}T08:00:00Z")
        yield served


@pytest.fixture
def settings(postgres: Postgres, tmp_path: Path, server: GitHubServer, monkeypatch: pytest.MonkeyPatch) -> Settings:
    file = tmp_path / "fourgate.toml"
    file.write_text(
        '[source.shop-ci]\nkind = "github_actions"\nproject = "shop"\nrepository = "acme/shop"\n'
        f'url = "{server.url}"\nhistory_days = 60\noverlap_days = 2\nsilent_days = 5\n'
    )
    monkeypatch.setenv("FOURGATE_TOKEN_SHOP_CI", TOKEN)
    return Settings(home=tmp_path / "home", warehouse_dsn=SecretStr(postgres.pipeline_dsn), sources=file)


def request(as_of: datetime = NOW, span: Interval = ALWAYS) -> fetching.Request:
    return fetching.Request("shop-ci", as_of, span)


def collect(settings: Settings, asked: fetching.Request) -> dict[str, Any]:
    batches = fetching.fetch(settings, asked)
    return collection.append(settings, [collection.validate(settings, batch, asked.as_of) for batch in batches])


def runs(settings: Settings) -> list[tuple[str, int]]:
    lake = open_lake(settings)
    found: list[tuple[str, int]] = stored(lake, "runs", lake.versions()["runs"], ["run_id", "attempt"])
    return sorted(found)


def created(server: GitHubServer) -> str:
    """The span of the last listing that was asked for."""
    from urllib.parse import parse_qs

    return next(parse_qs(asked.query)["created"][0] for asked in reversed(server.asked) if "created=" in asked.query)


def test_what_is_collected_is_the_history_and_then_each_server(settings: Settings, tmp_path: Path) -> None:
    assert fetching.names(settings) == ["shop-ci"]
    both = settings.model_copy(update={"history": str(tmp_path)})
    assert fetching.names(both) == [fetching.HISTORY, "shop-ci"]


def test_what_was_pushed_comes_last_and_leaves_a_simulated_history_in(settings: Settings) -> None:
    alone = settings.model_copy(update={"sources": settings.home / "absent.toml"})
    fetching.landing(alone).joinpath(fetching.PUSH).mkdir(parents=True)
    assert fetching.names(alone) == [fetching.PUSH]
    alone.home.joinpath("simulated").mkdir()
    assert fetching.names(alone) == [fetching.HISTORY, fetching.PUSH]
    assert fetching.names(settings) == ["shop-ci", fetching.PUSH]


def test_runs_come_into_the_lake_and_a_second_time_nothing_is_asked_for_but_the_list(
    settings: Settings, server: GitHubServer
) -> None:
    assert collect(settings, request())["rows"]["test_results"] == 3
    assert runs(settings) == [("1", 1), ("2", 1), ("3", 1)]
    server.asked.clear()
    assert fetching.fetch(settings, request()) == []
    assert server.paths("/zip") == []


def test_a_first_collection_goes_back_so_many_days_and_the_next_begins_where_it_ended(
    settings: Settings, server: GitHubServer
) -> None:
    collect(settings, request())
    assert created(server).startswith("2025-12-03T00:00:00")
    add_run(server, 4, "2026-02-01T09:00:00Z")
    assert collect(settings, request(NOW + timedelta(days=1)))["rows"]["runs"] == 1
    assert created(server).startswith("2026-01-29T08:00:")


def test_a_later_attempt_of_a_collected_run_comes_too(settings: Settings, server: GitHubServer) -> None:
    collect(settings, request())
    start = "2026-01-31T08:00:00Z"
    server.attempts[3, 1] = server.runs[3]
    server.add(run_payload(3, start, run_attempt=2, run_started_at="2026-01-31T10:00:00Z"))
    server.jobs[3, 2] = []
    collect(settings, request())
    assert runs(settings) == [("1", 1), ("2", 1), ("3", 1), ("3", 2)]


def test_a_span_asks_for_its_runs_and_nothing_else(settings: Settings) -> None:
    span = Interval(datetime(2026, 1, 15, tzinfo=UTC), datetime(2026, 1, 25, tzinfo=UTC))
    collect(settings, request(span=span))
    assert runs(settings) == [("2", 1)]


def test_faults_of_the_server_lose_nothing(
    settings: Settings, server: GitHubServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ml.sources.http.FIRST_WAIT_S", 0.001)
    server.faults = ["500", "", "cut", "", "", "500", "cut"]
    collect(settings, request())
    assert runs(settings) == [("1", 1), ("2", 1), ("3", 1)]


def test_what_landed_before_a_server_refuses_goes_into_the_lake_and_the_next_collection_goes_on(
    settings: Settings, server: GitHubServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("ml.sources.ci_server.BATCH_RUNS", 1)
    refusing = f"/repos/{server.repository}/actions/runs/3/artifacts"
    server.special[refusing] = Answer({"message": "API rate limit exceeded"}, 403, {"Retry-After": "3000"})
    assert collect(settings, request())["rows"]["runs"] == 2
    assert (
        "source shop-ci gave 2 batches, the next collection goes on from there: 127.0.0.1 answers no more"
        in caplog.text
    )
    with pytest.raises(SourceError, match="answers no more until"):
        fetching.fetch(settings, request())
    del server.special[refusing]
    collect(settings, request())
    assert runs(settings) == [("1", 1), ("2", 1), ("3", 1)]


def test_a_server_that_went_silent_is_an_alert(settings: Settings) -> None:
    collect(settings, request())
    assert fetching.fetch(settings, request(NOW + timedelta(days=3))) == []
    with pytest.raises(SourceError, match=r"shop-ci has had no run since 2026-01-31 08:\d\d UTC, 6 days ago"):
        fetching.fetch(settings, request(NOW + timedelta(days=6)))


def test_the_token_of_a_connection_wins_over_the_environment(settings: Settings, server: GitHubServer) -> None:
    server.tokens = {"from-airflow"}
    asked = fetching.Request("shop-ci", NOW, ALWAYS, SecretStr("from-airflow"))
    assert len(fetching.fetch(settings, asked)) == 1
    with pytest.raises(SourceError) as refused:
        fetching.fetch(settings, request())
    assert TOKEN not in str(refused.value)


def test_a_source_that_nobody_named_is_refused(settings: Settings) -> None:
    with pytest.raises(SettingsError, match="names no source 'shop'"):
        fetching.fetch(settings, fetching.Request("shop", NOW, ALWAYS))


def test_a_token_with_letters_that_none_has_is_refused_without_showing_it(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FOURGATE_TOKEN_SHOP_CI", "abc\u0007def")
    with pytest.raises(SettingsError, match="FOURGATE_TOKEN_SHOP_CI holds characters") as refused:
        fetching.fetch(settings, request())
    assert "abc" not in str(refused.value)


def test_an_examined_source_says_what_it_found(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    found = list(fetching.examine(settings, "shop-ci", NOW))
    assert all(finding.is_ok for finding in found), found
    assert found[0].detail == "in FOURGATE_TOKEN_SHOP_CI"
    monkeypatch.delenv("FOURGATE_TOKEN_SHOP_CI")
    first, *_, last = fetching.examine(settings, "shop-ci", NOW)
    assert (first.is_ok, last.is_ok) == (False, False)


def test_progress_stands_in_the_log_of_the_task(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"):
        fetching.fetch(settings, request())
    assert "shop-ci: 3 of 3 runs landed" in caplog.text


def test_a_batch_names_the_server_it_came_from(settings: Settings, server: GitHubServer) -> None:
    (batch,) = fetching.fetch(settings, request())
    assert batch["origin"].rstrip("/") == server.url
