import pytest

from ml.cli.summary import print_status

NOTHING = {
    "model": "flaky_tests",
    "project": "shop",
    "judged_version": "",
    "verdicts": [],
    "comparison": {},
    "top": [],
    "shared_version": None,
}


def test_a_model_without_a_candidate_says_where_the_reason_is_and_shows_no_empty_tables(
    capsys: pytest.CaptureFixture[str],
) -> None:
    print_status({"projects": [{**NOTHING, "champion_version": None, "published_rows": 0}]})
    told = " ".join(capsys.readouterr().out.split())
    assert "task retrain.fit in DAG train_flaky_tests says why" in told
    assert "Verdicts" not in told


def test_a_champion_that_was_judged_elsewhere_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    print_status({"projects": [{**NOTHING, "champion_version": "3", "published_rows": 7}]})
    assert "Top predictions (7 published)" in " ".join(capsys.readouterr().out.split())


def test_a_project_that_the_shared_model_serves_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    served = {**NOTHING, "champion_version": None, "shared_version": "4", "published_rows": 7}
    print_status({"projects": [served, {**NOTHING, "project": "*", "champion_version": "4", "published_rows": 0}]})
    told = " ".join(capsys.readouterr().out.split())
    assert "Top predictions (7 published)" in told
    assert "No champion of its own yet: version 4 of the shared model serves." in told
    assert "flaky_tests for all projects (the shared model)" in told
    assert "(0 published)" not in told
    assert "says why" not in told
