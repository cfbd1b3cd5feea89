"""How often each token may push: a token bucket (https://www.rfc-editor.org/rfc/rfc2697)."""

import time
from collections.abc import Callable

BURST = 100  # the jobs of a large matrix end together
PER_SECOND = 5.0


class Rate:
    """`burst` requests at once, and then `per_second`; of each key on its own. For one thread."""

    def __init__(
        self, burst: int = BURST, per_second: float = PER_SECOND, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._burst = burst
        self._per_second = per_second
        self._clock = clock
        self._levels: dict[str, tuple[float, float]] = {}

    def wait(self, key: str) -> float:
        """Seconds until the key may ask again; 0 = now, which counts."""
        now = self._clock()
        level, since = self._levels.get(key, (float(self._burst), now))
        level = min(float(self._burst), level + (now - since) * self._per_second)
        may = level >= 1
        self._levels[key] = (level - 1 if may else level, now)
        return 0.0 if may else (1 - level) / self._per_second
