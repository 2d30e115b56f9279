"""What may wait long in native code, where Ctrl-C is not heard: done in threads that can be left to themselves."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from typing import Generic, TypeVar

_AHEAD = 8  # items: enough that reading and decoding overlap, and no more memory than that
_CLOSE_WAIT_S = 2.0  # a read that lasts longer is left to its own thread, which closes when it returns

Item = TypeVar("Item")


def opened_aside(opener: Callable[[], Item], close: Callable[[Item], None]) -> Item:
    """Open something in a thread of its own; an interrupt ends the wait for it at once.

    Parameters
    ----------
    opener : opens it; what it raises is raised here
    close : gives back what opens after the wait was interrupted
    """
    done = threading.Condition()
    found: list[Item] = []
    failed: list[BaseException] = []
    given_up = False

    def work() -> None:
        try:
            item = opener()
        except BaseException as error:
            with done:
                failed.append(error)
                done.notify_all()
            return
        with done:
            if not given_up:
                found.append(item)
                done.notify_all()
                return
        close(item)

    threading.Thread(target=work, name="edgex-open", daemon=True).start()
    with done:
        try:
            done.wait_for(lambda: found or failed)
        except BaseException:
            given_up = True
            for item in found:  # it opened just when the wait was interrupted
                close(item)
            raise
    if failed:
        raise failed.pop()
    return found[0]


class ReadAhead(Generic[Item]):
    """Reads items in a thread of its own, a few ahead; whoever waits for one can be told to stop.

    Parameters
    ----------
    items : what is read; what it raises is raised to who waits
    close : gives `items` back; called by the thread that reads, since no other may while it does
    """

    def __init__(self, items: Iterator[Item], close: Callable[[], None]) -> None:
        self._items, self._close = items, close
        self._changed = threading.Condition()  # guards all that follows
        self._ready: deque[Item] = deque()
        self._failed: Exception | None = None
        self._over = self._stopped = False
        self._thread = threading.Thread(target=self._work, name="edgex-read-ahead", daemon=True)
        self._thread.start()

    def __iter__(self) -> Iterator[Item]:
        return self

    def __next__(self) -> Item:
        with self._changed:
            self._changed.wait_for(lambda: self._ready or self._over or self._stopped)
            if self._stopped:
                raise StopIteration
            if self._ready:
                self._changed.notify_all()
                return self._ready.popleft()
            if self._failed is not None:
                raise self._failed
            raise StopIteration

    def stop(self) -> None:
        """End a wait for the next item, and the iteration; from any thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and give `items` back; a read that does not return soon is left to end by itself."""
        self.stop()
        self._thread.join(_CLOSE_WAIT_S)

    def _work(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._ready.append(item)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: len(self._ready) < _AHEAD or self._stopped)
                    if self._stopped:
                        break
        except Exception as error:
            self._failed = error
        with self._changed:
            self._over = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopped)  # who reads may still ask about what is open
        self._close()
