"""Times of the live path: one frame's stages, and the distribution of many."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_KEPT = 10_000  # newest times that are kept, so that an endless camera does not fill the memory


@dataclass(frozen=True, slots=True)
class Spread:
    """How times are spread: percentiles of the newest 10,000, in milliseconds, interpolated linearly between samples.

    Attributes
    ----------
    p50_ms, p95_ms, p99_ms : percentiles
    max_ms : the longest
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float


@contextlib.contextmanager
def stage(ms: dict[str, float], name: str) -> Iterator[None]:
    """Add the time of the with statement's body to `ms[name]`, in milliseconds; nothing is added when it raises.

    >>> ms = {}
    >>> with stage(ms, "infer"):
    ...     pass
    >>> list(ms)
    ['infer']
    """
    start_ns = time.perf_counter_ns()
    yield
    ms[name] = ms.get(name, 0.0) + (time.perf_counter_ns() - start_ns) / 1e6


class Times:
    """The newest times of one thing.

    >>> times = Times()
    >>> for ms in (1.0, 2.0, 9.0):
    ...     times.add(ms)
    >>> times.spread().p50_ms
    2.0
    """

    def __init__(self) -> None:
        self._ring_ms = np.zeros(_KEPT)  # all of it at once: memory that grows for minutes looks like a leak
        self._count = 0

    def add(self, ms: float) -> None:
        """Keep one time in milliseconds; the oldest goes where there are 10,000."""
        self._ring_ms[self._count % _KEPT] = ms
        self._count += 1

    def spread(self) -> Spread:
        """Return the percentiles; ValueError where no time was added."""
        kept = self._ring_ms[: self._count]
        if not kept.size:
            raise ValueError("expected at least one time, got none; add one")
        p50, p95, p99 = (round(float(each), 3) for each in np.percentile(kept, (50, 95, 99)))
        return Spread(p50, p95, p99, round(float(kept.max()), 3))
