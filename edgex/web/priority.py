"""Threads that let others go first: the pipeline keeps its rate, and viewers get what time is left."""

from __future__ import annotations

import os
import sys
import threading

_NICENESS = 5  # measured: a thread that is preempted while it holds the interpreter's lock holds everybody up


def step_back() -> None:
    """Lower the priority of the calling thread, where the system has one for each thread."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        except OSError:
            pass  # it is lower already, or may not be changed here: only politeness is lost
