"""Hostile text in every field of a history, from its collection to the results table, the pages and the terminal.

What a contract lets through must come out as the very same text and do nothing on its way; what it refuses must be
kept with its reason and be harmless to look at.
"""

import logging
import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import lxml.html
import pandas as pd
import psycopg2
import pytest
from mlflow import MlflowClient
from typer.testing import CliRunner

from ml.cli import complete
from ml.legible import UNPRINTABLE, legible
from ml.settings import GATES, MODELS, PREFIX, Settings, load_settings
from ml.sources.simulator import World, simulate
from ml.stages import collection, fetching, opening, preparation, retraining, serving
from tests.faults import acts
from tests.faults.builders import few_runs_gates
from tests.postgres import PIPELINE_PASSWORD, Postgres

pytestmark = pytest.mark.integration

MODEL = MODELS[0]
WORLD = World(run_count=180, module_count=3, tests_per_module=4, regression_rate=0.6)
SALT = "pepper-that-nobody-may-see"
NOW = pd.Timestamp("2026-11-01", tz="UTC").to_pydatetime()
# SQL, HTML, a template, Rich markup, Markdown, format strings, a shell, a path, quotes and a backslash at the end
MARK = "PWNED"
TEXT = (
    "'; DROP TABLE fourgate.prediction; --\"><script>PWNED()</script><img src=x onerror=PWNED()>{{7*7}}{% raw %}${7*7}"
    "[bold red]PWNED[/] ![PWNED](http://127.0.0.1:1/p.png) [PWNED](javascript:PWNED()) %s %(x)s {0} $(id) `id` é試🙂\\"
)
PROJECT = "<b onclick=PWNED()>'; DROP TABLE x;--[red]![p](http://[::1]/p)\\"
TEXTS = {
    "runs": ("run_id", "workflow", "event", "branch", "commit_sha", "change_id", "author_id", "status"),
    "test_results": ("run_id", "variant", "test_id"),
    "changed_files": ("run_id", "path", "change_source"),
}
REFUSED = {
    "control_character": [
        "\x1b]0;PWNED\x07\x1b[2J",
        "line\nbreak",
        "carriage\rreturn",
        "c1\x9b31m",
        "turned\u202ePWNED",
        "nul\x00",
    ],
    "too_long": ["x" * 1_001, "<script>" * 500],
}


def hostile(names: "pd.Series[Any]") -> "pd.Series[Any]":
    """Names that are still different, and still as close to each other as they were."""
    return names.where(names.isna(), names.astype(str) + TEXT)


def write_hostile_history(folder: Path) -> dict[str, pd.DataFrame]:
    """A simulated history with hostile text in every text column, and rows that a contract has to refuse."""
    world = simulate(WORLD)
    folder.mkdir()
    tables = {}
    for name, columns in TEXTS.items():
        table = getattr(world, name).assign(project=PROJECT)
        tables[name] = table.assign(**{column: hostile(table[column]) for column in columns})
        # one refused row for each text column and text; only that value is wrong with it
        bad = [
            {**tables[name].iloc[0].to_dict(), "run_id": f"bad {number}", column: text}
            for number, (column, text) in enumerate((c, t) for c in columns for ts in REFUSED.values() for t in ts)
        ]
        pd.concat([tables[name], pd.DataFrame(bad)]).astype(table.dtypes).to_parquet(folder / f"{name}.parquet")
    return tables


class Kept(logging.Handler):
    """Every line that anything logs."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Lines of the root logger at its most talkative level."""
    root, kept = logging.getLogger(), Kept()
    level = root.level
    root.addHandler(kept)
    root.setLevel(logging.DEBUG)
    yield kept.lines
    root.setLevel(level)
    root.removeHandler(kept)


def test_hostile_text_comes_out_of_the_whole_pipeline_as_it_went_in_and_does_nothing(
    postgres: Postgres, mlflow_uri: str, tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    given = write_hostile_history(tmp_path / "history")
    environment = {
        "HOME": str(tmp_path / "home"),
        "WAREHOUSE_DSN": postgres.pipeline_dsn,
        "MLFLOW_TRACKING_URI": mlflow_uri,
        "AUTHOR_SALT": SALT,
        "GATES_FILE": str(few_runs_gates(load_settings().gates_file, tmp_path)),
        "TEST_SHARE": "0.2",
    }
    for name, value in environment.items():
        monkeypatch.setenv(PREFIX + name, value)
    settings = load_settings()
    batches = fetching.fetch_history(settings, str(tmp_path / "history"))
    collection.append(settings, [collection.validate(settings, batch, NOW) for batch in batches])
    _the_lake_has_every_text_as_it_was(settings, given)
    _refused_texts_are_kept_and_harmless(settings)

    acts.declare_cheap_candidates(monkeypatch.setattr)
    candidate = retraining.train(settings, preparation.features(settings, MODEL, PROJECT))
    assert candidate["version"], candidate["reason"]
    for gate in GATES:  # for their pages; so short a history need not pass them
        retraining.judge(settings, gate, candidate)
    assert retraining.promote(settings, candidate, acts.passes(candidate))["promoted"]
    serving.publish(settings, MODEL)

    _the_results_table_has_every_name_as_it_was(postgres, given)
    _no_page_runs_or_loads_anything(settings.home / "reports")
    _mlflow_keeps_the_name_and_its_note_links_to_itself_only(mlflow_uri, candidate)
    _the_terminal_shows_names_as_text()
    secrets = (PIPELINE_PASSWORD, quote(PIPELINE_PASSWORD, safe=""), SALT)
    assert [line for line in log if any(secret in line for secret in secrets)] == []


def _the_lake_has_every_text_as_it_was(settings: Settings, given: dict[str, pd.DataFrame]) -> None:
    with opening.open_warehouse(settings) as warehouse:
        head = opening.head(warehouse)
    for name, columns in TEXTS.items():
        table = opening.open_lake(settings).read(name, head.versions[name], PROJECT).to_pandas()
        for column in columns:
            if column != "author_id":  # its hash is what lands
                assert set(table[column].dropna()) == set(given[name][column].dropna()), f"{name}.{column}"


def _refused_texts_are_kept_and_harmless(settings: Settings) -> None:
    with opening.open_warehouse(settings) as warehouse:
        head = opening.head(warehouse)
    rejected = opening.open_lake(settings).read("rejected_rows", head.versions["rejected_rows"]).to_pandas()
    found = rejected.groupby(["contract", "column"])["reason"].agg(set).to_dict()
    for name, columns in TEXTS.items():
        for column in columns:
            if column != "author_id":
                assert set(REFUSED) <= found[name, column], f"{name}.{column}"
    assert rejected["value"].str.len().max() <= 200
    assert [value for value in rejected["value"].dropna() if legible(value) != value or "\n" in value] == []


def _the_results_table_has_every_name_as_it_was(postgres: Postgres, given: dict[str, pd.DataFrame]) -> None:
    with closing(psycopg2.connect(postgres.reader_dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT DISTINCT project, test_id, variant FROM fourgate.current_prediction")
        rows = cursor.fetchall()
    assert {row[0] for row in rows} == {PROJECT}
    assert {row[1] for row in rows} <= set(given["test_results"]["test_id"])
    assert {row[2] for row in rows} <= set(given["test_results"]["variant"])
    assert len(rows) > 10


def _no_page_runs_or_loads_anything(reports: Path) -> None:
    pages = sorted(reports.rglob("*.html"))
    assert {page.relative_to(reports).parts[0] for page in pages} == {"data_docs", "gates"}
    showing = set()
    for page in pages:
        tree = lxml.html.fromstring(page.read_bytes())
        for element in tree.iter():
            loaded = [str(element.get(name)) for name in ("src", "href", "action", "data") if element.get(name)]
            acting = [name for name in element.attrib if name.startswith("on") and MARK in element.attrib[name]]
            assert acting == [], page
            assert [address for address in loaded if MARK in address or "[::1]" in address or address == "x"] == [], (
                page
            )
            assert element.tag != "script" or f"{MARK}()" not in (element.text or "").replace("\\", ""), page
        if PROJECT in tree.text_content():
            showing.add(page.relative_to(reports).parts[0])
    assert "gates" in showing


def _mlflow_keeps_the_name_and_its_note_links_to_itself_only(uri: str, candidate: dict[str, Any]) -> None:
    client = MlflowClient(uri, uri)
    tags = client.get_run(candidate["version"]["mlflow_run_id"]).data.tags
    assert tags["fourgate.project"] == PROJECT
    note = tags["mlflow.note.content"]
    assert [target for target in re.findall(r"(?<!\\)\]\(([^)]*)", note) if not target.startswith(f"{uri}/")] == []
    assert "<" not in re.sub(r"`[^`]*`", "", note)


def _the_terminal_shows_names_as_text() -> None:
    app = complete()
    for arguments in (["status"], ["flaky", PROJECT], ["status", "--json"], ["label"]):
        done = CliRunner().invoke(app, arguments, color=True)
        assert done.exit_code == 0, done.output
        assert not re.search(f"(?!\n)[{UNPRINTABLE}]", done.output)
    shown = CliRunner().invoke(app, ["status"]).output
    assert "[bold red]PWNED[/]" in re.sub(r"[\s│]", "", shown).replace("[boldred]", "[bold red]")
    refused = CliRunner().invoke(app, ["flaky", "\x1b[2J[red]nobody"])
    assert refused.exit_code == 8
    assert "\\x1b[2J[red]nobody" in refused.output
