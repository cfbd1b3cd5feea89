"""Batches that break their contract as a whole. Imports nothing heavy: this is a task of its own."""

from collections.abc import Mapping, Sequence
from typing import Any

from ml.errors import ContractError


def require_contracts(references: Sequence[Mapping[str, Any]]) -> None:
    """Complain about refused batches, after the others were appended: one bad batch must not hold up the good ones.

    Raises:
        ContractError: a batch as a whole breaks its contract; it is not in the lake.
    """
    refused = [reference for reference in references if not reference["passed"]]
    if refused:
        told = "; ".join(f"{one['batch_id']}: {', '.join(one['complaints'])} ({one['report_url']})" for one in refused)
        raise ContractError(f"{len(refused)} of {len(references)} batches break their contract as a whole: {told}")
