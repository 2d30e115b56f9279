"""What the GPU is and what it can at most: the ceilings that the other steps' figures are held against.

Bandwidth of a copy on the device far beyond its cache, of copies from and to pinned memory, the rate of a large FP16
matrix product on random numbers, what a launch costs; the driver, its clocks, and what `edgex doctor` says of backends.
"""

from __future__ import annotations

import csv
import shutil
import subprocess
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from benchmarks.gpu.kernels import copy_bandwidth
from benchmarks.gpu.kernels_cases import Case, Launches
from benchmarks.gpu.kernels_timing import Arena, Stopwatch, half_of_memory, quartiles
from benchmarks.gpu.machine_fp16 import fp16_rate
from benchmarks.gpu.steps import Context, Missing
from benchmarks.page import table
from edgex import cuda, doctor
from edgex.cuda_memory import Buffer

QUERIES = (
    *("name", "driver_version", "memory.total", "memory.used", "clocks.sm", "clocks.mem", "clocks.max.sm"),
    *("clocks.max.mem", "power.draw", "power.limit", "temperature.gpu", "utilization.gpu", "persistence_mode"),
    *("compute_mode", "ecc.mode.current", "mig.mode.current", "pcie.link.gen.current", "pcie.link.width.current"),
    *("clocks_throttle_reasons.active", "vbios_version"),
)
ROWS = ("backend", "NVIDIA GPU", "CUDA kernels", "JetPack")  # of edgex doctor
ATTRIBUTES = (
    *("MULTIPROCESSOR_COUNT", "L2_CACHE_SIZE", "CLOCK_RATE", "MEMORY_CLOCK_RATE", "GLOBAL_MEMORY_BUS_WIDTH"),
    *("ASYNC_ENGINE_COUNT", "INTEGRATED", "MAX_SHARED_MEMORY_PER_MULTIPROCESSOR"),
)
TRANSFERS = {"1080p frame": 1080 * 1920 * 3, "4K frame": 2160 * 3840 * 3, "256 MiB": 256 << 20}
TURNS = 20


def nvidia_smi() -> dict[str, str]:
    """Return what nvidia-smi says of the first GPU, query by query where it does not know them all."""
    program = shutil.which("nvidia-smi")
    if program is None:
        raise Missing("nvidia-smi is not installed")

    def ask(names: tuple[str, ...]) -> list[str]:
        command = [program, f"--query-gpu={','.join(names)}", "--format=csv,noheader", "--id=0"]
        asked = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=10, check=False)
        line = next(csv.reader(asked.stdout.splitlines()), []) if asked.returncode == 0 else []
        return [cell.strip() for cell in line] if len(line) == len(names) else []

    answers = ask(QUERIES) or [*((ask((name,)) or [""])[0] for name in QUERIES)]
    return {name: answer for name, answer in zip(QUERIES, answers, strict=True) if answer and answer[0] != "["}


def attributes(gpu: cuda.Device) -> dict[str, Any]:
    """Return what the driver says."""
    with gpu.active() as driver:
        raw, kinds = driver.Device(0), driver.device_attribute
        known = {
            name.lower(): int(raw.get_attribute(getattr(kinds, name))) for name in ATTRIBUTES if hasattr(kinds, name)
        }
        free, total = driver.mem_get_info()
        about = {"name": gpu.name, "architecture": gpu.architecture, "driver_cuda": driver.get_driver_version()}
        return {**about, "count": driver.Device.count(), "memory_bytes": total, "free_bytes": free, **known}


def transfers(gpu: cuda.Device) -> dict[str, Any]:
    """Return GB/s from and to pinned memory, one way and, each way, of both at once; medians of whole copies."""
    streams, events = [cuda.Stream(gpu) for _ in range(2)], [cuda.Event(gpu) for _ in range(4)]
    size = max(TRANSFERS.values())
    hosts, devices = [Buffer(gpu, False) for _ in range(2)], [Buffer(gpu, False) for _ in range(2)]
    whole = [host.host((size,), np.uint8) for host in hosts]
    for each in whole:
        each[:] = np.random.default_rng().integers(0, 256, 1 << 20, np.uint8).repeat(size >> 20)
    addresses = [device.address(size) for device in devices]

    def timed(bytes_: int, up: bool, down: bool) -> list[float]:
        ms = []
        for _ in range(TURNS if bytes_ < 1 << 26 else 6):
            asked = [each for each, wanted in enumerate((up, down)) if wanted]
            for each in asked:
                streams[each].record(events[2 * each])
                if each == 0:
                    streams[0].upload(addresses[0], whole[0][:bytes_])
                else:
                    streams[1].download(whole[1][:bytes_], addresses[1])
                streams[each].record(events[2 * each + 1])
            for each in asked:
                streams[each].synchronize()
            ms.append(max(events[2 * each + 1].ms_since(events[2 * each]) for each in asked))
        return quartiles(1e-6 * bytes_ / np.array(ms[2:]))

    ways = {"to the GPU": (True, False), "from the GPU": (False, True), "each way at once": (True, True)}
    return {name: {way: timed(bytes_, *each) for way, each in ways.items()} for name, bytes_ in TRANSFERS.items()}


def launches(gpu: cuda.Device, arena: Arena, watch: Stopwatch) -> dict[str, Any]:
    """Return microseconds of a launch that draws next to nothing: queued, in a graph, and of Python's time."""
    arena.clear()
    kernel = Launches(gpu, arena, Case("overlay", 1, 16, 16), 1)
    work, count = kernel.works[0], 200
    graph = watch.graph(kernel.works, count)
    found: dict[str, Any] = {
        "queued_us": quartiles(np.array([1e3 * watch.ms("tiny", work, count) / count for _ in range(9)]))
    }
    if graph is not None:
        spent = np.array([1e3 * watch.ms("tiny graph", graph[0], 5) / (5 * graph[1]) for _ in range(9)])
        found["in_graph_us"] = quartiles(spent)
    began = time.perf_counter()
    for _ in range(count):
        work(watch.stream)
    found["python_us"] = round(1e6 * (time.perf_counter() - began) / count, 2)
    watch.stream.synchronize()
    return found


def step(context: Context) -> dict[str, Any]:
    """Describe and measure, part by part; what a part lacks is kept in its place."""
    found: dict[str, Any] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        try:
            found[name] = work()
        except Missing as missing:
            found[name] = {"missing": str(missing)}
        except Exception as error:  # of one part; the others may still be measured
            found[name] = {"missing": f"{type(error).__name__}: {error}"}
        context.save(found)
        context.say(f"{name}: {'missing: ' + found[name]['missing'] if 'missing' in found[name] else 'done'}")
        return found[name]

    part("nvidia-smi", nvidia_smi)
    reason = "a dry run takes no figures" if context.dry_run else cuda.reason_missing()
    if reason is not None:
        for name in ("driver", "copy", "transfers", "launches"):
            found[name] = {"missing": reason}
        if context.dry_run:
            found["fp16"] = {"missing": reason}
    else:
        gpu = cuda.device()
        about = part("driver", lambda: attributes(gpu))
        arena = Arena(gpu, half_of_memory(gpu))
        watch = Stopwatch(gpu, arena)
        part("copy", lambda: copy_bandwidth(gpu, arena, watch, about.get("l2_cache_size", 0)))
        part("transfers", lambda: transfers(gpu))
        part("launches", lambda: launches(gpu, arena, watch))
    if not context.dry_run:
        part("fp16", fp16_rate)
        part("nvidia-smi after", nvidia_smi)  # clocks just after work
    part("doctor", lambda: [[c.name, c.state, c.found] for c in doctor.examine().checks if c.name.startswith(ROWS)])
    return found


def page(found: dict[str, Any]) -> str:
    """Return the ceilings and the facts as tables."""

    def there(name: str) -> dict[str, Any]:
        each = found.get(name, {"missing": "not reached"})
        return {} if "missing" in each else each

    rows = []
    if copy := there("copy"):
        rows.append(
            (
                "copy on the GPU, read and written",
                f"{copy['gb_per_s']:,.0f} GB/s ({copy['lower']:,.0f} to {copy['upper']:,.0f})",
            )
        )
    if rate := there("fp16"):
        rows.append((f"FP16 matrix product, {rate['size']}³, by {rate['by']}", f"{rate['tflops'][1]:,.0f} TFLOP/s"))
    for name, each in there("transfers").items():
        rows += [(f"{name} {way}", f"{gb[1]:.1f} GB/s") for way, gb in each.items()]
    rows += [
        (f"a launch, {name.removesuffix('_us').replace('_', ' ')}", f"{us[1] if isinstance(us, list) else us:.2f} us")
        for name, us in there("launches").items()
    ]
    parts = [table(("ceiling", ""), rows)] if rows else []
    facts = {**there("nvidia-smi"), **{f"after work: {name}": each for name, each in there("nvidia-smi after").items()
             if name.startswith(("clocks.", "clocks_", "power.draw", "temperature"))}, **there("driver")}  # fmt: skip
    parts += [table(("fact", ""), facts.items())] if facts else []
    checks = found.get("doctor")
    parts += (
        [table(("edgex doctor", "", ""), [[" ".join(x.split()).replace("|", "/") for x in row] for row in checks])]
        if isinstance(checks, list)
        else []
    )
    absent = {name: each["missing"] for name, each in found.items() if isinstance(each, dict) and "missing" in each}
    return "\n\n".join([*parts, *(f"Not measured: {name}: {' '.join(why.split())}." for name, why in absent.items())])
