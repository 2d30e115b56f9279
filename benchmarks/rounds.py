"""Time contenders side by side: every round runs each of them once, so that noise of the machine hits all alike.

Before its time is taken a contender runs untimed for a few milliseconds, so that none feels the caches and the threads
of the one before. Medians and quartiles over the rounds are reported, and the median of the ratios within a round.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import Any

import numpy as np

from edgex import machine

PAUSE_S = 0.002  # lets the threads of the one before stop spinning
WARM_NS = 5_000_000  # of untimed calls before the timed ones, which would feel the caches that the one before left
TIMED_NS = 5_000_000  # of timed calls, at least one; a round counts their median
PACKAGES = ("torch", "torchvision", "supervision")


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
    spent = times_of(contenders, rounds)
    first = np.array(next(iter(spent.values())))
    return {
        name: {**quartiles(times), "over_first": round(float(np.median(np.array(times) / first)), 4)}
        for name, times in spent.items()
    }


def times_of(
    contenders: Mapping[str, Contender], rounds: int, pause_s: float = PAUSE_S, timed_ns: int = TIMED_NS
) -> dict[str, list[float]]:
    """Run the rounds of `interleave`, and return each contender's milliseconds in every round that counts.

    Parameters
    ----------
    contenders, rounds : as for `interleave`
    pause_s : before each contender's turn
    timed_ns : of timed calls a turn, at least one
    """
    order = np.random.default_rng(0)
    spent: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(rounds + 1):
        for name in order.permutation(list(contenders)):
            contender = contenders[name]
            if contender.before is not None:
                contender.before()
            time.sleep(pause_s)
            warm = time.perf_counter_ns() + WARM_NS
            contender.call()
            while time.perf_counter_ns() < warm:
                contender.call()
            spent[name].append(_timed_ms(contender.call, timed_ns))
    return {name: times[1:] for name, times in spent.items()}


def _timed_ms(call: Callable[[], object], timed_ns: int) -> float:
    """Return the median time of calls that follow one another."""
    times = []
    end = time.perf_counter_ns() + timed_ns
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


def describe_machine(packages: Sequence[str] = ()) -> dict[str, Any]:
    """Describe what is measured on, without its name and its paths, and when; more `packages` are looked up."""
    date = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    return {**machine.describe_machine(packages=(*PACKAGES, *packages)), "date": date}


def load_average() -> list[float]:
    """Return the processes that waited for a core, on average over the last 1, 5 and 15 minutes."""
    return [round(each, 2) for each in os.getloadavg()]
