"""The highest rate that holds: the 99th percentile of the age within the limit, and no queue that grows.

The rate is bracketed by doubling or halving, then bisected; what is found has to hold a second time.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Sequence

from edgex.bench.paced import PacedLane, Passed
from edgex.bench.samples import distribution, percentile
from edgex.bench.track import Stopped, Track
from edgex.report.parts import Slo, Trial

LOWEST_FPS, HIGHEST_FPS = 1.0, 20_000.0  # unless it begins below
TOLERANCE = 0.02  # of the rate that is found
TRIAL_S, TRIAL_FRAMES = 2.0, 100  # of one trial; both are reached
_QUANTILE = 0.99
_STEP_DOWN = 1.05  # after what was found did not hold again
_REPEATS, _TIMES = 8, 2  # rates that are confirmed at most; how often each has to hold


def search(
    attempt: Callable[[float], Trial | None], limit_ms: float, start_fps: float, stopped: Stopped = lambda: False
) -> Slo:
    """Search for the highest rate that holds.

    Parameters
    ----------
    attempt : tries a rate, or gives None where it was stopped; what it raises passes
    limit_ms : for the report
    start_fps : rate to begin with
    stopped : True ends the search

    Returns
    -------
    Slo
        "found" where a rate held twice; "none" where none did, though the search came down to 1 a second, or to
        `start_fps` where that is lower; "not ended" where it was stopped before, or eight rates that had held once did
        not hold again.
    """
    trials: list[Trial] = []
    lost = False

    def holds(fps: float) -> bool:
        nonlocal lost
        trial = attempt(fps)
        lost = trial is None
        trials.extend([] if trial is None else [trial])
        return trial is not None and trial.sustained

    def ended() -> bool:
        return lost or stopped()

    low, high, fps = 0.0, math.inf, start_fps
    lowest = min(LOWEST_FPS, start_fps)
    while (low == 0.0 or high == math.inf) and fps <= HIGHEST_FPS and not ended():
        low, high = (fps, high) if holds(fps) else (low, fps)
        if high <= lowest:
            break
        fps = low * 2 if low else max(lowest, high / 2)
    while low and high / low > 1 + TOLERANCE and high < math.inf and not ended():
        middle = math.sqrt(low * high)
        low, high = (middle, high) if holds(middle) else (low, middle)
    for _ in range(_REPEATS):
        if low < lowest or ended():
            break
        before = sum(trial.sustained for trial in trials if trial.fps == low)
        if all(holds(low) for _ in range(_TIMES - before)):
            return Slo(limit_ms, low, tuple(trials), "found")
        low = max(lowest, low / _STEP_DOWN) if low > lowest else 0.0
    return Slo(limit_ms, None, tuple(trials), "not ended" if low or ended() else "none")


def try_rate(lane: PacedLane, fps: float, limit_ms: float, stopped: Stopped = lambda: False) -> Trial | None:
    """Try one rate; it ends early once more frames are late than may be. None where it was stopped.

    A frame that was dropped, or not done, is a miss like one that was late.
    """
    count = max(TRIAL_FRAMES, math.ceil(TRIAL_S * fps))
    tolerated = count - 1 - math.floor(_QUANTILE * (count - 1))  # one more, and the percentile is beyond the limit
    late = 0

    def abandon(age_ns: int) -> bool:
        nonlocal late
        late += age_ns > limit_ms * 1e6
        return late > tolerated

    passed = Passed()
    lane.serve(passed, Track(), fps, count, abandon)
    ages_ms = [ns / 1e6 for ns in passed.ages_ns]
    ages = distribution(ages_ms)
    if stopped() or ages is None:
        return None
    missed = [max(2 * limit_ms, *ages_ms)] * (count - passed.done)
    holds = percentile([*ages_ms, *missed], 100 * _QUANTILE) <= limit_ms and not is_growing(ages_ms, fps)
    return Trial(fps, ages.p99_ms, holds, ages, passed.done, passed.due)


def is_growing(ages_ms: Sequence[float], fps: float) -> bool:
    """Tell whether frames come faster than they leave: the last third is older than the first by a frame's interval."""
    third = len(ages_ms) // 3
    if not third:
        return False
    grown_ms = statistics.median(ages_ms[-third:]) - statistics.median(ages_ms[:third])
    return grown_ms > 1000 / fps
