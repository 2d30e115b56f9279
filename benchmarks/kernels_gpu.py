"""How fast the CUDA kernels are on this machine's GPU, beside the device's own copy of as many bytes.

Launches on memory of the GPU are timed, without upload and download, on sets of it that rotate over three times the L2
cache. A longer launch holds the stream while a batch is queued behind it, so that no launch waits for Python.

Usage: python -m benchmarks.kernels_gpu [--rounds 60] [--output benchmarks/results/kernels-gpu.json]
"""

from __future__ import annotations

import argparse
import json
import math
import re
import sys
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from itertools import cycle, product
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.page import table
from benchmarks.rounds import describe_machine, load_average
from benchmarks.scenes import NETWORK, SIDE, drawing, frame, mask_logits
from edgex import arguments, cuda
from edgex.compositors import reference
from edgex.compositors.cuda import CudaCompositor
from edgex.cuda_memory import Buffer
from edgex.errors import EdgexError
from edgex.preprocess import preprocess_opencv
from edgex.preprocess_cuda import CudaPreprocessor
from edgex.types import STYLES
from tests.compositors.parity import assert_parity

AIM = 0.8  # of the bandwidth of the device's copy
SPAN_MS, MOST_LAUNCHES = 1.5, 500  # of a batch; the driver queues about 1000 launches before it lets the host wait
CHECKED = (288, 512)  # rows, columns that the oracle is asked for
SIZES = ((720, 1280), (1080, 1920), (2160, 3840))


class Case(NamedTuple):
    """A style, "masks" or "preprocess", its number of classes, and rows and columns (multiples of 16) of a picture."""

    work: str
    count: int
    height: int
    width: int

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return what a frame's picture, logits and result have in memory."""
        size, logits = (self.height, self.width), (self.count, SIDE, SIDE)
        if self.work == "preprocess":
            return (*size, 3), (0,), (1, 3, NETWORK.height, NETWORK.width)
        return ((0,), logits, (self.count, *size)) if self.work == "masks" else ((*size, 3), logits, (*size, 3))

    def sizes(self) -> tuple[int, int]:
        """Return the bytes read and written for a frame, each once; tables of colors, in the cache, are left out."""
        picture, logits, result = map(math.prod, self.shapes())
        return picture + 4 * logits, result * (4 if self.work == "preprocess" else 1)


CASES = (
    *(Case(work, count, *size) for work, count, size in product((*STYLES, "masks"), (1, 3, 20), SIZES)),
    *(Case("preprocess", 0, *size) for size in SIZES[1:]),
)


def rotated(size: int, cache: int) -> int:
    """Return how many sets of `size` bytes are at least three times the cache, and at least two."""
    return max(2, -(-3 * cache // size))


class Slots:
    """Equal pieces of the GPU's memory at `addresses`, with `content` in each or else `size` bytes."""

    def __init__(self, gpu: cuda.Device, count: int, size: int, content: NDArray[Any] | None = None) -> None:
        self._device, self._host, self.stream = Buffer(gpu, False), Buffer(gpu, False), cuda.Stream(gpu)
        step = max(1, -(-size // 256)) * 256
        first = self._device.address(count * step)
        self.addresses = range(first, first + count * step, step)
        if content is not None and size:
            host = self._host.host(content.shape, content.dtype)
            host[...] = content
            for address in self.addresses:
                self.stream.upload(address, host)
            self.stream.synchronize()

    def read(self, shape: tuple[int, ...], dtype: type) -> NDArray[Any]:
        host = self._host.host(shape, dtype)
        self.stream.download(host, self.addresses[0])
        self.stream.synchronize()  # and what a kernel did in it
        return host


class Kernel:
    """One case's launches, `calls`, each on memory of its own."""

    def __init__(self, gpu: cuda.Device, case: Case, slots: int) -> None:
        height, width = case.height, case.width
        self.case, self.image, self.logits = case, frame(height, width), mask_logits("random")[: case.count]
        self.drawing = drawing(case.work if case.work in STYLES else "overlay", max(1, case.count))  # type: ignore[arg-type]
        fixed = arguments.colors(self.drawing), arguments.heat_colors(), np.arange(max(1, case.count), dtype=np.int32)
        self._fixed = [Slots(gpu, 1, each.nbytes, each) for each in fixed]
        contents = self.image if case.work != "masks" else self.image[:0], self.logits
        self._moving = [Slots(gpu, slots, each.nbytes, each) for each in contents]
        self.results = Slots(gpu, slots, case.sizes()[1])
        plain = case.work == "preprocess"
        self.launch: Callable[..., None] = (CudaPreprocessor(NETWORK, gpu=gpu) if plain else CudaCompositor(gpu)).launch
        shape = (height, width, self.logits.shape, False)
        if plain:
            call: Any = arguments.preprocess(NETWORK, height, width, False)
        else:
            masks = case.work == "masks"
            call = arguments.masks(case.count, *shape) if masks else arguments.composite(self.drawing, *shape)
            call.picture_stride = 0 if masks else 3 * width
            call.colors, call.heat, call.classes = (each.addresses[0] for each in self._fixed)
        call.image_stride = 3 * width
        self.calls = [type(call).from_buffer_copy(call) for _ in range(slots)]
        fields = {"image": self._moving[0], **({"tensor": self.results} if plain else {"picture": self.results})}
        for field, each in (fields if plain else {**fields, "logits": self._moving[1]}).items():
            for call, address in zip(self.calls, each.addresses, strict=True):
                setattr(call, field, address)


class Stopwatch:
    """Times batches by events; `starved` counts those of which the GPU saw the end before Python had queued it."""

    def __init__(self, gpu: cuda.Device) -> None:
        self._stream, self.starved = cuda.Stream(gpu), 0
        self._before, self._first, self._last = (cuda.Event(gpu) for _ in range(3))
        self._hold = Kernel(gpu, Case("overlay", 20, *CHECKED), 1)  # `pictures` times the same picture

    def ms(self, enqueue: Callable[[cuda.Stream], None], launches: int) -> float:
        call = self._hold.calls[0]
        for _ in range(6):
            began = time.perf_counter()
            self._stream.record(self._before)
            self._hold.launch(call, self._stream)
            self._stream.record(self._first)
            for _ in range(launches):
                enqueue(self._stream)
            self._stream.record(self._last)
            queued = 1e3 * (time.perf_counter() - began)
            self._stream.synchronize()
            held = self._first.ms_since(self._before)
            grow = min(16.0, 2.0 * queued / max(held, 1e-3))  # below 1 after a hold that a stalled Python made too long
            call.pictures = min(1 << 20, math.ceil(call.pictures * grow))
            if held > queued:
                break
        else:
            self.starved += 1
        return self._last.ms_since(self._first)

    def launches(self, enqueue: Callable[[cuda.Stream], None]) -> int:
        found = 1
        for _ in range(3):  # guesses, since the events themselves take time
            found = min(MOST_LAUNCHES, math.ceil(found * max(1.0, SPAN_MS / self.ms(enqueue, found))))
        return found


def check(gpu: cuda.Device, case: Case) -> None:
    """Raise AssertionError unless a small picture is the oracle's, to within a level."""
    kernel = Kernel(gpu, case._replace(height=CHECKED[0], width=CHECKED[1]), 1)
    kernel.launch(kernel.calls[0], kernel.results.stream)
    plain = case.work == "preprocess"
    ours = kernel.results.read(kernel.case.shapes()[2], np.float32 if plain else np.uint8)
    if plain:
        theirs, unit = preprocess_opencv(kernel.image, NETWORK), 1.001 / (255.0 * np.reshape(NETWORK.std, (3, 1, 1)))
    elif case.work == "masks":
        theirs, unit = reference.open().masks(kernel.logits, kernel.drawing.classes, *CHECKED), np.ones(1)
    else:
        return assert_parity(ours, kernel.image, kernel.logits, kernel.drawing)
    assert np.abs((ours - theirs.astype(float)) / unit).max() <= 1.0, f"{case} is more than a level from the oracle"


def measure_case(gpu: cuda.Device, watch: Stopwatch, case: Case, rounds: int, cache: int) -> dict[str, Any]:
    """Check one case, then time it and the copy of as many bytes in interleaved rounds; times are of one frame."""
    check(gpu, case)
    (read, written), order, starved = case.sizes(), np.random.default_rng(0), watch.starved
    half, slots = (read + written + 1) // 2, rotated(read + written, cache)
    kernel, source, target = Kernel(gpu, case, slots), Slots(gpu, slots, half), Slots(gpu, slots, half)
    calls, pairs = cycle(kernel.calls), cycle(zip(target.addresses, source.addresses, strict=True))

    def copy(stream: cuda.Stream) -> None:
        with gpu.active() as driver:
            driver.memcpy_dtod_async(*next(pairs), half, stream._held.raw)

    works = {"kernel": lambda stream: kernel.launch(next(calls), stream), "copy": copy}
    launches = {name: watch.launches(work) for name, work in works.items()}
    spans: dict[str, list[float]] = {name: [] for name in works}
    for name in (each for _ in range(rounds) for each in order.permutation(list(works))):
        spans[name].append(watch.ms(works[name], launches[name]))
    us = {name: 1e3 * np.array(each) / launches[name] for name, each in spans.items()}
    share = np.percentile(us["copy"] / us["kernel"], (25, 50, 75)).round(4).tolist()
    return {
        **{"case": f"{case.work} {case.count or ''}".strip(), "picture": [case.height, case.width], "slots": slots},
        **{"bytes_read": read, "bytes_written": written, "launches": launches},
        "shortest_span_ms": {name: round(min(each), 4) for name, each in spans.items()},
        "starved_batches": watch.starved - starved,
        **{f"{name}_us_quartiles": np.percentile(each, (25, 50, 75)).round(4).tolist() for name, each in us.items()},
        "copy_gb_per_s": round(2e-3 * half / float(np.median(us["copy"])), 2),
        **{"share_of_copy_quartiles": share, "met": share[1] >= AIM},
    }


def measure(gpu: cuda.Device, cases: Sequence[Case], rounds: int) -> dict[str, Any]:
    with gpu.active() as driver:
        newest = driver.get_driver_version()
        cache = driver.Device(0).get_attribute(driver.device_attribute.L2_CACHE_SIZE)
    file = Path("/proc/driver/nvidia/version")
    found = re.search(r"\d{3,}\.[\d.]+", file.read_text(encoding="utf-8")) if file.exists() else None
    about = {"name": gpu.name, "architecture": gpu.architecture, "integrated": gpu.integrated, "l2_bytes": cache}
    versions = {"driver": found and found[0], "driver_cuda": newest, "pycuda": version("pycuda")}
    report = {"machine": describe_machine(), "gpu": {**about, **versions}, "load_before": load_average()}
    watch = Stopwatch(gpu)
    rows = [measure_case(gpu, watch, case, rounds, cache) for case in cases]
    return {**report, "load_after": load_average(), "aim": AIM, "rounds": rounds, "cases": rows}


def markdown(report: dict[str, Any]) -> str:
    rows = []
    for row in report["cases"]:
        (lower, median, upper), (_, share, _) = row["kernel_us_quartiles"], row["share_of_copy_quartiles"]
        size, moved = "{1} x {0}".format(*row["picture"]), row["bytes_read"] + row["bytes_written"]
        times = f"{median:.2f} ({lower:.2f} to {upper:.2f})", f"{row['copy_us_quartiles'][1]:.2f}"
        rows.append((row["case"], size, f"{moved:,}", *times, f"{share:.2f}", "met" if row["met"] else "missed"))
    head = ("case", "picture", "bytes moved", "us a frame (quartiles)", "copy, us", "share of copy")
    return table((*head, f"aim {report['aim']}"), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--output", type=Path, default=Path(__file__).parent / "results/kernels-gpu.json")
    options = parser.parse_args()
    try:
        report = measure(cuda.device(), CASES, options.rounds)
    except EdgexError as error:
        print(error, file=sys.stderr)
        raise SystemExit(1) from error
    options.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(markdown(report))


if __name__ == "__main__":
    main()
