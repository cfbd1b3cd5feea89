from pathlib import Path

import pytest

from ml.errors import SettingsError
from ml.settings import home_only, load_settings


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_where_tests_find_real_histories_is_no_setting_and_not_in_the_way() -> None:
    assert load_settings({"FOURGATE_REAL_DATA": "/somewhere"}) == load_settings({})


def test_an_unknown_setting_is_named_with_the_nearest_known_one() -> None:
    with pytest.raises(SettingsError, match=r"FOURGATE_AIRFLOW_PROT is not a setting.*FOURGATE_AIRFLOW_PORT"):
        load_settings({"FOURGATE_AIRFLOW_PROT": "8080"})


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("FOURGATE_AIRFLOW_PORT", "80", "FOURGATE_AIRFLOW_PORT.*1024"),
        ("FOURGATE_AIRFLOW_PORT", "many", "FOURGATE_AIRFLOW_PORT.*integer"),
        ("FOURGATE_CLOCK", "sun", "FOURGATE_CLOCK.*history"),
        ("FOURGATE_TEST_SHARE", "nan", "FOURGATE_TEST_SHARE"),
    ],
)
def test_a_malformed_setting_is_named_with_what_would_be_right(name: str, value: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        load_settings({name: value})


def test_the_environment_wins_over_the_env_file_and_that_over_the_stack(empty_folder: Path) -> None:
    home = empty_folder / "home"
    home.mkdir()
    (home / "stack.env").write_text("FOURGATE_SEED=1\nFOURGATE_THREADS=1\nFOURGATE_MLFLOW_PORT=5001\n")
    (empty_folder / ".env").write_text(f"FOURGATE_HOME={home}\nFOURGATE_SEED=2\nFOURGATE_THREADS=3\nOTHER=x\n")
    settings = load_settings({"FOURGATE_SEED": "4", "HOME": "/nowhere"})
    assert (settings.seed, settings.threads, settings.mlflow_port) == (4, 3, 5001)


def test_a_secret_does_not_show_in_the_settings_text() -> None:
    settings = load_settings({"FOURGATE_WAREHOUSE_DSN": "postgresql://a:hunter2@h/d", "FOURGATE_AUTHOR_SALT": "pepper"})
    assert "hunter2" not in repr(settings)
    assert "pepper" not in str(settings)


def test_an_empty_value_means_the_default() -> None:
    assert load_settings({"FOURGATE_SEED": ""}).seed == 20260101


def test_a_home_is_found_although_another_setting_is_wrong(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text("FOURGATE_HOME=elsewhere\nFOURGATE_CLOCK=sun\n")
    assert home_only({}).home == Path("elsewhere")
    assert home_only({"FOURGATE_HOME": "here"}).home == Path("here")


DSN = "FOURGATE_WAREHOUSE_DSN"


def secret_file(folder: Path, content: bytes = b"postgresql://a:hunter2@h/d\n") -> str:  # pragma: allowlist secret
    path = folder / "dsn"
    path.write_bytes(content)
    return str(path)


def test_a_secret_may_stand_in_a_file(empty_folder: Path) -> None:
    settings = load_settings({f"{DSN}_FILE": secret_file(empty_folder)})
    assert settings.warehouse_dsn.get_secret_value().endswith("@h/d")
    assert load_settings({f"{DSN}_FILE": ""}).warehouse_dsn.get_secret_value() == ""


def test_a_secrets_file_of_the_environment_wins_over_the_env_file(empty_folder: Path) -> None:
    (empty_folder / ".env").write_text(f"{DSN}=postgresql://other\n")
    assert load_settings({f"{DSN}_FILE": secret_file(empty_folder)}).warehouse_dsn.get_secret_value().endswith("@h/d")
    (empty_folder / ".env").write_text(f"{DSN}_FILE={empty_folder / 'dsn'}\n")
    assert load_settings({DSN: "postgresql://first"}).warehouse_dsn.get_secret_value() == "postgresql://first"


@pytest.mark.parametrize("content", [b"", b" \n", b"\xff\xfe", b"x" * 10_001])
def test_a_file_that_holds_no_secret_is_refused_without_showing_it(empty_folder: Path, content: bytes) -> None:
    with pytest.raises(SettingsError, match=f"{DSN}_FILE.*dsn") as caught:
        load_settings({f"{DSN}_FILE": secret_file(empty_folder, content)})
    assert "xxx" not in str(caught.value)


def test_a_missing_file_a_secret_given_twice_and_a_file_for_what_is_no_secret_are_refused(empty_folder: Path) -> None:
    with pytest.raises(SettingsError, match=f"{DSN}_FILE: nowhere cannot be read: No such file"):
        load_settings({f"{DSN}_FILE": "nowhere"})
    with pytest.raises(SettingsError, match=f"{DSN} and {DSN}_FILE are both set"):
        load_settings({DSN: "x", f"{DSN}_FILE": secret_file(empty_folder)})
    with pytest.raises(SettingsError, match="FOURGATE_SEED_FILE is not a setting"):
        load_settings({"FOURGATE_SEED_FILE": "seed"})


def test_the_token_of_an_upload_is_no_setting_and_no_mistake() -> None:
    load_settings({"FOURGATE_UPLOAD_TOKEN": "x", "FOURGATE_UPLOAD_TOKEN_FILE": "/nowhere"})
