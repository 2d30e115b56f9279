"""Telemetry of power and heat: RAPL's energy counters, INA3221 monitors of a Jetson, temperatures that sysfs shows."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from edgex.doctor_check import read_text
from edgex.telemetry.meters import Found, Gauge, Meter, number_in, reader

_MILLI, _MICRO = 1e-3, 1e-6
_CHIPS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")  # of hwmon, where no thermal zone shows the CPU's heat
_ABSOLUTE_ZERO = -273.0  # a zone that is switched off reads below, or not at all


def find_power(root: Path) -> Found:
    """Return what the system tells of power and temperatures."""
    found = Found()
    for part in (_rapl(root), _rails(root), _temperatures(root), _tegra(root)):
        found += part
    return found


def _rapl(root: Path) -> Found:
    found = Found()
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:*")):
        name = read_text(zone / "name").strip()
        if zone.name.count(":") > 1 and name != "dram":  # cores and uncore are within their package
            continue
        energy = zone / "energy_uj"
        called = name or zone.name
        if number_in(energy) is None:
            why = "it can be read by root only" if energy.exists() and not os.access(energy, os.R_OK) else "unreadable"
            found.missing.append(f"power of {called} (RAPL): {why}")
            continue
        wraps_at = number_in(zone / "max_energy_range_uj", _MICRO)
        meter = Meter(f"energy of {called}", "J", reader(energy, _MICRO), f"power of {called}", "W", wraps_at=wraps_at)
        found.meters.append(meter)
    if not found.meters and not found.missing:
        found.missing.append("CPU power: no RAPL in sysfs")
    return found


def _rails(root: Path) -> Found:
    """Return the power of each rail of an INA3221: newer Jetsons show volt and ampere, older ones milliwatt."""
    found = Found()
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if read_text(chip / "name").strip() == "ina3221":
            found.gauges += _volt_ampere(chip)
    for chip in sorted((root / "sys/bus/i2c/drivers/ina3221x").glob("*/iio:device*")):
        for name in sorted(chip.glob("rail_name_*")):
            watts = chip / f"in_power{name.name.rpartition('_')[2]}_input"
            if number_in(watts) is not None:
                found.gauges.append(Gauge(f"power of {read_text(name).strip()}", "W", reader(watts, _MILLI)))
    return found


def _volt_ampere(chip: Path) -> Iterator[Gauge]:
    for label in sorted(chip.glob("in*_label")):
        number = label.name[2:].partition("_")[0]
        volt, ampere = chip / f"in{number}_input", chip / f"curr{number}_input"
        if number_in(volt) is None or number_in(ampere) is None:
            continue

        def watts(volt: Path = volt, ampere: Path = ampere) -> float | None:
            v, a = number_in(volt, _MILLI), number_in(ampere, _MILLI)
            return None if v is None or a is None else v * a

        yield Gauge(f"power of {read_text(label).strip()}", "W", watts)


def _temperatures(root: Path) -> Found:
    files = {}
    for zone in sorted((root / "sys/class/thermal").glob("thermal_zone*")):
        files[zone / "temp"] = read_text(zone / "type").strip() or zone.name
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        name = read_text(chip / "name").strip()
        if name in _CHIPS:
            for file in sorted(chip.glob("temp*_input"))[:1]:  # the package, or the first core
                files[file] = name
    found = Found()
    for file, name in files.items():
        now = number_in(file, _MILLI)
        if now is not None and now > _ABSOLUTE_ZERO:
            found.gauges.append(Gauge(f"temperature of {name}", "°C", reader(file, _MILLI)))
    if not found.gauges:
        found.missing.append("temperatures: no thermal zone in sysfs that can be read")
    return found


def _tegra(root: Path) -> Found:
    """Return clock and load of a Jetson's GPU, which no NVML tells; nothing elsewhere."""
    found = Found()
    for folder in sorted((root / "sys/class/devfreq").glob("*")):
        if any(word in folder.name for word in ("gpu", "gv11b", "ga10b", "gp10b", "gb10b")):
            if number_in(folder / "cur_freq") is not None:
                found.gauges.append(Gauge("GPU clock", "MHz", reader(folder / "cur_freq", _MICRO)))
            load = folder / "device/load"
            if number_in(load) is not None:
                found.gauges.append(Gauge("GPU busy", "%", reader(load, 0.1)))
    return found
