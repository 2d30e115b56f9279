"""What is kept of one run while it is measured, and how several runs take turns, so that drift hits all alike."""

from __future__ import annotations

import contextlib
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from edgex.bench.samples import settle
from edgex.errors import EdgexError
from edgex.latency import PAUSE_S, WARM_UP
from edgex.report.parts import Warmup
from edgex.types import Observe

Stopped = Callable[[], bool]


@dataclass(frozen=True, slots=True)
class Clock:
    """A clock and how to wait by it, so that a test can put its own in their place.

    Attributes
    ----------
    now_ns : the time, which never jumps
    sleep : waits so many seconds
    """

    now_ns: Callable[[], int]
    sleep: Callable[[float], object]


PRECISE = Clock(time.perf_counter_ns, time.sleep)
MONOTONIC = Clock(time.monotonic_ns, time.sleep)  # frames of the live path are dated by it


@dataclass(frozen=True, slots=True)
class Effort:
    """How much is measured of each run.

    Attributes
    ----------
    seconds, iterations : at least so long, and so many samples
    rounds : turns that each run gets
    longest_warmup_s : the warm-up ends then, though the times have not settled
    """

    seconds: float = 3.0
    iterations: int = 200
    rounds: int = 10
    longest_warmup_s: float = 10.0


@dataclass(slots=True)
class Track:
    """What was measured in one go, or, one go after the other, of one run.

    Attributes
    ----------
    samples_ns, starts_ns : each sample, and when it began by the clock
    rounds : index of the first sample of each turn
    pictures, took_ns : what was done, and in how long, over all turns
    stages : stage to milliseconds, of the pipeline
    """

    samples_ns: array[int] = field(default_factory=lambda: array("q"))
    starts_ns: array[int] = field(default_factory=lambda: array("q"))
    rounds: list[int] = field(default_factory=list)
    pictures: int = 0
    took_ns: int = 0
    stages: dict[str, array[float]] = field(default_factory=dict)

    def add(self, sample_ns: int, start_ns: int) -> None:
        """Keep one sample."""
        self.samples_ns.append(sample_ns)
        self.starts_ns.append(start_ns)

    def add_stage(self, name: str, ms: float) -> None:
        """Keep the time of one stage of one frame."""
        self.stages.setdefault(name, array("d")).append(ms)

    def append(self, turn: Track) -> None:
        """Put what one turn measured behind what was measured before."""
        if turn.samples_ns:
            self.rounds.append(len(self.samples_ns))
        self.samples_ns += turn.samples_ns
        self.starts_ns += turn.starts_ns
        for name, values in turn.stages.items():
            self.stages.setdefault(name, array("d")).extend(values)
        self.pictures += turn.pictures
        self.took_ns += turn.took_ns

    @property
    def per_second(self) -> float:
        """Pictures per second; of several streams, from the first call's begin to the last one's end of each turn."""
        return self.pictures * 1e9 / self.took_ns if self.took_ns else 0.0


class Lane(Protocol):
    """One run that is measured: an engine, a pipeline, or frames that are due at a rate."""

    @property
    def clock(self) -> Clock: ...

    def measure(self, track: Track, seconds: float, least: int) -> None:
        """Fill `track` for at least so many seconds and samples, or until it is to stop; what fails is raised."""
        ...

    def warm(self, track: Track, seconds: float, least: int) -> None:
        """Do the same for the warm-up, as fast as it goes."""
        ...

    def first_ms(self) -> float:
        """Infer for the first time and return how long that took, in milliseconds."""
        ...


@dataclass(slots=True)
class Course:
    """One run and what came of it so far.

    Attributes
    ----------
    name, lane : of the run
    recorder : entered while samples are taken, each turn anew
    track : what was measured
    warmup, first_ms : what was run before; the first inference
    error : why it ended early, one sentence, or None
    """

    name: str
    lane: Lane
    recorder: contextlib.AbstractContextManager[object] = field(default_factory=contextlib.nullcontext)
    track: Track = field(default_factory=Track)
    warmup: Warmup = field(default_factory=lambda: Warmup(0, 0.0, False))
    first_ms: float | None = None
    error: str | None = None

    def attempt(self, step: Callable[[], None]) -> None:
        """Take one step; when it fails, this run is over and the others go on."""
        if self.error is None:
            try:
                step()
            except EdgexError as error:
                self.error = str(error)
            except Exception as error:  # a backend's own; the other runs have nothing to do with it
                self.error = f"unexpected {type(error).__name__}: {' '.join(str(error).split())}"


def warm_up(courses: Sequence[Course], effort: Effort, stopped: Stopped, observe: Observe) -> None:
    """Run each until its times have settled, one after the other."""
    for position, course in enumerate(courses):
        observe("warming up", position, len(courses))
        if not stopped():
            course.attempt(lambda course=course: _warm(course, effort, stopped))  # type: ignore[misc]


def take_turns(courses: Sequence[Course], effort: Effort, stopped: Stopped, observe: Observe) -> None:
    """Measure all, A B A B, until each has what `effort` asks for, or it is to stop.

    Where there are several, a short pause and a few untimed calls come before each turn, so that none feels the threads
    and the caches of the one before.
    """
    seconds, least = effort.seconds / effort.rounds, -(-effort.iterations // effort.rounds)
    for number in range(effort.rounds):
        for position, course in enumerate(courses):
            if stopped():
                return
            observe("measuring", number * len(courses) + position, effort.rounds * len(courses))
            course.attempt(lambda course=course: _turn(course, seconds, least, len(courses) > 1))  # type: ignore[misc]
    observe("measuring", effort.rounds * len(courses), effort.rounds * len(courses))


def _warm(course: Course, effort: Effort, stopped: Stopped) -> None:
    lane = course.lane
    course.first_ms = lane.first_ms()

    def window(seconds: float, least: int) -> array[int]:
        track = Track()
        lane.warm(track, seconds, least)
        return track.samples_ns

    course.warmup = settle(window, lane.clock.now_ns, effort.longest_warmup_s, stopped)


def _turn(course: Course, seconds: float, least: int, interleaved: bool) -> None:
    turn = Track()
    if interleaved:
        course.lane.clock.sleep(PAUSE_S)
        course.lane.warm(Track(), 0.0, WARM_UP)
    try:
        with course.recorder:
            course.lane.measure(turn, seconds, least)
    finally:
        course.track.append(turn)
