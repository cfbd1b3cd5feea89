"""Every stage on real PostgreSQL, MLflow and Delta, scored against the truth of a simulated world."""

import json
import re
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import psycopg2
import pytest
from mlflow import MlflowClient

from ml.errors import ArtifactRefused, WarehouseError
from ml.settings import GATES, MODELS, Settings
from ml.sources.simulator import History, World, simulate, write_history
from ml.spec import MERGED_RESULT
from ml.stages import (
    evidence,
    maintenance,
    opening,
    preparation,
    reporting,
    reproduction,
    retraining,
    serving,
)
from tests.integration import tracing
from tests.integration.histories import NOW, collect, write_tables

MODEL, RISK, FLAKY = MODELS
WORLD = World(run_count=320, module_count=6, tests_per_module=6, regression_rate=0.3)
SHAKY = World(
    seed=1, run_count=600, module_count=5, tests_per_module=6, flaky_share=0.4, outage_every=150, regression_rate=0.25
)
PROJECT = WORLD.project

pytestmark = pytest.mark.integration


def retrain(settings: Settings, model: str = MODEL) -> dict[str, Any]:
    candidate = retraining.train(settings, preparation.features(settings, model, PROJECT))
    if candidate["version"] is None:
        return candidate
    verdicts = [retraining.judge(settings, gate, candidate) for gate in GATES]
    return retraining.promote(settings, candidate, verdicts)


def test_a_history_becomes_predictions_that_find_the_true_regressions(
    fourgate: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = simulate(WORLD)
    write_history(world, tmp_path / "history")

    first = collect(fourgate, tmp_path / "history")
    assert first["new_rows"] == len(world.runs) + len(world.test_results) + len(world.changed_files)
    assert collect(fourgate, tmp_path / "history")["new_rows"] == 0

    drift = preparation.drift(fourgate, MODEL)
    assert [report["retrain"] for report in drift] == [False]
    assert "no champion yet" in drift[0]["summary"]

    outcome = retrain(fourgate)
    assert outcome["promoted"], outcome["reason"]
    assert outcome["route"] == "first"

    again = retrain(fourgate)
    assert again["version"] is None
    assert "0 runs failed since" in again["reason"]

    published = serving.publish(fourgate, MODEL)
    assert serving.publish(fourgate, MODEL) == published
    monkeypatch.setattr(serving, "PIECE_ROWS", 1)
    (parted,) = serving.publish(fourgate, MODEL)
    assert parted | {"publication_id": published[0]["publication_id"]} == published[0]
    state = reporting.status(fourgate, MODEL)["projects"][0]
    assert state["is_published"]
    assert state["published_rows"] == published[0]["rows"] > 0
    assert [verdict["status"] for verdict in state["verdicts"]] == ["pass"] * 4
    assert _mean_apfd(state, "candidate") > max(
        _mean_apfd(state, name) for name in state["comparison"] if name != "candidate"
    )

    _the_queries_of_the_documentation_answer(fourgate)

    measured = serving.monitor(fourgate, MODEL)
    assert [one["project"] for one in measured] == [PROJECT]
    assert any(isinstance(value, float) and value > 0 for value in measured[0]["measures"].values())

    _it_can_be_traced_and_repeated(fourgate, state, tmp_path, set(world.runs["commit_sha"]))
    _a_tampered_model_is_refused(fourgate)
    _a_rollback_without_a_previous_champion_says_so(fourgate)
    assert maintenance.maintain(fourgate, NOW)["snapshot_id"] >= first["snapshot_id"]
    assert serving.publish(fourgate, MODEL)[0]["rows"] == published[0]["rows"]


def _the_queries_of_the_documentation_answer(settings: Settings) -> None:
    """Of `docs/how-to/select-tests.md`: the tests to select, and those that fit into ten minutes."""
    text = (preparation.ROOT / "docs" / "how-to" / "select-tests.md").read_text(encoding="utf-8")
    with opening.open_warehouse(settings) as warehouse, warehouse.transaction() as cursor:
        answers = []
        for query in re.findall(r"```sql\n(.*?)```", text, re.DOTALL):
            cursor.execute(query)
            answers.append(pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description]))
        cursor.execute(
            "SELECT rank, rank_by_cost, probability, expected_duration_s FROM fourgate.current_prediction "
            "WHERE change_id = 'next'"
        )
        ranks, by_cost, probability, seconds = map(list, zip(*cursor.fetchall(), strict=True))
    chosen, quick = answers
    assert chosen["rank"].tolist() == list(range(1, len(chosen) + 1))
    assert sorted(ranks) == sorted(by_cost) == list(range(1, len(ranks) + 1))
    assert len(chosen) == int(0.3 * len(ranks))
    assert quick["minutes"].is_monotonic_increasing
    assert 0 < len(quick) <= len(ranks)
    # what comes first finds more per second
    found = pd.DataFrame({"by_cost": by_cost, "per_second": pd.Series(probability) / pd.Series(seconds)})
    assert found.corr("spearman").iloc[0, 1] < -0.9


def _it_can_be_traced_and_repeated(settings: Settings, state: dict[str, Any], folder: Path, commits: set[str]) -> None:
    candidate = retraining.newest_candidate(settings, MODEL, PROJECT)
    run_id = candidate["version"]["mlflow_run_id"]
    tracing.the_logged_names_are_the_documented_ones(settings, run_id, "rankings")
    tracing.the_page_tells(settings, run_id, "It passed all 4 gates.")
    tracing.the_rows_come_back(settings, run_id, Path(candidate["path"]), folder)
    tracing.the_model_comes_back(settings, run_id)
    tracing.a_prediction_leads_to_its_commits(settings, run_id, state["top"][0], commits)


def _mean_apfd(state: dict[str, Any], name: str) -> float:
    return float(state["comparison"][name]["apfd"].value)


def _a_tampered_model_is_refused(settings: Settings) -> None:
    with opening.open_warehouse(settings) as warehouse:
        champion = warehouse.champion(MODEL, PROJECT)
    assert champion is not None
    with pytest.raises(ArtifactRefused, match="SHA-256"):
        opening.open_registry(settings).load(replace(champion.version, sha256="0" * 64))


def _a_rollback_without_a_previous_champion_says_so(settings: Settings) -> None:
    with pytest.raises(WarehouseError, match="no previous champion"):
        retraining.rollback(settings, serving.champion_of(settings, MODEL, PROJECT), None, "anna", "a test")


def test_a_risk_model_that_foresees_nothing_is_refused_with_its_numbers(fourgate: Settings, tmp_path: Path) -> None:
    # what breaks a run of this world is new in it: neither the past nor the change tells
    write_history(simulate(WORLD), tmp_path / "history")
    collect(fourgate, tmp_path / "history")
    assert [report["retrain"] for report in preparation.drift(fourgate, RISK)] == [False]
    outcome = retrain(fourgate, RISK)
    assert not outcome["promoted"]
    assert "lead_over_baseline:outcomes_with_decay (lower bound; lead" in outcome["reason"]
    assert serving.publish(fourgate, RISK) == []

    run_id = retraining.newest_candidate(fourgate, RISK, PROJECT)["version"]["mlflow_run_id"]
    tracing.the_logged_names_are_the_documented_ones(fourgate, run_id, "probabilities")
    tracing.the_page_tells(fourgate, run_id, "It was refused by statistical")
    tracing.the_model_comes_back(fourgate, run_id)
    _another_candidate_or_other_rows_are_told_apart(fourgate, run_id, tmp_path)


def test_a_red_run_is_triaged_and_the_advice_holds_against_the_truth(fourgate: Settings, tmp_path: Path) -> None:
    world = simulate(SHAKY)
    write_tables(world, tmp_path / "history")
    collect(fourgate, tmp_path / "history")
    outcome = retrain(fourgate, FLAKY)
    assert outcome["promoted"], outcome["reason"]

    settings = fourgate.model_copy(update={"publish_runs": 40})
    end = world.runs["finished_at"].max().to_pydatetime()
    _no_published_failure_is_settled(settings, end)
    then = world.runs["started_at"].iloc[-60].to_pydatetime()
    serving.publish(settings, FLAKY, as_of=then)
    found = _current(settings)
    truth = world.failures.drop_duplicates(MERGED_RESULT).rename(columns={"run_id": "change_id"})
    both = found.merge(truth, on=["change_id", "variant", "test_id"], how="left", validate="one_to_one")
    assert both["state"].notna().all()  # nothing but failures
    assert set(both["decision"]) <= {"rerun", "investigate"}
    is_flaky = both["state"] == "flaky"
    assert both["probability"][is_flaky].mean() > 2 * both["probability"][~is_flaky].mean()
    (measured,) = serving.monitor(settings, FLAKY)
    assert measured["measures"]["matched_count"] >= 5


def _no_published_failure_is_settled(settings: Settings, end: datetime) -> None:
    published = serving.publish(settings, FLAKY, as_of=end)
    assert serving.publish(settings, FLAKY, as_of=end) == published
    assert published[0]["rows"] == len(_current(settings)) > 0
    (measured,) = serving.monitor(settings, FLAKY, as_of=end)
    assert measured["measures"]["outcomes_count"] > 0  # of other failures of the same runs
    assert measured["measures"]["matched_count"] == 0


def _current(settings: Settings) -> pd.DataFrame:
    with opening.open_warehouse(settings) as warehouse:
        return warehouse.current_predictions(FLAKY, PROJECT, limit=10_000)


def _another_candidate_or_other_rows_are_told_apart(settings: Settings, run_id: str, folder: Path) -> None:
    client = MlflowClient(settings.mlflow_tracking_uri, settings.mlflow_tracking_uri)
    recipe = json.loads(Path(client.download_artifacts(run_id, "training.json")).read_text())
    other = "random_forest" if recipe["plan"]["candidate"] != "random_forest" else "gradient_boosting"
    earlier = (datetime.fromisoformat(recipe["as_of"]) - timedelta(days=7)).isoformat()
    changed = {**recipe, "candidate": other, "code": "0123456789ab", "as_of": earlier}
    client.log_text(run_id, json.dumps(changed), "training.json")
    rows = reproduction.frame(settings, run_id, folder / "other.parquet")
    assert not rows["is_equal"]
    assert rows["changes"]["code"][0] == "0123456789ab"
    plan = {**recipe["plan"], "candidate": other, "baseline": "", "weight": 0.0}
    client.log_text(run_id, json.dumps({**recipe, "candidate": other, "plan": plan}), "training.json")
    found = reproduction.reproduce(settings, run_id)
    assert (found["is_equal"], found["frame"]["is_equal"]) == (False, True)
    assert found["scores"]["differing"] > 0


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("case", ["12 runs", "one run", "no failures", "only failures", "nothing known"])
def test_a_history_that_teaches_nothing_promotes_nobody(
    fourgate: Settings, tmp_path: Path, model: str, case: str
) -> None:
    write_tables(_poor_history(case), tmp_path / "history")
    collect(fourgate, tmp_path / "history")
    candidate = retrain(fourgate, model)
    if candidate.get("promoted") is None:
        assert candidate["version"] is None
        assert "needs" in candidate["reason"] or "needed" in candidate["reason"]
        assert any(letter.isdigit() for letter in candidate["reason"])
    else:
        assert case == "nothing known"
    assert case == "nothing known" or serving.publish(fourgate, model) == []
    assert preparation.drift(fourgate, model)[0]["retrain"] is False
    assert serving.monitor(fourgate, model) == []


def _poor_history(case: str) -> History:
    counts = {"12 runs": 12, "one run": 1}
    world = simulate(replace(WORLD, run_count=counts.get(case, 100), announced_count=0))
    if case == "nothing known":
        results = world.test_results.assign(duration_s=None)
        return replace(world, test_results=results, changed_files=world.changed_files.iloc[:0])
    outcome = {"no failures": "passed", "only failures": "failed"}.get(case)
    if outcome is None:
        return world
    runs = world.runs.assign(status="success" if outcome == "passed" else "failure")
    return replace(world, runs=runs, test_results=world.test_results.assign(outcome=outcome))


def test_a_candidate_on_a_used_period_is_refused_by_the_gate(fourgate: Settings, tmp_path: Path) -> None:
    write_history(simulate(WORLD), tmp_path / "history")
    collect(fourgate, tmp_path / "history")
    candidate = retraining.train(fourgate, preparation.features(fourgate, MODEL, PROJECT))
    verdicts = [retraining.judge(fourgate, gate, candidate) for gate in GATES]
    assert retraining.promote(fourgate, candidate, verdicts)["promoted"]

    rival = {**candidate, "version": {**candidate["version"], "version": "999"}, "champion_version": "1"}
    verdict = retraining.judge(fourgate, "statistical", rival)
    assert verdict["status"] != "pass"
    reuse = next(check for check in verdict["checks"] if check["name"] == "test_period_reuse")
    assert not reuse["passed"]
    assert evidence.split_of(candidate).test.end is not None


def test_bad_rows_are_kept_with_their_reason_and_the_rest_goes_on(fourgate: Settings, tmp_path: Path) -> None:
    write_history(simulate(replace(WORLD, run_count=30)), tmp_path / "history")
    run = tmp_path / "history" / "run-00003"
    report = next(run.rglob("*.xml"))
    report.write_text(
        '<testsuite name="s"><testcase classname="shop.X" name="negative" time="-4"/>'
        '<testcase classname="shop.X" name="&lt;script&gt;alert(1)&lt;/script&gt;" time="1"/>'
        '<testcase classname="shop.X" name="drop table prediction; --" time="1"/>'
        '<testcase classname="shop.X" name="line&#10;break" time="1"/></testsuite>'
    )
    (tmp_path / "history" / "run-00004" / "bomb.xml").write_text(
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><testsuite>&b;</testsuite>'
    )
    collect(fourgate, tmp_path / "history")
    with opening.open_warehouse(fourgate) as warehouse:
        head = opening.head(warehouse)
    lake = opening.open_lake(fourgate)
    rejected = lake.read("rejected_rows", head.versions["rejected_rows"]).to_pandas()
    assert set(rejected["reason"]) == {"negative", "control_character", "forbidden_dtd"}
    names = lake.read("test_results", head.versions["test_results"], PROJECT, ["test_id"]).column("test_id").to_pylist()
    assert "shop.X::<script>alert(1)</script>" in names
    assert "shop.X::drop table prediction; --" in names


def test_the_reader_can_read_predictions_and_nothing_else(postgres: Any) -> None:
    connection = psycopg2.connect(postgres.reader_dsn)
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM fourgate.current_prediction")
        assert cursor.fetchone() == (0,)
    with pytest.raises(psycopg2.errors.InsufficientPrivilege), connection, connection.cursor() as cursor:
        cursor.execute("DELETE FROM fourgate.prediction_row")
    connection.close()
