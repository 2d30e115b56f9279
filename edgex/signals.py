"""Ctrl-C and SIGTERM end a run after the frame at hand, so that what was written until then is whole."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator


@contextlib.contextmanager
def stop_signals() -> Iterator[list[int]]:
    """Collect the stop signals that arrive.

    Yields
    ------
    list that receives the number of the first one; the second one raises KeyboardInterrupt, for whoever cannot wait
    """
    received: list[int] = []

    def note(number: int, _frame: object) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # not the main thread: then signals are its business
        before = {}
    try:
        yield received
    finally:
        for number, action in before.items():
            signal.signal(number, action)
