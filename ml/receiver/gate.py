"""Who may send, and how often."""

import ipaddress
from typing import Annotated

from fastapi import Depends, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from ml.errors import RefusedRequest
from ml.receiver.rate import Rate
from ml.settings import Settings
from ml.stages.opening import open_warehouse
from ml.warehouse import PushToken

_BEARER = HTTPBearer(auto_error=False, description="A token of `fourgate token create`.")
Credentials = Annotated[HTTPAuthorizationCredentials | None, Depends(_BEARER)]


class Gate:
    """Lets through whoever has a token, not too often; who has none may not ask too often either."""

    def __init__(self, settings: Settings, rate: Rate | None = None) -> None:
        """`rate` is that of each token; addresses without a token that is known have one like it of their own."""
        self._settings = settings
        self._of_tokens = rate or Rate()
        self._of_addresses = self._of_tokens.like()

    async def pass_through(self, request: Request, credentials: HTTPAuthorizationCredentials | None) -> PushToken:
        """The token of a request.

        Raises:
            RefusedRequest: it has none that is known, or comes too often.
        """
        found = await run_in_threadpool(self._find, credentials.credentials) if credentials else None
        # A known token is not held up by others who ask from the same address: often that is a proxy's.
        wait_s = self._of_addresses.wait(address_of(request)) if found is None else self._of_tokens.wait(found.sha256)
        if wait_s:
            whose = "from this address without a token that is known" if found is None else "with this token"
            raise RefusedRequest(429, f"too many requests {whose}", f"a pause of {wait_s:.1f} s", wait_s)
        if found is None:
            raise RefusedRequest(401, "no token that is known", "Authorization: Bearer <a token that is in use>")
        return found

    def _find(self, token: str) -> PushToken | None:
        with open_warehouse(self._settings) as warehouse:
            return warehouse.find_push_token(token)


def address_of(request: Request) -> str:
    """Where a request comes from; of IPv6 the network, of which one subscriber has all addresses."""
    host = request.client.host if request.client else ""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if isinstance(address, ipaddress.IPv6Address):
        return str(address.ipv4_mapped or ipaddress.ip_network((address, 64), strict=False))
    return str(address)
