"""Questions that `fourgate verify` asks of PostgreSQL; they change nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ml.spec import ALL_PROJECTS, ModelVersion
from ml.warehouse.session import Session, only

_UNJUDGED = """
    SELECT model, project, is_shared, model_version,
        ARRAY(SELECT gate FROM fourgate.gate_verdict verdict WHERE verdict.model = published.model
            AND verdict.project = published.judged AND verdict.model_version = published.model_version
            AND verdict.status = 'pass') AS passed,
        EXISTS (SELECT FROM fourgate.promotion WHERE promotion.model = published.model
            AND promotion.project = published.judged AND promotion.model_version = published.model_version) AS promoted
    FROM (SELECT DISTINCT model, project, is_shared, model_version,
            CASE WHEN is_shared THEN %s ELSE project END AS judged
        FROM fourgate.publication) published
    ORDER BY model, project, is_shared, model_version
"""
_SETS = """
    SELECT publication_number, publication_id, model, project, is_current,
        CASE WHEN rows_removed_at IS NULL THEN row_count ELSE 0 END, count(rank) AS rows,
        count(DISTINCT (change_id, variant, test_id)) FILTER (WHERE rank IS NOT NULL) AS keys
    FROM fourgate.publication LEFT JOIN fourgate.prediction_row USING (publication_number)
    GROUP BY publication_id ORDER BY published_at
"""
_LOST = """
    SELECT count(*) FROM fourgate.prediction_row
    WHERE NOT EXISTS (SELECT FROM fourgate.publication
        WHERE publication.publication_number = prediction_row.publication_number)
"""


@dataclass(frozen=True, slots=True)
class PublishedVersion:
    """A model version that predictions of a project name: the gates that passed it, and whether it was ever promoted.

    `is_shared`: the version is one of the shared model.
    """

    model: str
    project: str
    is_shared: bool
    version: str
    passed: tuple[str, ...]
    promoted: bool


@dataclass(frozen=True, slots=True)
class PublishedSet:
    """What a publication announces (`row_count`) and what is stored under it.

    `rows` are stored, `keys` of them differ in (change, variant, test).
    """

    number: int
    publication_id: str
    model: str
    project: str
    is_current: bool
    row_count: int
    rows: int
    keys: int


class Invariants(Session):
    """What the ledger, the results and the verdicts say about each other."""

    def ledger_counts(self, snapshot_id: int) -> dict[str, Mapping[str, int]]:
        """Rows that each batch added per lake table, up to a snapshot, by batch id."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT batch_id, row_counts FROM fourgate.collection_batch WHERE snapshot_id <= %s", (snapshot_id,)
            )
            return {batch_id: dict(counts) for batch_id, counts in cursor.fetchall()}

    def published_versions(self) -> list[PublishedVersion]:
        """Every model version that was ever published."""
        with self.transaction() as cursor:
            cursor.execute(_UNJUDGED, (ALL_PROJECTS,))
            return [
                PublishedVersion(model, project, is_shared, version, tuple(passed), promoted)
                for model, project, is_shared, version, passed, promoted in cursor.fetchall()
            ]

    def published_sets(self) -> list[PublishedSet]:
        """Every publication with what is stored of it, oldest first."""
        with self.transaction() as cursor:
            cursor.execute(_SETS)
            return [PublishedSet(*row) for row in cursor.fetchall()]

    def lost_predictions(self) -> int:
        """Number of predictions whose publication is not there."""
        with self.transaction() as cursor:
            cursor.execute(_LOST)
            return int(only(cursor)[0])

    def judged_digests(self, version: ModelVersion) -> list[tuple[str, Any, str]]:
        """Gate, status and SHA-256 of each verdict about a version."""
        with self.transaction() as cursor:
            cursor.execute(
                "SELECT gate, status, sha256 FROM fourgate.gate_verdict "
                "WHERE model = %s AND project = %s AND model_version = %s",
                (version.model, version.project, version.version),
            )
            return [(gate, status, sha256) for gate, status, sha256 in cursor.fetchall()]
