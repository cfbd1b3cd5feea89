"""Verifying: whether what is stored in the lake, PostgreSQL and MLflow still says one thing, whoever was killed."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from ml.engine import open_engine
from ml.errors import ArtifactRefused, FourgateError, LakeError
from ml.lake import Lake
from ml.registry.naming import CHAMPION, PREVIOUS
from ml.schemas import KEYS
from ml.settings import GATES, MODELS, Settings
from ml.spec import ModelVersion, Snapshot, Status
from ml.stages.opening import open_lake, open_registry, open_warehouse, projects
from ml.stages.retraining import project_champion
from ml.warehouse import Champion, PublishedSet, Warehouse

MAX_TOLD = 10
RECOLLECT = (
    "put the lake's files back from a backup of the time of that snapshot; without one start with an empty lake and "
    "warehouse and collect again: fourgate collect"
)


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong, and the command that mends it."""

    what: str
    mend: str


@dataclass(frozen=True, slots=True)
class Finding:
    """What one invariant came to.

    `looked_at` says what was compared and how many of them; `status` is pass, fail, or error when it could not be
    asked; `problem_count` counts all problems, of which `problems` holds the first ten.
    """

    name: str
    invariant: str
    status: Status
    looked_at: str
    problem_count: int
    problems: tuple[Problem, ...]


@dataclass(frozen=True, slots=True)
class _Look:
    """What a check looked at, and what it found wrong."""

    looked_at: str
    problems: list[Problem]


def verify(settings: Settings, mend: bool = False) -> list[Finding]:
    """Hold every invariant against what is stored. Nothing is changed, unless `mend` is given.

    Args:
        settings: where the lake, the warehouse and the registry are.
        mend: set MLflow's aliases again by the champions' rows before looking; nothing else can be told from one
            place alone.

    Returns:
        one finding per invariant, in the order of the pipeline.

    Raises:
        WarehouseError: PostgreSQL cannot be reached: without it nothing can be told.
    """
    with open_warehouse(settings) as warehouse:
        if mend:
            _mend(settings, warehouse)
        return [_finding(check, settings, warehouse) for check in CHECKS]


def _mend(settings: Settings, warehouse: Warehouse) -> None:
    for champion in warehouse.champions():
        project_champion(warehouse, open_registry(settings), champion.version.model, champion.version.project)


def _finding(check: Callable[[Settings, Warehouse], _Look], settings: Settings, warehouse: Warehouse) -> Finding:
    name, invariant = check.__name__.lstrip("_"), str(check.__doc__)
    try:
        look = check(settings, warehouse)
    except FourgateError as error:
        unasked = Problem(str(error), "mend what the message names, then: fourgate verify")
        return Finding(name, invariant, Status.ERROR, "could not be asked", 1, (unasked,))
    status = Status.FAIL if look.problems else Status.PASS
    return Finding(name, invariant, status, look.looked_at, len(look.problems), tuple(look.problems[:MAX_TOLD]))


def _every_batch_once(settings: Settings, warehouse: Warehouse) -> _Look:
    """Each batch of the ledger is in the head snapshot with all its rows, once."""
    head = warehouse.head()
    if head is None:
        return _Look("an empty ledger", [])
    counts = warehouse.ledger_counts(head.snapshot_id)
    lake, problems, rows = open_lake(settings), [], 0
    for table, version in head.versions.items():
        found = _batch_counts(lake, table, version)
        rows += sum(found.values())
        recorded = {batch_id: count for batch_id, batch in counts.items() if (count := batch.get(table, 0))}
        problems += [Problem(f"{table}: {text}", RECOLLECT) for text in _differences(table, found, recorded, counts)]
    problems += [Problem(text, RECOLLECT) for text in _repeats(settings, head)]
    return _Look(f"{len(counts)} ledger rows, {rows} rows in {len(head.versions)} tables", problems)


def _differences(
    table: str, found: Mapping[str, int], recorded: Mapping[str, int], known: Mapping[str, object]
) -> Iterator[str]:
    """How the rows of a table differ from what the ledger says was added to it.

    An update moves a run from the batch that announced it to the batch that finished it: of runs only the sum holds.
    Where retention took rows away, the sum holds, and no batch has more rows than it brought.
    """
    has_retention = any(count < 0 for count in recorded.values())
    for batch_id in sorted(set(found) - set(known)):
        yield f"{found[batch_id]} rows of batch {batch_id}, which is not in the ledger"
    if (table == "runs" or has_retention) and sum(found.values()) != sum(recorded.values()):
        yield f"{sum(found.values())} rows, but the ledger says {sum(recorded.values())}"
    for batch_id, count in sorted(recorded.items()) if table != "runs" else ():
        there = found.get(batch_id, 0)
        if there > max(count, 0) or (there != count and not has_retention):
            yield f"{there} rows of batch {batch_id}, but the ledger says {count}"


def _repeats(settings: Settings, head: Snapshot) -> Iterator[str]:
    """Keys that occur more than once."""
    lake = open_lake(settings)
    with open_engine(settings.engine, settings.threads) as engine:
        for table, key in KEYS.items():
            version = head.versions.get(table)
            if version is None:  # a snapshot of an earlier release
                continue
            engine.register_files(table, lake.files(table, version), lake.schema(table, version))
            names = ", ".join(key)
            repeated = engine.fetch(
                f"SELECT count(*) AS keys FROM (SELECT 1 FROM {table} GROUP BY {names} HAVING count(*) > 1)"
            )["keys"].iloc[0]
            if repeated:
                yield f"{table}: {repeated} ({names}) occur more than once"


def _snapshots_readable(settings: Settings, warehouse: Warehouse) -> _Look:
    """Each snapshot that the head, a live model or a current prediction names can still be read."""
    lake, problems = open_lake(settings), []
    live = warehouse.live_versions()
    named = sorted({(table, version) for versions in live for table, version in versions.items()})
    for table, version in named:
        try:
            _batch_counts(lake, table, version)
        except LakeError as error:
            problems.append(Problem(f"version {version} of {table} cannot be read: {error}", RECOLLECT))
    return _Look(f"{len(live)} snapshots, {len(named)} table versions", problems)


def _predictions_judged(settings: Settings, warehouse: Warehouse) -> _Look:
    """Each published version was promoted, and all four gates passed it."""
    published, problems = warehouse.published_versions(), []
    for one in published:
        missing = [gate for gate in GATES if gate not in one.passed]
        faults = [f"no passed verdict of {', '.join(missing)}"] if missing else []
        faults += [] if one.promoted else ["it was never promoted"]
        if faults:
            version = f"version {one.version}{' of the shared model' if one.is_shared else ''}"
            what = f"{one.model} {one.project}, {version} has predictions, but {' and '.join(faults)}"
            problems.append(Problem(what, _republish(one.model, one.project)))
    return _Look(f"{len(published)} published model versions", problems)


def _sets_complete(settings: Settings, warehouse: Warehouse) -> _Look:
    """Each publication has exactly its rows, and one set per model and project is current."""
    sets = warehouse.published_sets()
    problems = [
        Problem(f"publication {one.publication_id[:12]} of {one.model} {one.project}: {fault}", _forget(one))
        for one in sets
        if (fault := _fault_of(one))
    ]
    current = Counter((one.model, one.project) for one in sets if one.is_current)
    for model, project in sorted({(one.model, one.project) for one in sets}):
        if current[model, project] != 1:
            what = f"{model} {project}: {current[model, project]} sets are current, one should be"
            problems.append(Problem(what, _republish(model, project)))
    lost = warehouse.lost_predictions()
    if lost:
        owner = "DELETE FROM fourgate.prediction_row WHERE publication_number NOT IN (SELECT publication_number FROM "
        mend = f'as the owner: psql "$FOURGATE_WAREHOUSE_ADMIN_DSN" -c "{owner}fourgate.publication)"'
        problems.append(Problem(f"{lost} predictions belong to no publication", mend))
    return _Look(f"{len(sets)} publications, {sum(one.rows for one in sets)} predictions", problems)


def _fault_of(one: PublishedSet) -> str:
    if one.rows != one.row_count:
        return f"{one.rows} rows are stored, {one.row_count} were published"
    if one.keys != one.rows:
        return f"{one.rows - one.keys} rows repeat a (change, variant, test)"
    return ""


def _aliases_agree(settings: Settings, warehouse: Warehouse) -> _Look:
    """MLflow's aliases champion and previous point where the champion's row says."""
    served = {(one.version.model, one.version.project) for one in warehouse.champions()}
    known = {(model, project) for model in MODELS for project in projects(settings)}
    problems = []
    registry = open_registry(settings)
    for model, project in sorted(served | known):
        with warehouse.projection_lock(model, project) as champion:
            wanted = _wanted_aliases(champion)
            found = registry.aliases(model, project)
        shown = {name: found[name] for name in (CHAMPION, PREVIOUS) if name in found}
        if shown != wanted:
            what = f"{model} {project}: MLflow says {_spelt(shown)}, the champion's row {_spelt(wanted)}"
            mend = "fourgate verify --mend" if wanted else "remove the aliases in MLflow, or promote: fourgate promote"
            problems.append(Problem(what, mend))
    return _Look(f"{len(served)} champions, {len(served | known)} models in MLflow", problems)


def _wanted_aliases(champion: Champion | None) -> dict[str, str]:
    if champion is None:
        return {}
    previous = {PREVIOUS: champion.previous.version} if champion.previous else {}
    return {CHAMPION: champion.version.version, **previous}


def _spelt(aliases: Mapping[str, str]) -> str:
    return ", ".join(f"{name} = {version}" for name, version in aliases.items()) or "nothing"


def _artifacts_verified(settings: Settings, warehouse: Warehouse) -> _Look:
    """The model files of champion, previous and anchor are the judged ones and can be loaded."""
    champions, problems, names = warehouse.champions(), [], set()
    registry = open_registry(settings) if champions else None
    for champion in champions:
        for role, version in _kept(champion):
            names.add(version)
            title = f"{role} of {version.model} {version.project}, version {version.version}"
            verdicts = {gate: sha256 for gate, status, sha256 in warehouse.judged_digests(version) if status == "pass"}
            other = [gate for gate in GATES if verdicts.get(gate) != version.sha256]
            if other:
                problems.append(Problem(f"{title}: {', '.join(other)} did not pass these bytes", _replace(version)))
            try:
                if registry is not None:
                    registry.load(version)
            except ArtifactRefused as error:
                problems.append(Problem(f"{title}: {error}", _replace(version)))
    return _Look(f"{len(names)} model files of {len(champions)} champions", problems)


def _kept(champion: Champion) -> list[tuple[str, ModelVersion]]:
    """Each version that a champion's row names, once, by its foremost role."""
    roles = [("champion", champion.version), ("previous", champion.previous), ("anchor", champion.anchor)]
    found: dict[ModelVersion, str] = {}
    for role, version in roles:
        if version is not None:
            found.setdefault(version, role)
    return [(role, version) for version, role in found.items()]


CHECKS = (
    _every_batch_once,
    _snapshots_readable,
    _predictions_judged,
    _sets_complete,
    _aliases_agree,
    _artifacts_verified,
)


def _batch_counts(lake: Lake, table: str, version: int) -> Counter[str]:
    """Rows of each batch in a table version. Reading it opens every file."""
    return Counter(lake.read(table, version, columns=["batch_id"]).column("batch_id").to_pylist())


def _republish(model: str, project: str) -> str:
    return f"fourgate publish --model {model} --project '{project}'"


def _forget(one: PublishedSet) -> str:
    this = f"publication_number = {one.number}"
    sql = f"DELETE FROM fourgate.prediction_row WHERE {this}; DELETE FROM fourgate.publication WHERE {this};"
    return f'as the owner: psql "$FOURGATE_WAREHOUSE_ADMIN_DSN" -c "{sql}", then {_republish(one.model, one.project)}'


def _replace(version: ModelVersion) -> str:
    back = f"fourgate rollback '{version.project}' --model {version.model} --reason 'model file'"
    return f"put the file back in MLflow; or {back}, then fourgate publish; or fourgate train and fourgate promote"
