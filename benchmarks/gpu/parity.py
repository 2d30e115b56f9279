"""Are the CUDA kernels right on this GPU: against the oracle, by the tests marked `gpu`, under compute-sanitizer.

Inputs are drawn anew each time (the seed is told), outputs are poisoned twice with different bytes, so that what is not
written, or written elsewhere, shows; the stream is waited for after every launch, which raises what went wrong in it.
"""

from __future__ import annotations

import time
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu import kernels_variants, parity_tests
from benchmarks.gpu.kernels_cases import WORKS, Case, Launches
from benchmarks.gpu.kernels_timing import Arena, half_of_memory
from benchmarks.gpu.steps import Context, Missing
from benchmarks.page import table
from benchmarks.scenes import NETWORK, SIDE
from edgex import cuda, cuda_modules, native
from edgex.compositors import open_compositor, reference
from edgex.errors import EdgexError
from edgex.preprocess import preprocess_opencv
from tests.compositors.parity import assert_parity

POISONS = (0xA5, 0x5A)
SMALL = ((288, 512), (97, 171), (1, 1))  # rows, columns; the second is a multiple of nothing
LARGE = Case("overlay", 3, 2160, 3840, 16)
TIES = 1e-4  # of all pixels: where two classes tie in float32, the CPU's kernel may take the other
DRY_ARCHITECTURE = 90


def compare(ours: NDArray[Any], images: NDArray[np.uint8], logits: NDArray[Any], case: Case, half: bool) -> None:
    """Raise AssertionError unless a batch is the oracle's, to within a level of 255 in every value."""
    for number in range(case.batch):
        if case.work == "preprocess":
            theirs = preprocess_opencv(images[number], NETWORK)[0]
            level = 1.001 / (255.0 * np.reshape(NETWORK.std, (3, 1, 1))) + (4e-3 if half else 0.0)
            # The oracle rounds to whole levels between the axes where one shrinks and the other grows.
            mixed = (NETWORK.height < case.height) != (NETWORK.width < case.width)
            apart = np.abs(ours[number].astype(np.float64) - theirs) / (level * (2 if mixed else 1))
        elif case.work == "masks":
            exact = logits[number].astype(np.float32)
            theirs = reference.open().masks(exact, tuple(range(case.count)), case.height, case.width)
            apart = np.abs(ours[number].astype(np.float64) - theirs)
        else:
            exact = logits[number].astype(np.float32)
            assert_parity(ours[number], images[number], exact, case.drawing())
            continue
        assert apart.max() <= 1.0, f"{case.name}: {apart.max():.2f} levels from the oracle in picture {number}"


def inputs(case: Case, half: bool, seed: int | None = None) -> tuple[NDArray[np.uint8], NDArray[Any]]:
    """Return noise: uint8 [batch, height, width, 3], and float32 or float16 [batch, count, 28, 28]."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 256, (case.batch, case.height, case.width, 3), np.uint8)
    logits = random.normal(0.0, 4.0, (case.batch, case.count, SIDE, SIDE))
    return images, logits.astype(np.float16 if half else np.float32)


def poisoned_run(gpu: cuda.Device, arena: Arena, kernel: Launches, half: bool) -> NDArray[Any]:
    """Return what a launch writes. Raises AssertionError where it leaves a byte out, or writes one behind its own."""
    shape, plain = kernel.case.shapes()[2], kernel.case.work == "preprocess"
    dtype = (np.float16 if half else np.float32) if plain else np.uint8
    runs = []
    for poison in POISONS:
        arena.poison(kernel.results[0], kernel.result_bytes + 256, poison)
        kernel.works[0](arena.stream)
        arena.stream.synchronize()
        runs.append(arena.get(kernel.results[0], shape, dtype))
        behind = arena.get(kernel.results[0] + kernel.result_bytes, (256,), np.uint8)
        assert (behind == poison).all(), f"{kernel.case.name} wrote behind its result"
    other = int((runs[0].view(np.uint8) != runs[1].view(np.uint8)).sum())
    assert other == 0, f"{kernel.case.name} left {other} bytes unwritten, or writes others at each run"
    return runs[0]


def check_case(gpu: cuda.Device, arena: Arena, case: Case, half: bool = False, seed: int | None = None) -> None:
    """Raise AssertionError unless a case's fresh random batch is drawn whole and as the oracle draws it."""
    arena.clear()
    images, logits = inputs(case, half, seed)
    plain = case.work == "preprocess"
    kernel = Launches(gpu, arena, case, 1, images, None if plain else logits, half)
    compare(poisoned_run(gpu, arena, kernel, half), images, logits, case, half)


def check_large(gpu: cuda.Device, arena: Arena) -> str:
    """Compare a batch at 4K with the CPU's kernel, which the oracle has checked; return how far they are apart."""
    if (reason := native.reason_missing()) is not None:
        return f"not compared: {reason}"
    arena.clear()
    images, logits = inputs(LARGE, False)
    ours = poisoned_run(gpu, arena, Launches(gpu, arena, LARGE, 1, images, logits), False)
    compositor, worst = open_compositor("native"), 0.0
    for number in range(LARGE.batch):
        theirs = compositor.compose(images[number], logits[number], LARGE.drawing())
        apart = np.abs(ours[number].astype(np.int16) - theirs).max(axis=2) > 1
        worst = max(worst, float(apart.mean()))
    assert worst <= TIES, f"{worst:.1e} of the pixels of a 4K batch are more than a level from the CPU's kernel"
    return f"at most {worst:.1e} of a picture's pixels are more than a level from the CPU's kernel"


def compiled(architecture: int, newest: int | None, style: str | None = None) -> list[dict[str, Any]]:
    """Compile both modules, of one style alone where it is named; return what came out. Raises EdgexError."""
    rows: list[dict[str, Any]] = []
    texts, compiler = dict(cuda_modules.sources()), cuda_modules.find_compiler(architecture, newest)
    if style is not None:
        texts["composite.cu"] = kernels_variants.of_style(texts["composite.cu"], style)
    target = compiler.target(architecture)
    assert target is not None  # find_compiler has asked
    for module in cuda_modules.MODULES:
        began = time.perf_counter()
        content = compiler.compile(f"{module}.cu", texts, target)
        if style is None:  # as the kernels look for it, so that it need not be compiled again
            name = cuda_modules.name_of(module, architecture, compiler, texts)
            cuda_modules.write(cuda_modules.cache_folder() / name, content)
        kind = "cubin" if target.binary else "PTX"
        rows.append({"module": module, "compiler": compiler.name, "target": f"sm_{target.architecture} {kind}"})
        rows[-1] |= {"bytes": len(content), "seconds": round(time.perf_counter() - began, 2)}
    return rows


def _cases() -> list[tuple[Case, bool]]:
    """Return every kernel at every small size: a batch of two, three classes, and 20 of them at one size."""
    every = [
        *product((*WORKS,), (3,), SMALL),
        *product((*WORKS,), (1, 20), SMALL[:1]),
        *product(("preprocess",), (0,), SMALL),
    ]
    return [(Case(work, count, *size, 2), half) for (work, count, size), half in product(every, (False, True))]


def step(context: Context) -> dict[str, Any]:
    """Compile, compare, run the tests, run the sanitizer; whatever fails is told and the rest goes on."""
    found: dict[str, Any] = {"failures": [], "compiled": [], "checks": {}, "tests": {}, "sanitizer": {}, "missing": {}}
    reason = None if context.dry_run else cuda.reason_missing()
    if reason is not None:
        raise Missing(reason)
    try:
        newest = None
        if not context.dry_run:
            with cuda.device().active() as driver:
                newest = driver.get_driver_version() // 1000
        architecture = DRY_ARCHITECTURE if context.dry_run else cuda.device().architecture
        found["compiled"] = compiled(architecture, newest, "overlay" if context.dry_run else None)
    except EdgexError as error:
        found["missing"]["compiler"] = str(error)
    context.save(found)
    if context.dry_run:
        from benchmarks.gpu import kernels_dry

        kernels_dry.check(context, found)
        return found
    gpu = cuda.device()
    _compare_all(context, gpu, Arena(gpu, half_of_memory(gpu, 4 << 30)), found)
    context.save(found)
    parity_tests.run_tests(context, found)
    context.save(found)
    parity_tests.run_sanitizer(context, found)
    return found


def _compare_all(context: Context, gpu: cuda.Device, arena: Arena, found: dict[str, Any]) -> None:
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    checks = found["checks"] = {"seed": seed, "compared": 0, "large": ""}
    reserved_s = 0.5 * context.left_s()  # for the tests
    for number, (case, half) in enumerate(_cases()):
        if context.left_s() < reserved_s:
            found["missing"]["comparisons"] = f"no time was left after {number} of {len(_cases())}"
            break
        try:
            check_case(gpu, arena, case, half, seed + number)
            checks["compared"] += 1
        except AssertionError as error:
            name = f"{case.name} {case.width} x {case.height} {'float16' if half else 'float32'}, seed {seed + number}"
            found["failures"].append(f"{name}: {error}")
    context.say(f"{checks['compared']} of {len(_cases())} comparisons hold")
    try:
        checks["large"] = check_large(gpu, arena)
    except AssertionError as error:
        found["failures"].append(str(error))
    except (EdgexError, Missing, MemoryError) as error:
        checks["large"] = f"not compared: {error}"


def page(found: dict[str, Any]) -> str:
    """Return what was compiled, compared and run as tables."""
    head = ("module", "compiler", "target", "bytes", "s")
    keys = ("module", "compiler", "target", "bytes", "seconds")
    parts = [table(head, [[row[key] for key in keys] for row in found["compiled"]])] if found["compiled"] else []
    if checks := found["checks"]:
        held = f"{checks['compared']} comparisons with the oracle held (seed {checks['seed']})"
        parts.append(f"{held}; 4K: {checks['large'] or 'not compared'}.")
    runs = {"tests marked gpu": found["tests"]} if found["tests"] else {}
    counts = ("passed", "failed", "skipped", "seconds", "why")
    rows = [[name, *(each.get(key, "") for key in counts)] for name, each in {**runs, **found["sanitizer"]}.items()]
    if rows:
        parts.append(table(("run", "passed", "failed", "skipped", "s", ""), rows))
    parts += [f"Not done: {name}: {why}." for name, why in found["missing"].items()]
    return "\n\n".join(parts)
