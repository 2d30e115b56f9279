"""Compare a compositor with the oracle, pixel by pixel, fairly where single precision cannot decide.

Two decisions are discontinuous: which class wins, and whether a pixel is inside an outline. Where the exact logits tie,
or touch 0, to within rounding of float32, either answer is right, and only there. Steep logits that cancel are a third.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from edgex.compositors import reference
from edgex.types import Drawing, FloatArray, Image


def assert_parity(picture: Image, image: Image, logits: FloatArray, drawing: Drawing, levels: int = 1) -> None:
    """Assert that `picture` is what the oracle composes, to within `levels` of 255 in every pixel and channel."""
    height, width = image.shape[:2]
    assert picture.dtype == np.uint8
    assert picture.shape == image.shape
    oracle = reference.open().compose(image, logits, drawing)
    distance = _distance(picture, oracle)
    if drawing.style in ("overlay", "outline"):
        samples = np.stack([reference.sample(logits[index], height, width) for index in drawing.classes])
        best = samples.max(axis=0)
        finite = np.abs(logits[np.isfinite(logits)])
        tolerance = 1e-5 * (1.0 + float(finite.max(initial=0.0)))
        inside, step = best >= 0.0, reference.line_width(height, width)
        unsure = _near_zero(best, tolerance, step)
        line = reference.on_line(inside, step)
        if drawing.style == "outline":
            distance = np.where(unsure, np.minimum(distance, _distance(picture, image)), distance)
        for position, index in enumerate(drawing.classes):
            ties = samples[position] >= best - tolerance
            color = drawing.colors[position]
            if drawing.style == "overlay":
                alone = reference.open().compose(
                    image, logits, Drawing((index,), (color,), "overlay", drawing.opacity, drawing.fill)
                )
            else:
                pixel = image.astype(np.float64)
                alone = reference.to_uint8(pixel + drawing.opacity * (np.array(color, np.float64) - pixel))
                ties = ties & (unsure | line)
            distance = np.where(ties, np.minimum(distance, _distance(picture, alone)), distance)
    distance = np.where(unresolved(logits, drawing.classes, height, width).any(axis=0), 0, distance)
    worst = np.unravel_index(int(distance.argmax()), distance.shape)
    assert distance.max() <= levels, f"{drawing.style} at {worst}: {picture[worst]} against {oracle[worst]}"


def unresolved(logits: FloatArray, classes: Sequence[int], height: int, width: int) -> np.ndarray:
    """Return where logits so steep cancel that float32 cannot tell the mask: bool [K, height, width].

    A sample is off by some 1e-5 of the largest logit. That moves a mask by a level only beyond logits of a thousand.
    """
    finite = np.abs(logits[np.isfinite(logits)].astype(np.float64))
    error = 1e-5 * float(finite.max(initial=0.0))
    samples = np.stack([reference.sample(logits[index], height, width) for index in classes])
    return np.abs(samples) <= (error + 20.0 if error > 0.02 else -1.0)


def _distance(one: Image, other: Image) -> np.ndarray:
    return np.abs(one.astype(np.int16) - other.astype(np.int16)).max(axis=2)


def _near_zero(best: np.ndarray, tolerance: float, step: int) -> np.ndarray:
    """Return where the pixel or one of its four partners is within tolerance of 0."""
    near = np.abs(best) <= tolerance
    padded = np.pad(near, step, mode="edge")
    height, width = near.shape
    found = near.copy()
    for y, x in ((0, step), (2 * step, step), (step, 0), (step, 2 * step)):
        found |= padded[y : y + height, x : x + width]
    return found
