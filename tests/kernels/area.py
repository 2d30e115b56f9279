"""The oracle of the preprocessing kernels: the rule "area" as one float64 matrix an axis, sharing no code with them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from edgex.manifest import InputSpec
from edgex.types import Image

Exact = NDArray[np.float64]


def axis_weights(source: int, target: int) -> Exact:
    """Return float64 [target, source]: what share of each source value a target value is made of."""
    here = np.arange(source)
    if target < source:  # the share of the target's interval that each source value covers
        edges = np.arange(target + 1) * source / target
        low, high = np.maximum(here, edges[:-1, None]), np.minimum(here + 1, edges[1:, None])
        return np.maximum(high - low, 0.0) * target / source
    centre = np.clip((np.arange(target) + 0.5) * source / target - 0.5, 0, source - 1)
    return np.maximum(1.0 - np.abs(here - centre[:, None]), 0.0)


def levels(image: Image, spec: InputSpec) -> Exact:
    """Return float64 [3, rows, columns], the resized levels before rounding, planes in the network's order."""
    height, width = image.shape[:2]
    planes = image.astype(np.float64).transpose(2, 0, 1)
    resized = axis_weights(height, spec.height) @ planes @ axis_weights(width, spec.width).T
    return resized if spec.color == "BGR" else resized[::-1]


def levels_of(tensor: NDArray[np.floating], spec: InputSpec) -> Exact:
    """Return the levels that a network's input [..., 3, rows, columns] was made of."""
    mean, std = (np.array(each, np.float64)[:, None, None] for each in (spec.mean, spec.std))
    return np.asarray((tensor.astype(np.float64) * std + mean) * 255.0, np.float64)
