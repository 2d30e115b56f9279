"""Silence what native libraries write to the error stream themselves: edgex says it in one sentence of its own."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

_ERROR_STREAM = 2  # file descriptor; libpng, libjpeg and OpenCV's log write there past Python


@contextlib.contextmanager
def native_errors_silenced() -> Iterator[None]:
    """Send the process's error stream nowhere for the duration of one native call."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
        saved = os.dup(_ERROR_STREAM)
    except OSError:  # closed: then nothing can be written there anyway
        yield
        return
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, _ERROR_STREAM)
        yield
    finally:
        os.dup2(saved, _ERROR_STREAM)
        os.close(saved)
        os.close(nowhere)
