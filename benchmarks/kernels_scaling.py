"""How the kernels' cost grows with pixels, shrinks with threads and instruction sets, and what bounds it.

`works` maps a case's name to a function that takes a picture and mask logits and returns the call that does its work.
Logits are `random`, the worst case.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import drawing_peers, peak_memory
from benchmarks.rounds import Contender, interleave
from benchmarks.scenes import FULL_HD, NETWORK, Subject, frame, mask_logits
from edgex.manifest import InputSpec

ROOT = Path(__file__).resolve().parent.parent
Works = Mapping[str, Callable[[Any, Any], Callable[[], Any]]]
SIZES = {"VGA": (480, 640), "720p": (720, 1280), "1080p": (1080, 1920), "1440p": (1440, 2560), "4K": (2160, 3840)}
SIZED = ("overlay 1", "overlay 3")
THREADED = ("overlay 1", "overlay 3", "overlay 20", "preprocess")
STRIP_ROWS, STRIP_TARGET = 39, 8  # 39 rows of 1080p are 225 KB and shrink to 8 rows of 224: 4.875 to 1, for 4.82 to 1
MEMORY = (("overlay", 1), ("overlay", 20), ("heat", 1), ("cutout", 1), ("outline", 1), ("masks", 3), ("preprocess", 0))
MEMORY_LIMIT_KB = 2048


def measure_sizes(works: Works, subject: str, rounds: int) -> dict[str, Any]:
    """Time SIZED from VGA to 4K in one run; `exponent` is the slope of log time over log pixels, 1 where linear."""
    contenders, logits = {}, mask_logits("random")
    for size, (height, width) in SIZES.items():
        image = frame(height, width)
        contenders[f"copy|{size}"] = Contender(partial(np.copyto, np.empty_like(image), image))
        for name in SIZED:
            contenders[f"{name}|{size}"] = Contender(works[name](image, logits))
    times = interleave(contenders, rounds)
    pixels = {size: height * width for size, (height, width) in SIZES.items()}
    report: dict[str, Any] = {"subject": subject, "pixels": pixels, "rows": []}
    for name in ("copy", *SIZED):
        medians = [times[f"{name}|{size}"]["median_ms"] for size in SIZES]
        exponent = np.polyfit(np.log(list(pixels.values())), np.log(medians), 1)[0]
        per_pixel = {size: round(1e6 * each / pixels[size], 4) for size, each in zip(SIZES, medians, strict=True)}
        report["rows"].append(
            {
                "case": name,
                "times": {size: times[f"{name}|{size}"] for size in SIZES},
                "ns_per_pixel": per_pixel,
                "exponent": round(float(exponent), 3),
            }
        )
    return report


def measure_threads(works: Works, subject: Subject, rounds: int, threads: int) -> dict[str, Any]:
    """Time THREADED at 1080p with 1 to `threads` threads in one run."""
    image, logits = frame(*FULL_HD), mask_logits("random")
    counts = range(1, threads + 1)
    contenders = {
        f"{name}|{count}": Contender(works[name](image, logits), partial(subject.set_threads, count))
        for name in THREADED
        for count in counts
    }
    times = interleave(contenders, rounds)
    subject.set_threads(threads)
    rows = []
    for name in THREADED:
        found = {str(count): times[f"{name}|{count}"] for count in counts}
        speedup = {count: round(found["1"]["median_ms"] / each["median_ms"], 3) for count, each in found.items()}
        rows.append({"case": name, "times": found, "speedup": speedup})
    return {"rows": rows}


def measure_instruction_sets(works: Works, subject: Subject, rounds: int) -> dict[str, Any]:
    """Time every case at 1080p with each instruction set that the processor has, in one run a case."""
    image, logits = frame(*FULL_HD), mask_logits("random")
    rows = []
    for name, make in works.items():
        call = make(image, logits)
        each = {used: Contender(call, partial(subject.use, used)) for used in subject.instruction_sets}
        rows.append({"case": name, "times": interleave(each, rounds) if each else {}})
    if subject.instruction_sets:
        subject.use(subject.instruction_sets[0])
    return {"rows": rows}


def measure_bounds(works: Works, subject: Subject, rounds: int, threads: int) -> dict[str, Any]:
    """Hold each case against two floors, and name the higher one its bound.

    bytes_ms is the time in which as many bytes as the case reads and writes are copied, by one thread or by all, the
    faster way. arithmetic_ms is what one thread takes for a strip of rows that stays in its L2 cache, less what a
    picture of one pixel takes, scaled to 1080p and divided by the number of threads.
    """
    image, logits = frame(*FULL_HD), mask_logits("random")
    strip, taps = np.ascontiguousarray(image[:STRIP_ROWS]), np.ascontiguousarray(logits[:, 13:15])
    single = partial(subject.set_threads, 1)
    several = partial(subject.set_threads, threads)
    rows = []
    for name, make in works.items():
        small, least = make(strip, taps), make(strip[:1, :1], taps)
        scale = len(image) / len(strip)
        if name == "preprocess":
            part = InputSpec(STRIP_TARGET, NETWORK.width, NETWORK.mean, NETWORK.std)
            dot = InputSpec(1, 1, NETWORK.mean, NETWORK.std)
            scale = NETWORK.height / STRIP_TARGET
            small, least = _preprocess(subject, strip, part), _preprocess(subject, strip[:1, :1], dot)
        copied = np.empty_like(image)
        times = interleave(
            {
                "case": Contender(make(image, logits), several),
                "copy by all threads": Contender(drawing_peers.parallel_copy(image, copied), several),
                "copy": Contender(partial(np.copyto, copied, image)),
                "strip": Contender(small, single),
                "call": Contender(least, single),
            },
            rounds,
        )
        moved = bytes_moved(name, image.nbytes)
        fastest = min(times[name]["median_ms"] for name in ("copy", "copy by all threads"))
        floor = fastest * moved / (2 * image.nbytes)
        arithmetic = max(0.0, times["strip"]["median_ms"] - times["call"]["median_ms"]) * scale / threads
        reached = times["case"]["median_ms"]
        rows.append(
            {
                "case": name,
                "times": times,
                "bytes": moved,
                "bytes_ms": round(floor, 4),
                "arithmetic_ms": round(arithmetic, 4),
                "bound": "bytes" if floor > arithmetic else "arithmetic",
                "times_the_bound": round(reached / max(floor, arithmetic), 3),
            }
        )
    subject.set_threads(threads)
    return {"rows": rows}


def bytes_moved(name: str, image_bytes: int) -> int:
    """Return what a case must read and write: pictures and tensors, each once."""
    if name == "preprocess":
        return image_bytes + 3 * NETWORK.height * NETWORK.width * 4
    work, count = name.split()
    return int(count) * image_bytes // 3 if work == "masks" else 2 * image_bytes


def measure_memory(subject: str, threads: int) -> dict[str, Any]:
    """Probe the peak of each case at 4K, in processes of their own."""
    rows = []
    for work, count in MEMORY:
        command = [sys.executable, "-m", "benchmarks.peak_memory", subject, str(threads), work, str(count)]
        done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
        found = json.loads(done.stdout.splitlines()[-1])
        name = f"{work} {count}".removesuffix(" 0")
        rows.append({"case": name, **found, "limit_kb": MEMORY_LIMIT_KB, "met": found["steady_kb"] < MEMORY_LIMIT_KB})
    return {"how": peak_memory.HOW, "rows": rows}


def _preprocess(subject: Subject, image: Any, spec: InputSpec) -> Callable[[], Any]:
    tensor = np.empty((1, 3, spec.height, spec.width), np.float32)
    return partial(subject.preprocess, image, spec, out=tensor)
