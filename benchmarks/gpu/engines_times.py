"""Times of engines on a GPU: whole calls by the lanes of `edgex bench`, and inferences on memory of the GPU.

What is compared takes turns, so that clocks and neighbours hit all alike; ratios are of one turn to the same turn.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.precision_models import Model
from edgex import cuda
from edgex.bench.engine import bench_calls
from edgex.bench.samples import distribution, ratio, round_medians
from edgex.bench.track import Course, Effort
from edgex.cuda_arrays import Arrays
from edgex.frames import read_frames
from edgex.preprocess import preprocess

EFFORT = Effort(seconds=0.4, iterations=40, rounds=5, longest_warmup_s=0.4)
WALK = Effort(seconds=0.0, iterations=1, rounds=1, longest_warmup_s=0.0)
PICTURES = 32  # different ones
STREAMS = (1, 2, 4)
BURST_S = 0.15  # of launches that are queued before anyone waits


def inputs_of(model: Model, count: int = PICTURES) -> NDArray[np.float32]:
    """Return the network's input for real pictures, float32 [count, 3, H, W]."""
    spec = model.manifest().input
    tensors = [preprocess(frame.image, spec) for frame in read_frames(model.frames, count)]
    return np.concatenate(list(itertools.islice(itertools.cycle(tensors), count)))


def batched(pictures: NDArray[np.float32], batch: int) -> list[NDArray[np.float32]]:
    """Return at most four different inputs of a batch."""
    firsts = range(0, len(pictures) - batch + 1, max(1, batch // 2))
    return [np.ascontiguousarray(pictures[first : first + batch]) for first in firsts][:4]


def compared(calls: Mapping[str, Callable[[Any], object]], inputs: Sequence[Any], effort: Effort) -> dict[str, Any]:
    """Time calls in turns; return name -> percentiles in ms, and how many times as long the first takes as each."""
    courses = bench_calls(calls, inputs, effort)
    first = next(iter(courses.values()))
    return {name: _figures(course, first) for name, course in courses.items()}


def _figures(course: Course, first: Course) -> dict[str, Any]:
    spread = distribution([ns / 1e6 for ns in course.track.samples_ns])
    if spread is None or course.error is not None:
        return {"error": course.error or "no sample"}
    medians = [round_medians([ns / 1e6 for ns in each.track.samples_ns], each.track.rounds) for each in (first, course)]
    times = ratio(first.name, medians[0], course.name, medians[1]) if course is not first else None
    return {
        **{name: round(getattr(spread, f"{name}_ms"), 4) for name in ("p50", "p90", "p99", "max")},
        **{"samples": spread.count, "cv": round(spread.cv, 4), "first_ms": round(course.first_ms or 0.0, 3)},
        "times_the_first": None if times is None else [round(each, 3) for each in (times.low, times.ratio, times.high)],
    }


class OnGpu:
    """A lane with memory of its own: inferences without transfers.

    Parameters
    ----------
    network : with lanes
    pictures : [batch, 3, H, W], its input, brought up once
    graph : whether a CUDA graph is tried
    """

    def __init__(self, gpu: cuda.Device, network: Any, pictures: NDArray[np.float32], graph: bool = True) -> None:
        self.stream, self.batch = cuda.Stream(gpu), len(pictures)
        specs = (network.input, *network.outputs)
        self._arrays = Arrays(gpu, {spec.name: (self.batch, *spec.shape[1:]) for spec in specs})
        self._arrays.host(network.input.name)[...] = pictures
        self._arrays.upload(self.stream, network.input.name)
        self.stream.synchronize()
        self.lane = network.lane(self._arrays.addresses, self.batch, self.stream, graph)
        self.launches, self.plain_because = self.lane.launches, self.lane.plain_because

    def call(self, _: object = None) -> None:
        """Infer once and wait."""
        self.lane.launch()
        self.stream.synchronize()

    def close(self) -> None:
        self.lane.close()


def on_gpu(
    gpu: cuda.Device, networks: Mapping[str, Any], pictures: NDArray[np.float32], graphs: Sequence[bool], effort: Effort
) -> dict[str, Any]:
    """Time every network with and without a CUDA graph, all in turns."""
    lanes: dict[str, OnGpu] = {}
    try:
        for (name, network), graph in itertools.product(networks.items(), graphs):
            lanes[f"{name} {'graph' if graph else 'plain'}"] = OnGpu(gpu, network, pictures, graph)
        found = compared({name: lane.call for name, lane in lanes.items()}, [None], effort)
        for name, lane in lanes.items():
            found[name] |= {"launches": lane.launches, "plain_because": lane.plain_because}
        return found
    finally:
        for lane in lanes.values():
            lane.close()


def together(
    gpu: cuda.Device, network: Any, pictures: NDArray[np.float32], streams: int, rounds: int
) -> dict[str, float]:
    """Return pictures a second of several streams, a lane each, that are kept full by one thread; quartiles."""
    lanes: list[OnGpu] = []
    try:
        for _ in range(streams):
            lanes.append(OnGpu(gpu, network, pictures))
        launches = 4
        rates: list[float] = []
        while len(rates) < rounds:
            began = time.perf_counter()
            for _ in range(launches):
                for lane in lanes:
                    lane.lane.launch()
            for lane in lanes:
                lane.stream.synchronize()
            took = time.perf_counter() - began
            if took < BURST_S / 3:  # too short to count: queue more
                launches = min(2000, int(launches * max(1.5, 0.7 * BURST_S / took)))
            else:
                rates.append(launches * streams * len(pictures) / took)
        lower, median, upper = np.percentile(rates, (25, 50, 75))
        return {"per_second": round(float(median), 1), "lower": round(float(lower), 1), "upper": round(float(upper), 1)}
    finally:
        for lane in lanes:
            lane.close()
