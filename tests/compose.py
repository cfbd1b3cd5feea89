"""The compose file and what its image sets, read as files."""

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[1]
COMPOSE = ROOT / "docker-compose.yml"
DOCKERFILE = ROOT / "Dockerfile.airflow"
HOW_TO = ROOT / "docs" / "how-to" / "run-in-containers.md"
DECLARED: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
SERVICES: dict[str, dict[str, Any]] = DECLARED["services"]


def image_environment() -> dict[str, str]:
    """What the ENV lines of the image's last stage set."""
    last = DOCKERFILE.read_text().replace("\\\n", " ").split("\nFROM ")[-1]
    pairs = [pair for line in re.findall(r"^ENV (.+)$", last, re.MULTILINE) for pair in line.split()]
    return dict(pair.split("=", 1) for pair in pairs)


def secrets_recipe() -> str:
    """The Python lines of the how-to that make the secrets."""
    return HOW_TO.read_text().split("python3 - <<'PY'\n", 1)[1].split("\nPY\n", 1)[0]


def texts(value: Any) -> list[str]:
    """Every text in a declaration, keys left out."""
    if isinstance(value, dict):
        return [text for item in value.values() for text in texts(item)]
    return [text for item in value for text in texts(item)] if isinstance(value, list) else [str(value)]
