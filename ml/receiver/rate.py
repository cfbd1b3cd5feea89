"""How often each token, or address, may ask: a token bucket (https://www.rfc-editor.org/rfc/rfc2697)."""

import time
from collections import OrderedDict
from collections.abc import Callable

BURST = 100  # the jobs of a large matrix end together
PER_SECOND = 5.0
MAX_KEYS = 10_000


class Rate:
    """`burst` requests at once, and then `per_second`; of each key on its own. For one thread.

    At most `max_keys` are remembered: the one that asked longest ago is forgotten first.
    """

    def __init__(
        self,
        burst: int = BURST,
        per_second: float = PER_SECOND,
        clock: Callable[[], float] = time.monotonic,
        max_keys: int = MAX_KEYS,
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._max_keys = max_keys
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def like(self) -> "Rate":
        """Another one with the same limits, which has seen nobody yet."""
        return Rate(self._burst, self._per_second, self._clock, self._max_keys)

    @property
    def remembered(self) -> int:
        """How many keys are remembered."""
        return len(self._levels)

    def wait(self, key: str) -> float:
        """Seconds until the key may ask again; 0 = now, which counts."""
        now = self._clock()
        level, since = self._levels.pop(key, (float(self._burst), now))
        level = min(float(self._burst), level + (now - since) * self._per_second)
        may = level >= 1
        self._levels[key] = (level - 1 if may else level, now)
        if len(self._levels) > self._max_keys:
            self._levels.popitem(last=False)
        return 0.0 if may else (1 - level) / self._per_second
