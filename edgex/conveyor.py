"""A chain of stages, each in a thread of its own, through which items pass in order."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from queue import SimpleQueue
from typing import Generic, TypeVar

Item = TypeVar("Item")

_POLL_S = 0.02  # how soon a stop is seen; the handler of a signal cannot wake a waiting thread by itself
_GIVE_UP_S = 5.0  # that a forced end waits for a thread that hangs in native code


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

    def run(
        self, items: Iterator[Item], stages: Sequence[Callable[[Item], object]], stopped: Callable[[], bool]
    ) -> bool:
        """Pass every item through every stage, in order, until the items end or `stopped` says so.

        Items that were fetched pass through all stages also after a stop.

        Parameters
        ----------
        items : fetched in a thread of its own
        stages : what is done with each item; a stage is called with one item after the other, in a thread of its own
        stopped : asked many times a second; True ends the run

        Returns
        -------
        bool
            Whether the run was stopped before the items ended.

        Raises
        ------
        BaseException
            The first one that fetching or a stage raised, after all threads have ended.
        """
        queues: list[SimpleQueue[Item | None]] = [SimpleQueue() for _ in stages]
        threads = [threading.Thread(target=self._feed, args=(items, queues[0]), name="edgex-read", daemon=True)]
        for position, function in enumerate(stages):
            onward = queues[position + 1] if position + 1 < len(stages) else None
            arguments = (function, queues[position], onward)
            threads.append(
                threading.Thread(target=self._work, args=arguments, name=f"edgex-{function.__name__}", daemon=True)
            )
        interrupted = False
        try:
            for thread in threads:
                thread.start()
            while threads[-1].is_alive():
                if not interrupted and stopped():
                    interrupted = threads[0].is_alive()
                    self._end()
                threads[-1].join(_POLL_S)
        except BaseException as error:  # KeyboardInterrupt: whoever forces the end does not wait for long
            self._fail(error)
            until_s = time.monotonic() + _GIVE_UP_S
            for thread in threads:
                if thread.ident is not None:
                    thread.join(max(0.0, until_s - time.monotonic()))
            raise
        for thread in threads:
            thread.join()
        if self._failure is not None:
            raise self._failure
        return interrupted

    def _feed(self, items: Iterator[Item], onward: SimpleQueue[Item | None]) -> None:
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
                onward.put(item)
        except BaseException as error:
            self._fail(error)
        finally:
            onward.put(None)

    def _work(
        self,
        function: Callable[[Item], object],
        arriving: SimpleQueue[Item | None],
        onward: SimpleQueue[Item | None] | None,
    ) -> None:
        """Pass items on; when one fails, those ahead of it go their way and those behind it end here."""
        while (item := arriving.get()) is not None:
            try:
                function(item)
            except BaseException as error:
                self._fail(error)
                break
            if onward is not None:
                onward.put(item)
            else:
                self._free.release(self._weight(item))
            item = None  # let it go before the wait for the next one
        if onward is not None:
            onward.put(None)

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
