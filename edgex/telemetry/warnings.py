"""What telemetry says against a figure: heat, limits and neighbours that slowed the machine, one sentence each."""

from __future__ import annotations

from collections.abc import Iterator

from edgex.report.parts import Telemetry
from edgex.telemetry import cpu
from edgex.telemetry.nvml import HELD_BACK

STOLEN_PERCENT = 1.0
OTHERS_PERCENT = 10.0
CLOCK_FALL_PERCENT = 10.0


def telemetry_warnings(telemetry: Telemetry) -> tuple[str, ...]:
    """Return one sentence for everything that disturbed the measurement."""
    return tuple(_warnings(telemetry))


def _warnings(telemetry: Telemetry) -> Iterator[str]:
    means, counts = _means(telemetry), {counter.name: counter.value for counter in telemetry.counters}
    if means.get(cpu.STOLEN, 0.0) > STOLEN_PERCENT:
        yield f"the hypervisor took {means[cpu.STOLEN]:.1f} % of the cores' time; measure on a machine of your own"
    others = means.get(cpu.BUSY, 0.0) - means.get(cpu.OWN, 0.0)
    if others > OTHERS_PERCENT:
        yield f"other programs took {others:.0f} % of the cores' time; end them and measure again"
    if periods := counts.get(cpu.PERIODS):
        yield f"the control group withheld the CPU in {periods:.0f} periods; grant it more, or use fewer threads"
    if events := counts.get(cpu.THROTTLED):
        yield f"the CPU throttled itself {events:.0f} times for heat; cool it, or lower its power limit"
    for series in telemetry.series:
        read = [value for value in series.values if value is not None]
        if series.name.endswith(HELD_BACK) and (held := sum(read)):
            yield f"{series.name} in {held:.0f} of {len(read)} readings; cool it, or lower its clocks for good"
        if series.name == cpu.FASTEST and (fall := _fall(read)):
            yield f"the CPU's fastest clock fell from {fall[0]:.0f} to {fall[1]:.0f} MHz; fix its governor and turbo"


def _fall(clocks: list[float]) -> tuple[float, float] | None:
    """Return the highest clock and the lowest after it, or None without a fall; that it rises at first is no fault."""
    if not clocks:
        return None
    highest = max(clocks)
    lowest = min(clocks[clocks.index(highest) :])
    return (highest, lowest) if lowest < highest * (1 - CLOCK_FALL_PERCENT / 100) else None


def _means(telemetry: Telemetry) -> dict[str, float]:
    found = {}
    for series in telemetry.series:
        read = [value for value in series.values if value is not None]
        if read:
            found[series.name] = sum(read) / len(read)
    return found
