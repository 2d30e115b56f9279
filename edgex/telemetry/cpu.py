"""Telemetry of the CPU: clocks, time that others took, time that was withheld, memory of this program."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from pathlib import Path

from edgex.cores import usable_cores
from edgex.doctor_check import read_text
from edgex.machine_limits import levels
from edgex.telemetry.meters import Found, Gauge, Meter, mean, number_in

BUSY = "cores busy with anything"
OWN = "cores busy with this program"
STOLEN = "taken by the hypervisor"
WITHHELD = "withheld by the control group"
PERIODS = "periods in which the control group withheld the CPU"
THROTTLED = "thermal throttling events"
FASTEST = "clock of the fastest core"
MEMORY = "memory of this program"
_CPUS = "sys/devices/system/cpu"
_CLOCKS_READ = 16  # cores whose clock is asked for: each question wakes the core on some machines
_IDLE, _IOWAIT, _STEAL, _GUEST = 3, 4, 7, 8  # fields of a line of proc/stat


def find_cpu(root: Path) -> Found:
    """Return what the system tells of its CPU."""
    cores = usable_cores()
    found = Found()
    for part in (_clocks(root, cores), _shares(root, cores), _withheld(root), _heat(root, cores), _memory(root)):
        found += part
    return found


def _clocks(root: Path, cores: list[int]) -> Found:
    files = [root / _CPUS / f"cpu{core}/cpufreq/scaling_cur_freq" for core in cores[:_CLOCKS_READ]]
    files = [file for file in files if number_in(file) is not None]
    if not files:
        return Found(missing=["CPU clock: no cpufreq in sysfs, as in most virtual machines"])

    def clocks() -> list[float | None]:
        return [number_in(file, 1e-3) for file in files]

    def fastest() -> float | None:
        return max((clock for clock in clocks() if clock is not None), default=None)

    return Found([Gauge(FASTEST, "MHz", fastest), Gauge("mean clock of the cores", "MHz", lambda: mean(clocks()))])


def _shares(root: Path, cores: list[int]) -> Found:
    """Return how busy the usable cores were, with this program and with anything, and what a hypervisor took."""
    percent = 100 / len(cores)
    own = Meter("CPU time of this program", "s", time.process_time, OWN, "%", percent)
    if not _ticks(root, cores):
        return Found(meters=[own], missing=["busy and stolen time of the cores: no proc/stat"])
    hertz = os.sysconf("SC_CLK_TCK")

    def seconds(count: Callable[[list[int]], int]) -> Callable[[], float | None]:
        def read() -> float | None:
            ticks = _ticks(root, cores)
            return sum(map(count, ticks)) / hertz if ticks else None

        return read

    busy = seconds(lambda ticks: sum(ticks[:_GUEST]) - ticks[_IDLE] - ticks[_IOWAIT] - ticks[_STEAL])
    stolen = seconds(lambda ticks: ticks[_STEAL])
    return Found(
        meters=[
            own,
            Meter("CPU time of all programs on these cores", "s", busy, BUSY, "%", percent),
            Meter("CPU time taken by the hypervisor", "s", stolen, STOLEN, "%", percent),
        ]
    )


def _ticks(root: Path, cores: list[int]) -> list[list[int]]:
    """Return the counts of proc/stat of each of these cores that has all fields."""
    named = {f"cpu{core}" for core in cores}
    rows = [line.split() for line in read_text(root / "proc/stat").splitlines() if line.startswith("cpu")]
    return [[int(each) for each in row[1:]] for row in rows if row[0] in named and len(row) > _GUEST]


def _withheld(root: Path) -> Found:
    files = [folder / "cpu.stat" for folder in levels(root, "cpu")]
    files = [file for file in files if "nr_throttled" in read_text(file)]
    if not files:
        return Found(missing=["CPU time withheld by the control group: it has no cpu.stat that counts it"])

    def total(pattern: str, scale: dict[str, float]) -> float | None:
        rows = [row for file in files for row in re.findall(pattern, read_text(file), re.MULTILINE)]
        return float(sum(int(value) * scale[name] for name, value in rows)) if rows else None

    def periods() -> float | None:
        return total(r"^(nr_throttled) (\d+)", {"nr_throttled": 1.0})

    def seconds() -> float | None:  # version 2 counts microseconds, version 1 nanoseconds
        return total(r"^(throttled_usec|throttled_time) (\d+)", {"throttled_usec": 1e-6, "throttled_time": 1e-9})

    return Found(
        meters=[
            Meter(PERIODS, "periods", periods, "periods with CPU withheld", "1/s"),
            Meter("CPU time withheld by the control group", "s", seconds, WITHHELD, "% of a core", 100.0),
        ]
    )


def _heat(root: Path, cores: list[int]) -> Found:
    """Return the throttling that x86 counts: each core its own, and that of its package."""
    folders = [root / _CPUS / f"cpu{core}/thermal_throttle" for core in cores]
    files = [folder / f"{part}_throttle_count" for folder in folders for part in ("core", "package")]
    files = [file for file in files if number_in(file) is not None]
    if not files:
        return Found(missing=["thermal throttling events of the CPU: no thermal_throttle in sysfs"])

    def events() -> float | None:
        counts = [count for file in files if (count := number_in(file)) is not None]
        return sum(counts) if len(counts) == len(files) else None

    return Found(meters=[Meter(THROTTLED, "events", events, THROTTLED, "1/s")])


def _memory(root: Path) -> Found:
    page = os.sysconf("SC_PAGE_SIZE")

    def resident_mb() -> float | None:
        fields = read_text(root / "proc/self/statm").split()
        return int(fields[1]) * page / 1e6 if len(fields) > 1 else None

    if resident_mb() is None:
        return Found(missing=["memory of this program: no proc/self/statm"])
    return Found([Gauge(MEMORY, "MB", resident_mb)])


def peak_resident_mb(root: Path) -> float | None:
    """Return the largest resident memory of this program since it began, or None where the system does not tell."""
    kib = re.search(r"^VmHWM:\s+(\d+) kB", read_text(root / "proc/self/status"), re.MULTILINE)
    return int(kib[1]) * 1024 / 1e6 if kib else None
