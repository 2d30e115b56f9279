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
from edgex.telemetry.meters import Found, Meter
from edgex.telemetry.nvml import find_gpus
from edgex.telemetry.power import find_power

__all__ = ["PERIOD_S", "Recorder"]

PERIOD_S = 0.25
_LEAST_RATE_NS = 100_000_000  # over less than that no rate is told: the kernel counts time in ticks of 10 ms
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
        self._last: list[float | None] = [None for _ in found.meters]  # counts that could be read
        self._readings: list[
            tuple[int, list[float | None]]
        ] = []  # since it was entered, those that a rate may count from
        self._peak_mb: float | None = None
        self._peak_before_mb: float | None = None
        self._end = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Recorder:
        if self._thread is not None:
            raise UsageError("expected a recorder that is not recording, got one that is; leave it first")
        if self._origin_ns is None:
            self._origin_ns = time.perf_counter_ns()
        self._readings = []
        self._last = [None for _ in self._found.meters]
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
        """Take one reading; only one thread at a time does.

        A rate counts from the newest reading that is old enough, and never from one before it was entered again: so
        what happens in a short stretch at the end is within the rate of a longer one.
        """
        now_ns = time.perf_counter_ns()
        counted = [meter.read() for meter in self._found.meters]
        enough = [place for place, (read_ns, _) in enumerate(self._readings) if now_ns - read_ns >= _LEAST_RATE_NS]
        del self._readings[: max(0, len(enough) - 1)]  # no later rate counts from them
        since_ns, since = self._readings[0] if enough else (now_ns, counted)
        self._readings.append((now_ns, counted))
        self._times_ms.append(round((now_ns - (self._origin_ns or 0)) / 1e6, 3))
        for gauge, values in zip(self._found.gauges, self._gauges, strict=True):
            values.append(_rounded(gauge.read()))
        for place, meter in enumerate(self._found.meters):
            self._counts[place] += _increase(meter, self._last[place], counted[place]) or 0.0
            self._last[place] = self._last[place] if counted[place] is None else counted[place]
            increase = _increase(meter, since[place], counted[place]) if enough else None
            rate = None if increase is None else increase / (now_ns - since_ns) * 1e9 * meter.per_second
            self._rates[place].append(_rounded(rate))


def _increase(meter: Meter, before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None else meter.increase(before, now)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DIGITS)
