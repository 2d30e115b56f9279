"""Engine mode: one call after the other on inputs that are prepared, as trtexec and benchmark_app measure.

The loop between two calls takes well below a microsecond; `bench_calls` shows it with a call that does nothing.
"""

from __future__ import annotations

import itertools
import threading
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from edgex.bench.track import PRECISE, Clock, Course, Effort, Stopped, Track, take_turns, warm_up
from edgex.errors import UsageError
from edgex.types import Observe

Call = Callable[[Any], object]
_GIVE_UP_S = 5.0  # that a forced end waits for a call that hangs


class EngineLane:
    """Calls that do the same, each in a thread of its own where there are several.

    Parameters
    ----------
    calls : one a stream; each takes an input and returns when the outputs are there
    inputs : taken in turn, so that none is found in the caches by being the only one
    batch : pictures of one input
    stopped : asked after each call
    clock : of the samples
    """

    def __init__(
        self,
        calls: Sequence[Call],
        inputs: Sequence[Any],
        batch: int = 1,
        stopped: Stopped = lambda: False,
        clock: Clock = PRECISE,
    ) -> None:
        if not calls or not inputs:
            raise UsageError(f"expected a call and an input to measure, got {len(calls)} and {len(inputs)}; give both")
        self.clock = clock
        self._batch = batch
        self._stopped = stopped
        turned = [[*inputs[place % len(inputs) :], *inputs[: place % len(inputs)]] for place in range(len(calls))]
        self._streams = [(call, itertools.cycle(each)) for call, each in zip(calls, turned, strict=True)]

    def measure(self, track: Track, seconds: float, least: int) -> None:
        """Call for at least so many seconds and, over all streams, so many samples. See Lane."""
        if len(self._streams) == 1:
            call, inputs = self._streams[0]
            self._sample(track, call, inputs, seconds, least, self._stopped)
            return
        self._together(track, seconds, -(-least // len(self._streams)))

    warm = measure

    def first_ms(self) -> float:
        """Call each for the first time and return the first one's time. See Lane."""
        track = Track()
        for call, inputs in self._streams:
            self._sample(track, call, inputs, 0.0, 0, lambda: True)
        return track.samples_ns[0] / 1e6

    def _sample(
        self, track: Track, call: Call, inputs: Iterator[Any], seconds: float, least: int, stopped: Stopped
    ) -> None:
        samples, starts, now_ns = track.samples_ns, track.starts_ns, self.clock.now_ns
        keep, keep_start = samples.append, starts.append
        begin_ns = ended_ns = now_ns()
        until_ns = begin_ns + round(seconds * 1e9)
        try:
            for image in inputs:
                began_ns = now_ns()
                call(image)
                ended_ns = now_ns()
                keep_start(began_ns)
                keep(ended_ns - began_ns)
                if (ended_ns >= until_ns and len(samples) >= least) or stopped():
                    break
        finally:
            track.pictures, track.took_ns = len(samples) * self._batch, ended_ns - begin_ns

    def _together(self, track: Track, seconds: float, least: int) -> None:
        """Let all streams call at once; they begin together, and each ends with its own last call."""
        tracks = [Track() for _ in self._streams]
        failures: list[BaseException] = []
        gate = threading.Barrier(len(tracks))
        ended = [threading.Event() for _ in tracks]  # as Thread.join, interrupted, takes a running thread for ended

        def stream(place: int) -> None:
            call, inputs = self._streams[place]
            try:
                gate.wait()
                self._sample(tracks[place], call, inputs, seconds, least, lambda: bool(failures) or self._stopped())
            except BaseException as error:  # raised below, in the thread that asked
                failures.append(error)
            finally:
                ended[place].set()

        threads = [threading.Thread(target=stream, args=(place,), daemon=True) for place in range(len(tracks))]
        try:
            for thread in threads:
                thread.start()
            for event in ended:
                event.wait()
        except BaseException as error:  # KeyboardInterrupt: what they call is closed after this
            failures.append(error)
            gate.abort()
            for thread, event in zip(threads, ended, strict=True):
                event.wait(_GIVE_UP_S if thread.ident is not None else 0.0)
            raise
        found = sorted(
            (start, ns) for each in tracks for start, ns in zip(each.starts_ns, each.samples_ns, strict=True)
        )
        track.starts_ns.extend(array("q", [start for start, _ in found]))
        track.samples_ns.extend(array("q", [ns for _, ns in found]))
        if found:  # all pictures over the time from the first call to the last one's end: streams end apart
            track.pictures = sum(each.pictures for each in tracks)
            track.took_ns = max(start + ns for start, ns in found) - found[0][0]
        if failures:
            raise failures[0]


def bench_calls(
    calls: Mapping[str, Call],
    inputs: Sequence[Any],
    effort: Effort | None = None,
    *,
    stopped: Stopped = lambda: False,
    observe: Observe = lambda stage, done, total: None,
    clock: Clock = PRECISE,
) -> dict[str, Course]:
    """Measure any calls side by side as engine mode measures engines: warmed up, interleaved, every sample kept.

    Parameters
    ----------
    calls : name to a call that takes one input, such as the `run` of a Network
    inputs : taken in turn
    effort : how much is measured
    stopped : True ends it early
    observe : is told of progress
    clock : of the samples

    Returns
    -------
    name to what was measured; a call that failed has its `error` there, and the others go on

    Raises
    ------
    UsageError
        If there is no input.
    """
    effort = effort or Effort()
    courses = [Course(name, EngineLane([call], inputs, 1, stopped, clock)) for name, call in calls.items()]
    warm_up(courses, effort, stopped, observe)
    take_turns(courses, effort, stopped, observe)
    return {course.name: course for course in courses}
