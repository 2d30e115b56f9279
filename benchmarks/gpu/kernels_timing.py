"""Times work on a GPU by events, launch by launch or as a CUDA graph, on memory that no cache holds.

A longer launch holds the stream while a batch is queued behind it, so that no launch waits for Python.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.steps import Missing
from edgex import arguments, cuda
from edgex.compositors.cuda import CudaCompositor
from edgex.cuda_graph import Graph
from edgex.errors import EdgexError
from edgex.types import Drawing

SPAN_MS, MOST_LAUNCHES = 1.5, 500  # of a batch; the driver queues about 1000 launches before it lets the host wait
RESERVOIR = 64 << 20  # bytes of noise, which pictures are filled from
HOLD = (288, 512, 20)  # rows, columns, classes
LONGEST_HOLD_MS = 200.0  # what is not queued within it never is: the driver waits for each launch
Enqueue = Callable[[cuda.Stream], object]


def rotated(size: int, cache: int) -> int:
    """Return how many sets of `size` bytes are at least three times the cache, and at least two."""
    return max(2, -(-3 * cache // size))


class Arena:
    """The GPU's memory in one piece, which each case divides anew; its first bytes are noise.

    Parameters
    ----------
    gpu : where
    size : bytes
    """

    def __init__(self, gpu: cuda.Device, size: int) -> None:
        self.stream, self.size, self.noise = cuda.Stream(gpu), size, min(RESERVOIR, size // 4)
        self._gpu, self._held = gpu, gpu.allocate(self, size)
        self._first = int(self._held.raw)
        self.clear()
        self.put(np.random.default_rng().integers(0, 256, self.noise, np.uint8), self._first)

    def clear(self) -> None:
        """Take everything back; what was given is in nobody's use any more."""
        self.stream.synchronize()
        self._next = self._first + -(-self.noise // 256) * 256

    def take(self, size: int) -> int:
        """Return where `size` bytes lie, at a multiple of 256. Raises Missing where so many are not left."""
        address, self._next = self._next, self._next + max(1, -(-size // 256)) * 256
        if self._next > self._first + self.size:
            raise Missing(f"{self.size / 1e9:.1f} GB of the GPU's memory do not hold the sets of this case")
        return address

    def put(self, array: NDArray[Any], address: int | None = None) -> int:
        """Return where an array's content lies from now on."""
        content = np.ascontiguousarray(array)
        address = self.take(content.nbytes) if address is None else address
        if content.nbytes:
            self.stream.upload(address, content)
            self.stream.synchronize()
        return address

    def noisy(self, size: int) -> int:
        """Return where `size` bytes of noise lie."""
        address = self.take(size)
        with self._gpu.active() as driver:
            for begin in range(0, size, self.noise):
                driver.memcpy_dtod_async(
                    address + begin, self._first, min(self.noise, size - begin), self.stream._held.raw
                )
        self.stream.synchronize()
        return address

    def poison(self, address: int, size: int, value: int) -> None:
        """Set every byte."""
        with self._gpu.active() as driver:
            driver.memset_d8_async(address, value, size, self.stream._held.raw)
        self.stream.synchronize()

    def get(self, address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """Return what lies there, after all work in this stream; errors of that work are raised here."""
        host = np.empty(shape, dtype)
        self.stream.download(host, address)
        self.stream.synchronize()
        return host


def half_of_memory(gpu: cuda.Device, most: int = 16 << 30) -> int:
    """Return bytes that an arena may have: half of what is free, at most `most`."""
    with gpu.active() as driver:
        free, _ = driver.mem_get_info()
    return int(min(most, free // 2))


def copying(gpu: cuda.Device, pairs: Sequence[tuple[int, int]], size: int) -> list[Enqueue]:
    """Return copies of `size` bytes on the device, one for each pair of addresses: to, from."""

    def copy(to: int, source: int) -> Enqueue:
        def enqueue(stream: cuda.Stream) -> None:
            with gpu.active() as driver:
                driver.memcpy_dtod_async(to, source, size, stream._held.raw)

        return enqueue

    return [copy(*pair) for pair in pairs]


def each_in_turn(works: Sequence[Enqueue]) -> Enqueue:
    """Return a work that does another one of these each time."""
    turn = iter(range(1 << 60))
    return lambda stream: works[next(turn) % len(works)](stream)


class Stopwatch:
    """Times batches by events; `starved` counts those of which the GPU saw the end before Python had queued it."""

    def __init__(self, gpu: cuda.Device, arena: Arena) -> None:
        self._gpu, self.stream, self.starved = gpu, cuda.Stream(gpu), 0
        self._before, self._first, self._last = (cuda.Event(gpu) for _ in range(3))
        self._launch = CudaCompositor(gpu).launch
        height, width, count = HOLD  # `pictures` times the same picture
        drawing = Drawing(tuple(range(count)), ((9, 99, 200),) * count)
        self._hold = arguments.composite(drawing, height, width, (count, 28, 28), False)
        self._memory = gpu.allocate(self, 4 << 20)
        base = int(self._memory.raw)
        self._hold.image, self._hold.picture, self._hold.logits = base, base + (1 << 20), base + (2 << 20)
        self._hold.classes, self._hold.colors = base + (3 << 20), base + (3 << 20) + 4096
        self._hold.image_stride = self._hold.picture_stride = 3 * width
        logits = np.random.default_rng(0).normal(0.0, 4.0, (count, 28, 28)).astype(np.float32)
        arena.put(logits, self._hold.logits)
        arena.put(np.arange(count, dtype=np.int32), self._hold.classes)
        arena.put(arguments.colors(drawing), self._hold.colors)
        self._pictures: dict[str, int] = {}

    def ms(self, name: str, enqueue: Enqueue, times: int) -> float:
        """Return how long `times` calls of `enqueue` take the GPU; `name` remembers how long they take to queue."""
        pictures = former = self._pictures.get(name, 1)
        for _ in range(6):
            self._hold.pictures = pictures
            began = time.perf_counter()
            self.stream.record(self._before)
            self._launch(self._hold, self.stream)
            self.stream.record(self._first)
            for _ in range(times):
                enqueue(self.stream)
            self.stream.record(self._last)
            queued = 1e3 * (time.perf_counter() - began)
            self.stream.synchronize()
            held = max(self._first.ms_since(self._before), 1e-3)
            wanted = min(16.0 * held, 2.0 * queued, LONGEST_HOLD_MS)  # less after one that a stalled Python made long
            pictures = min(1 << 20, math.ceil(pictures * wanted / held))
            if held > queued:
                self._pictures[name] = pictures
                return self._last.ms_since(self._first)
            if wanted <= held:
                break
        self.starved += 1
        self._pictures[name] = former
        return self._last.ms_since(self._first)

    def times(self, name: str, enqueue: Enqueue, most: int = MOST_LAUNCHES) -> int:
        """Return how many calls take about SPAN_MS."""
        found = 1
        for _ in range(3):  # guesses, since the events themselves take time
            spent = max(self.ms(name, enqueue, found), 1e-4)
            found = min(most, math.ceil(found * max(1.0, SPAN_MS / spent)))
        return found

    def graph(self, works: Sequence[Enqueue], least: int = 64) -> tuple[Enqueue, int] | None:
        """Return what starts all the works as one CUDA graph, and how many they are; None where the driver refuses.

        Parameters
        ----------
        works : one launch each; all of them, again and again, until there are at least `least`
        """
        again = max(1, -(-least // len(works)))

        def capture() -> bool:
            for _ in range(again):
                for work in works:
                    work(self.stream)
            return True

        try:
            graph = Graph(self._gpu, self.stream, capture)
        except EdgexError:
            return None
        return lambda _: graph.launch(), again * len(works)


def interleaved(
    watch: Stopwatch, works: dict[str, tuple[Enqueue, int, int]], rounds: int
) -> dict[str, NDArray[np.float64]]:
    """Time works in rounds, in an order drawn anew each round.

    Parameters
    ----------
    watch : what times
    works : name -> what is queued, how often in a batch, and how many frames one call is
    rounds : of all works

    Returns
    -------
    name -> microseconds of a frame in each round
    """
    order = np.random.default_rng(0)
    spans: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(rounds):
        for name in order.permutation(list(works)).tolist():
            enqueue, times, frames = works[name]
            spans[name].append(1e3 * watch.ms(name, enqueue, times) / (times * frames))
    return {name: np.array(each) for name, each in spans.items()}


def quartiles(numbers: NDArray[np.float64]) -> list[float]:
    """Return lower quartile, median and upper quartile."""
    return [float(f"{each:.5g}") for each in np.percentile(numbers, (25, 50, 75))]
