"""Compositors: blend masks onto a frame.

The arithmetic, for all of them: sample each shown class's logits bilinearly with half-pixel centres (edges clamped),
take the maximum over the shown classes and remember which, sigmoid it, blend, round half up, clamp to 0..255.
Non-finite logits count as minus infinity. `reference.py` is the oracle.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgex.errors import EdgexError, UsageError
from edgex.types import Drawing, FloatArray, Image, is_whole

COMPOSITORS = ("cuda", "native", "opencv", "reference")  # the order in which "auto" tries them
LONGEST_SIDE = 1 << 20  # pixels
MOST_PIXELS = 1 << 28  # of a mask: a quarter of a GiB

log = logging.getLogger(__name__)


class Compositor(Protocol):
    """Blends masks onto a frame. A file of this folder has a function `open() -> Compositor`."""

    @property
    def name(self) -> str: ...

    def compose(self, image: Image, mask_logits: FloatArray, drawing: Drawing) -> Image:
        """Return a new uint8 [H, W, 3] picture; `mask_logits` is float32 [C, h, w]."""
        ...

    def masks(self, mask_logits: FloatArray, classes: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
        """Return uint8 [K, height, width], round(255 * mask), one mask per class (no maximum between them)."""
        ...


def require_mask_logits(mask_logits: Any, classes: Sequence[int]) -> None:
    """Raise UsageError unless `mask_logits` is a floating [C, h, w], none of them 0, and every class lies below C."""
    if not isinstance(mask_logits, np.ndarray) or not np.issubdtype(mask_logits.dtype, np.floating):
        got = mask_logits.dtype if isinstance(mask_logits, np.ndarray) else type(mask_logits).__name__
        raise UsageError(f"expected mask logits as an array of float32, got {got}; convert them first")
    if mask_logits.ndim != 3 or mask_logits.size == 0:
        raise UsageError(f"expected mask logits of shape [C, h, w], got {list(mask_logits.shape)}; pass one picture's")
    if not isinstance(classes, (Sequence, np.ndarray)):
        raise UsageError(f"expected classes as a list of whole numbers, got {classes!r}; pass indices")
    outside = [index for index in classes if not is_whole(index) or not 0 <= index < len(mask_logits)]
    if outside:
        raise UsageError(f"expected classes of 0 to {len(mask_logits) - 1}, got {outside[0]!r}; use the model's own")


def require_size(height: Any, width: Any) -> None:
    """Raise UsageError unless masks can be drawn at `height` x `width` pixels."""
    for side in (height, width):
        if not is_whole(side) or not 1 <= side <= LONGEST_SIDE:
            raise UsageError(f"expected a height and width of 1 to {LONGEST_SIDE} pixels, got {side!r}; choose others")
    if height * width > MOST_PIXELS:
        raise UsageError(f"expected at most {MOST_PIXELS} pixels, got {height} x {width}; scale down")


def outline_width(height: int, width: int) -> int:
    """Return the width of an outline in pixels; `reference.py` says the same on its own."""
    return max(1, (min(height, width) + 180) // 360)


def open_compositor(name: str = "auto") -> Compositor:
    """Open a compositor.

    Parameters
    ----------
    name : one of COMPOSITORS, or "auto" for the first that works here, the log says why one was passed over

    Raises
    ------
    UsageError
        If there is no such compositor.
    EdgexError
        If the one that was named does not work here; it never falls back.
    """
    if name != "auto":
        if name not in COMPOSITORS:
            raise UsageError(f"expected a compositor of auto, {', '.join(COMPOSITORS)}, got {name!r}; choose one")
        return _open(name)
    for each in COMPOSITORS[:-1]:
        try:
            compositor = _open(each)
        except EdgexError as error:
            log.info("compositor %s passed over: %s", each, error)
        else:
            log.info("compositor %s", each)
            return compositor
    return _open(COMPOSITORS[-1])


def _open(name: str) -> Compositor:
    compositor: Compositor = importlib.import_module(f"edgex.compositors.{name}").open()
    return compositor
