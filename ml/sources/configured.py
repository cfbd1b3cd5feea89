"""The sources of `fourgate.toml`, one table ``[source.NAME]`` each; an error names file, line and remedy."""

import json
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ml.errors import SettingsError
from ml.fourgate_file import complaints, place_of
from ml.settings import read_sources
from ml.sources.source import OpenSource, SourceOptions, Surroundings

# Modules by kind, each with `Options` and `open_source`; imported when used: their clients take time to load.
KINDS = {
    "bucket": "ml.sources.bucket",
    "git": "ml.sources.git.source",
    "github_actions": "ml.sources.github.actions",
    "gitlab": "ml.sources.gitlab.server",
    "jenkins": "ml.sources.jenkins.server",
    "sql": "ml.sources.sql",
}
NAME = re.compile(r"[a-z][a-z0-9]*(-[a-z0-9]+)*")
# Mean something of their own to a collection.
RESERVED = ("history", "push")


@dataclass(frozen=True, slots=True)
class ConfiguredSource:
    """A source by name; `options` are those of its kind."""

    name: str
    kind: str
    options: SourceOptions

    def open(self, secret: str, around: Surroundings) -> OpenSource:
        """The source, with a token or password of it; nothing is asked of it yet."""
        opened: OpenSource = import_module(KINDS[self.kind]).open_source(self.options, secret, around)
        return opened


def load(file: Path) -> dict[str, ConfiguredSource]:
    """Every source of the file, by name.

    Raises:
        SettingsError: the file is no TOML, or a source has an unknown kind, an unknown or malformed option.
    """
    found = {name: _source(file, name, table) for name, table in read_sources(file).items()}
    _refuse_shared_projects(file, found)
    return found


def find(file: Path, name: str) -> ConfiguredSource:
    """The source called `name`.

    Raises:
        SettingsError: there is none; see also `load`.
    """
    known = load(file)
    if name not in known:
        raise SettingsError(
            f"{file} names no source {name!r}; it names {', '.join(known) or 'none'} (`fourgate source add` adds one)"
        )
    return known[name]


def add(file: Path, name: str, table: Mapping[str, Any]) -> ConfiguredSource:
    """Write one more source at the end of the file, which is made if it is not there.

    Raises:
        SettingsError: the name is taken, or the options are not right; the file is as it was.
    """
    _refuse_name(name, str(file))
    if name in read_sources(file):
        raise SettingsError(f"{file} names a source {name!r} already; choose another name, or edit it there")
    before = file.read_text(encoding="utf-8").rstrip() + "\n\n" if file.exists() else ""
    lines = [f"[source.{name}]", *(f"{key} = {_value(value)}" for key, value in table.items())]
    handle, scratch = tempfile.mkstemp(prefix=f".{file.name}-", dir=file.absolute().parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(before + "\n".join(lines) + "\n")
        added = find(Path(scratch), name)
        Path(scratch).replace(file)
    except SettingsError as error:
        raise SettingsError(str(error).replace(scratch, str(file))) from error
    finally:
        Path(scratch).unlink(missing_ok=True)
    return added


def options_of(kind: str) -> type[SourceOptions]:
    """What a source of this kind can be told."""
    options: type[SourceOptions] = import_module(KINDS[kind]).Options
    return options


def _source(file: Path, name: str, table: Mapping[str, Any]) -> ConfiguredSource:
    _refuse_name(name, _place(file, name))
    kind = table.get("kind")
    if not isinstance(kind, str) or kind not in KINDS:
        raise SettingsError(f"{_place(file, name, 'kind')}: kind is {kind!r}; right would be one of {', '.join(KINDS)}")
    try:
        return ConfiguredSource(name, kind, options_of(kind).model_validate(dict(table)))
    except ValidationError as error:
        raise SettingsError(complaints(file, ("source", name), error)) from None


def _refuse_name(name: str, place: str) -> None:
    if NAME.fullmatch(name) is None:
        raise SettingsError(
            f"{place}: {name!r} is no name of a source; right would be small letters, digits and hyphens"
        )
    if name in RESERVED:
        raise SettingsError(f"{place}: {name!r} stands for what no server is asked for; choose another name")


def _place(file: Path, name: str, option: str = "") -> str:
    return place_of(file, ("source", name), option)


def _refuse_shared_projects(file: Path, found: Mapping[str, ConfiguredSource]) -> None:
    """Two sources of one kind and project would move each other's watermark."""
    owners: dict[tuple[str, str], str] = {}
    for name, source in found.items():
        owner = owners.setdefault((source.kind, source.options.project), name)
        if owner != name:
            raise SettingsError(
                f"{_place(file, name, 'project')}: {owner} and {name} collect {source.options.project!r} from "
                f"{source.kind}; right would be a project of its own for each"
            )


def _value(value: Any) -> str:
    """A string, number, flag or list of strings as TOML."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)
