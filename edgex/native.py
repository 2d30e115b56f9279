"""The CPU kernels: finds, loads and calls the library that `pip install` compiled from `kernels/`.

A call gives the interpreter's lock back while it works, and allocates nothing once its buffers have grown.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Sequence
from functools import cache, lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from edgex import arguments
from edgex.compositors import require_mask_logits, require_size
from edgex.cores import usable_cores
from edgex.errors import EdgexError, MissingDependencyError, UsageError
from edgex.kernel_sources import PACKAGE, kernel_sources, source_hash
from edgex.manifest import InputSpec
from edgex.types import Drawing, FloatArray, Image, is_whole, require_image

LIBRARY = "_native.so"
ENVIRONMENT = "EDGEX_NATIVE_LIBRARY"  # another library, for tests: one with sanitizers, say
MOST_THREADS = 8  # beyond, memory and not arithmetic is short


@cache
def reason_missing() -> str | None:
    """Return why there are no CPU kernels here, or None where there are."""
    try:
        _library()
    except MissingDependencyError as error:
        return str(error)
    return None


def available() -> bool:
    """Tell whether the CPU kernels can be used."""
    return reason_missing() is None


def threads() -> int:
    """Return how many threads a call may use."""
    return int(_library().edgex_threads())


def set_threads(count: int) -> None:
    """Let each call use up to `count` threads, from now on and for the whole process; at least 1."""
    if not is_whole(count) or not 1 <= count <= 1024:
        raise UsageError(f"expected 1 to 1024 threads, got {count!r}; choose one in between")
    _library().edgex_set_threads(count)


def instruction_set() -> str:
    """Return which instructions the kernels use: avx512, avx2, neon or baseline."""
    name: bytes = _library().edgex_instruction_set()
    return name.decode()


def instruction_sets() -> tuple[str, ...]:
    """Return all instructions that the library and this CPU have, the best first."""
    names: bytes = _library().edgex_instruction_sets()
    return tuple(names.decode().split())


def set_instruction_set(name: str) -> None:
    """Use other instructions, for a comparison. Raises UsageError where the library or the CPU lacks them."""
    if name not in instruction_sets() or _library().edgex_set_instruction_set(name.encode()) != 0:
        raise UsageError(f"expected instructions that this CPU has, got {name!r}; keep {instruction_set()!r}")


def compose(image: Image, mask_logits: NDArray[np.floating], drawing: Drawing, out: Image | None = None) -> Image:
    """Blend masks onto a picture.

    Parameters
    ----------
    image : uint8 [H, W, 3], BGR
    mask_logits : float32 or float16 [C, h, w], low resolution
    drawing : what to draw
    out : uint8 [H, W, 3] to write to, or None for a new array; it may be `image` itself

    Returns
    -------
    uint8 [H, W, 3]

    Raises
    ------
    UsageError
        If logits or classes do not fit, an axis is too long, or `out` is of another kind or overlaps an input.
    """
    image = _rows(require_image(image))
    require_mask_logits(mask_logits, drawing.classes)
    logits = _logits(mask_logits)
    picture = np.empty(image.shape, np.uint8) if out is None else _writable(out, image, mask_logits)
    height, width = image.shape[:2]
    call = arguments.composite(drawing, height, width, logits.shape, bool(logits.dtype == np.float16))
    classes, colors = _drawn(drawing)
    call.image, call.image_stride = image.ctypes.data, image.strides[0]
    call.picture, call.picture_stride = picture.ctypes.data, picture.strides[0]
    call.logits, call.classes, call.colors = logits.ctypes.data, classes.ctypes.data, colors.ctypes.data
    call.heat = _heat().ctypes.data
    _check(_library().edgex_composite(ctypes.byref(call)))
    return picture


def masks(mask_logits: NDArray[np.floating], classes: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
    """Return uint8 [K, height, width], round(255 * mask), one per class of float32 or float16 [C, h, w] logits."""
    require_mask_logits(mask_logits, classes)
    require_size(height, width)
    planes = np.empty((len(classes), height, width), np.uint8)
    if planes.size == 0:
        return planes
    logits, chosen = _logits(mask_logits), np.array(classes, np.int32)
    call = arguments.masks(len(classes), height, width, logits.shape, bool(logits.dtype == np.float16))
    call.picture, call.logits, call.classes = planes.ctypes.data, logits.ctypes.data, chosen.ctypes.data
    _check(_library().edgex_composite(ctypes.byref(call)))
    return planes


def preprocess(image: Image, spec: InputSpec, out: NDArray[np.floating] | None = None) -> FloatArray:
    """Turn a picture into the network's input.

    Parameters
    ----------
    image : uint8 [H, W, 3], BGR
    spec : size, colour order, mean and std of the network's input
    out : float32 or float16 [1, 3, spec.height, spec.width] to write to, or None for a new float32 array

    Returns
    -------
    float32 (or what `out` is) [1, 3, spec.height, spec.width]

    Raises
    ------
    UsageError
        If an axis is too long, or `out` is of another kind.
    """
    image = _rows(require_image(image))
    shape = (1, 3, spec.height, spec.width)
    tensor = np.empty(shape, np.float32) if out is None else out
    kind = isinstance(tensor, np.ndarray) and tensor.dtype in (np.float32, np.float16) and tensor.shape == shape
    if not kind or not tensor.flags.c_contiguous or not tensor.flags.writeable:
        raise UsageError(
            f"expected out as contiguous float32 or float16 {list(shape)}, got {_named(out)}; leave it out"
        )
    if np.may_share_memory(tensor, image):
        raise UsageError("expected out as memory of its own, got an overlap with the picture; pass another array")
    call = arguments.preprocess(spec, image.shape[0], image.shape[1], bool(tensor.dtype == np.float16))
    call.image, call.image_stride, call.tensor = image.ctypes.data, image.strides[0], tensor.ctypes.data
    _check(_library().edgex_preprocess(ctypes.byref(call)))
    return tensor


def _rows(image: Image) -> Image:
    """Return the picture with its pixels side by side, copied where they are not; rows may lie anywhere."""
    return image if image.strides[1:] == (3, 1) else np.ascontiguousarray(image)


def _logits(mask_logits: NDArray[np.floating]) -> NDArray[np.floating]:
    if mask_logits.dtype not in (np.float32, np.float16):
        raise UsageError(f"expected mask logits in float32 or float16, got {mask_logits.dtype}; convert them first")
    return np.ascontiguousarray(mask_logits)


def _writable(out: Image, image: Image, mask_logits: NDArray[np.floating]) -> Image:
    """Return `out` if a picture can be written to it; in place is fine, half on top of an input is not."""
    right = isinstance(out, np.ndarray) and out.dtype == np.uint8 and out.shape == image.shape
    if not right or out.strides[1:] != (3, 1) or out.strides[0] < 3 * out.shape[1] or not out.flags.writeable:
        raise UsageError(f"expected out as writable uint8 {list(image.shape)} with whole rows, got {_named(out)}")
    in_place = out.ctypes.data == image.ctypes.data and out.strides == image.strides
    if (not in_place and np.may_share_memory(out, image)) or np.may_share_memory(out, mask_logits):
        raise UsageError("expected out as the picture itself or memory of its own, got an overlap; pass another array")
    return out


def _named(array: object) -> str:
    return f"{array.dtype} {list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__


def _check(status: int) -> None:
    if status != 0:
        raise EdgexError("expected memory for the kernels' buffers, got none; close other programs")


@lru_cache(maxsize=64)
def _drawn(drawing: Drawing) -> tuple[NDArray[np.int32], NDArray[np.int16]]:
    """Return classes and colors as the kernels read them; the same drawing comes frame after frame."""
    return np.array(drawing.classes, np.int32), arguments.colors(drawing)


@cache
def _heat() -> NDArray[np.int16]:
    return arguments.heat_colors()


@cache
def _library() -> ctypes.CDLL:
    """Load the library. Raises MissingDependencyError where there is none that fits."""
    own = os.environ.get(ENVIRONMENT)
    path = Path(own).resolve() if own else PACKAGE / LIBRARY
    install = "install g++ (on Debian and Ubuntu: apt-get install g++) and install edgex again"
    mend = f"unset {ENVIRONMENT}" if own else install
    if not path.is_file():
        raise MissingDependencyError(f"expected the compiled CPU kernels at {path}, got no file; {mend}")
    try:
        library = ctypes.CDLL(str(path))
        for text in (library.edgex_source_hash, library.edgex_instruction_set, library.edgex_instruction_sets):
            text.restype = ctypes.c_char_p
        sizes = library.edgex_composite_bytes(), library.edgex_preprocess_bytes()
        found = library.edgex_source_hash().decode()
    except (OSError, AttributeError) as error:
        raise MissingDependencyError(f"expected CPU kernels that load, got: {error}; {mend}") from error
    if sizes != (ctypes.sizeof(arguments.Composite), ctypes.sizeof(arguments.Preprocess)):
        raise MissingDependencyError(f"expected CPU kernels of this version of edgex at {path}, got others; {mend}")
    if kernel_sources().is_dir() and found != source_hash(kernel_sources()):
        raise MissingDependencyError(f"expected CPU kernels of the sources here, got older ones at {path}; {mend}")
    library.edgex_set_threads(min(len(usable_cores()), MOST_THREADS))
    return library
