"""The steps on kernels without a GPU: cases, their bytes, kernels emulated on the CPU, peers on the CPU, variants."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from importlib.util import find_spec
from itertools import product
from typing import Any

from numpy.typing import NDArray

from benchmarks.gpu import kernels_peers, kernels_variants
from benchmarks.gpu.kernels_cases import WORKS, Case, call_of
from benchmarks.gpu.kernels_timing import rotated
from benchmarks.gpu.steps import Context
from benchmarks.scenes import NETWORK
from edgex import cuda_modules
from edgex.errors import EdgexError

TINY = (33, 49)  # rows, columns
CACHE = 60 << 20  # bytes of L2 that the sets of a dry run are counted for
ARCHITECTURE = 90


def check(context: Context, found: dict[str, Any]) -> None:
    """Compare each kernel, emulated, with the oracle, and look which tests a GPU would run."""
    from benchmarks.gpu import parity, parity_tests

    found["tests"] = {"why": f"on a GPU: {', '.join(parity_tests.files())}"}
    if shutil.which("g++") is None or find_spec("pytest") is None:
        found["missing"]["comparisons"] = "emulating the kernels on the CPU takes g++ and pytest"
        return
    from tests.kernels import emulated

    found["checks"] = {"seed": 1, "compared": 0, "large": "not in a dry run"}
    every = [*product(WORKS, (1, 3)), ("preprocess", 0)]
    for (work, count), half in product(every, (False, True)):
        case = Case(work, count, *TINY, 2)
        images, logits = parity.inputs(case, half, 1)
        if work == "preprocess":
            ours: NDArray[Any] = emulated.preprocess(images, NETWORK, half)
        elif work == "masks":
            ours = emulated.masks(logits, tuple(range(count)), *TINY)
        else:
            ours = emulated.compose(images, logits, case.drawing())
        try:
            parity.compare(ours, images, logits, case, half)
            found["checks"]["compared"] += 1
        except AssertionError as error:
            found["failures"].append(f"{case.name}, emulated: {error}")
    context.say(f"{found['checks']['compared']} comparisons of emulated kernels hold")


def step(context: Context, cases: Sequence[Case]) -> dict[str, Any]:
    """Build every case, run the peers at a tiny size on the CPU, and compile every variant."""
    found: dict[str, Any] = {
        "gpu": "none",
        "l2_bytes": CACHE,
        "failures": [],
        "missing": {},
        "peers": {},
        "variants": [],
    }
    found["cases"] = [_row(case) for case in cases]
    most = max(row["slots"] * 2 * (row["bytes_read"] + row["bytes_written"]) for row in found["cases"])
    context.say(f"{len(cases)} cases; the largest needs {most / 1e9:.1f} GB of the GPU's memory")
    for case in cases:
        call_of(case)
    context.save(found)
    kernels_peers.check_on_cpu(Case("overlay", 3, *TINY, 2), found)
    context.save(found)
    _compile_variants(context, found)
    return found


def _row(case: Case) -> dict[str, Any]:
    read, written = case.sizes()
    row = {"case": case.name, "work": case.work, "classes": case.count, "picture": [case.height, case.width]}
    return {
        **row,
        "batch": case.batch,
        "slots": rotated(read + written, CACHE),
        "bytes_read": read,
        "bytes_written": written,
    }


def _compile_variants(context: Context, found: dict[str, Any]) -> None:
    try:
        compiler = cuda_modules.find_compiler(ARCHITECTURE)
    except EdgexError as error:
        found["missing"]["variants"] = str(error)
        return
    target = compiler.target(ARCHITECTURE)
    assert target is not None  # find_compiler has asked
    for module, variants in kernels_variants.EDITS.items():
        for name in variants:
            texts = kernels_variants.edited(module, name, "overlay")
            if context.left_s() > 0:
                compiler.compile(f"{module}.cu", texts, target)
                found["variants"].append({"case": module, "compiled": name})
