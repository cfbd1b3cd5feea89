"""How many tasks may ask one host at once: a few places for each, whoever runs the tasks and wherever."""

import logging
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from ml.warehouse.session import Session, only

LOG = logging.getLogger(__name__)
PLACES = 2
_WAIT_S = 1.0


class Hosts(Session):
    """Places at hosts, as advisory locks: they belong to the connection and end with it, also on a kill."""

    @contextmanager
    def place_at(self, host: str, places: int = PLACES, sleep: Callable[[float], None] = time.sleep) -> Iterator[None]:
        """Hold one of the `places` at `host`; waits until one is free."""
        key = zlib.crc32(host.encode("utf-8", "replace")) - 2**31  # of type integer
        place = self._free_place(key, places)
        if place is None:
            LOG.info("%d others are asking %s; waiting for them", places, host)
        while place is None:
            sleep(_WAIT_S)
            place = self._free_place(key, places)
        try:
            yield
        finally:
            with self.transaction() as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s, %s)", (key, place))

    def _free_place(self, key: int, places: int) -> int | None:
        with self.transaction() as cursor:
            for place in range(places):
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", (key, place))
                if only(cursor)[0]:
                    return place
        return None
