"""The CUDA kernels on the CPU: g++ compiles the .cu files as they stand behind emulation.h, once per session."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgex import arguments
from edgex.manifest import InputSpec
from edgex.types import Drawing, FloatArray, Image

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"
BLOCK = 128
TILE_ROWS, TILE_BYTES = 16, 512  # of composite.cu
Logits = NDArray[np.floating]  # float32, or float16, which selects the kernels for it
Grid = tuple[int, int, int]

needs_gxx = pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++ to emulate the CUDA kernels")


@cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="edgex-emulated-")  # gone when the session ends


@cache
def library(source: Path) -> ctypes.CDLL:
    """Compile one .cu or .cpp file behind the emulation and load it."""
    built = Path(_folder().name) / f"{source.stem}{len(list(Path(_folder().name).iterdir()))}.so"
    warnings = ("-Wall", "-Wextra", "-Werror", "-Wno-unknown-pragmas")
    command = ("g++", "-O2", "-std=c++17", "-shared", "-fPIC", "-fvisibility=hidden", "-fno-gnu-unique", *warnings)
    paths = (f"-I{KERNELS}", "-include", str(HERE / "emulation.h"))
    subprocess.run((*command, *paths, "-x", "c++", str(source), "-o", str(built)), check=True, text=True)
    loaded = ctypes.CDLL(str(built))
    for name in ("emulate_composite", "emulate_preprocess"):
        getattr(loaded, name).restype = ctypes.c_char_p
    return loaded


def compose(
    image: Image,
    logits: Logits,
    drawing: Drawing,
    picture: Image | None = None,
    grid: Grid | None = None,
    seed: int = 1,
) -> Image:
    """Return the picture that composite.cu draws, in `picture` where given; a batch where `image` is [N, H, W, 3].

    Parameters
    ----------
    image : uint8 [H, W, 3] or [N, H, W, 3], any stride of rows and pictures
    logits : float32 or float16 [C, h, w] or [N, C, h, w], contiguous but for the batch
    drawing : what to draw
    picture : as `image`, to write to; may be `image`
    grid : blocks in x, y, z; one per tile if not given
    seed : of the order in which threads run

    Raises
    ------
    RuntimeError
        If the emulation finds a fault.
    """
    picture = np.zeros(image.shape, np.uint8) if picture is None else picture
    images, pictures, batch = (each[None] if image.ndim == 3 else each for each in (image, picture, logits))
    count, height, width = images.shape[:3]
    call = arguments.composite(drawing, height, width, batch.shape[1:], logits.dtype == np.float16)
    classes = np.array(drawing.classes, np.int32)
    colors, heat = arguments.colors(drawing), arguments.heat_colors()
    call.image, call.picture, call.logits = images.ctypes.data, pictures.ctypes.data, batch.ctypes.data
    call.classes, call.colors, call.heat = classes.ctypes.data, colors.ctypes.data, heat.ctypes.data
    call.image_step, call.image_stride = images.strides[:2]
    call.picture_step, call.picture_stride = pictures.strides[:2]
    call.logits_step, call.pictures = batch.strides[0], count
    _launch("composite", drawing.style, call, logits.dtype == np.float16, grid or tiles(count, height, 3 * width), seed)
    return picture


def masks(logits: Logits, classes: Sequence[int], height: int, width: int, grid: Grid | None = None) -> Image:
    """Return uint8 [K, height, width], or [N, K, height, width] for logits [N, C, h, w]."""
    batch = logits[None] if logits.ndim == 3 else logits
    black = Drawing(tuple(classes), ((0, 0, 0),) * len(classes))
    call = arguments.composite(black, height, width, batch.shape[1:], logits.dtype == np.float16)
    planes = np.zeros((len(batch), len(classes), height, width), np.uint8)
    order = np.array(classes, np.int32)
    call.style = arguments.MASK
    call.picture, call.logits, call.classes = planes.ctypes.data, batch.ctypes.data, order.ctypes.data
    call.picture_step, call.logits_step, call.pictures = planes.strides[0], batch.strides[0], len(batch)
    _launch("composite", "mask", call, logits.dtype == np.float16, grid or tiles(len(batch), height, width), 1)
    return planes if logits.ndim == 4 else planes[0]


def preprocess(
    image: Image, spec: InputSpec, half: bool = False, grid: Grid | None = None, seed: int = 1
) -> FloatArray | NDArray[np.float16]:
    """Return float32 or float16 [N, 3, rows, columns], as preprocess.cu makes it of uint8 [H, W, 3] or [N, H, W, 3]."""
    images = image[None] if image.ndim == 3 else image
    count, height, width = images.shape[:3]
    call = arguments.preprocess(spec, height, width, half)
    tensor = np.full((count, 3, spec.height, spec.width), np.nan, np.float16 if half else np.float32)
    call.image, call.tensor, call.pictures = images.ctypes.data, tensor.ctypes.data, count
    call.image_step, call.image_stride = images.strides[:2]
    _launch("preprocess", "", call, half, grid or (-(-spec.width // 84), spec.height, count), seed)
    return tensor


def tiles(pictures: int, rows: int, row_bytes: int) -> Grid:
    """Return a grid of one block a tile."""
    return -(-row_bytes // TILE_BYTES), -(-rows // TILE_ROWS), pictures


def barriers(source: str) -> list[int]:
    """Return the lines of a .cu file, such as "composite", that hold a barrier."""
    lines = (KERNELS / f"{source}.cu").read_text().splitlines()
    return [number for number, line in enumerate(lines, 1) if "__syncthreads" in line]


def shows_without_barrier(source: str, line: int, compute: Callable[[], NDArray[np.generic]]) -> bool:
    """Tell whether `compute` gives something else, or crashes, when the barrier in a line does nothing."""
    expected = compute()
    ignores = ctypes.c_int.in_dll(library(KERNELS / f"{source}.cu"), "emulation_ignores")
    child = os.fork()  # because a missing barrier may well end in an address out of the blue
    if child == 0:
        faulthandler.disable()
        signal.alarm(3)  # or in a loop without end
        same = False
        try:
            ignores.value = line
            same = np.array_equal(compute(), expected)
        finally:
            os._exit(0 if same else 1)
    return os.waitpid(child, 0)[1] != 0


def _launch(source: str, style: str, call: ctypes.Structure, half: bool, grid: Grid, seed: int) -> None:
    loaded = library(KERNELS / f"{source}.cu")
    kernel = getattr(loaded, "_".join(filter(None, (source, style, "f16" if half else "f32"))))
    launch = getattr(loaded, f"emulate_{source}")
    error = launch(kernel, ctypes.byref(call), (ctypes.c_uint * 3)(*grid), BLOCK, seed)
    if error:
        raise RuntimeError(error.decode())
