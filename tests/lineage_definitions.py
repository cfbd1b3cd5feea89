"""Which names are one test, and which paths one file, as plain definitions: pair by pair."""

from collections import defaultdict
from collections.abc import Hashable, Iterator
from datetime import datetime
from typing import Any

import pandas as pd

from ml.features import names

RECENT_RUNS = 5
Key = tuple[str, str]
Links = dict[Any, tuple[Any, datetime, datetime | None]]


class Lines:
    """Name to (predecessor, since, until)."""

    def __init__(self, links: Links) -> None:
        self.links = links

    def of_fact(self, name: Any, known: datetime) -> Any:
        """What a name stood for in a fact that became known at that moment."""
        before, since, until = self.links.get(name, (None, known, known))
        return self.of_fact(before, known) if since <= known and (until is None or known < until) else name

    def before(self, name: Any, start: datetime) -> Any:
        """What a name stands for, by what was known strictly before."""
        before, since, until = self.links.get(name, (None, start, start))
        return self.before(before, start) if since < start and (until is None or start <= until) else name


def lines_of_tests(known: list[tuple[str, datetime, set[Key]]]) -> Lines:
    """Lines of tests; of each run in the order of becoming known: id, moment, what it executed."""
    first: dict[Key, datetime] = {}
    for _, moment, keys in known:
        for key in keys:
            first.setdefault(key, moment)
    alike = defaultdict(list)
    for key in first:
        for name in ((key[0], _title(key[1])), key[1]):
            alike[name].append(key)
    found = [
        (key, other, first[key], together)
        for keys in alike.values()
        for key in keys
        for other in keys
        if first[other] < first[key] and _are_kin(key, other, known, first)
        for together in [_together(key, other, known)]
        if together is None or together > first[key]
    ]
    return Lines(_only_claims(found))


def _are_kin(key: Key, other: Key, known: list[tuple[str, datetime, set[Key]]], first: dict[Key, datetime]) -> bool:
    born = [keys for _, moment, keys in known if moment == first[key] and key in keys]
    is_moved = key[1] == other[1] and any(other[0] == variant for keys in born for variant, _ in keys)
    is_renamed = key[0] == other[0] and _title(key[1]) == _title(other[1])
    of_variant = [(moment, keys) for _, moment, keys in known if other[0] in {variant for variant, _ in keys}]
    earlier = [(moment, keys) for moment, keys in of_variant if moment < first[key]]
    since = earlier[-RECENT_RUNS:][0][0] if earlier else first[key]
    return (is_moved or is_renamed) and any(other in keys for moment, keys in earlier if moment >= since)


def _title(test_id: str) -> str:
    return names.title_of(names.segments(test_id))


def _together(key: Key, other: Key, known: list[tuple[str, datetime, set[Key]]]) -> datetime | None:
    return min((moment for _, moment, keys in known if key in keys and other in keys), default=None)


def lines_of_files(known: list[tuple[datetime, dict[str, tuple[Any, Any]]]]) -> Lines:
    """Lines of files; of each run: the moment it became known, and added and deleted lines of its files."""
    first: dict[str, datetime] = {}
    for moment, files in known:
        for path in files:
            first.setdefault(path, moment)
    found = {
        (path, other, moment, None)
        for moment, files in known
        for path in files
        for other in files
        if first[path] == moment and first[other] < moment and _file_name(path) == _file_name(other)
        if _is_gone(files[other], files[path])
    }
    return Lines(_only_claims(found))


def _file_name(path: str) -> tuple[str, str]:
    return names.stem_of(path).lower(), path.rpartition(".")[2] if "." in path else ""


def _is_gone(old: tuple[Any, Any], new: tuple[Any, Any]) -> bool:
    if pd.isna(old[0]) or pd.isna(old[1]):
        return bool(pd.isna(old[0]) and pd.isna(old[1]))
    return bool(old[0] == 0 and old[1] > 0 and new[1] == 0)


def _only_claims(found: Any) -> Links:
    """Of (heir, predecessor, since, until): heirs with one predecessor, each of which goes to its first heir."""
    by_heir: dict[Hashable, list[Any]] = defaultdict(list)
    for one in found:
        by_heir[one[0]].append(one)
    claims = [ones[0] for ones in by_heir.values() if len(ones) == 1]
    return dict(_first_claims(claims))


def _first_claims(claims: list[Any]) -> Iterator[tuple[Any, Any]]:
    for heir, before, since, until in claims:
        rivals = [one for one in claims if one[1] == before and one[2] <= since]
        if len(rivals) == 1:
            yield heir, (before, since, until)
