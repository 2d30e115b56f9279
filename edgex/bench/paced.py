"""Paced mode: frames are due at a rate, and each one's latency counts from when it was due, not from when it began.

Whoever measures only while the engine is busy leaves out the frames that waited meanwhile: coordinated omission.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgex.bench.engine import Call, EngineLane
from edgex.bench.samples import distribution
from edgex.bench.schedule import Pacer
from edgex.bench.track import MONOTONIC, Clock, Lane, Stopped, Track
from edgex.report.parts import Paced, Policy

Abandon = Callable[[int], bool]  # is told each age in ns; True ends it
Tell = Callable[[int, int], object]  # is told how many frames are done or dropped, of how many


@dataclass(slots=True)
class Passed:
    """What became of the frames of one schedule, or of several, one after the other.

    Attributes
    ----------
    due, done, dropped : numbers of frames; those that are none of the two were not done when it ended
    behind : whether frames of a queue were given up because the rate cannot be met
    wakes_ns : how long after a frame was due whoever had waited for it woke up
    ages_ns : of each frame done, from when it was due until it was done
    """

    due: int = 0
    dropped: int = 0
    behind: bool = False
    wakes_ns: list[int] = field(default_factory=list)
    ages_ns: list[int] = field(default_factory=list)

    @property
    def done(self) -> int:
        """Frames done."""
        return len(self.ages_ns)

    def add(self, pacer: Pacer, track: Track, now_ns: int) -> None:
        """Count what a pacer handed out, and what came of it; where it ended early, the frames that are due by now."""
        if pacer.schedule is None:
            return
        given, count = pacer.taken + pacer.dropped, pacer.count
        self.due += count if pacer.behind or given == count else max(given, pacer.schedule.newest(now_ns) + 1)
        self.dropped += pacer.dropped
        self.behind |= pacer.behind
        self.wakes_ns.extend(pacer.wakes_ns)
        self.ages_ns.extend(track.samples_ns)


class Server(Protocol):
    """What serves frames that a pacer hands out: an engine alone, or the whole path."""

    @property
    def unpaced(self) -> Lane: ...

    def serve(self, pacer: Pacer, track: Track, abandon: Abandon) -> None:
        """Serve until the pacer ends; `track` gets the age of each frame and when it was due."""
        ...


class EngineServer:
    """One call a frame, in one thread.

    Parameters
    ----------
    call, inputs : as engine mode takes them
    clock : of the schedule
    stopped : asked after each frame
    """

    def __init__(self, call: Call, inputs: Sequence[Any], clock: Clock = MONOTONIC, stopped: Stopped = lambda: False):
        self._call, self._inputs, self._clock = call, inputs, clock
        self.unpaced: Lane = EngineLane([call], inputs, 1, stopped, clock)

    def serve(self, pacer: Pacer, track: Track, abandon: Abandon) -> None:
        """Serve. See Server."""
        for index, due_ns in pacer:
            self._call(self._inputs[index % len(self._inputs)])
            age_ns = self._clock.now_ns() - due_ns
            track.add(age_ns, due_ns)
            if abandon(age_ns):
                pacer.end()


class PacedLane:
    """Frames due at a rate, served by an engine or by the whole path. See Lane.

    Parameters
    ----------
    server : what serves them
    fps, policy : of the frames
    clock : that they are due by
    stopped : asked many times a second
    tell : called many times a second while a turn lasts

    Attributes
    ----------
    passed : what became of all frames of all turns
    unpaced : the same work, as fast as it goes
    """

    def __init__(
        self,
        server: Server,
        fps: float,
        policy: Policy,
        clock: Clock = MONOTONIC,
        stopped: Stopped = lambda: False,
        tell: Tell = lambda done, count: None,
    ) -> None:
        self.clock, self.fps, self.policy = clock, fps, policy
        self.passed, self.unpaced = Passed(), server.unpaced
        self._server, self._stopped, self._tell = server, stopped, tell

    def measure(self, track: Track, seconds: float, least: int) -> None:
        """Let frames be due for at least so many seconds and frames. See Lane."""
        count = max(least, math.ceil(seconds * self.fps))
        self.serve(self.passed, track, self.fps, count, tell=self._tell)

    def serve(
        self,
        passed: Passed,
        track: Track,
        fps: float,
        count: int,
        abandon: Abandon = lambda age_ns: False,
        tell: Tell = lambda done, count: None,
    ) -> None:
        """Let `count` frames be due at a rate, and add what became of them to `passed`."""

        def stopped() -> bool:
            tell(len(track.samples_ns) + pacer.dropped, count)
            return self._stopped()

        pacer = Pacer(fps, count, self.policy, self.clock, stopped)
        try:
            self._server.serve(pacer, track, abandon)
        finally:
            now_ns = self.clock.now_ns()
            passed.add(pacer, track, now_ns)
            track.pictures = len(track.samples_ns)
            track.took_ns = _length_ns(pacer, track.pictures, now_ns)

    def warm(self, track: Track, seconds: float, least: int) -> None:
        """Serve as fast as it goes. See Lane."""
        self.unpaced.warm(track, seconds, least)

    def first_ms(self) -> float:
        """Infer for the first time. See Lane."""
        return self.unpaced.first_ms()

    def paced(self, deadline_ms: float) -> Paced:
        """Return what became of all frames, for the report."""
        ages_ms = [ns / 1e6 for ns in self.passed.ages_ns]
        return Paced(
            fps=self.fps,
            policy=self.policy,
            due=self.passed.due,
            done=self.passed.done,
            dropped=self.passed.dropped,
            late=sum(age > deadline_ms for age in ages_ms),
            deadline_ms=deadline_ms,
            age=distribution(ages_ms),
            slo=None,
        )


def _length_ns(pacer: Pacer, done: int, now_ns: int) -> int:
    """Return how long frames were served: at least until the one after the last would be due."""
    if pacer.schedule is None:
        return 1
    until_ns = max(now_ns, pacer.schedule.due_ns(pacer.count)) if done == pacer.count else now_ns
    return max(1, until_ns - pacer.schedule.start_ns)
