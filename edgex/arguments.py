"""What one kernel call takes: `kernels/composite.h` and `kernels/preprocess.h` field by field, for the CPU and the GPU.

Addresses are plain integers, of the host's memory or of the device's; whoever fills them in keeps the arrays alive.
"""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgex.compositors import outline_width
from edgex.compositors.heatmap import wide_heat_table
from edgex.errors import UsageError
from edgex.manifest import InputSpec
from edgex.types import STYLES, Drawing

FINE = 128  # a colour is passed in 1/128 of a level
HEAT_ENTRIES = 4096
MASK = len(STYLES)  # the style that writes plain masks; the others follow the order of STYLES
LONGEST_AXIS = 1 << 28  # pixels or logits: three bytes of each are counted in 32 bits
LARGEST_AXIS = (1 << 30) - 1  # source times target of one axis: the kernels place pixels in 32-bit integers
WIDEST_LINE = 170  # pixels: a tile of the CUDA kernel looks no further

_I32, _I64, _F32, _ADDRESS = ctypes.c_int32, ctypes.c_int64, ctypes.c_float, ctypes.c_void_p


class Composite(ctypes.Structure):
    """`edgex::Composite` of kernels/composite.h, which says what each field means."""

    _fields_ = (
        *((name, _ADDRESS) for name in ("image", "picture", "logits", "classes", "colors", "heat")),
        *((name, _I64) for name in ("image_stride", "picture_stride", "image_step", "picture_step", "logits_step")),
        *((name, _I32) for name in ("pictures", "height", "width", "channels", "rows", "columns", "count")),
        *((name, _I32) for name in ("style", "half", "line")),
        ("opacity", _F32),
    )


class Preprocess(ctypes.Structure):
    """`edgex::Preprocess` of kernels/preprocess.h, which says what each field means."""

    _fields_ = (
        *((name, _ADDRESS) for name in ("image", "tensor")),
        *((name, _I64) for name in ("image_stride", "image_step")),
        *((name, _I32) for name in ("pictures", "height", "width", "rows", "columns", "half")),
        ("channel", _I32 * 3),
        ("scale", _F32 * 3),
        ("offset", _F32 * 3),
    )


def composite(drawing: Drawing, height: int, width: int, logits_shape: Sequence[int], half: bool) -> Composite:
    """Return a call that draws one picture; addresses and strides are left 0.

    Parameters
    ----------
    drawing : what to draw
    height, width : of the picture in pixels
    logits_shape : [C, h, w]
    half : whether the logits are float16

    Raises
    ------
    UsageError
        If an axis is too long for the kernels.
    """
    call = _sampled(height, width, logits_shape, half)
    line = outline_width(height, width)
    if line > WIDEST_LINE:
        raise UsageError(f"expected a side of at most {360 * WIDEST_LINE} pixels, got {height} x {width}; scale down")
    call.count, call.style = len(drawing.classes), STYLES.index(drawing.style)
    call.line, call.opacity = line, drawing.opacity
    return call


def masks(count: int, height: int, width: int, logits_shape: Sequence[int], half: bool) -> Composite:
    """Return a call that writes the plain masks of `count` classes; otherwise as `composite`."""
    require_axes((count * height, 1))
    call = _sampled(height, width, logits_shape, half)
    call.count, call.style = count, MASK
    return call


def _sampled(height: int, width: int, logits_shape: Sequence[int], half: bool) -> Composite:
    """Return a call that samples logits at the pixels of one picture, and does nothing with them yet."""
    channels, rows, columns = logits_shape
    require_axes((height, rows), (width, columns), (rows, columns))
    return Composite(pictures=1, height=height, width=width, channels=channels, rows=rows, columns=columns, half=half)


def colors(drawing: Drawing) -> NDArray[np.int16]:
    """Return int16 [K, 4]: blue, green, red in 1/128 of a level, 0; one row, the fill, for a cutout."""
    levels = [drawing.fill] if drawing.style == "cutout" else list(drawing.colors)
    table = np.zeros((len(levels), 4), np.int16)
    table[:, :3] = np.array(levels, np.int16) * FINE
    return table


def heat_colors() -> NDArray[np.int16]:
    """Return int16 [HEAT_ENTRIES, 4]: the heat table in 1/128 of a level, linear in between."""
    return np.floor(wide_heat_table(HEAT_ENTRIES) * FINE + 0.5).astype(np.int16)


def preprocess(spec: InputSpec, height: int, width: int, half: bool) -> Preprocess:
    """Return a call that turns one picture of `height` x `width` into the network's input; addresses are left 0.

    Raises
    ------
    UsageError
        If an axis is too long for the kernels.
    """
    require_axes((height, spec.height), (width, spec.width))
    scale = [1.0 / (255.0 * each) for each in spec.std]
    offset = [-mean / std for mean, std in zip(spec.mean, spec.std, strict=True)]
    return Preprocess(
        pictures=1,
        height=height,
        width=width,
        rows=spec.height,
        columns=spec.width,
        half=half,
        channel=(_I32 * 3)(*((0, 1, 2) if spec.color == "BGR" else (2, 1, 0))),
        scale=(_F32 * 3)(*scale),
        offset=(_F32 * 3)(*offset),
    )


def require_axes(*axes: tuple[int, int]) -> None:
    """Raise UsageError where two lengths are too large for the kernels together."""
    for one, other in axes:
        if max(one, other) > LONGEST_AXIS:
            raise UsageError(f"expected lengths of at most 2^28, got {max(one, other)}; scale down")
        if one * other > LARGEST_AXIS:
            raise UsageError(f"expected lengths that multiply to less than 2^30, got {one} and {other}; scale down")
