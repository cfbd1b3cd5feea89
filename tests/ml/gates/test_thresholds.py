import re
from pathlib import Path

import pytest
from pydantic import ValidationError

from ml.errors import SettingsError
from ml.gates import load_thresholds
from tests.ml.gates.gates_builders import SHIPPED, thresholds

TEXT = SHIPPED.read_text(encoding="utf-8")


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "thresholds.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_loads_and_says_its_version() -> None:
    loaded = thresholds()
    assert (loaded.version, loaded.statistical.metric, loaded.statistical.min_failing_runs) == ("3", "apfd", 20)


def test_every_shipped_number_has_a_comment_with_its_reason() -> None:
    bare = [line for line in TEXT.splitlines() if re.match(r"\w+ = ", line) and not re.search(r"#.{15,}", line)]
    assert bare == ['version = "3"']


def test_an_override_replaces_one_number_of_one_gate(tmp_path: Path) -> None:
    path = written(tmp_path, TEXT + "[models.test_selection.statistical]\nmin_improvement = 0.5\n")
    loaded = load_thresholds(path, "test_selection")
    assert loaded.statistical.min_improvement == 0.5
    assert loaded.statistical.min_failing_runs == thresholds().statistical.min_failing_runs


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            "min_train_rows = 1000",
            "min_train_row = 1000",
            "data_quality.min_train_row is unknown; did you mean min_train",
        ),
        ("min_train_rows = 1000", "", "data_quality.min_train_rows is missing"),
        ("min_train_rows = 1000", "min_train_rows = 'many'", "data_quality.min_train_rows = 'many'"),
        ("min_train_rows = 1000", "min_train_rows = true", "data_quality.min_train_rows = True"),
        ("max_ece = 0.05", "max_ece = 1.5", "stability.max_ece = 1.5: Input should be less than or equal to 1"),
        ("max_ece = 0.05", "max_ece = nan", "stability.max_ece = nan"),
        ('metric = "apfd"', 'metric = "apdf"', "statistical.metric = 'apdf': Input should be 'apfd'"),
        ("[0.001, 0.003", "[0.003, 0.001", "psi_edges must rise"),
        ('version = "3"', "version = 1", "version = 1"),
        ('version = "3"', 'version = "3"\nstrict = true', "strict is unknown"),
        ("[stability]", "[stabilty]", "stabilty is unknown; did you mean stability?"),
        ("[models.test_selection]", "[models.test_selektion]", "models.test_selektion is not a model"),
        ("[models.test_selection]", "[models.test_selection.speed]", "models.test_selection.speed is unknown"),
        ("[models.test_selection]", "[models.test_selection.stability]\nmax_eze = 1", "stability.max_eze is unknown"),
        ("[models.test_selection]", "[models]\ntest_selection = 3", "must be a table"),
        ("[stability]", "[stability", "cannot be read as TOML"),
    ],
)
def test_a_wrong_key_or_value_is_refused_by_name(tmp_path: Path, before: str, after: str, said: str) -> None:
    assert before in TEXT
    with pytest.raises(SettingsError) as refused:
        load_thresholds(written(tmp_path, TEXT.replace(before, after, 1)), "test_selection")
    assert said in str(refused.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"nowhere\.toml: no such file"):
        load_thresholds(tmp_path / "nowhere.toml", "test_selection")


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"models\.weather is not a model"):
        load_thresholds(SHIPPED, "weather")


def test_loaded_limits_cannot_be_changed() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        thresholds().statistical.min_improvement = 0.0
