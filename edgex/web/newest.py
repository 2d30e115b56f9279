"""The mailbox between the pipeline and the viewer: one slot, so that a slow viewer never holds the pipeline up."""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Mapping
from typing import Any

from edgex.types import Shot

_INTERVALS = 15  # between the newest frames; their median is how often frames come
_RECORDS = 4096  # records that wait to be counted: more than 30 seconds of 100 frames/s


class Newest:
    """The newest finished frame, and the records of those since the last look.

    Attributes
    ----------
    shot : the newest finished frame, or None before the first
    count : finished frames so far
    at_s : when the newest one came, by time.monotonic
    """

    def __init__(self) -> None:
        self.shot: Shot | None = None
        self.count = 0
        self.at_s = time.monotonic()
        self._intervals_s: deque[float] = deque(maxlen=_INTERVALS)
        self._records: deque[Mapping[str, Any]] = deque(maxlen=_RECORDS)
        self._changed = threading.Condition()
        self._lookers = 0
        self._end = threading.Event()

    def put(self, shot: Shot) -> None:
        """Replace the frame; takes microseconds."""
        self._records.append(shot.record)
        with self._changed:
            self.shot = shot
            now_s = time.monotonic()
            if self.count:
                self._intervals_s.append(now_s - self.at_s)
            self.count += 1
            self.at_s = now_s
            if self._lookers:
                self._changed.notify_all()

    @property
    def interval_s(self) -> float | None:
        """The median time between the newest frames; None before the second."""
        with self._changed:
            return statistics.median(self._intervals_s) if self._intervals_s else None

    def look(self, more: int) -> None:
        """Say that so many more (or, below 0, fewer) want pictures to be encoded."""
        with self._changed:
            self._lookers += more
            self._changed.notify_all()

    def wanted(self, after: int) -> tuple[Shot, int] | None:
        """Wait until somebody looks and a frame newer than number `after` is there.

        Returns
        -------
        The frame and its number, from 1; None when the mailbox is closed.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._end.is_set() or (self._lookers > 0 and self.count > after))
            return None if self._end.is_set() or self.shot is None else (self.shot, self.count)

    def rest(self, seconds: float) -> None:
        """Wait, but no longer than until the mailbox is closed."""
        self._end.wait(max(0.0, seconds))

    def drain(self) -> list[Mapping[str, Any]]:
        """Return the records since the last call, oldest first, and forget them."""
        return [self._records.popleft() for _ in range(len(self._records))]

    def close(self) -> None:
        """End every wait."""
        with self._changed:
            self._end.set()
            self._changed.notify_all()
