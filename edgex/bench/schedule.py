"""When frames are due, and which of them is taken next: the same rule for an engine alone and for the whole path."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from edgex.bench.track import Clock, Stopped
from edgex.report.parts import Policy

LEAD_NS = 20_000_000
_LONGEST_SLEEP_S = 0.05  # how soon a stop is seen
_PATIENCE = 1.0  # times the schedule's length that frames of a queue are still done after the last one was due
_LEAST_PATIENCE_NS = 5_000_000_000


@dataclass(frozen=True, slots=True)
class Schedule:
    """`count` frames, the first due at `start_ns` of the clock, the others at a rate of `fps`."""

    start_ns: int
    fps: float
    count: int

    def due_ns(self, index: int) -> int:
        """Return when a frame is due; rounding never adds up."""
        return self.start_ns + round(index * 1e9 / self.fps)

    def newest(self, now_ns: int) -> int:
        """Return the newest frame that is due by now; -1 where none is."""
        index = min(self.count - 1, max(-1, int((now_ns - self.start_ns) * self.fps / 1e9) + 1))
        while index >= 0 and self.due_ns(index) > now_ns:
            index -= 1
        return index

    def over_ns(self) -> int:
        """Return when whoever is still behind is given up: the rate cannot be met."""
        length_ns = self.due_ns(self.count) - self.start_ns
        return self.start_ns + length_ns + max(_LEAST_PATIENCE_NS, round(_PATIENCE * length_ns))


class Pacer:
    """Hands out the frames of a schedule, one whenever it is asked, and waits for the next one where none is due.

    "queue" hands out every frame, in order, however late. "newest" hands out the newest one that is due, as a live
    source does from its mailbox of one place; those that it passes over are dropped. A frame's latency counts from when
    it was due, so a stall counts against every frame that it delays.

    The first frame is due 20 ms after it was first asked for: a path that has to begin is no part of its latency.

    Parameters
    ----------
    fps, count, policy : of the frames
    clock : that they are due by
    stopped : asked at least every 50 ms; True ends it

    Attributes
    ----------
    schedule : of the frames, or None until the first is asked for
    taken, dropped : frames so far
    behind : whether it gave up because the rate cannot be met
    wakes_ns : each time that it had slept, how long after the due time it woke up; that is part of the latency
    """

    def __init__(self, fps: float, count: int, policy: Policy, clock: Clock, stopped: Stopped) -> None:
        self.fps, self.count, self.policy = fps, count, policy
        self.schedule: Schedule | None = None
        self._clock, self._stopped = clock, stopped
        self.taken = self.dropped = 0
        self.behind = False
        self.wakes_ns: list[int] = []
        self._ended = False

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """Give index and due time of one frame after the other."""
        schedule = self.schedule = Schedule(self._clock.now_ns() + LEAD_NS, self.fps, self.count)
        index, over_ns = 0, schedule.over_ns()
        while index < self.count:
            due_ns = schedule.due_ns(index)
            now_ns = self._wait_until(due_ns)
            if self._ended or self._stopped():
                return
            if now_ns > over_ns:
                self.behind = True
                return
            if self.policy == "newest":
                newest = schedule.newest(now_ns)
                self.dropped += newest - index
                index, due_ns = newest, schedule.due_ns(newest)
            self.taken += 1
            yield index, due_ns
            index += 1

    def end(self) -> None:
        """Hand out no more; from any thread."""
        self._ended = True

    def _wait_until(self, due_ns: int) -> int:
        """Sleep until then, in pieces short enough to see a stop, and return the time."""
        slept = False
        while (now_ns := self._clock.now_ns()) < due_ns and not self._ended and not self._stopped():
            self._clock.sleep(min((due_ns - now_ns) / 1e9, _LONGEST_SLEEP_S))
            slept = True
        if slept and now_ns >= due_ns:
            self.wakes_ns.append(now_ns - due_ns)
        return now_ns
