"""Live sources: the newest picture wins, breaks are mended, and nothing waits for ever or grows."""

from __future__ import annotations

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from edgex.errors import SourceError, UsageError
from edgex.sources import LiveOptions
from edgex.sources.live import Capture, LiveSource
from edgex.types import Image
from tests.sources.servers import wait_until

QUICK = LiveOptions(stall_s=0.2, longest_pause_s=0.02)


def picture(value: int) -> Image:
    return np.full((2, 3, 3), value, np.uint8)


class Pushed:
    """A capture whose pictures the test pushes: a number is a picture, an error a break, None the end."""

    fps = 25.0

    def __init__(self) -> None:
        self.waiting: queue.Queue[int | Exception | None] = queue.Queue()
        self.closed = threading.Event()

    def read(self) -> Image | None:
        try:
            pushed = self.waiting.get(timeout=0.5)
        except queue.Empty:
            raise SourceError("no picture for 0.5 s") from None
        if isinstance(pushed, Exception):
            raise pushed
        return None if pushed is None else picture(pushed)

    def close(self) -> None:
        self.closed.set()


def opener(*outcomes: Capture | Exception) -> Callable[[], Capture]:
    """Give one outcome after the other, the last one again and again."""
    left = iter([*outcomes[:-1], *itertools.repeat(outcomes[-1], 10_000)])

    def opened() -> Capture:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return opened


@pytest.fixture
def pushed() -> Pushed:
    return Pushed()


@pytest.fixture
def source(pushed: Pushed) -> Iterator[LiveSource]:
    source = LiveSource(opener(pushed), "rtsp://me:hush@here/x", QUICK)
    yield source
    source.close()


def test_the_newest_picture_wins_and_those_it_replaced_are_counted(pushed: Pushed, source: LiveSource) -> None:
    frames = iter(source)
    pushed.waiting.put(1)
    assert next(frames).image[0, 0, 0] == 1
    for value in (2, 3, 4, 5):
        pushed.waiting.put(value)
    wait_until(lambda: source.state.dropped == 3, "three pictures to be dropped")
    frame = next(frames)
    assert (frame.image[0, 0, 0], frame.index, frame.name) == (5, 1, "frame-000001")
    assert (source.fps, source.frame_count, source.files, source.live) == (25.0, None, (), True)


def test_pictures_before_the_first_is_asked_for_do_not_count_as_dropped(pushed: Pushed, source: LiveSource) -> None:
    for value in (1, 2, 3):
        pushed.waiting.put(value)
    wait_until(lambda: source.state.connected and pushed.waiting.empty(), "the pictures to be read")
    time.sleep(0.05)
    assert next(iter(source)).image[0, 0, 0] == 3
    assert source.state.dropped == 0


def test_time_passes_as_it_passed_between_the_arrivals(pushed: Pushed, source: LiveSource) -> None:
    before_ns = time.time_ns()
    frames = iter(source)
    taken = []
    for value in (1, 2):
        pushed.waiting.put(value)
        taken.append(next(frames))
    assert taken[1].time_ns - taken[0].time_ns == taken[1].arrived_ns - taken[0].arrived_ns > 0
    assert abs(taken[0].time_ns - before_ns) < 60e9
    assert taken[1].arrived_ns <= time.monotonic_ns()


def test_a_picture_that_nobody_takes_is_not_converted() -> None:
    made: list[int] = []

    class Lazy(Pushed):
        def read(self) -> Callable[[], Image]:
            image = super().read()
            assert image is not None
            return lambda: (made.append(int(image[0, 0, 0])), image)[1]

    pushed = Lazy()
    source = LiveSource(opener(pushed), "x", QUICK)
    for value in (1, 2, 3):
        pushed.waiting.put(value)
    wait_until(lambda: source.state.connected and pushed.waiting.empty(), "the pictures to be read")
    time.sleep(0.05)
    next(iter(source))
    source.close()
    assert made == [3]


def test_stop_wakes_who_waits_and_close_gives_the_capture_back(pushed: Pushed, source: LiveSource) -> None:
    taken: list[object] = []
    waiting = threading.Thread(target=lambda: taken.extend(source))
    waiting.start()
    source.stop()
    waiting.join(10)
    assert not waiting.is_alive()
    assert taken == []
    source.close()
    assert pushed.closed.is_set()


def test_a_break_is_mended_and_told_meanwhile() -> None:
    first, second = Pushed(), Pushed()
    patient = LiveOptions(longest_pause_s=0.6)
    gone = SourceError("expected a stream, got Connection refused; check it")
    source = LiveSource(opener(first, gone, second), "rtsp://me:hush@here/x", patient, notes=lambda: ["a note"])
    frames = iter(source)
    first.waiting.put(1)
    assert next(frames).index == 0
    assert source.state.connected
    first.waiting.put(SourceError("expected pictures from rtsp://me:hush@here, got the end; check it"))
    wait_until(lambda: not source.state.connected, "the break to be told")
    assert source.state.detail == "the stream rtsp://***@here/x broke (the end); trying again in 1 s, attempt 1"
    wait_until(lambda: "attempt 2" in source.state.detail, "a second attempt")
    assert "(Connection refused)" in source.state.detail
    second.waiting.put(2)
    assert next(frames).index == 1
    state = source.state
    assert (state.connected, state.detail, state.reconnects) == (True, "", 1)
    source.close()
    assert first.closed.is_set()
    assert second.closed.is_set()
    assert [warning[:6] for warning in source.warnings] == ["a note", "the st"]
    assert "hush" not in " ".join((source.uri, *source.warnings))


def test_a_picture_that_is_overdue_is_told_although_the_read_has_not_returned() -> None:
    released = threading.Event()

    class Hanging(Pushed):
        def read(self) -> Image | None:
            if self.waiting.empty():
                released.wait(30)
            return super().read()

    hanging = Hanging()
    hanging.waiting.put(1)
    source = LiveSource(opener(hanging), "x", QUICK)
    next(iter(source))
    wait_until(lambda: not source.state.connected, "the missing picture to be told")
    assert "has given no picture for" in source.state.detail
    started = threading.Thread(target=source.close)
    started.start()
    started.join(20)
    assert not started.is_alive(), "close must not wait for a read that does not return"
    released.set()
    wait_until(hanging.closed.is_set, "the reader to close its capture when the read returns")


def test_what_does_not_open_at_first_is_an_error_at_once() -> None:
    with pytest.raises(SourceError, match="nothing there"):
        LiveSource(opener(SourceError("nothing there")), "x")


def test_an_end_is_no_break(pushed: Pushed, source: LiveSource) -> None:
    pushed.waiting.put(1)
    pushed.waiting.put(None)
    assert [frame.index for frame in source] == [0]
    assert source.warnings == []
    assert not source.state.connected


def test_a_rate_that_nobody_tells_is_none() -> None:
    class Unpaced(Pushed):
        fps = None

    source = LiveSource(opener(Unpaced()), "x", QUICK)
    assert source.fps is None
    source.close()


def test_stop_ends_a_long_pause() -> None:
    pushed = Pushed()
    pushed.waiting.put(SourceError("broken"))
    source = LiveSource(opener(pushed, SourceError("gone")), "x", LiveOptions(longest_pause_s=86_400))
    wait_until(lambda: "attempt 3" in source.state.detail, "the pauses to grow")
    source.close()
    assert not any(thread.name == "edgex-stream" for thread in threading.enumerate())


@pytest.mark.parametrize(
    "wrong",
    [
        *({"stall_s": stall_s} for stall_s in (0, float("nan"), "5", 1e9)),
        *({"attempts": attempts} for attempts in (-1, 1.5, True)),
        *({"longest_pause_s": -1}, {"transport": "carrier pigeon"}),
    ],
)
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"expected .*, got"):
        LiveOptions(**wrong)  # type: ignore[arg-type]
