"""The conveyor: order, overlap, bounded room, and that every end leaves no thread behind."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.conveyor import Conveyor, Step

LONG_S = 30.0  # a test that waits so long has failed


def move(items, *stages, room=4, halt=lambda: None, stopped=lambda: False, weigh=lambda item: 1) -> bool:
    belt = Conveyor(room, halt, weigh)
    steps = [each if isinstance(each, Step) else Step(each) for each in stages]
    interrupted = belt.run(iter(items), steps, stopped)
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("edgex-")] == []
    return interrupted


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 40), st.integers(1, 5), st.integers(1, 7), st.integers(1, 9))
def test_every_item_passes_every_stage_in_order(count: int, stages: int, room: int, weight: int) -> None:
    seen: list[list[int]] = [[] for _ in range(stages)]
    assert not move(range(1, count + 1), *(each.append for each in seen), room=room, weigh=lambda item: weight)
    assert seen == [list(range(1, count + 1))] * stages


def test_stages_work_at_the_same_time() -> None:
    meeting = threading.Barrier(3, timeout=LONG_S)  # passes only when three stages are at work at once

    def meet(at: int) -> Callable[[int], object]:
        return lambda item: meeting.wait() if item == at else None

    move(range(1, 4), meet(3), meet(2), meet(1), room=3)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 60), st.integers(2, 5), st.integers(1, 7))
def test_items_that_are_at_one_stage_at_once_leave_it_in_order(count: int, threads: int, room: int) -> None:
    first, second = [], []

    def dawdle(item: int) -> None:
        time.sleep(item * 7 % 5 * 1e-4)
        first.append(item)

    steps = (Step(dawdle, threads), Step(lambda item: None, threads), Step(second.append))
    assert not move(range(1, count + 1), *steps, room=room)
    assert sorted(first) == second == list(range(1, count + 1))


def test_a_stage_of_three_threads_works_on_three_items_at_once() -> None:
    meeting = threading.Barrier(3, timeout=LONG_S)
    seen: list[int] = []
    move(range(9), Step(lambda item: meeting.wait(), 3), Step(seen.append), room=3)
    assert seen == list(range(9))


def test_what_one_of_several_threads_raises_lets_the_items_ahead_go_their_way() -> None:
    finished: list[int] = []
    behind = threading.Event()

    def work(item: int) -> None:
        if item == 6:
            behind.set()
        if item == 5:
            assert behind.wait(LONG_S)  # the one behind it is done first, and yet does not come out
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        move(itertools.count(1), Step(work, 2), Step(lambda item: None, 2), Step(finished.append))
    assert finished == [1, 2, 3, 4]


@pytest.mark.parametrize(("room", "weight", "most"), [(1, 1, 1), (3, 1, 3), (4, 2, 2), (4, 9, 1)])
def test_no_more_items_are_at_work_than_there_is_room(room: int, weight: int, most: int) -> None:
    at_work, peak, lock = 0, 0, threading.Lock()

    def enter(item: int) -> None:
        nonlocal at_work, peak
        with lock:
            at_work += 1
            peak = max(peak, at_work)

    def leave(item: int) -> None:
        nonlocal at_work
        with lock:
            at_work -= 1

    move(range(1, 200), enter, lambda item: None, lambda item: None, leave, room=room, weigh=lambda item: weight)
    assert peak <= most


@pytest.mark.parametrize("position", [0, 1, 2])
def test_what_a_stage_raises_ends_the_run(position: int) -> None:
    finished: list[int] = []

    def fail(item: int) -> None:
        if item == 5:
            raise ValueError("broken")

    stages = [lambda item: None] * 3
    stages[position] = fail
    with pytest.raises(ValueError, match="broken"):
        move(itertools.count(1), *stages, finished.append)
    assert finished == [1, 2, 3, 4]


def test_what_the_items_raise_ends_the_run() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        move(items(), lambda item: None)


def test_a_stop_lets_what_is_at_work_finish() -> None:
    fetched, finished = [], []

    def items() -> Iterator[int]:
        for item in itertools.count(1):
            fetched.append(item)
            yield item

    assert move(items(), lambda item: None, finished.append, stopped=lambda: len(finished) > 100)
    assert finished == fetched


def test_a_stop_ends_a_wait_for_the_next_item() -> None:
    halted = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert halted.wait(LONG_S)

    assert move(items(), lambda item: None, halt=halted.set, stopped=lambda: True)


def test_a_failure_ends_a_wait_for_the_next_item() -> None:
    halted = threading.Event()

    def items() -> Iterator[int]:
        yield 1
        assert halted.wait(LONG_S)

    def fail(item: int) -> None:
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        move(items(), fail, halt=halted.set)


def test_a_forced_end_is_raised() -> None:
    def stopped() -> bool:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        move(itertools.count(1), lambda item: None, stopped=stopped)


def test_an_end_after_the_last_item_is_no_interruption() -> None:
    last = threading.Event()
    assert not move([1], lambda item: last.set(), stopped=lambda: False)
    assert last.is_set()
