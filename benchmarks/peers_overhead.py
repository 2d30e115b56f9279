"""What bench itself costs: a null engine, measured as engine mode measures any, with the telemetry that it records."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgex.bench.engine import EngineLane
from edgex.bench.track import Course, Effort, take_turns
from edgex.telemetry import Recorder

TURNS, TURN_S = 9, 1.0


def measure_overhead(turns: int = TURNS, turn_s: float = TURN_S) -> dict[str, Any]:
    """Return microseconds from one sample to the next around a call that does nothing: median and quartiles of turns.

    Parameters
    ----------
    turns : each a measurement of its own
    turn_s : length of a turn in seconds
    """
    found, samples = [], 0
    for _ in range(turns):
        course = Course("null", EngineLane([lambda image: None], [None]), Recorder())
        take_turns([course], Effort(seconds=turn_s, iterations=1, rounds=1), lambda: False, lambda *progress: None)
        found.append(course.track.took_ns / 1e3 / len(course.track.samples_ns))
        samples += len(course.track.samples_ns)
    lower, median, upper = np.percentile(found, (25, 50, 75))
    figures = {"median": median, "lower": lower, "upper": upper}
    return {"us_a_sample": {name: round(float(us), 3) for name, us in figures.items()}, "samples": samples}
