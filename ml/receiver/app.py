"""The push endpoint in HTTP: what is taken, by whom, and what is answered."""

from pathlib import Path
from tempfile import TemporaryDirectory

from fastapi import FastAPI, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from ml.errors import FourgateError, RefusedRequest
from ml.receiver import answers, body
from ml.receiver.announcing import Announcer
from ml.receiver.body import Bounds
from ml.receiver.desk import Desk
from ml.receiver.document import FORM, REFUSALS, Accepted, Health
from ml.receiver.gate import Credentials, Gate
from ml.receiver.incoming import receive
from ml.receiver.rate import Rate
from ml.receiver.reception import Reception
from ml.receiver.resuming import add_uploads
from ml.receiver.uploads import Uploads
from ml.settings import Settings
from ml.stages.opening import folder_of


def create_app(
    settings: Settings, scratch: Path, rate: Rate | None = None, announcer: Announcer | None = None
) -> FastAPI:
    """The service. `scratch` is a folder of its own, on the disk of the landing area.

    Without an `announcer`, what lands waits for the hourly collection.
    """
    app = FastAPI(title="Fourgate", version="1", openapi_url="/api/v1/openapi.json", docs_url=None, redoc_url=None)
    reception = Reception(settings, announcer or Announcer(scratch / "unannounced"))
    most = reception.limits.max_payload_bytes
    desk = Desk(Gate(settings, rate), reception, Bounds(most, most * body.MAX_PAYLOADS), scratch)

    @app.get("/api/v1/health", response_model=Health)
    async def health() -> Health:
        """Whether the service answers."""
        return Health(status="ok")

    @app.post(
        "/api/v1/runs",
        status_code=201,
        response_model=Accepted,
        responses={200: {"model": Accepted, "description": "the same content was there"}, **REFUSALS},
        openapi_extra={"requestBody": FORM},
    )
    async def push(request: Request, credentials: Credentials) -> JSONResponse:
        """Take one run, or some of its reports."""
        token = await desk.gate.pass_through(request, credentials)
        with TemporaryDirectory(dir=scratch, ignore_cleanup_errors=True) as folder:
            reports = await receive(request, Path(folder), desk.bounds)
            status, told = await run_in_threadpool(desk.land, Path(folder), reports, token)
        return answers.answer(request, status, told)

    add_uploads(app, desk, Uploads(folder_of(settings, "receiver", "uploads"), desk.bounds.request_bytes))
    app.exception_handler(RefusedRequest)(answers.refuse)
    app.exception_handler(FourgateError)(answers.not_now)
    app.exception_handler(OSError)(answers.not_now)
    app.exception_handler(HTTPException)(answers.no_such_thing)
    return app
