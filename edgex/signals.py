"""Ctrl-C, SIGTERM and SIGHUP end a run after the frame at hand, so that what was written until then is whole."""

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
        before = {number: signal.signal(number, note) for number in _stopping()}
    except ValueError:  # not the main thread: then signals are its business
        before = {}
    try:
        yield received
    finally:
        for number, action in before.items():
            signal.signal(number, action)


def _stopping() -> list[signal.Signals]:
    """Return the signals that ask for an end: a terminal that goes away does too, unless nohup keeps it from it."""
    asked = [signal.SIGINT, signal.SIGTERM]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asked.append(signal.SIGHUP)
    return asked
