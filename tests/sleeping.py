"""An engine whose latency is known: it sleeps, with stalls at known calls, by a clock that moves only when one sleeps.

So a test knows every age to the nanosecond; by a real clock the same engine makes a short real run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from edgex.bench.track import Clock

MS = 1_000_000


class VirtualClock:
    """Time that passes only by sleeping; `clock` is what the measured code gets."""

    def __init__(self, start_ns: int = 10**9) -> None:
        self.now_ns = start_ns
        self.slept: list[int] = []
        self.clock = Clock(lambda: self.now_ns, self.sleep)

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        ns = round(seconds * 1e9)
        self.slept.append(ns)
        self.now_ns += ns


class Sleeper:
    """A call that takes `service_ms`, or what `stalls` says for that call, and keeps what it was given.

    Parameters
    ----------
    sleep : waits so many seconds
    service_ms : of a call
    stalls : number of the call, from 0, to the milliseconds that it takes instead
    fails_at : number of the call that fails, or None
    """

    def __init__(
        self,
        sleep: Callable[[float], object],
        service_ms: float,
        stalls: Mapping[int, float] | None = None,
        fails_at: int | None = None,
    ) -> None:
        self.inputs: list[object] = []
        self._sleep, self._service_ms = sleep, service_ms
        self._stalls, self._fails_at = stalls or {}, fails_at

    def __call__(self, image: object) -> None:
        number = len(self.inputs)
        self.inputs.append(image)
        if number == self._fails_at:
            raise RuntimeError("the device\nwas lost")
        self._sleep(self._stalls.get(number, self._service_ms) / 1000)


def queue_ages(due_ns: Sequence[int], service_ns: Sequence[int]) -> list[int]:
    """Return the age of each frame of a queue, by Lindley's recursion: it begins when due and the one before done."""
    ages, done_ns = [], 0
    for due, service in zip(due_ns, service_ns, strict=True):
        done_ns = max(due, done_ns) + service
        ages.append(done_ns - due)
    return ages


def newest_ages(due_ns: Sequence[int], service_ns: Callable[[int], int]) -> tuple[list[int], list[int], int]:
    """Return frames taken, their ages and how many were dropped, for a mailbox of one place that a camera fills.

    The events are replayed one by one, in the order of their time; `service_ns` takes the number of the call.
    """
    taken: list[int] = []
    ages: list[int] = []
    mailbox: int | None = None
    dropped, free_ns = 0, 0

    def take(now_ns: int) -> None:
        nonlocal mailbox, free_ns
        assert mailbox is not None
        free_ns = now_ns + service_ns(len(taken))
        ages.append(free_ns - due_ns[mailbox])
        taken.append(mailbox)
        mailbox = None

    for index, due in enumerate(due_ns):
        if mailbox is not None and free_ns < due:
            take(free_ns)
        dropped += mailbox is not None
        mailbox = index
        if free_ns <= due:
            take(due)
    if mailbox is not None:
        take(free_ns)
    return taken, ages, dropped
