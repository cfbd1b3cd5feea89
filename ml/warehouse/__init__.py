"""PostgreSQL: the only package that knows it. One file per subject; `Warehouse` is all of them on one connection."""

from ml.warehouse.champions import Champion, Champions, Promotion, Rollback, Route
from ml.warehouse.condition import Condition
from ml.warehouse.hosts import Hosts
from ml.warehouse.invariants import Invariants, PublishedSet
from ml.warehouse.ledger import BatchRecord, Ledger
from ml.warehouse.lineage import Lineage
from ml.warehouse.migrations import PIPELINE_ROLE, READER_ROLE, migrate
from ml.warehouse.persons import Persons
from ml.warehouse.predictions import PredictionTables, Publication
from ml.warehouse.push_tokens import PushToken, PushTokens
from ml.warehouse.reports import Reports
from ml.warehouse.verdicts import Judgement, Verdicts

__all__ = [
    "PIPELINE_ROLE",
    "READER_ROLE",
    "BatchRecord",
    "Champion",
    "Judgement",
    "Promotion",
    "Publication",
    "PublishedSet",
    "PushToken",
    "Rollback",
    "Route",
    "Warehouse",
    "migrate",
]


class Warehouse(
    Ledger, Verdicts, Champions, PredictionTables, Reports, Lineage, Condition, Invariants, PushTokens, Hosts, Persons
):
    """A connection to the migrated warehouse, for one thread, as the pipeline or the reader role."""
