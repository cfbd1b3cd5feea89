"""The CI workflow, the hooks and the Makefile say the same."""

import re
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
WORKFLOW = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
JOBS: dict[str, dict[str, Any]] = yaml.safe_load(WORKFLOW)["jobs"]
MARKS = ("slow", "integration", "e2e")
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def called(job: dict[str, Any]) -> list[str]:
    """Make targets that a job calls."""
    lines = [step["run"] for step in job["steps"] if step.get("run", "").startswith("make ")]
    return [word for line in lines for word in line.split()[1:] if "=" not in word]


def test_the_stages_come_in_order_and_call_make_only() -> None:
    assert [name for name in JOBS if name != "advisories"] == [
        *("lint", "types", "contracts", "unit", "integration", "end-to-end", "build")
    ]
    targets = set(re.findall(r"^([a-z0-9]+):", MAKEFILE, re.MULTILINE))
    assert {target for job in JOBS.values() for target in called(job)} <= targets
    checked = next(line for line in MAKEFILE.splitlines() if line.startswith("check:")).split("##")[0].split()[2:]
    assert set(checked) <= {target for job in JOBS.values() for target in called(job)}


@pytest.mark.parametrize("targets", [("test",), ("unit", "integration", "e2e")])
@pytest.mark.parametrize("marks", [dict(zip(MARKS, bits, strict=True)) for bits in product((True, False), repeat=3)])
def test_each_test_is_run_exactly_once(targets: tuple[str, ...], marks: dict[str, bool]) -> None:
    recipes = [re.search(rf"^{target}:.*\n((?:\t.*\n)+)", MAKEFILE, re.MULTILINE)[1] for target in targets]
    calls = re.findall(r"pytest -m (?:\"([^\"]+)\"|(\w+))", "".join(recipes))
    assert sum(eval(quoted or word, {}, marks) for quoted, word in calls) == 1  # noqa: S307 - words of our own Makefile


@pytest.mark.parametrize("name", sorted(JOBS))
def test_a_job_has_a_time_limit_and_actions_pinned_by_commit(name: str) -> None:
    assert JOBS[name]["timeout-minutes"] <= 60
    used = [step["uses"] for step in JOBS[name]["steps"] if "uses" in step]
    assert [action for action in used if not re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}", action)] == []


def test_the_workflow_may_read_only_and_hands_no_secret_to_a_script() -> None:
    assert yaml.safe_load(WORKFLOW)["permissions"] == {"contents": "read"}
    assert "secrets." not in WORKFLOW
    assert "${{" not in " ".join(step.get("run", "") for job in JOBS.values() for step in job["steps"])


def test_hooks_use_the_locked_tools_as_make_check_does() -> None:
    hooks = [hook for repository in HOOKS for hook in repository["hooks"]]
    assert {repository["repo"] for repository in HOOKS} == {"local"}
    tools = {hook["entry"].split()[0] for hook in hooks}
    scan = next(hook for hook in hooks if hook["id"] == "secrets")
    assert f"'{scan['args'][-1]}'" in MAKEFILE.replace("$$", "$")
    assert {tool.removeprefix(".venv/bin/") for tool in tools} <= set(re.findall(r"\$\(BIN\)/([\w-]+)", MAKEFILE))


@pytest.mark.slow
def test_a_secret_in_a_file_stops_the_scan_that_make_check_runs(tmp_path: Path) -> None:
    options = re.search(r"^SECRETS := (.+)$", MAKEFILE, re.MULTILINE)
    assert options
    file = tmp_path / "settings.py"
    scan = f".venv/bin/detect-secrets-hook {options[1].replace('$$', '$')} {file}"
    found = []
    for line in (
        'dsn = "postgresql://anna:{}@host/db"',
        'dsn = "postgresql://anna:{}@host/db"  # pragma: allowlist secret',
    ):
        file.write_text(line.format("correct-horse-battery") + "\n")
        found.append(subprocess.run(scan, shell=True, cwd=ROOT, capture_output=True, check=False).returncode)  # noqa: S602 - quoted as make quotes it
    assert found == [1, 0]
