"""Paced mode: frames are due at a rate, and each one's latency counts from when it was due, not from when it began.

Whoever measures only while the engine is busy leaves out the frames that waited meanwhile: coordinated omission.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from edgex.bench.engine import Call, EngineLane
from edgex.bench.pipeline import Gauge, PipelineLane
from edgex.bench.samples import distribution
from edgex.bench.schedule import Pacer
from edgex.bench.track import MONOTONIC, Clock, Lane, Stopped, Track
from edgex.pipeline import run
from edgex.report.parts import Paced, Policy
from edgex.types import Frame, Image, Shot, SourceState

_PACE = ("read", "wait")  # stages of the path that are the pace of the schedule here
Abandon = Callable[[int], bool]  # is told each age in ns; True ends it


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


class PathServer:
    """The whole path of `edgex run`, its threads and its room for frames included.

    Parameters
    ----------
    lane : the same path as pipeline mode measures it
    images : pictures in memory
    """

    def __init__(self, lane: PipelineLane, images: Sequence[Image]) -> None:
        self.unpaced: Lane = lane
        self._path, self._images = lane, images

    def serve(self, pacer: Pacer, track: Track, abandon: Abandon) -> None:
        """Serve. See Server."""
        path = self._path

        def tell(age_ns: int) -> None:
            if abandon(age_ns):
                pacer.end()

        gauge = AgeGauge(track, path.clock, tell)
        run(
            PacedSource(pacer, self._images),
            path.explainer,
            [gauge],
            path.view,
            stopped=path.stopped,
            observe=gauge.note,
        )


class AgeGauge(Gauge):
    """Keeps of each frame the time from when it was due until the sink had it."""

    def __init__(self, track: Track, clock: Clock, tell: Callable[[int], object]) -> None:
        super().__init__(track, clock)
        self._tell = tell

    def note(self, shot: Shot) -> None:
        super().note(shot)
        for name in _PACE:
            self._track.stages.pop(name, None)

    def keep(self, frame: Frame, total_ms: float) -> None:
        age_ns = self._written_ns - frame.arrived_ns
        self._track.add(age_ns, frame.arrived_ns)
        self._tell(age_ns)


class PacedSource:
    """Pictures in memory that arrive at the pace of a schedule; see Source.

    With the policy "newest" it is a live source, and the path treats it as one: it takes the newest frame whenever it
    has room. Else every frame comes, and waits where there is no room.
    """

    frame_count = None
    uri = "paced"
    files: tuple[Path, ...] = ()

    def __init__(self, pacer: Pacer, images: Sequence[Image]) -> None:
        self.fps = pacer.fps
        self.live = pacer.policy == "newest"
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        self._pacer, self._images = pacer, images

    @property
    def state(self) -> SourceState:
        """How it stands; the pacer drops."""
        return SourceState(dropped=self._pacer.dropped)

    def __iter__(self) -> Iterator[Frame]:
        for index, due_ns in self._pacer:
            image = self._images[index % len(self._images)]
            yield Frame(image, index, due_ns, f"frame-{index:06d}", arrived_ns=due_ns)

    def stop(self) -> None:
        self._pacer.end()

    def close(self) -> None:
        """Give nothing back."""


class PacedLane:
    """Frames due at a rate, served by an engine or by the whole path. See Lane.

    Parameters
    ----------
    server : what serves them
    fps, policy : of the frames
    clock : that they are due by
    stopped : asked many times a second

    Attributes
    ----------
    passed : what became of all frames of all turns
    """

    def __init__(
        self, server: Server, fps: float, policy: Policy, clock: Clock = MONOTONIC, stopped: Stopped = lambda: False
    ) -> None:
        self.clock, self.fps, self.policy = clock, fps, policy
        self.passed = Passed()
        self._server, self._stopped = server, stopped

    def measure(self, track: Track, seconds: float, least: int) -> None:
        """Let frames be due for at least so many seconds and frames. See Lane."""
        self.serve(self.passed, track, self.fps, max(least, math.ceil(seconds * self.fps)))

    def serve(
        self, passed: Passed, track: Track, fps: float, count: int, abandon: Abandon = lambda age_ns: False
    ) -> None:
        """Let `count` frames be due at a rate, and add what became of them to `passed`."""
        pacer = Pacer(fps, count, self.policy, self.clock, self._stopped)
        try:
            self._server.serve(pacer, track, abandon)
        finally:
            now_ns = self.clock.now_ns()
            passed.add(pacer, track, now_ns)
            track.pictures = len(track.samples_ns)
            track.took_ns = _length_ns(pacer, track.pictures, now_ns)

    def warm(self, track: Track, seconds: float, least: int) -> None:
        """Serve as fast as it goes. See Lane."""
        self._server.unpaced.warm(track, seconds, least)

    def first_ms(self) -> float:
        """Infer for the first time. See Lane."""
        return self._server.unpaced.first_ms()

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
