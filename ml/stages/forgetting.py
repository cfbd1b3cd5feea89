"""Opting out: a person's pseudonym lands no more, and goes from the lake, from landing and from what is staged."""

import shutil
from datetime import datetime
from typing import Any

from ml.errors import SettingsError
from ml.lake.removing import Person
from ml.settings import Settings
from ml.sources.forgetting import forget_landed
from ml.sources.pseudonyms import pseudonym
from ml.stages import lake_changes
from ml.stages.collection import LOCK_TIMEOUT_S
from ml.stages.fetching import landing
from ml.stages.opening import open_lake, open_warehouse


def forget(
    settings: Settings, person: tuple[str, str], as_of: datetime, actor: str, *, dry_run: bool = False
) -> dict[str, Any]:
    """Forget a person in a project. Twice changes nothing more; killed at any moment, the next call ends it.

    Args:
        settings: where lake, landing and warehouse are, and the salt.
        person: name exactly as the CI system gives it, and project; the name itself is stored nowhere.
        as_of: now; part of the ledger row.
        actor: who asks for it; kept in the audit log.
        dry_run: only say what would change.

    Returns:
        is_new (False where the person had opted out before), rows of the lake, landed manifests and staged batches
        that were changed, and what of landing could not be read.

    Raises:
        SettingsError: the name or the project is empty.
    """
    name, project = person
    if not name.strip() or not project.strip():
        raise SettingsError("name and project should both be given, as the CI system gives them")
    hidden = pseudonym(name, project, settings.author_salt.get_secret_value())
    with open_warehouse(settings) as warehouse:
        is_new = hidden not in warehouse.forgotten_persons()
        if not dry_run:  # first of all: from here on nothing more lands
            warehouse.forget_person(hidden, project, actor)
    manifests, unread = forget_landed(landing(settings), project, hidden, dry_run=dry_run)
    return {
        "project": project,
        "is_new": is_new,
        "staged_batches": _forget_staged(settings, project, dry_run),
        "landed_manifests": manifests,
        "lake_rows": _forget_stored(settings, Person(project, hidden), as_of, dry_run),
        "unread": unread,
        "dry_run": dry_run,
    }


def _forget_stored(settings: Settings, person: Person, as_of: datetime, dry_run: bool) -> dict[str, int]:
    """Rows per table of the lake that named the person; a snapshot of its own, if there are any."""
    lake = open_lake(settings)
    with open_warehouse(settings) as warehouse, warehouse.lake_lock(LOCK_TIMEOUT_S):
        head = warehouse.head()
        if head is None:
            return {}
        if dry_run:
            return dict(lake.remove(head.versions, person).counts)
        lake.create()  # a lake of an earlier release may lack a table
        base = lake.restore(head.versions, warehouse.next_sequence())
        done = lake.remove(base, person, warehouse.next_sequence())
        if any(done.counts.values()):
            lake_changes.record(warehouse, done.versions, as_of, source="forget", project=person.project)
    return dict(done.counts)


def _forget_staged(settings: Settings, project: str, dry_run: bool) -> int:
    """Remove what is staged of a project, whoever is in it; validating a batch again brings it back."""
    with open_warehouse(settings) as warehouse:
        projects = warehouse.projects_of_batches()
    root = settings.home.absolute() / "staging"
    # What is in no ledger yet may be of any project.
    going = [folder for folder in root.glob("*") if projects.get(folder.name, project) == project]
    for folder in [] if dry_run else going:
        shutil.rmtree(folder, ignore_errors=True)
    return len(going)
