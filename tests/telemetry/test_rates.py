"""Rates of what counts up, by a clock and a counter of the test's own: over 0.1 s at least, and never across a gap."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgex.telemetry import Recorder
from edgex.telemetry.cpu import PERIODS, THROTTLED
from edgex.telemetry.meters import Meter
from tests.machines import CPU, build_laptop
from tests.telemetry.test_telemetry import SLOW_S, value_of, values_of


class Meterage:
    """A laptop whose energy counts up by hand, read when the test says so: a recorder's clock, and its readings."""

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.recorder = Recorder(SLOW_S, origin_ns=0, root=build_laptop(root))
        self.energy = root / "sys/class/powercap/intel-rapl:0/energy_uj"
        self.now_ms = 0.0
        monkeypatch.setattr("edgex.telemetry.time.perf_counter_ns", lambda: round(self.now_ms * 1e6))

    def set(self, now_ms: float, joules: float) -> None:
        self.now_ms = now_ms
        self.energy.write_text(f"{round(joules * 1e6)}\n")

    @property
    def power(self) -> tuple[float | None, ...]:
        return values_of(self.recorder.telemetry(), "power of package-0")


def test_a_short_stretch_at_the_end_of_a_turn_is_in_the_rate_of_a_longer_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A turn of 300 ms, read at 0, 250 and 300: the last 50 ms are too short for a rate of their own."""
    machine = Meterage(tmp_path, monkeypatch)
    machine.set(0, 1)
    with machine.recorder:
        machine.set(250, 2)
        machine.recorder._read()
        machine.set(300, 4)
    assert machine.power == (None, 4.0, 10.0)  # 1 J in 250 ms; 3 J in 300 ms
    assert machine.recorder.telemetry().times_ms == (0.0, 250.0, 300.0)
    assert value_of(machine.recorder.telemetry(), "energy of package-0") == pytest.approx(3.0)


def test_a_rate_counts_from_the_newest_reading_that_is_old_enough(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Meterage(tmp_path, monkeypatch)
    machine.set(0, 0)
    with machine.recorder:
        for step in range(1, 8):  # every 40 ms, 1 W, and 3 W from 160 ms on
            machine.set(40 * step, 0.04 * step if step <= 4 else 0.16 + 0.12 * (step - 4))
            machine.recorder._read()
        machine.set(300, 0.52 + 0.06)
    told = [None if watts is None else round(watts, 6) for watts in machine.power]
    assert told[:5] == [None, None, None, 1.0, 1.0]
    assert told[5:] == pytest.approx([0.2 / 0.12, 0.28 / 0.12, 0.36 / 0.12, 0.3 / 0.1], abs=1e-3)


def test_turns_too_short_for_a_rate_are_in_the_series_and_no_rate_spans_two_of_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Meterage(tmp_path, monkeypatch)
    for begin_ms, joules in ((0, 1), (1_000, 100), (5_000, 1_000)):
        machine.set(begin_ms, joules)
        with machine.recorder:
            machine.set(begin_ms + 60, joules + 2)
    told = machine.recorder.telemetry()
    assert told.times_ms == (0.0, 60.0, 1_000.0, 1_060.0, 5_000.0, 5_060.0)
    assert machine.power == (None,) * 6
    assert value_of(told, "energy of package-0") == pytest.approx(6.0)
    assert values_of(told, "temperature of x86_pkg_temp") == (61.0,) * 6


def test_a_count_that_cannot_be_read_for_a_while_goes_on_where_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    machine = Meterage(tmp_path, monkeypatch)
    machine.set(0, 1)
    with machine.recorder:
        machine.now_ms = 250
        machine.energy.write_text("")
        machine.recorder._read()
        machine.set(500, 4)
    assert machine.power == (None, None, None)
    assert value_of(machine.recorder.telemetry(), "energy of package-0") == pytest.approx(3.0)


def test_counts_of_files_that_go_are_not_known_and_never_fall(tmp_path: Path) -> None:
    root = build_laptop(tmp_path)
    with Recorder(SLOW_S, root=root) as recorder:
        (root / "sys/fs/cgroup/user.slice/bench.scope/cpu.stat").unlink()
        (root / f"{CPU}/thermal_throttle/core_throttle_count").unlink()
    told = recorder.telemetry()
    assert value_of(told, PERIODS) == value_of(told, THROTTLED) == 0


def test_a_count_that_wraps_goes_on() -> None:
    meter = Meter("energy", "J", lambda: 0.0, "power", "W", wraps_at=262143.0)
    assert meter.increase(262140.0, 2.0) == 5.0
    assert meter.increase(3.0, 4.5) == 1.5
