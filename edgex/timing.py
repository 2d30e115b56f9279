"""A stopwatch for the stages of the live path."""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

_KEPT = 10_000  # newest times per stage that are kept, so that an endless camera does not fill the memory


@dataclass(frozen=True, slots=True)
class StageTimes:
    """How long one stage took.

    Attributes
    ----------
    p50_ms, p95_ms : median and 95th percentile of the newest 10,000 times, in milliseconds
    """

    p50_ms: float
    p95_ms: float


class Stopwatch:
    """Times stages by name.

    >>> watch = Stopwatch()
    >>> with watch.stage("infer"):
    ...     pass
    >>> list(watch.summary())
    ['infer']
    """

    def __init__(self) -> None:
        self._times_ns: dict[str, deque[int]] = {}
        self._lap_ms: dict[str, float] = {}

    @contextlib.contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Time the body of the with statement; nothing is kept when it raises."""
        start_ns = time.perf_counter_ns()
        yield
        elapsed_ns = time.perf_counter_ns() - start_ns
        self._times_ns.setdefault(name, deque(maxlen=_KEPT)).append(elapsed_ns)
        self._lap_ms[name] = self._lap_ms.get(name, 0.0) + elapsed_ns / 1e6

    def lap(self) -> dict[str, float]:
        """Return the milliseconds per stage since the last lap, rounded to microseconds, and begin a new one."""
        lap = {name: round(ms, 3) for name, ms in self._lap_ms.items()}
        self._lap_ms.clear()
        return lap

    def summary(self) -> dict[str, StageTimes]:
        """Return median and 95th percentile per stage, in the order in which the stages first ran."""
        return {name: _percentiles(times) for name, times in self._times_ns.items()}


def _percentiles(times_ns: deque[int]) -> StageTimes:
    p50_ns, p95_ns = np.percentile(np.fromiter(times_ns, dtype=np.float64), (50, 95))
    return StageTimes(round(float(p50_ns) / 1e6, 3), round(float(p95_ns) / 1e6, 3))
