"""Time contenders side by side: every round runs each of them once, so that noise of the machine hits all alike.

Before its time is taken a contender runs untimed for a few milliseconds, so that none feels the caches and the threads
of the one before. Medians and quartiles over the rounds are reported, and the median of the ratios within a round.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

PAUSE_S = 0.002  # lets the threads of the one before stop spinning
WARM_NS = 5_000_000  # of untimed calls before the timed ones, which would feel the caches that the one before left
TIMED_NS = 5_000_000  # of timed calls, at least one; a round counts their median
PACKAGES = ("edgex", "numpy", "opencv-python-headless", "torch", "torchvision", "supervision")


@dataclass(frozen=True, slots=True)
class Contender:
    """One thing to be timed.

    Attributes
    ----------
    call : what is timed; its result is thrown away
    before : runs before each round's calls, untimed (say, to choose the number of threads), or None
    """

    call: Callable[[], object]
    before: Callable[[], object] | None = None


def interleave(contenders: Mapping[str, Contender], rounds: int) -> dict[str, dict[str, float]]:
    """Run `rounds` rounds over all contenders, each round in an order of its own.

    Parameters
    ----------
    contenders : by name
    rounds : at least 1; one more is run first and thrown away

    Returns
    -------
    name -> median_ms, lower_ms and upper_ms (the quartiles over rounds), rounds, and over_first: the median over rounds
    of its time in a round divided by the first contender's in the same, since a shared machine has slow seconds
    """
    order = np.random.default_rng(0)
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name in order.permutation(list(contenders)):
            contender = contenders[name]
            if contender.before is not None:
                contender.before()
            time.sleep(PAUSE_S)
            warm = time.perf_counter_ns() + WARM_NS
            contender.call()
            while time.perf_counter_ns() < warm:
                contender.call()
            spent[name].append(_timed_ms(contender.call))
    first = np.array(next(iter(spent.values()))[1:])
    return {
        name: {**quartiles(times[1:]), "over_first": round(float(np.median(np.array(times[1:]) / first)), 4)}
        for name, times in spent.items()
    }


def _timed_ms(call: Callable[[], object]) -> float:
    """Return the median time of calls that follow one another."""
    times = []
    end = time.perf_counter_ns() + TIMED_NS
    while not times or time.perf_counter_ns() < end:
        start = time.perf_counter_ns()
        call()
        times.append(time.perf_counter_ns() - start)
    return float(np.median(times)) / 1e6


def quartiles(times_ms: list[float]) -> dict[str, float]:
    """Return the median, both quartiles and the number of times in milliseconds."""
    lower, median, upper = np.percentile(times_ms, (25, 50, 75))
    return {
        "median_ms": round(float(median), 5),
        "lower_ms": round(float(lower), 5),
        "upper_ms": round(float(upper), 5),
        "rounds": len(times_ms),
    }


def describe_machine() -> dict[str, Any]:
    """Describe what is measured on, without its name and its paths."""
    return {
        "cpu": _cpu_name(),
        "architecture": platform.machine(),
        "cores": os.cpu_count(),
        "cache_bytes": _caches(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9, 1),
        "system": f"{_distribution()}, {platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
    }


def load_average() -> list[float]:
    """Return the processes that waited for a core, on average over the last 1, 5 and 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]


def _cpu_name() -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model"))]
    return names[0] if names else platform.processor() or platform.machine()


def _caches() -> dict[str, int]:
    found = {}
    for index in sorted(Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")):
        kind, level, size = ((index / name).read_text().strip() for name in ("type", "level", "size"))
        if kind != "Instruction":
            found[f"L{level}"] = int(size.rstrip("K")) * 1024
    return found


def _distribution() -> str:
    try:
        return platform.freedesktop_os_release().get("PRETTY_NAME", "unknown")
    except OSError:
        return platform.system()


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
