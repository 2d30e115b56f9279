"""The library of CPU kernels: how it is found, shared by threads and processes, and asked for pictures."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex import native
from edgex.errors import UsageError
from edgex.manifest import InputSpec
from edgex.types import Drawing, Image

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no CPU kernels: {native.reason_missing()}")
ROOT = Path(__file__).resolve().parent.parent.parent
DRAWING = Drawing((0, 1), ((200, 0, 0), (0, 0, 200)))


def picture(seed: int, height: int = 200, width: int = 300) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def logits(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 4, (2, 7, 9)).astype(np.float32)


def test_it_uses_the_best_instructions_that_the_cpu_has() -> None:
    flags = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").is_file() else ""
    if "avx512bw" in flags and "avx512vl" in flags:
        assert native.instruction_set() == "avx512"
    elif "avx2" in flags:
        assert native.instruction_set() == "avx2"
    else:
        assert native.instruction_set() in ("neon", "baseline")


def test_unknown_instructions_are_refused() -> None:
    before = native.instruction_set()
    with pytest.raises(UsageError, match="instructions that this CPU has, got 'mmx'"):
        native.set_instruction_set("mmx")
    assert native.instruction_set() == before


@pytest.mark.parametrize("count", [0, -1, 10**6, 1.5, "2", None])
def test_threads_are_1_to_1024(count: int) -> None:
    with pytest.raises(UsageError, match="expected 1 to 1024 threads"):
        native.set_threads(count)


def test_callers_in_many_threads_get_what_they_get_alone() -> None:
    pictures = [picture(seed) for seed in range(16)]
    alone = [native.compose(each, logits(), DRAWING) for each in pictures]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda each: native.compose(each, logits(), DRAWING), pictures * 4))
    for position, composed in enumerate(together):
        np.testing.assert_array_equal(composed, alone[position % 16])


def in_child(_: int) -> Image:
    return native.compose(picture(1), logits(), DRAWING)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_child_composes_too() -> None:
    before = native.threads()
    native.set_threads(3)
    try:
        expected = native.compose(picture(1), logits(), DRAWING)  # starts the threads, which the child does not get
        with multiprocessing.get_context("fork").Pool(2) as pool:
            found = pool.map_async(in_child, range(4)).get(timeout=60)
    finally:
        native.set_threads(before)
    for each in found:
        np.testing.assert_array_equal(each, expected)


@pytest.mark.parametrize(
    ("library", "found"),
    [("nowhere.so", "got no file"), ("text.so", "expected CPU kernels that load, got"), ("libm.so.6", "that load")],
)
def test_a_library_that_is_none_is_named_and_something_else_composes(library: str, found: str, tmp_path: Path) -> None:
    (tmp_path / "text.so").write_text("no library")
    path = Path("/lib/x86_64-linux-gnu") / library if library.startswith("lib") else tmp_path / library
    if library.startswith("lib") and not path.is_file():
        pytest.skip(f"no {path} to take for a library of another kind")
    code = (
        "from edgex import native; from edgex.compositors import open_compositor\n"
        "print(native.reason_missing(), '|', open_compositor().name)"
    )
    environment = os.environ | {native.ENVIRONMENT: str(path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    reason, name = done.stdout.strip().split(" | ")
    assert found in reason
    assert "unset EDGEX_NATIVE_LIBRARY" in reason
    assert name == "opencv"


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_half_precision_tensors_are_the_rounded_ones(
    rows: int, columns: int, height: int, width: int, bgr: bool
) -> None:
    spec = InputSpec(height, width, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), "BGR" if bgr else "RGB")
    image = picture(rows * columns, rows, columns)
    half = native.preprocess(image, spec, out=np.empty((1, 3, height, width), np.float16))
    np.testing.assert_array_equal(half, native.preprocess(image, spec).astype(np.float16))


@pytest.mark.parametrize(
    "out",
    [
        np.zeros((1, 3, 4, 5), np.float64),
        np.zeros((1, 3, 4, 4), np.float32),
        np.zeros((1, 3, 5, 4), np.float32).transpose(0, 1, 3, 2),
        [0.0],
    ],
)
def test_a_tensor_of_another_kind_is_refused(out: np.ndarray) -> None:
    spec = InputSpec(4, 5, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    with pytest.raises(UsageError, match=r"expected out as contiguous float32 or float16 \[1, 3, 4, 5\]"):
        native.preprocess(picture(0), spec, out=out)
