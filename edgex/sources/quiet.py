"""Silence what native libraries write to the error stream themselves: edgex says it in one sentence of its own."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

_ERROR_STREAM = 2  # file descriptor; libpng, libjpeg and OpenCV's log write there past Python


class _Switch:
    """Turns the error stream off for the first who asks and on again after the last: threads overlap as they please."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._depth = 0
        self._saved: int | None = None

    def off(self) -> None:
        with self._lock:
            if self._depth == 0:
                self._saved = _redirected()
            self._depth += 1

    def on(self) -> None:
        with self._lock:
            self._depth -= 1
            if self._depth == 0 and self._saved is not None:
                os.dup2(self._saved, _ERROR_STREAM)
                os.close(self._saved)
                self._saved = None


_switch = _Switch()


@contextlib.contextmanager
def native_errors_silenced() -> Iterator[None]:
    """Send the process's error stream nowhere for the duration of one native call."""
    _switch.off()
    try:
        yield
    finally:
        _switch.on()


def _redirected() -> int | None:
    """Send the error stream nowhere; return a copy of what it was, or None where nothing was changed."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
        saved = os.dup(_ERROR_STREAM)
    except OSError:  # closed: then nothing can be written there anyway
        return None
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
    except OSError:
        os.close(saved)
        raise
    os.dup2(nowhere, _ERROR_STREAM)
    os.close(nowhere)
    return saved
