"""How often something may happen: token buckets, and one for each of a bounded number of callers."""

from __future__ import annotations

import time
from collections import OrderedDict


class Bucket:
    """Allows `burst` at once and `per_s` a second in the long run."""

    def __init__(self, per_s: float, burst: float) -> None:
        self._per_s = per_s
        self._burst = burst
        self._left = burst
        self._at_s = time.monotonic()

    def missing_s(self) -> float:
        """Return the seconds until one more is allowed; 0 when it is now."""
        now_s = time.monotonic()
        self._left = min(self._burst, self._left + (now_s - self._at_s) * self._per_s)
        self._at_s = now_s
        return max(0.0, (1.0 - self._left) / self._per_s)

    def take(self) -> bool:
        """Use one up; False, and nothing is used, where none is left."""
        if self.missing_s() > 0.0:
            return False
        self._left -= 1.0
        return True


class Buckets:
    """A bucket for each caller; of more than `callers`, the one that was quiet longest is forgotten."""

    def __init__(self, per_s: float, burst: float, callers: int = 256) -> None:
        self._per_s = per_s
        self._burst = burst
        self._callers = callers
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def of(self, caller: str) -> Bucket:
        """Return the caller's bucket."""
        bucket = self._buckets.setdefault(caller, Bucket(self._per_s, self._burst))
        self._buckets.move_to_end(caller)
        if len(self._buckets) > self._callers:
            self._buckets.popitem(last=False)
        return bucket
