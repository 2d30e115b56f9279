"""How long things of the GPU live: let go while their context is current, and never under a thread at work.

Both matter because destructors of C++ end the process where they fail: in a thread without the context, in a forked
child, or in a daemon thread that the interpreter's end cuts off in the middle of its work.
"""

from __future__ import annotations

import atexit
import ctypes
import os
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from edgex.errors import EdgexError

_LONGEST_S = 10.0  # that the interpreter's end waits for a thread


def never_free(thing: object) -> None:
    """Keep an object until the process ends, past the interpreter's own end; the driver frees what it stands for."""
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(thing))


class Held:
    """An object of the GPU's, `raw`, that goes when its owner does, in whichever thread that is.

    Parameters
    ----------
    owner : may be dropped at any time
    active : makes the context current
    raw : what has a destructor
    """

    def __init__(self, owner: object, active: Callable[[], AbstractContextManager[Any]], raw: Any) -> None:
        self.raw = raw
        self.free = weakref.finalize(owner, self._free, active)

    def _free(self, active: Callable[[], AbstractContextManager[Any]]) -> None:
        try:
            with active():
                self.raw = None
        except EdgexError:  # a forked child, or a GPU that is lost
            never_free(self.raw)


class Gate:
    """Threads go in and out; the interpreter's end lets nobody else in and waits until all are out."""

    def __init__(self) -> None:
        self._changed = threading.Condition()  # on a lock that one thread may take twice: collected garbage comes here
        self._inside: Counter[int] = Counter()  # by thread
        self._ending = False
        self._process = os.getpid()
        weakref.finalize(self, int)  # so that its hook is registered before this one, and runs after it
        atexit.register(self._end)

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Hold the end off; a daemon thread that comes too late waits for the process to end."""
        me = threading.get_ident()
        with self._changed:
            while self._ending and not self._inside[me] and threading.current_thread() is not threading.main_thread():
                self._changed.wait()
            self._inside[me] += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside[me] -= 1
                if not self._inside[me]:
                    del self._inside[me]
                self._changed.notify_all()

    def _end(self) -> None:
        if os.getpid() != self._process:  # a forked child may have the lock from a thread that it has not
            return
        with self._changed:
            self._ending = True
            self._changed.wait_for(lambda: not +self._inside, _LONGEST_S)
