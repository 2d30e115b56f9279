"""Where a kernel misses its share of the copy: the same launch with a stage left out, so that the stage's part shows.

Variants are edits of the kernels' own sources, compiled like them; what they draw is wrong, and nobody looks at it.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from benchmarks.gpu.kernels_cases import Case, Launches
from benchmarks.gpu.kernels_timing import Arena, Enqueue, Stopwatch, each_in_turn, interleaved, quartiles, rotated
from benchmarks.gpu.steps import Context
from edgex import cuda, cuda_modules
from edgex.cuda_lifetime import never_free

AIM = 0.8  # of the copy's bandwidth
ROWS = 1080  # of the pictures that are looked into
MOST, SHARE = 8, 0.4  # cases; of the time that is left
EDITS: dict[str, dict[str, tuple[tuple[str, str], ...]]] = {  # module -> variant -> what in its source becomes what
    "composite": {
        "without blending": (
            (
                "store(to, seen ? blended(read, best, winner, sides) : read, own, picture_aligned);",
                "uint4 kept = read; for (int i = 0; i < PIXELS; ++i) kept.x ^= static_cast<unsigned>("
                "__float_as_int(best[i]) + winner[i] + sides[i]); store(to, kept, own, picture_aligned);",
            ),
        ),
        "without sampling": (
            ("const float2 pair = pairs[offset[side][at] * apart];", ""),
            (
                "sampled[side][at] = pair.x + weight[side][at] * pair.y;",
                "sampled[side][at] = weight[side][at] - shown;",
            ),
        ),
        "without staging": (
            ("i < (end - begin) * columns * slots; i += BLOCK", "i < 0; i += BLOCK"),
            ("bool seen = false;", "bool seen = true;"),
        ),
    },
    "preprocess": {
        "without summing rows": (
            ("total[b] += weight * byte_float(word[b / 4], b % 4);", "total[b] += __int_as_float(word[b / 4]);"),
        ),
        "without summing columns": (
            (
                "for (int x = max(across[i].first, window); x <= last; ++x) {",
                "for (int x = last; x >= window && x <= last; ++x) {",
            ),
        ),
    },
}
ENTRIES = re.compile(r"^EDGEX_ENTRIES\(composite_(\w+), (\w+), (\d+)\)\n", re.MULTILINE)


def of_style(source: str, style: str) -> str:
    """Return composite.cu with the entry point of one style and of float32 alone, which compiles ten times as fast."""
    entries = {
        name: f"EDGEX_ENTRY(composite_{name}_f32, {code}, float, {blocks})\n"
        for name, code, blocks in ENTRIES.findall(source)
    }
    if style not in entries:
        raise ValueError(f"expected a style of {list(entries)} in composite.cu, got {style}; mend ENTRIES")
    return ENTRIES.sub("", source) + entries[style]


def edited(module: str, name: str, style: str) -> Mapping[str, str]:
    """Return the sources with a variant's edits. Raises ValueError where the source no longer holds what is edited."""
    texts = dict(cuda_modules.sources())
    source = texts[f"{module}.cu"]
    for old, new in EDITS[module][name]:
        if source.count(old) != 1:
            raise ValueError(f"expected {old!r} once in {module}.cu, got it {source.count(old)} times; mend EDITS")
        source = source.replace(old, new)
    return {**texts, f"{module}.cu": of_style(source, style) if module == "composite" else source}


class _Variant:
    """A stream to a launch that runs another module's kernels of the same names."""

    def __init__(self, gpu: cuda.Device, module: str, name: str, style: str) -> None:
        with gpu.active() as driver:
            newest = driver.get_driver_version() // 1000
            compiler = cuda_modules.find_compiler(gpu.architecture, newest)
            target = compiler.target(gpu.architecture)
            assert target is not None  # find_compiler has asked
            texts = edited(module, name, style)
            self._module = driver.module_from_buffer(compiler.compile(f"{module}.cu", texts, target))
        never_free(self._module)
        self._gpu = gpu

    def work(self, launch: Callable[..., None], call: Any) -> Enqueue:
        def enqueue(stream: cuda.Stream) -> None:
            self._stream = stream
            launch(call, self)

        return enqueue

    def launch(self, kernel: str, call: ctypes.Structure, grid: tuple[int, ...], block: tuple[int, int, int]) -> None:
        with self._gpu.active():
            function = self._module.get_function(kernel)
            function(np.void(bytes(call)), grid=grid, block=block, stream=self._stream._held.raw)


def measure(context: Context, gpu: cuda.Device, arena: Arena, watch: Stopwatch, found: dict[str, Any]) -> None:
    """Time the variants of the cases that miss the aim most, one of each style and number of classes, at 1080p."""
    rows = [row for row in found["cases"] if row["beyond_cache"] and row["share_of_copy"][1] < AIM]
    missed = [row for row in rows if row["picture"][0] == ROWS and row["batch"] > 1]
    until_s = context.left_s() * (1.0 - SHARE)
    modules: dict[tuple[str, str], _Variant] = {}
    for row in sorted(missed, key=lambda row: float(row["share_of_copy"][1]))[:MOST]:
        if context.left_s() < until_s:
            found["missing"]["variants"] = f"no time was left after {len(found['variants'])} of {len(missed)} cases"
            return
        case = Case(row["work"], row["classes"], *row["picture"], row["batch"])
        arena.clear()
        kernel = Launches(gpu, arena, case, rotated(sum(case.sizes()), found["l2_bytes"]))
        works = {"whole": each_in_turn(kernel.works)}
        module = "preprocess" if case.work == "preprocess" else "composite"
        for name in EDITS[module]:
            style = "mask" if case.work == "masks" else case.work
            if (style, name) not in modules:
                modules[style, name] = _Variant(gpu, module, name, style)
            variant = modules[style, name]
            works[name] = each_in_turn([variant.work(kernel.launch, call) for call in kernel.calls])
        timed = {name: (work, watch.times(f"{case.name} {name}", work), case.batch) for name, work in works.items()}
        us = {name: quartiles(each) for name, each in interleaved(watch, timed, context.rounds).items()}
        moved = sum(case.sizes()) / case.batch
        bytes_us = 1e-3 * moved / found["copy"]["gb_per_s"]
        found["variants"].append(
            {"case": case.name, "picture": row["picture"], "batch": case.batch, "bytes_us": bytes_us, "us": us}
        )
        context.save(found)
