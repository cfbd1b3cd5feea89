"""Where a published prediction comes from: its set, the verdicts of its model, the batches of its snapshot."""

import json
from collections.abc import Mapping
from typing import Any

from psycopg2 import extensions

from ml.warehouse.session import Session

_PREDICTION = (
    "prediction.publication_id, prediction.model, prediction.project, change_id, variant, test_id, score, "
    "probability, rank, rank_by_cost, expected_duration_s, decision, reasons, prediction.model_version, "
    "prediction.is_shared, prediction.gate_report, prediction.snapshot_id, "
    "prediction.as_of, publication.as_of AS published_as_of, is_current, published_at"
)
_SETS = "fourgate.prediction JOIN fourgate.publication USING (publication_id)"
# The set that is asked for: the current one, or one whose id begins so.
_OF_SET = (
    "prediction.model = %(model)s AND (%(project)s = '' OR prediction.project = %(project)s) "
    "AND CASE WHEN %(publication)s = '' THEN is_current ELSE starts_with(publication_id, %(publication)s) END"
)


class Lineage(Session):
    """Reads what leads from a prediction back to the history."""

    def predictions_of(self, change_id: str, wanted: Mapping[str, str]) -> list[dict[str, Any]]:
        """Predictions for one change, best rank first.

        Args:
            change_id: as in the results table.
            wanted: model; project (empty: any); publication: the beginning of its id (empty: the current set).
        """
        query = f"SELECT {_PREDICTION} FROM {_SETS} WHERE {_OF_SET} AND change_id = %(change)s"
        return self._found(
            f"{query} ORDER BY prediction.project, published_at DESC, rank", {**wanted, "change": change_id}
        )

    def changes_of(self, wanted: Mapping[str, str]) -> list[str]:
        """Changes that the same sets have predictions for."""
        query = f"SELECT DISTINCT change_id FROM {_SETS} WHERE {_OF_SET} ORDER BY change_id"
        return [row["change_id"] for row in self._found(query, wanted)]

    def judgement_of(self, model: str, project: str, model_version: str) -> list[dict[str, Any]]:
        """Verdicts of a version as stored, with the test period and the version of the thresholds."""
        query = (
            "SELECT gate, status, checks, thresholds_version, period_start, period_end, snapshot_id, as_of, sha256 "
            "FROM fourgate.gate_verdict "
            "WHERE model = %(model)s AND project = %(project)s AND model_version = %(version)s"
        )
        return self._found(query, {"model": model, "project": project, "version": model_version})

    def promotion_of(self, model: str, project: str, model_version: str) -> dict[str, Any] | None:
        """How a version became champion: route, replaced, as_of, promoted_at; None if it never did."""
        query = (
            "SELECT route, replaced, as_of, promoted_at FROM fourgate.promotion "
            "WHERE model = %(model)s AND project = %(project)s AND model_version = %(version)s"
        )
        return next(iter(self._found(query, {"model": model, "project": project, "version": model_version})), None)

    def _found(self, query: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
        with self.transaction() as cursor:
            cursor.execute("SET TRANSACTION READ ONLY")
            cursor.execute(query, dict(values))
            return _rows(cursor)


def _rows(cursor: extensions.cursor) -> list[dict[str, Any]]:
    names = [column.name for column in cursor.description or ()]
    found = [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
    for row in found:
        if isinstance(row.get("reasons"), str):
            row["reasons"] = json.loads(row["reasons"])
    return found
