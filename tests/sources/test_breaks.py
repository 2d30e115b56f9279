"""Breaks of a live source: they are counted, logged little, run out of attempts, and leave nothing behind."""

from __future__ import annotations

import gc
import itertools
import weakref

import pytest

from edgex.errors import SourceError
from edgex.sources import LiveOptions
from edgex.sources.breaks import Breaks
from edgex.sources.live import LiveSource
from edgex.types import Image
from tests.sources.servers import wait_until
from tests.sources.test_live import Pushed, opener, picture


def test_a_stream_that_opens_and_gives_nothing_is_not_connected_again() -> None:
    first, silent = Pushed(), Pushed()
    source = LiveSource(opener(first, silent), "x", LiveOptions(attempts=2, longest_pause_s=0.02))
    first.waiting.put(1)
    first.waiting.put(SourceError("broken"))
    frames = iter(source)
    assert next(frames).index == 0
    with pytest.raises(SourceError, match=r"which broke .*got none after 2 attempts"):
        next(frames)
    assert (source.state.connected, source.state.reconnects) == (False, 0)
    source.close()


def test_a_capture_that_broke_is_not_kept_alive() -> None:
    class Breaks(Pushed):
        read_before = False

        def read(self) -> Image:
            if self.read_before:
                raise SourceError("broken")
            self.read_before = True
            return picture(1)

    made: list[weakref.ref[Breaks]] = []

    def opened() -> Breaks:
        assert all(earlier() is None for earlier in made), "its decoder's buffers would pile up"
        capture = Breaks()
        made.append(weakref.ref(capture))
        return capture

    gc.disable()  # a collection may be long in coming: so few objects are made
    try:
        source = LiveSource(opened, "x", LiveOptions(longest_pause_s=0.01))
        wait_until(lambda: len(made) >= 5, "five openings")
        assert len(list(itertools.islice(source, 1))) == 1
        source.close()
    finally:
        gc.enable()


def test_a_fault_of_a_capture_counts_as_a_break_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    first, second, third = Pushed(), Pushed(), Pushed()
    source = LiveSource(opener(first, second, third), "x", LiveOptions(longest_pause_s=0.02))
    for capture in (first, second):
        capture.waiting.put(1)
        capture.waiting.put(ZeroDivisionError("a fault"))
    third.waiting.put(3)
    wait_until(lambda: source.state.reconnects >= 2, "both faults to be mended")
    assert next(iter(source)).image[0, 0, 0] == 3
    source.close()
    assert first.closed.is_set()
    told = [record.message for record in caplog.records if "please report" in record.message]
    assert len(told) == 1
    assert "raised ZeroDivisionError: a fault" in told[0]


def test_a_flapping_stream_runs_out_of_attempts_and_is_logged_little(caplog: pytest.LogCaptureFixture) -> None:
    captures = [Pushed() for _ in range(5)]
    for capture in captures:
        capture.waiting.put(1)
        capture.waiting.put(SourceError("broken"))
    source = LiveSource(opener(*captures), "x", LiveOptions(attempts=4, longest_pause_s=0.02))
    with pytest.raises(SourceError, match="got less than 10 s of them after 4 attempts"):
        list(source)
    source.close()
    assert source.state.reconnects == 4
    assert [record.message for record in caplog.records] == [
        "the stream x broke (broken); it is opened again",
        "the stream x gives pictures again",
    ]


def test_pictures_that_last_make_a_break_a_new_one() -> None:
    breaks = Breaks("x", LiveOptions(attempts=1, longest_pause_s=0.02))
    for _ in range(3):
        breaks.note_break("broken")
        breaks.next_pause_s("broken")
        assert breaks.note_picture(0)
        assert not breaks.note_picture(11_000_000_000)
        assert breaks.attempt == 0
