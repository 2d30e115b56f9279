"""Times of several things that do the same, side by side in one run, so that a busy machine is busy for all of them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

WARM_UP = 3
PAUSE_S = 0.03  # ONNX Runtime's threads spin that long after an inference, and would slow what comes next


def side_by_side(runs: Mapping[str, Callable[[], object]], rounds: int = 5, calls: int = 10) -> dict[str, float]:
    """Return the median time of each in milliseconds.

    Parameters
    ----------
    runs : name to what is timed
    rounds : how often their turn comes
    calls : timed calls a turn, after a pause and some that are not timed
    """
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, call in runs.items():
            time.sleep(PAUSE_S)
            for turn in range(WARM_UP + calls):
                began = time.perf_counter_ns()
                call()
                if turn >= WARM_UP:
                    times[name].append((time.perf_counter_ns() - began) / 1e6)
    return {name: statistics.median(found) for name, found in times.items()}
