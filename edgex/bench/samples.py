"""What is said of measured times: percentiles, spread, the ratio of two runs with its uncertainty, when they settled.

No sample is ever left out; how each figure is computed is said here, once.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike

from edgex.report.parts import Distribution, Ratio, Warmup

FORMULA = "linear interpolation between the closest ranks (NumPy's linear, number 7 of Hyndman and Fan)"
PERCENTS = (50, 90, 95, 99)
CV_LIMIT = 0.025  # coefficient of variation above which a run is not steady enough to be believed without a word
_RESAMPLES = 4000
LEAST_ROUNDS = 6  # of a ratio: from fewer the interval would be narrower than it says
WINDOW_S, WINDOW_ITERATIONS = 0.05, 10  # of the warm-up; both are reached
LEAST_WARMUP_S = 1.0  # clocks rise, and caches and threads settle, later than the first few calls
_STEADY_WINDOWS, _STEADY_WITHIN = 4, 0.05
_DRIFT = 0.05


def percentile(samples: ArrayLike, percent: float) -> float:
    """Return a percentile of samples by `FORMULA`.

    >>> percentile([1.0, 2.0, 3.0, 4.0], 50)
    2.5
    """
    return float(np.percentile(np.asarray(samples, np.float64), percent, method="linear"))


def distribution(samples_ms: ArrayLike) -> Distribution | None:
    """Return how samples are spread, all of them, or None where there are none.

    The coefficient of variation is the standard deviation over the mean; the deviation divides by n - 1.

    Parameters
    ----------
    samples_ms : milliseconds, [n]
    """
    samples = np.asarray(samples_ms, np.float64)
    if not samples.size:
        return None
    mean = float(samples.mean())
    deviation = float(samples.std(ddof=1)) if samples.size > 1 else 0.0
    p50, p90, p95, p99 = (float(each) for each in np.percentile(samples, PERCENTS, method="linear"))
    return Distribution(
        count=int(samples.size),
        mean_ms=mean,
        min_ms=float(samples.min()),
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        max_ms=float(samples.max()),
        cv=deviation / mean if mean > 0 else 0.0,
    )


def round_medians(samples_ms: Sequence[float], rounds: Sequence[int]) -> list[float]:
    """Return the median of each round, whose first samples stand at `rounds`."""
    ends = [*rounds, len(samples_ms)][1:]
    return [statistics.median(samples_ms[begin:end]) for begin, end in zip(rounds, ends, strict=True)]


def ratio(of: str, of_medians: Sequence[float], to: str, to_medians: Sequence[float]) -> Ratio | None:
    """Return how many times longer `of` takes than `to`, or None where fewer than six rounds hold both.

    The ratio is the median over rounds of the ratio of the two medians in a round, since a shared machine has slow
    seconds that hit both; its 95 % interval is the percentile bootstrap over rounds, always with the same draws.

    Parameters
    ----------
    of, to : names of the runs
    of_medians, to_medians : median of each interleaved round, milliseconds; a picture, where their batches differ
    """
    pairs = [(a, b) for a, b in zip(of_medians, to_medians, strict=False) if b > 0]  # one may have ended early
    if len(pairs) < LEAST_ROUNDS:
        return None
    ratios = np.array([a / b for a, b in pairs])
    drawn = np.random.default_rng(0).integers(0, len(ratios), (_RESAMPLES, len(ratios)))
    low, high = np.percentile(np.median(ratios[drawn], axis=1), (2.5, 97.5))
    middle = float(np.median(ratios))
    return Ratio(of, to, middle, min(middle, float(low)), max(middle, float(high)))


def drift(medians: Sequence[float]) -> float | None:
    """Return how much longer the last third of the rounds took than the first, as a share; None where it is noise.

    That is: where the medians of both thirds differ by no more than 5 %, or by no more than the rounds within the
    thirds do, or where there are fewer than six rounds.

    >>> drift([10.0, 10.1, 10.4, 10.8, 11.0, 11.1])
    0.09950248756218905
    >>> drift([10.0, 11.0, 10.0, 10.0, 11.5, 10.7]) is None
    True
    """
    if len(medians) < LEAST_ROUNDS:
        return None
    third = len(medians) // 3
    first, last = medians[:third], medians[-third:]
    before, after = statistics.median(first), statistics.median(last)
    noise = max(first) - min(first) + max(last) - min(last)
    return after / before - 1 if abs(after - before) > max(_DRIFT * before, noise) else None


class Settling:
    """Tells when times have settled: the medians of the newest four windows lie within 5 % of one another.

    >>> settling = Settling()
    >>> [settling.add(ms) for ms in (9.0, 5.0, 4.0, 4.1, 4.05, 4.0)]
    [False, False, False, False, False, True]
    """

    def __init__(self) -> None:
        self._medians: list[float] = []

    def add(self, median: float) -> bool:
        """Take the median of one more window and tell whether the times have settled."""
        self._medians = [*self._medians, median][-_STEADY_WINDOWS:]
        low, high = min(self._medians), max(self._medians)
        return len(self._medians) == _STEADY_WINDOWS and high - low <= _STEADY_WITHIN * low


def settle(
    window: Callable[[float, int], Sequence[int]],
    now_ns: Callable[[], int],
    longest_s: float,
    stopped: Callable[[], bool],
) -> Warmup:
    """Warm up for a second and until the times have settled, or the longest time is over; return what that took.

    Parameters
    ----------
    window : runs for at least so many seconds and so many iterations, and returns the time of each in nanoseconds
    now_ns : clock
    longest_s : no further window begins after that
    stopped : asked before each window
    """
    began_ns, iterations, stable = now_ns(), 0, False
    settling = Settling()
    for _ in itertools.takewhile(lambda _: not stopped(), itertools.count()):
        times_ns = window(WINDOW_S, WINDOW_ITERATIONS)
        iterations += len(times_ns)
        settled = bool(times_ns) and settling.add(statistics.median(times_ns))
        past_ns = now_ns() - began_ns
        stable = settled and past_ns >= LEAST_WARMUP_S * 1e9
        if stable or past_ns > longest_s * 1e9:
            break
    return Warmup(iterations, (now_ns() - began_ns) / 1e9, stable)
