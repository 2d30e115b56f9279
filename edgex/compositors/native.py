"""Compositor on the CPU kernels (kernels/composite.cpp): one pass over the picture, only the shown classes are read."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgex import native
from edgex.errors import MissingDependencyError
from edgex.types import Drawing, Image


def open() -> NativeCompositor:
    """Open the compositor. Raises MissingDependencyError where the kernels were not compiled."""
    if reason := native.reason_missing():
        raise MissingDependencyError(reason)
    return NativeCompositor()


class NativeCompositor:
    """Compositor on the CPU kernels; threads may share it."""

    name = "native"

    def compose(
        self, image: Image, mask_logits: NDArray[np.floating], drawing: Drawing, out: Image | None = None
    ) -> Image:
        """Return a uint8 [H, W, 3] picture; `mask_logits` is float32 or float16 [C, h, w].

        `out` is what to write to instead of a new array: `image` itself, or writable memory apart from every input.
        """
        return native.compose(image, mask_logits, drawing, out)

    def masks(
        self, mask_logits: NDArray[np.floating], classes: Sequence[int], height: int, width: int
    ) -> NDArray[np.uint8]:
        """Return uint8 [K, height, width], round(255 * mask), one mask per class (no maximum between them)."""
        return native.masks(mask_logits, classes, height, width)
