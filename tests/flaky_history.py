"""Histories of tests that fail now and then, typed as letters, through every stage into the lake."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.sax.saxutils import quoteattr

from ml.settings import Settings
from ml.stages import collection, fetching
from tests.history_builders import write_run

START = datetime(2026, 1, 5, 8, tzinfo=UTC)
Tests = Mapping[tuple[str, str], str]


def collect(
    settings: Settings, tests: Tests, commits: str = "", project: str = "p", seconds: Mapping[str, float] | None = None
) -> None:
    """One run of trunk a day, a letter of `commits` each (none: all of one commit).

    `tests` maps (variant, test) to a letter per run: p passed, f failed, x failed and passed in a second attempt of the
    run, - not executed. `seconds` maps p and f to durations; none are reported if it is left out.
    """
    folder = settings.home.parent / f"history of {project}"
    for number in range(max(len(letters) for letters in tests.values())):
        now = {key: letters[number : number + 1] or "-" for key, letters in tests.items()}
        _write_attempt(folder, project, (number, 1), commits[number : number + 1] or "c", _reported(now, seconds))
        if "x" in now.values():
            again = {key: letter.replace("x", "p") for key, letter in now.items()}
            _write_attempt(folder, project, (number, 2), commits[number : number + 1] or "c", _reported(again, seconds))
    batches = fetching.fetch_history(settings, str(folder))
    now_at = START + timedelta(days=1000)
    collection.append(settings, [collection.validate(settings, batch, now_at) for batch in batches])


def _write_attempt(folder: Path, project: str, named: tuple[int, int], commit: str, cases: Mapping[str, str]) -> None:
    number, attempt = named
    start = START + timedelta(days=number, hours=attempt)
    about = {"attempt": attempt, "commit_sha": commit, "branch": "main", "event": "push", "project": project}
    end = (start + timedelta(minutes=30)).isoformat()
    run = write_run(folder / f"r{number}.{attempt}", f"r{number}", start.isoformat(), finished_at=end, **about)
    for variant, text in cases.items():
        (run / variant).mkdir()
        (run / variant / "report.xml").write_text(f'<testsuite name="S">{text}</testsuite>', encoding="utf-8")


def _reported(letters: Mapping[tuple[str, str], str], seconds: Mapping[str, float] | None) -> dict[str, str]:
    """Variant -> the cases of its report."""
    cases: dict[str, str] = {}
    for (variant, test), letter in letters.items():
        if letter != "-":
            outcome = "p" if letter == "p" else "f"
            time = "" if seconds is None else f' time="{seconds[outcome]}"'
            inside = "" if outcome == "p" else "<failure/>"
            cases[variant] = cases.get(variant, "") + f"<testcase name={quoteattr(test)}{time}>{inside}</testcase>"
    return cases
