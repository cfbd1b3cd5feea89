"""`fourgate.toml`: its tables by kind and name, and the line of each option for errors to name."""

import re
import tomllib
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml.errors import SettingsError

Tables = dict[str, dict[str, Any]]
KINDS = ("source", "project")


def read_tables(file: Path) -> dict[str, Tables]:
    """The tables ``[source.NAME]`` and ``[project."NAME"]`` of a file, by kind and name; none where there is no file.

    Raises:
        SettingsError: the file cannot be read, is no TOML, or holds anything else; names the line or the name.
    """
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        document = {}
    except (OSError, ValueError, RecursionError) as error:
        raise SettingsError(f"{file} cannot be read: {error}") from error
    if unknown := sorted(set(document) - set(KINDS)):
        raise SettingsError(
            f'{file}: {unknown[0]!r} is not known; right would be tables called [source.NAME] or [project."NAME"]'
        )
    return {kind: _tables(file, kind, document.get(kind, {})) for kind in KINDS}


def _tables(file: Path, kind: str, found: object) -> Tables:
    if not isinstance(found, dict) or not all(isinstance(table, dict) for table in found.values()):
        raise SettingsError(f"{file}: {kind} is no table; right would be tables called [{kind}.NAME]")
    return found


def place_of(file: Path, table: tuple[str, str], option: str = "") -> str:
    """``file, line N`` of an option of a table (kind, name), or of the table where the option is not written."""
    kind, name = table
    head = re.compile(rf"\[\s*{kind}\s*\.\s*[\"']?{re.escape(name)}[\"']?\s*\].*")
    place, is_inside = 0, False
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1):
        if line.lstrip().startswith("["):
            is_inside = head.fullmatch(line.strip()) is not None
            place = number if is_inside else place
        elif is_inside and option and re.match(rf"[\"']?{re.escape(option)}[\"']?\s*=", line.lstrip()):
            return f"{file}, line {number}"
    return f"{file}, line {place}" if place else str(file)


def complaints(file: Path, table: tuple[str, str], error: ValidationError) -> str:
    """What is wrong with the options of a table (kind, name), each with its line."""
    found: list[str] = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        option = str(problem["loc"][0]) if problem["loc"] else ""
        found.append(f"{place_of(file, table, option)}: {option or table[1]}: {problem['msg']}")
    return "; ".join(found)
