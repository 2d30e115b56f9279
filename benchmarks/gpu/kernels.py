"""How fast the CUDA kernels are: each style, size, number of classes and batch, beside the device's copy and peers.

By events launch by launch, and as a CUDA graph, on sets of memory that rotate over three times the L2 cache. The share
of the copy is that of a copy much larger than the cache. Every kernel is compared with the oracle first.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from benchmarks.gpu import kernels_beside, kernels_dry, kernels_variants
from benchmarks.gpu.kernels_cases import CASES, Case, Launches
from benchmarks.gpu.kernels_page import aims, draw, page
from benchmarks.gpu.kernels_timing import (
    Arena,
    Stopwatch,
    copying,
    each_in_turn,
    half_of_memory,
    interleaved,
    quartiles,
    rotated,
)
from benchmarks.gpu.parity import check_case
from benchmarks.gpu.steps import Context, Missing
from edgex import cuda
from edgex.errors import EdgexError

__all__ = ["draw", "page", "step"]

LARGE = 16  # times the cache: a copy that the ceiling is taken from
MOST_LARGE = 2 << 30  # bytes of it
WARM_S = 0.5
RESERVED = 0.35  # of the time, for variants and peers


def copy_bandwidth(gpu: cuda.Device, arena: Arena, watch: Stopwatch, cache: int) -> dict[str, Any]:
    """Return the bandwidth of the device's copy far beyond the cache, in GB/s of bytes read plus bytes written."""
    arena.clear()
    size = min(MOST_LARGE, max(LARGE * cache, 64 << 20), (arena.size - arena.noise) // 3)
    source = arena.noisy(size)
    work = copying(gpu, [(arena.take(size), source)], size)[0]
    warm = time.monotonic() + WARM_S
    while time.monotonic() < warm:  # until clocks have risen
        watch.ms("large copy", work, 2)
    us = np.array([1e3 * watch.ms("large copy", work, 2) / 2 for _ in range(10)])
    lower, median, upper = quartiles(2e-3 * size / us)
    return {"bytes": size, "gb_per_s": median, "lower": lower, "upper": upper}


def measure_case(
    gpu: cuda.Device, arena: Arena, watch: Stopwatch, case: Case, rounds: int, cache: int, ceiling: float
) -> dict[str, Any]:
    """Time one case and the copy of as many bytes in interleaved rounds; times are of one frame, not of a batch."""
    arena.clear()
    (read, written), starved = case.sizes(), watch.starved
    half, slots = (read + written + 1) // 2, rotated(read + written, cache)
    kernel = Launches(gpu, arena, case, slots)
    pairs = [(arena.take(half), arena.noisy(half)) for _ in range(slots)]
    own, copy = each_in_turn(kernel.works), each_in_turn(copying(gpu, pairs, half))
    works = {name: (work, watch.times(name, work), case.batch) for name, work in {"events": own, "copy": copy}.items()}
    for name, each in {"graph": kernel.works, "copy graph": copying(gpu, pairs, half)}.items():
        if (graph := watch.graph(each, min(64, works["events"][1]))) is not None:
            works[name] = (graph[0], watch.times(name, graph[0]), case.batch * graph[1])
    us = interleaved(watch, works, rounds)
    best = us["graph"] if "graph" in us else us["events"]
    same = us["copy graph"] if "copy graph" in us else us["copy"]
    per_frame = (read + written) / case.batch
    return {
        **{"case": case.name, "work": case.work, "classes": case.count, "picture": [case.height, case.width]},
        **{"batch": case.batch, "slots": slots, "bytes_read": read, "bytes_written": written},
        "us_quartiles": {name: quartiles(each) for name, each in us.items()},
        "starved_batches": watch.starved - starved,
        "gb_per_s": float(f"{1e-3 * per_frame / float(np.median(best)):.5g}"),
        "share_of_copy": quartiles(1e-3 * per_frame / best / ceiling),
        "share_of_same_copy": quartiles(same / best),
        "beyond_cache": read + written > cache,
    }


def step(context: Context, cases: Sequence[Case] = CASES) -> dict[str, Any]:
    """Check every kernel, time all cases, then the peers, then variants of what misses an aim."""
    if context.dry_run:
        return kernels_dry.step(context, cases)
    if (reason := cuda.reason_missing()) is not None:
        raise Missing(reason)
    gpu = cuda.device()
    with gpu.active() as driver:
        cache = int(driver.Device(0).get_attribute(driver.device_attribute.L2_CACHE_SIZE))
    arena = Arena(gpu, half_of_memory(gpu))
    watch = Stopwatch(gpu, arena)
    found: dict[str, Any] = {"gpu": gpu.name, "architecture": gpu.architecture, "l2_bytes": cache, "failures": []}
    found |= {"copy": copy_bandwidth(gpu, arena, watch, cache), "cases": [], "peers": {}, "missing": {}, "variants": []}
    ceiling, right = found["copy"]["gb_per_s"], set[str]()
    reserved_s = RESERVED * context.left_s()
    # What the aims are about comes first: a run that is cut off has it.
    for case in sorted(cases, key=lambda case: (case.height != 1080, case.count == 20, CASES.index(case))):
        if context.left_s() < reserved_s:
            found["missing"][f"{case.name}, {case.height} rows, batch {case.batch}"] = "no time was left"
            continue
        try:
            if case.name not in right:
                check_case(gpu, arena, Case(case.work, case.count, 288, 512, 2))
                right.add(case.name)
            row = measure_case(gpu, arena, watch, case, context.rounds, cache, ceiling)
            found["cases"].append(row)
        except AssertionError as error:
            found["failures"].append(f"{case.name}: {error}")
            continue
        except Missing as error:
            found["missing"][f"{case.name}, {case.height} rows, batch {case.batch}"] = str(error)
            continue
        _say(context, row)
        found["aims"] = aims(found)
        context.save(found)
    for extra, measure in {"variants": kernels_variants.measure, "peers": kernels_beside.measure}.items():
        try:
            measure(context, gpu, arena, watch, found)
        except (EdgexError, Missing, MemoryError) as error:
            found["missing"][extra] = f"{type(error).__name__}: {error}"
        found["aims"] = aims(found)
        context.save(found)
    return found


def _say(context: Context, row: dict[str, Any]) -> None:
    name = f"{row['case']} {row['picture'][1]} x {row['picture'][0]}, batch {row['batch']}"
    us = row["us_quartiles"].get("graph", row["us_quartiles"]["events"])[1]
    context.say(f"{name}: {us:.2f} us a frame, {row['share_of_copy'][1]:.2f} of the copy")
