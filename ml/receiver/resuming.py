"""Uploads that go on where they broke off, in the manner of draft-ietf-httpbis-resumable-upload.

https://datatracker.ietf.org/doc/draft-ietf-httpbis-resumable-upload/

What is uploaded is the body of `POST /api/v1/runs`; its last piece is answered as that is.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, BinaryIO

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from ml.errors import RefusedRequest
from ml.receiver import answers
from ml.receiver.body import Body, Bounds
from ml.receiver.desk import Desk
from ml.receiver.document import APPEND, START, UPLOAD_REFUSALS, Accepted
from ml.receiver.gate import Credentials
from ml.receiver.incoming import chunks, refuse_packed
from ml.receiver.uploads import LIFETIME_S, Upload, Uploads
from ml.warehouse import PushToken

CHUNK = 1 << 20


def add_uploads(app: FastAPI, desk: Desk, uploads: Uploads) -> None:
    """Add the three requests of an upload to the service."""

    @app.post(
        "/api/v1/uploads", status_code=201, response_class=Response, responses=UPLOAD_REFUSALS, openapi_extra=START
    )
    async def start(request: Request, credentials: Credentials) -> Response:
        """Begin an upload; Location says where it goes to, Upload-Offset what of it is there."""
        token = await desk.gate.pass_through(request, credentials)
        refuse_packed(request)
        content_type = request.headers.get("content-type", "")[:1_000]
        _refuse_other(content_type, desk)
        length = _number(request, "Upload-Length")
        upload = await run_in_threadpool(uploads.begin, token, content_type, length)
        headers = {**_state(upload), "Location": f"/api/v1/uploads/{upload.upload_id}"}
        limits = f"max-size={uploads.max_bytes}, max-age={LIFETIME_S:.0f}"
        return Response(status_code=201, headers={**headers, "Upload-Limit": limits})

    @app.head("/api/v1/uploads/{upload_id}", status_code=204, response_class=Response, responses=UPLOAD_REFUSALS)
    async def look(upload_id: str, request: Request, credentials: Credentials) -> Response:
        """How much of an upload is there."""
        token = await desk.gate.pass_through(request, credentials)
        upload = await run_in_threadpool(uploads.find, token, upload_id)
        return Response(status_code=204, headers=_state(upload))

    @app.patch(
        "/api/v1/uploads/{upload_id}",
        status_code=201,
        response_model=Accepted,
        responses={
            200: {"model": Accepted, "description": "all of it is there, and the same content was before"},
            204: {"description": "a piece is there, not all"},
            **UPLOAD_REFUSALS,
        },
        openapi_extra=APPEND,
    )
    async def append(upload_id: str, request: Request, credentials: Credentials) -> Response:
        """Add a piece; the last one is answered as `POST /api/v1/runs` is, also when it is sent again."""
        token = await desk.gate.pass_through(request, credentials)
        upload = await run_in_threadpool(uploads.find, token, upload_id)
        with uploads.writing(upload):
            done = upload.answer
            if done is None:
                await _take(request, upload)
                if upload.offset < upload.length:
                    return Response(status_code=204, headers=_state(upload))
                done = await run_in_threadpool(_land, desk, upload, token)
        return answers.answer(request, done["status"], done["told"], _state(upload))


async def _take(request: Request, upload: Upload) -> None:
    """Append the body of the request; whatever came stays, however it ends."""
    refuse_packed(request)
    there = upload.offset
    if _number(request, "Upload-Offset") != there:
        raise RefusedRequest(409, "the piece begins elsewhere", f"Upload-Offset: {there}", Upload_Offset=str(there))
    with upload.body.open("ab") as file:
        try:
            async for chunk in chunks(request):
                if file.tell() + len(chunk) > upload.length:
                    raise RefusedRequest(400, "more came than was announced", f"{upload.length} bytes in all")
                await run_in_threadpool(_write, file, chunk)
        except ClientDisconnect as error:
            raise RefusedRequest(400, "the request broke off", "HEAD, and then what is missing") from error
        finally:
            await run_in_threadpool(_sync, file)


def _write(file: BinaryIO, chunk: bytes) -> None:
    file.write(chunk)
    file.flush()  # the offset is what the file has


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _land(desk: Desk, upload: Upload, token: PushToken) -> dict[str, Any]:
    """Land the run of an upload that is whole; one that is refused can be begun again when it is right."""
    try:
        with TemporaryDirectory(dir=desk.scratch, ignore_cleanup_errors=True) as folder:
            reports = _unpack(upload, Path(folder), desk.bounds)
            status, told = desk.land(Path(folder), reports, token)
    except RefusedRequest:
        upload.remove()
        raise
    upload.finish({"status": status, "told": told})
    return {"status": status, "told": told}


def _unpack(upload: Upload, folder: Path, bounds: Bounds) -> list[str]:
    received = Body(upload.content_type, folder, bounds)
    try:
        with upload.body.open("rb") as file:
            while chunk := file.read(CHUNK):
                received.write(chunk)
        received.finish()
    finally:
        received.close()
    return received.reports


def _refuse_other(content_type: str, desk: Desk) -> None:
    """Refuse before the first byte what would be refused after the last."""
    Body(content_type, desk.scratch, desk.bounds)


def _number(request: Request, header: str) -> int:
    text = request.headers.get(header, "")
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise RefusedRequest(400, f"{header} is missing or no number", f"{header}: <bytes>")
    return int(text)


def _state(upload: Upload) -> dict[str, str]:
    is_complete = upload.answer is not None
    told = {"Upload-Offset": str(upload.offset), "Upload-Length": str(upload.length), "Cache-Control": "no-store"}
    return {**told, "Upload-Complete": "?1" if is_complete else "?0"}
