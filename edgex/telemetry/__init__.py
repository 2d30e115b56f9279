"""Telemetry: what the machine does while samples are taken, read a few times a second by a thread of its own.

A reading costs well under a millisecond and holds no lock that the measured program waits for.
What a machine does not tell is named in `not_available`; nothing is estimated.
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from types import TracebackType

from edgex.errors import UsageError
from edgex.report.parts import Counter, Series, Telemetry
from edgex.telemetry.cpu import MEMORY, find_cpu, peak_resident_mb
from edgex.telemetry.meters import Found
from edgex.telemetry.nvml import find_gpus
from edgex.telemetry.power import find_power

__all__ = ["PERIOD_S", "Recorder"]

PERIOD_S = 0.25
_LEAST_RATE_S = 0.1  # over less than that no rate is told: the kernel counts time in ticks of 10 ms
_DIGITS = 4  # after the point, of a reading


class Recorder:
    """Records while it is entered; entered again, it goes on, and what happened in between does not count.

    Parameters
    ----------
    period_s : between two readings, above 0
    origin_ns : what `times_ms` count from, by time.perf_counter_ns; None for when it is first entered
    root : where proc and sys are; another folder than / for tests

    Examples
    --------
    >>> recorder = Recorder(period_s=0.01)
    >>> with recorder:
    ...     total = sum(range(1000))
    >>> recorder.telemetry().period_ms
    10.0
    """

    def __init__(self, period_s: float = PERIOD_S, origin_ns: int | None = None, root: Path = Path("/")) -> None:
        if not period_s > 0:
            raise UsageError(f"expected a period above 0 s, got {period_s}; take {PERIOD_S}")
        self._period_s, self._origin_ns, self._root = period_s, origin_ns, root
        found = Found()
        for part in (find_cpu(root), find_power(root), find_gpus()):
            found += part
        self._found = found
        self._times_ms: list[float] = []
        self._gauges: list[list[float | None]] = [[] for _ in found.gauges]
        self._rates: list[list[float | None]] = [[] for _ in found.meters]
        self._counts = [0.0 for _ in found.meters]
        self._before: tuple[int, list[float | None]] | None = None
        self._peak_mb: float | None = None
        self._peak_before_mb: float | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Recorder:
        if self._thread is not None:
            raise UsageError("expected a recorder that is not recording, got one that is; leave it first")
        if self._origin_ns is None:
            self._origin_ns = time.perf_counter_ns()
        self._before = None
        self._peak_before_mb = peak_resident_mb(self._root)
        self._read()
        self._end.clear()
        self._thread = threading.Thread(target=self._record, name="edgex telemetry", daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        thread, self._thread = self._thread, None
        self._end.set()
        if thread is not None:
            thread.join()
        self._read()
        peak_mb = peak_resident_mb(self._root)
        if peak_mb is not None and self._peak_before_mb is not None and peak_mb > self._peak_before_mb:
            self._peak_mb = max(peak_mb, self._peak_mb or 0.0)  # the program's highest ever fell into this time

    @property
    def peak_memory_mb(self) -> float | None:
        """The largest resident memory of this program while it was entered, or None where it is not known."""
        places = [place for place, gauge in enumerate(self._found.gauges) if gauge.name == MEMORY]
        read = [value for place in places for value in self._gauges[place] if value is not None]
        known = read if self._peak_mb is None else [*read, self._peak_mb]
        return round(max(known), 1) if known else None

    def telemetry(self) -> Telemetry:
        """Return what was recorded so far; ask when it is not entered."""
        gauges = zip(self._found.gauges, self._gauges, strict=True)
        rates = zip(self._found.meters, self._rates, strict=True)
        counts = zip(self._found.meters, self._counts, strict=True)
        return Telemetry(
            period_ms=self._period_s * 1000,
            times_ms=tuple(self._times_ms),
            series=(
                *(Series(gauge.name, gauge.unit, tuple(values)) for gauge, values in gauges),
                *(Series(meter.rate_name, meter.rate_unit, tuple(values)) for meter, values in rates),
            ),
            counters=tuple(Counter(meter.name, meter.unit, round(count, _DIGITS)) for meter, count in counts),
            not_available=tuple(self._found.missing),
        )

    def _record(self) -> None:
        while not self._end.wait(self._period_s):
            self._read()

    def _read(self) -> None:
        """Take one reading; only one thread at a time does."""
        now_ns = time.perf_counter_ns()
        counted = [meter.read() for meter in self._found.meters]
        before_ns, before = self._before or (now_ns, counted)
        self._before = now_ns, counted
        seconds = (now_ns - before_ns) / 1e9
        self._times_ms.append(round((now_ns - (self._origin_ns or 0)) / 1e6, 3))
        for gauge, values in zip(self._found.gauges, self._gauges, strict=True):
            values.append(_rounded(gauge.read()))
        for place, meter in enumerate(self._found.meters):
            old, new = before[place], counted[place]
            increase = None if old is None or new is None else meter.increase(old, new)
            self._counts[place] += increase or 0.0
            rate = None if increase is None or seconds < _LEAST_RATE_S else increase / seconds * meter.per_second
            self._rates[place].append(_rounded(rate))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
