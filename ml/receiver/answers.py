"""How the service answers: refusals in one form, what it lacks itself, and no secret of the sender anywhere."""

import logging
import math
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ml.errors import RefusedRequest
from ml.receiver.document import Problem

LOG = logging.getLogger(__name__)
RETRY_S = 10.0


async def refuse(request: Request, error: Exception) -> JSONResponse:
    """The reason why a request is refused, and what would have been right."""
    if not isinstance(error, RefusedRequest):
        raise error
    told = Problem(error=str(error), expected=error.expected).model_dump()
    headers = dict(error.headers)
    if error.wait_s is not None:
        headers["Retry-After"] = str(math.ceil(error.wait_s))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 408:
        headers["Connection"] = "close"
    return answer(request, error.status, told, headers)


async def not_now(request: Request, error: Exception) -> JSONResponse:
    """What the service itself lacks is told to its log, with paths and addresses that are nobody else's business."""
    LOG.error("a push was put off: %s: %s", type(error).__name__, error)
    busy = RefusedRequest(503, "the service cannot take runs now", f"the same again in {RETRY_S:g} s", RETRY_S)
    return await refuse(request, busy)


async def no_such_thing(request: Request, error: Exception) -> JSONResponse:
    """An address or a method that there is not."""
    if not isinstance(error, HTTPException):
        raise error
    told = Problem(error=error.detail, expected="POST /api/v1/runs or GET /api/v1/health").model_dump()
    return answer(request, error.status_code, told, dict(error.headers or {}))


def answer(request: Request, status: int, told: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """JSON that repeats the sender's token nowhere, wherever else in the request it stood."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    return JSONResponse(_without(told, token) if token else told, status, headers)


def _without(told: Any, token: str) -> Any:
    if isinstance(told, dict):
        return {name: _without(value, token) for name, value in told.items()}
    if isinstance(told, list):
        return [_without(value, token) for value in told]
    return told.replace(token, "***") if isinstance(told, str) and len(token) > 7 else told
