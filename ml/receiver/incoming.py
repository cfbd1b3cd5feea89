"""The body of a request as it comes in, bounded in size and in silence."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from fastapi import Request
from fastapi.concurrency import run_in_threadpool
from starlette.requests import ClientDisconnect

from ml.errors import RefusedRequest
from ml.receiver import body
from ml.receiver.body import Body, Bounds

IDLE_S = 60.0


async def receive(request: Request, folder: Path, bounds: Bounds) -> list[str]:
    """Paths of the reports that came; they lie below `folder` then, and the manifest in it."""
    refuse_packed(request)
    announced = request.headers.get("content-length", "")
    if announced.isdecimal() and int(announced[:20]) > bounds.request_bytes:
        raise body.too_large("the request", bounds.request_bytes)
    received = Body(request.headers.get("content-type", ""), folder, bounds)
    try:
        async for chunk in chunks(request):
            await run_in_threadpool(received.write, chunk)
        received.finish()
    except ClientDisconnect as error:
        raise RefusedRequest(400, "the request broke off", body.EXPECTED) from error
    finally:
        received.close()
    return received.reports


async def chunks(request: Request) -> AsyncIterator[bytes]:
    """Pieces of the body.

    Raises:
        RefusedRequest: nothing came for `IDLE_S` seconds.
    """
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


def refuse_packed(request: Request) -> None:
    """Refuse a body that is compressed.

    Raises:
        RefusedRequest: it is.
    """
    if request.headers.get("content-encoding", "identity") != "identity":
        raise RefusedRequest(415, "the body has a Content-Encoding", "a body as it is")
