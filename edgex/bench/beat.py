"""Progress while a turn lasts: frames done, a few times a second, in place of turns done."""

from __future__ import annotations

from edgex.bench.track import MONOTONIC, Clock
from edgex.types import Observe

_PERIOD_NS = 250_000_000


class Beat:
    """Passes progress on, and adds what happens within a turn.

    Parameters
    ----------
    observe : is told of progress
    clock : by which a few times a second are counted
    """

    def __init__(self, observe: Observe, clock: Clock = MONOTONIC) -> None:
        self._observe, self._clock = observe, clock
        self._place, self._turns = 0, 1
        self._count = 1  # frames of a turn, or 1 where nobody tells of them
        self._told_ns = clock.now_ns()

    def turns(self, stage: str, done: int, total: int) -> None:
        """Tell of turns; an Observe."""
        self._place, self._turns = done, total
        self._observe(stage, done * self._count, total * self._count)

    def frames(self, done: int, count: int) -> None:
        """Tell of the frames of the turn at hand; call it as often as you like, in any thread."""
        now_ns = self._clock.now_ns()
        if now_ns - self._told_ns >= _PERIOD_NS:
            self._told_ns, self._count = now_ns, count
            self._observe("measuring", self._place * count + min(done, count), self._turns * count)
