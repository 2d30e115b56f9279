"""What a quantity of the machine is to telemetry: a gauge that is read, or a meter that counts up."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from edgex.doctor_check import read_text


@dataclass(frozen=True, slots=True)
class Gauge:
    """What is read as it is, such as a clock. `read` returns None where it fails this time."""

    name: str
    unit: str
    read: Callable[[], float | None]


@dataclass(frozen=True, slots=True)
class Meter:
    """What counts up, such as energy: its increase is told in all, and its rate over time.

    Attributes
    ----------
    name, unit : of the increase
    read : returns the count so far, or None where it fails this time
    rate_name, rate_unit : of the rate
    per_second : factor from increase per second to the rate's unit
    wraps_at : the count begins again from 0 beyond this, or None where it never does
    """

    name: str
    unit: str
    read: Callable[[], float | None]
    rate_name: str
    rate_unit: str
    per_second: float = 1.0
    wraps_at: float | None = None

    def increase(self, before: float, now: float) -> float:
        """Return how much it counted between two readings."""
        return now - before if now >= before or self.wraps_at is None else now + self.wraps_at - before


@dataclass(slots=True)
class Found:
    """What one part of the machine tells, and what it does not: one sentence each."""

    gauges: list[Gauge] = field(default_factory=list)
    meters: list[Meter] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    def __iadd__(self, other: Found) -> Found:
        self.gauges += other.gauges
        self.meters += other.meters
        self.missing += other.missing
        return self


def number_in(path: Path, scale: float = 1.0) -> float | None:
    """Return the whole number that a file holds, times `scale`, or None where it holds none that can be read."""
    try:
        return int(read_text(path)) * scale
    except ValueError:
        return None


def reader(path: Path, scale: float = 1.0) -> Callable[[], float | None]:
    """Return what reads `number_in` again and again."""
    return lambda: number_in(path, scale)


def mean(values: list[float | None]) -> float | None:
    """Return the mean of those that could be read, or None."""
    read = [value for value in values if value is not None]
    return sum(read) / len(read) if read else None
