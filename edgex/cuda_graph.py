"""CUDA graphs: the kernels that a library puts into a stream, kept to be started again with one call.

PyCUDA knows none, so the driver is asked itself; where it does not, whoever wanted a graph goes without.
"""

from __future__ import annotations

import ctypes
import gc
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache

from edgex.cuda import Device, Stream
from edgex.cuda_lifetime import Held
from edgex.errors import EdgexError

_THREAD_LOCAL = 1  # CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: what other threads do meanwhile does not matter


class Graph:
    """What a piece of work put into a stream, to be launched again.

    Parameters
    ----------
    gpu : where
    stream : that `work` uses; idle
    work : puts kernels into the stream, which do not run now; returns whether it could

    Raises
    ------
    EdgexError
        If the driver, or the work, does not go into a graph.
    """

    def __init__(self, gpu: Device, stream: Stream, work: Callable[[], bool]) -> None:
        self._gpu, self._stream = gpu, ctypes.c_void_p(stream.handle)
        with gpu.active():
            raw = _captured(self._stream, work)
            self._held = Held(self, gpu.active, _Executable(raw))

    def launch(self) -> None:
        """Put the work into the stream again. Raises EdgexError where the GPU does not take it."""
        with self._gpu.active():
            _call("cuGraphLaunch", self._held.raw.raw, self._stream)


class _Executable:
    """A CUgraphExec with a destructor; Held makes its context current for that."""

    def __init__(self, raw: ctypes.c_void_p) -> None:
        self.raw = raw

    def __del__(self) -> None:
        try:
            _call("cuGraphExecDestroy", self.raw)
        except EdgexError:  # a GPU that is lost; nothing can be given back to it
            pass


class _Collector:
    """Python's cycle collector: what it frees of the GPU in the thread that captures would void the capture."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._captures, self._was_on = 0, False

    @contextmanager
    def off(self) -> Iterator[None]:
        """Keep it off, after a collection, until the last of all threads' captures has ended."""
        with self._lock:
            if not self._captures:
                self._was_on = gc.isenabled()
            self._captures += 1
            gc.disable()
        try:
            gc.collect()
            yield
        finally:
            with self._lock:
                self._captures -= 1
                if not self._captures and self._was_on:
                    gc.enable()


_collector = _Collector()


def _captured(stream: ctypes.c_void_p, work: Callable[[], bool]) -> ctypes.c_void_p:
    graph, executable = ctypes.c_void_p(), ctypes.c_void_p()
    done = False
    with _collector.off():
        _call("cuStreamBeginCapture_v2", stream, _THREAD_LOCAL)
        try:
            done = work()
        finally:
            try:
                _call("cuStreamEndCapture", stream, ctypes.byref(graph))  # also ends what has failed
            finally:
                if not done and graph:
                    _call("cuGraphDestroy", graph)
    if not done:
        raise EdgexError("expected the work to go into a CUDA graph, got a refusal; start it without")
    try:
        _call("cuGraphInstantiateWithFlags", ctypes.byref(executable), graph, ctypes.c_ulonglong(0))
    finally:
        _call("cuGraphDestroy", graph)
    return executable


@cache
def _function(name: str) -> Callable[..., int]:
    try:
        found: Callable[..., int] = getattr(ctypes.CDLL("libcuda.so.1"), name)
    except (OSError, AttributeError) as error:
        raise EdgexError(f"expected a driver with CUDA graphs, got {error}; start the work without") from error
    return found


def _call(name: str, *arguments: object) -> None:
    if status := _function(name)(*arguments):
        raise EdgexError(f"expected the driver to do {name}, got error {status}; start the work without a CUDA graph")
