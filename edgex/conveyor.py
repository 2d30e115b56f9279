"""A chain of stages, each in threads of its own, through which items pass in order."""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")

_POLL_S = 0.02  # how soon a stop is seen; the handler of a signal cannot wake a waiting thread by itself
_GIVE_UP_S = 5.0  # that a forced end waits for a thread that hangs in native code


@dataclass(frozen=True, slots=True)
class Step(Generic[Item]):
    """A stage.

    Attributes
    ----------
    work : what is done with each item
    threads : so many items are at this stage at once; with 1, the one comes after the other. They leave in order
    """

    work: Callable[[Item], object]
    threads: int = 1


@dataclass(slots=True)
class _Seat(Generic[Item]):
    """An item on its way to the next stage, where it may come before the stage ahead has done with it."""

    item: Item
    ready: threading.Event | None = None
    failed: bool = False

    def arrives(self) -> bool:
        """Wait until it may be worked on, and tell whether it may."""
        if self.ready is not None:
            self.ready.wait()
        return not self.failed


@dataclass(slots=True)
class _Stage(Generic[Item]):
    """A step with where its items come from and go to, and the lock by which its threads keep their order."""

    step: Step[Item]
    arriving: SimpleQueue[_Seat[Item] | None]
    onward: SimpleQueue[_Seat[Item] | None] | None
    turn: threading.Lock = field(default_factory=threading.Lock)

    def take(self) -> tuple[_Seat[Item], _Seat[Item]] | None:
        """Return the next item's seat, and the one in which it goes on; None where there is no further one.

        Where several threads are at work the seat goes onward at once: so the order is that of arrival.
        """
        with self.turn:
            seat = self.arriving.get()
            if seat is None:
                self.arriving.put(None)  # for the other threads
                return None
            mine = _Seat(seat.item)
            if self.step.threads > 1 and self.onward is not None:
                mine.ready = threading.Event()
                self.onward.put(mine)
            return seat, mine

    def give(self, mine: _Seat[Item]) -> None:
        """Let an item go on that this stage has done with."""
        if mine.ready is not None:
            mine.ready.set()
        elif self.onward is not None:
            self.onward.put(mine)


class _Worker(threading.Thread):
    """A thread that says when it is done: a KeyboardInterrupt within Thread.join makes CPython up to 3.12 take a
    running thread for one that has ended, and what it works with would be closed under it.
    """

    def __init__(self, name: str, work: Callable[[], object]) -> None:
        super().__init__(name=name, daemon=True)
        self.done = threading.Event()
        self._work = work

    def run(self) -> None:
        try:
            self._work()
        finally:
            self.done.set()


class Conveyor(Generic[Item]):
    """Moves items through stages; at most `room` are on it at once, so that memory and delay are bounded.

    Parameters
    ----------
    room : items on the conveyor; the next one is fetched only when there is room
    halt : ends a wait for the next item, called from any thread when the run is to end
    weigh : how much room an item takes, 1 to `room`

    Attributes
    ----------
    ending : set when no further item is to be fetched
    """

    def __init__(self, room: int, halt: Callable[[], object], weigh: Callable[[Item], int] = lambda item: 1) -> None:
        self.ending = threading.Event()
        self._room = room
        self._free = threading.Semaphore(room)
        self._halt = halt
        self._weigh = weigh
        self._failure: BaseException | None = None
        self._lock = threading.Lock()

    def run(self, items: Iterator[Item], steps: Sequence[Step[Item]], stopped: Callable[[], bool]) -> bool:
        """Pass every item through every step, in order, until the items end or `stopped` says so.

        Items that were fetched pass through all steps also after a stop.

        Parameters
        ----------
        items : fetched in a thread of its own
        steps : what is done with each item; the last one has one thread
        stopped : asked many times a second; True ends the run

        Returns
        -------
        bool
            Whether the run was stopped before the items ended.

        Raises
        ------
        BaseException
            The first one that fetching or a step raised, after all threads have ended.
        """
        queues: list[SimpleQueue[_Seat[Item] | None]] = [SimpleQueue() for _ in steps]
        threads = [_Worker("edgex-read", lambda: self._feed(items, queues[0]))]
        for step, arriving, onward in zip(steps, queues, [*queues[1:], None], strict=True):
            work = functools.partial(self._work, _Stage(step, arriving, onward))
            threads += [_Worker(f"edgex-{step.work.__name__}", work) for _ in range(step.threads)]
        interrupted = False
        try:
            for thread in threads:
                thread.start()
            while not threads[-1].done.wait(_POLL_S):
                if not interrupted and stopped():
                    interrupted = not threads[0].done.is_set()
                    self._end()
            for thread in threads:
                thread.done.wait()
        except BaseException as error:  # KeyboardInterrupt: whoever forces the end does not wait for long
            self._fail(error)
            _give_up([thread for thread in threads if thread.ident is not None])
            raise
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return interrupted

    def _feed(self, items: Iterator[Item], onward: SimpleQueue[_Seat[Item] | None]) -> None:
        try:
            while True:
                self._free.acquire()
                if self.ending.is_set():
                    break
                item = next(items, None)
                if item is None:
                    break
                for _ in range(self._weight(item) - 1):
                    self._free.acquire()
                onward.put(_Seat(item))
        except BaseException as error:
            self._fail(error)
        finally:
            onward.put(None)

    def _work(self, stage: _Stage[Item]) -> None:
        """Pass items on; when one fails, those ahead of it go their way and those behind it end here."""
        while (taken := stage.take()) is not None:
            seat, mine = taken
            try:
                mine.failed = not seat.arrives()
                if not mine.failed:
                    stage.step.work(seat.item)
            except BaseException as error:
                mine.failed = True
                self._fail(error)
            stage.give(mine)
            if mine.failed:
                break
            if stage.onward is None:
                self._free.release(self._weight(seat.item))
            del taken, seat, mine  # let the item go before the wait for the next one
        if stage.onward is not None:
            stage.onward.put(None)

    def _weight(self, item: Item) -> int:
        return max(1, min(self._room, self._weigh(item)))

    def _fail(self, error: BaseException) -> None:
        with self._lock:
            if self._failure is None:
                self._failure = error
        self._end()

    def _end(self) -> None:
        self.ending.set()
        self._free.release(self._room)  # whoever waits for room sees that it ends
        with contextlib.suppress(Exception):  # the run ends in any case, by its own error
            self._halt()


def _give_up(threads: Sequence[_Worker]) -> None:
    """Wait for threads, but not for long, and whoever is impatient cannot cut that short."""
    until_s = time.monotonic() + _GIVE_UP_S
    while not all(thread.done.is_set() for thread in threads) and time.monotonic() < until_s:
        with contextlib.suppress(KeyboardInterrupt):
            time.sleep(_POLL_S)
