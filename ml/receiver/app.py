"""The push endpoint in HTTP: who may send, how much and how often, and what is answered."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from pydantic import BaseModel
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from ml.errors import FourgateError, RefusedRequest
from ml.receiver import body
from ml.receiver.body import Body, Bounds
from ml.receiver.rate import Rate
from ml.receiver.reception import Reception
from ml.settings import Settings
from ml.stages.opening import open_warehouse
from ml.warehouse import PushToken

LOG = logging.getLogger(__name__)
IDLE_S = 60.0
RETRY_S = 10.0
_BEARER = HTTPBearer(auto_error=False, description="A token of `fourgate token create`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


class RefusedPart(BaseModel):
    """What of a run was not taken; the rest was."""

    reason: str
    payload: str | None
    value: str | None


class Accepted(BaseModel):
    """A run that landed; the same content is the same batch."""

    batch_id: str
    project: str
    run_id: str
    attempt: int
    reports: int
    refused: list[RefusedPart]


class Problem(BaseModel):
    """Why a request was refused, and what would have been right."""

    error: str
    expected: str


class Health(BaseModel):
    """Answers while the service runs."""

    status: str


_FORM = {
    "required": True,
    "content": {
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": [body.MANIFEST],
                "properties": {
                    body.MANIFEST: {"type": "string", "description": "JSON, the fields of docs/history-layout.md"},
                    body.REPORT: {
                        "type": "array",
                        "items": {"type": "string", "format": "binary"},
                        "description": "filename = path inside the run, its folder = variant",
                    },
                },
            },
            "encoding": {body.MANIFEST: {"contentType": "application/json"}},
        }
    },
}
_REFUSALS: dict[int | str, dict[str, Any]] = {
    400: {"model": Problem, "description": "no multipart body, cut off, or no manifest that is JSON"},
    401: {"model": Problem, "description": "no token, or none that is known"},
    403: {"model": Problem, "description": "the token is for another project"},
    408: {"model": Problem, "description": "nothing came for a minute"},
    413: {"model": Problem, "description": "a part, or all of them, too large or too many"},
    415: {"model": Problem, "description": "not multipart/form-data"},
    422: {"model": Problem, "description": "a manifest or file name that is refused"},
    429: {"model": Problem, "description": "too often; Retry-After says when"},
    503: {"model": Problem, "description": "PostgreSQL or the disk is not there; Retry-After says when"},
}


def create_app(settings: Settings, scratch: Path, rate: Rate | None = None) -> FastAPI:
    """The service. `scratch` is a folder of its own, on the disk of the landing area."""
    app = FastAPI(title="Fourgate", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    gate = _Gate(settings, rate or Rate())
    reception = Reception(settings)
    most = reception.limits.max_payload_bytes
    bounds = Bounds(most, most * body.MAX_PAYLOADS)

    @app.get("/api/v1/health", response_model=Health)
    async def health() -> Health:
        """Whether the service answers."""
        return Health(status="ok")

    @app.post(
        "/api/v1/runs",
        status_code=201,
        response_model=Accepted,
        responses={200: {"model": Accepted, "description": "the same content was there"}, **_REFUSALS},
        openapi_extra={"requestBody": _FORM},
    )
    async def push(request: Request, credentials: Credentials) -> JSONResponse:
        """Take one run, or some of its reports."""
        token = await gate.pass_through(credentials)
        with TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
            reports = await _receive(request, Path(folder), bounds)
            is_new, told = await run_in_threadpool(reception.accept, Path(folder), reports, token.project)
        LOG.info("token %s pushed batch %s of %s", token.name, told["batch_id"], token.project)
        return _answer(request, 201 if is_new else 200, told)

    app.exception_handler(RefusedRequest)(_refuse)
    app.exception_handler(FourgateError)(_not_now)
    app.exception_handler(OSError)(_not_now)
    app.exception_handler(HTTPException)(_no_such_thing)
    return app


class _Gate:
    """Lets through whoever has a token, not too often."""

    def __init__(self, settings: Settings, rate: Rate) -> None:
        self._settings = settings
        self._rate = rate

    async def pass_through(self, credentials: HTTPAuthorizationCredentials | None) -> PushToken:
        found = await run_in_threadpool(self._find, credentials.credentials) if credentials else None
        if found is None:
            raise RefusedRequest(401, "no token that is known", "Authorization: Bearer <a token that is in use>")
        if wait_s := self._rate.wait(found.sha256):
            raise RefusedRequest(429, "too many requests with this token", f"a pause of {wait_s:.1f} s", wait_s)
        return found

    def _find(self, token: str) -> PushToken | None:
        with open_warehouse(self._settings) as warehouse:
            return warehouse.find_push_token(token)


async def _receive(request: Request, folder: Path, bounds: Bounds) -> list[str]:
    """Paths of the reports that came; they lie below `folder` then, and the manifest in it."""
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedRequest(415, "the body has a Content-Encoding", "a body as it is")
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > bounds.request_bytes:
        raise body.too_large("the request", bounds.request_bytes)
    received = Body(request.headers.get("content-type", ""), folder, bounds)
    try:
        async for chunk in _chunks(request):
            await run_in_threadpool(received.write, chunk)
        received.finish()
    except ClientDisconnect as error:
        raise RefusedRequest(400, "the request broke off", body.EXPECTED) from error
    finally:
        received.close()
    return received.reports


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    stream = request.stream()
    while True:
        try:
            async with asyncio.timeout(IDLE_S):
                chunk = await anext(stream, None)
        except TimeoutError as error:
            raise RefusedRequest(408, f"nothing came for {IDLE_S:g} s", "a request that goes on") from error
        if chunk is None:
            return
        yield chunk


async def _refuse(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, RefusedRequest):
        raise error
    told = Problem(error=str(error), expected=error.expected).model_dump()
    headers = {}
    if error.wait_s is not None:
        headers["Retry-After"] = str(math.ceil(error.wait_s))
    if error.status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    if error.status == 408:
        headers["Connection"] = "close"
    return _answer(request, error.status, told, headers)


async def _not_now(request: Request, error: Exception) -> JSONResponse:
    """What the service itself lacks is told to its log, with paths and addresses that are nobody else's business."""
    LOG.error("a push was put off: %s: %s", type(error).__name__, error)
    busy = RefusedRequest(503, "the service cannot take runs now", f"the same again in {RETRY_S:g} s", RETRY_S)
    return await _refuse(request, busy)


async def _no_such_thing(request: Request, error: Exception) -> JSONResponse:
    if not isinstance(error, HTTPException):
        raise error
    told = Problem(error=error.detail, expected="POST /api/v1/runs or GET /api/v1/health").model_dump()
    return _answer(request, error.status_code, told, dict(error.headers or {}))


def _answer(request: Request, status: int, told: dict[str, Any], headers: dict[str, str] | None = None) -> JSONResponse:
    """JSON that repeats the sender's token nowhere, wherever else in the request it stood."""
    token = request.headers.get("authorization", "").partition(" ")[2].strip()
    return JSONResponse(_without(told, token) if token else told, status, headers)


def _without(told: Any, token: str) -> Any:
    if isinstance(told, dict):
        return {name: _without(value, token) for name, value in told.items()}
    if isinstance(told, list):
        return [_without(value, token) for value in told]
    return told.replace(token, "***") if isinstance(told, str) and len(token) > 7 else told
