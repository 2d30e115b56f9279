"""Threads that let others go first: the pipeline keeps its rate, and viewers get what time is left."""

from __future__ import annotations

import os
import sys
import threading

# Where threads of the pipeline keep every core busy, one of these gets a twentieth of a core. Lower still, and one that
# is preempted while it holds the interpreter's lock would hold the pipeline up.
_NICENESS = 10


def step_back() -> None:
    """Lower the priority of the calling thread, where the system has one for each thread."""
    if sys.platform == "linux":
        try:
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        except OSError:
            pass  # it is lower already, or may not be changed here: only politeness is lost
