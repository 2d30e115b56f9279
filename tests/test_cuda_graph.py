"""A capture goes undisturbed: no garbage is collected during it, and the collector is as it was afterwards."""

from __future__ import annotations

import ctypes
import gc
import threading
import weakref
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from edgex import cuda_graph
from edgex.cuda_graph import Graph
from edgex.errors import EdgexError


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What is asked of a driver that does it all."""
    made: list[str] = []
    monkeypatch.setattr(cuda_graph, "_call", lambda name, *_: made.append(name))
    assert gc.isenabled()
    yield made
    gc.enable()


def capture(work: Callable[[], bool]) -> Graph:
    gpu: Any = SimpleNamespace(active=nullcontext)
    stream: Any = SimpleNamespace(handle=1)
    return Graph(gpu, stream, work)


class Cycle:
    def __init__(self) -> None:
        self.me = self


def test_garbage_goes_before_a_capture_and_none_during_it(calls: list[str]) -> None:
    gone = weakref.ref(Cycle())
    seen: list[object] = []

    def work() -> bool:
        during = weakref.ref(Cycle())
        for _ in range(3000):
            Cycle()
        seen.extend([gone(), during() is not None, gc.isenabled()])
        return True

    graph = capture(work)
    assert seen == [None, True, False]
    assert gc.isenabled()
    graph.launch()
    assert calls[:2] == ["cuStreamBeginCapture_v2", "cuStreamEndCapture"]
    assert calls[-1] == "cuGraphLaunch"


def test_the_collector_is_on_again_after_a_refusal_and_after_an_error(calls: list[str]) -> None:
    def broken() -> bool:
        raise ValueError("broken")

    with pytest.raises(EdgexError, match="got a refusal"):
        capture(lambda: False)
    assert gc.isenabled()
    with pytest.raises(ValueError, match="broken"):
        capture(broken)
    assert gc.isenabled()
    assert calls == ["cuStreamBeginCapture_v2", "cuStreamEndCapture"] * 2


def test_the_collector_is_on_again_where_a_capture_does_not_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(name: str, *_: ctypes.c_void_p) -> None:
        raise EdgexError(f"expected the driver to do {name}")

    monkeypatch.setattr(cuda_graph, "_call", refused)
    with pytest.raises(EdgexError, match="cuStreamBeginCapture_v2"):
        capture(lambda: True)
    assert gc.isenabled()


def test_who_keeps_it_off_finds_it_off(calls: list[str]) -> None:
    gc.disable()
    capture(lambda: True)
    assert not gc.isenabled()


def test_captures_of_two_threads_leave_it_on_once_both_have_ended(calls: list[str]) -> None:
    inside, first_ended = threading.Barrier(2, timeout=30), threading.Event()
    states: list[bool] = []

    def first() -> bool:
        inside.wait()
        return True

    def second() -> bool:
        inside.wait()
        assert first_ended.wait(30)
        states.append(gc.isenabled())
        return True

    thread = threading.Thread(target=lambda: (capture(first), first_ended.set()))
    thread.start()
    capture(second)
    thread.join()
    assert states == [False]
    assert gc.isenabled()
