"""How much masks flicker: mean |difference of masks| between consecutive frames, where the picture stands still.

Looked at where the mask logits are, at low resolution; a mask that follows what moves is no flicker.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgex.types import FloatArray

__all__ = ["CHANGED", "ENOUGH", "Flicker", "cells"]

# Measured by benchmarks/smoothing.py: noise and JPEG of a webcam move a cell's mean color by less than 0.7 % of full
# scale in 999 of 1000 cells, and with this limit motion does not raise the figure.
CHANGED = 0.01  # of full scale, so 2.6 of 255 levels, in any color channel: more than that is motion or light
ENOUGH = 0.5  # share of the cells that must stand still: a camera that turns has fewer, and its figure would be motion
_NEIGHBOURS = np.ones((3, 3), np.uint8)


class Flicker:
    """Compares each frame with the one before; one thread at a time calls it.

    Parameters
    ----------
    std : by what the network's input was divided, per channel: the manifest's; the default is for an input of -1 to 1
    """

    def __init__(self, std: Sequence[float] = (0.5, 0.5, 0.5)) -> None:
        self._limits = (CHANGED / np.asarray(std, np.float32)).reshape(-1, 1, 1)
        self._classes: frozenset[int] = frozenset()
        self._colors: FloatArray | None = None
        self._mask: FloatArray | None = None

    def observe(self, tensor: FloatArray, mask_logits: FloatArray, classes: tuple[int, ...]) -> float | None:
        """Compare a frame with the one that was observed before it.

        A cell counts where neither it nor one of its eight neighbours changed its mean color by more than CHANGED:
        the network sees further than one cell, and edges of what moves may cross a cell without changing its mean.

        Parameters
        ----------
        tensor : float32 [1, 3, H, W], the network's input
        mask_logits : float32 [C, h, w] as they are shown, so after any smoothing
        classes : those shown; their merged mask is compared

        Returns
        -------
        Mean |difference of masks| over the cells that count, 0 to 1. None for the first frame, after another size or
        set of classes, without classes, and where fewer than ENOUGH of the cells count
        """
        if not classes:
            self._colors = self._mask = None
            return None
        chosen = frozenset(classes)
        colors, mask = cells(tensor, *mask_logits.shape[1:]), _merged(mask_logits, classes)
        before, old = self._colors, self._mask
        comparable = before is not None and before.shape == colors.shape and chosen == self._classes
        self._colors, self._mask, self._classes = colors, mask, chosen
        if before is None or old is None or not comparable:
            return None
        still = self._still(before, colors)
        count = int(np.count_nonzero(still))
        if count < ENOUGH * still.size:
            return None
        mask = np.abs(mask - old)
        mask *= still
        return float(mask.sum(dtype=np.float64)) / count

    def _still(self, before: FloatArray, colors: FloatArray) -> NDArray[np.bool_]:
        """Return bool [h, w]: which cells of [3, h, w] count."""
        import cv2

        changed = (np.abs(colors - before) > self._limits).any(axis=0)
        near = cv2.dilate(changed.view(np.uint8), _NEIGHBOURS)
        return np.asarray(near == 0)


def cells(tensor: FloatArray, height: int, width: int) -> FloatArray:
    """Return the mean color of each mask cell, float32 [3, height, width], in the units of the network's input."""
    import cv2

    channels, rows, columns = tensor.shape[1:]
    stacked = tensor[0].reshape(channels * rows, columns)  # planes under one another: one call for all three
    if rows % (2 * height) == 0 and columns % (2 * width) == 0:  # halved first: the same means, in half the time
        stacked = np.asarray(cv2.resize(stacked, (columns // 2, channels * rows // 2), interpolation=cv2.INTER_AREA))
    small = cv2.resize(stacked, (width, channels * height), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.float32).reshape(channels, height, width)


def _merged(mask_logits: FloatArray, classes: Sequence[int]) -> FloatArray:
    """Return the mask float32 [h, w], 0 to 1: the largest logit over the classes, then the sigmoid."""
    from edgex.compositors.opencv import sigmoid

    chosen = mask_logits[list(classes)]
    finite = np.isfinite(chosen)
    if not finite.all():
        chosen[~finite] = -np.inf  # indexing made a copy
    return sigmoid(chosen.max(axis=0))
