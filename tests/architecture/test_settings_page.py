import re
from pathlib import Path

import pytest

from ml import generated
from ml.settings import PREFIX, Settings, load_settings

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("path", sorted(generated.pages()), ids=lambda path: path.name)
def test_a_generated_page_equals_the_code(path: Path) -> None:
    assert path.read_text() == generated.pages()[path], "run `make format`"


def test_env_example_names_every_setting_and_no_other() -> None:
    named = re.findall(rf"^#({PREFIX}[A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE)
    assert named == [PREFIX + name.upper() for name in Settings.model_fields]


def test_env_example_works_as_it_is_when_uncommented(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = (ROOT / ".env.example").read_text()
    (tmp_path / ".env").write_text(re.sub(rf"^#({PREFIX})", r"\1", text, flags=re.MULTILINE))
    assert load_settings({}).airflow_port == 8080


def test_the_page_on_retention_names_every_limit_with_its_default() -> None:
    page = (ROOT / "docs" / "how-to" / "look-after-the-data.md").read_text()
    told = dict(re.findall(rf"`{PREFIX}(KEEP_[A-Z_]+)=(\d+)`", page))
    limits = {name: field.default for name, field in Settings.model_fields.items() if name.startswith("keep_")}
    assert told == {name.upper(): str(default) for name, default in limits.items()}
