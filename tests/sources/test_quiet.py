"""The error stream is given back also when threads silence it at once."""

from __future__ import annotations

import os
import threading

from edgex.sources.quiet import native_errors_silenced


def test_threads_that_overlap_leave_the_error_stream_as_it_was() -> None:
    before = os.fstat(2)
    inside, leave = threading.Event(), threading.Event()

    def second() -> None:
        with native_errors_silenced():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=second)
    with native_errors_silenced():
        thread.start()
        assert inside.wait(30)
    assert os.path.samestat(os.fstat(2), os.stat(os.devnull)), "the second is still inside"
    leave.set()
    thread.join(30)
    after = os.fstat(2)
    assert (after.st_dev, after.st_ino, after.st_rdev) == (before.st_dev, before.st_ino, before.st_rdev)
