"""The oracle of all compositors: the arithmetic in float64 NumPy, plain and slow, sharing no code with the others.

Sampling, for a target axis of N pixels over n logits: pixel i lies at p / (2 N), p = (2 i + 1) n - N, clamped to 0 and
n - 1; whole part and remainder of that integer division give the lower tap and the weight, remainder / 2 N, of the
next. A logit that is not finite (NaN, +inf, -inf) counts as minus infinity; a tap of weight exactly 0 contributes
nothing; a minus infinity of any weight above 0 makes the sample minus infinity, whose mask is 0.

With l the largest sample over the shown classes (the first in order of display wins a tie), m = sigmoid(l), p the
pixel, o the opacity and c the winner's color:
  overlay  p + o m (c - p)
  heat     p + o (heat(m) - p), heat between table entries floor(255 m) and the next linear in the fraction
  cutout   p + o (m p + (1 - m) fill - p)
  outline  p + o (c - p) on the line, p elsewhere. A pixel is inside where l >= 0, that is m >= 0.5. It is on the line
           if it is inside and any of the four pixels t to its left, right, top or bottom, clamped to the picture, is
           not; t = max(1, floor((min(H, W) + 180) / 360)) pixels: 1 below 540 rows, 2 at 720, 3 at 1080.
Then round half up and clamp to 0..255.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgex.compositors import require_mask_logits, require_size
from edgex.compositors.heatmap import heat_table
from edgex.types import Drawing, FloatArray, Image, require_image

Exact = NDArray[np.float64]


def open() -> ReferenceCompositor:
    """Open the oracle."""
    return ReferenceCompositor()


class ReferenceCompositor:
    """Compositor in float64 NumPy."""

    name = "reference"

    def compose(self, image: Image, mask_logits: FloatArray, drawing: Drawing) -> Image:
        """Return a new uint8 [H, W, 3] picture; `mask_logits` is float32 [C, h, w]."""
        pixel = require_image(image).astype(np.float64)
        height, width = image.shape[:2]
        require_mask_logits(mask_logits, drawing.classes)
        largest = np.full((height, width), -np.inf)
        winner = np.zeros((height, width), np.intp)
        for position, index in enumerate(drawing.classes):
            samples = sample(mask_logits[index], height, width)
            wins = samples > largest
            largest[wins] = samples[wins]
            winner[wins] = position
        mask = sigmoid(largest)[:, :, None]
        color = np.array(drawing.colors, np.float64)[winner]
        if drawing.style == "overlay":
            target, weight = color, drawing.opacity * mask
        elif drawing.style == "heat":
            target, weight = heat(mask[:, :, 0]), np.full_like(mask, drawing.opacity)
        elif drawing.style == "cutout":
            fill = np.array(drawing.fill, np.float64)
            target, weight = mask * pixel + (1.0 - mask) * fill, np.full_like(mask, drawing.opacity)
        else:
            line = on_line(largest >= 0.0, line_width(height, width))
            target, weight = color, drawing.opacity * line[:, :, None].astype(np.float64)
        return to_uint8(pixel + weight * (target - pixel))

    def masks(self, mask_logits: FloatArray, classes: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
        """Return uint8 [K, height, width], round(255 * mask), one mask per class (no maximum between them)."""
        require_mask_logits(mask_logits, classes)
        require_size(height, width)
        planes = [to_uint8(255.0 * sigmoid(sample(mask_logits[index], height, width))) for index in classes]
        return np.stack(planes) if planes else np.zeros((0, height, width), np.uint8)


def sample(logits: FloatArray, height: int, width: int) -> Exact:
    """Sample [h, w] logits bilinearly at float64 [height, width] pixel centres."""
    exact = logits.astype(np.float64)
    exact[~np.isfinite(exact)] = -np.inf
    lower, upper, weight = taps(exact.shape[1], width)
    across = mix(exact[:, lower], exact[:, upper], weight[None, :])
    lower, upper, weight = taps(exact.shape[0], height)
    return mix(across[lower, :], across[upper, :], weight[:, None])


def taps(count: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], Exact]:
    """Return lower tap, upper tap and weight of the upper tap for each of `target` pixels over `count` logits."""
    lower, upper, weight = [], [], []
    for pixel in range(target):
        numerator = (2 * pixel + 1) * count - target
        numerator = min(max(numerator, 0), (count - 1) * 2 * target)
        whole, remainder = divmod(numerator, 2 * target)
        lower.append(whole)
        upper.append(min(whole + 1, count - 1))
        weight.append(remainder / (2 * target))
    return np.array(lower, np.intp), np.array(upper, np.intp), np.array(weight, np.float64)


def mix(low: Exact, high: Exact, weight: Exact) -> Exact:
    """Return low (1 - weight) + high weight; a tap of weight 0 contributes nothing, whatever it is."""
    with np.errstate(invalid="ignore"):  # minus infinity times weight 0, which is not taken
        return np.where(weight == 0.0, low, low * (1.0 - weight) + high * weight)


def sigmoid(logits: Exact) -> Exact:
    """Return 1 / (1 + exp(-logits)); 0 for minus infinity."""
    with np.errstate(over="ignore"):
        return np.asarray(1.0 / (1.0 + np.exp(-logits)), np.float64)


def heat(mask: Exact) -> Exact:
    """Return the heat colors float64 [H, W, 3] of masks [H, W] in 0 to 1."""
    table = heat_table().astype(np.float64)
    place = 255.0 * mask
    entry = np.floor(place).astype(np.intp)
    fraction = (place - entry)[:, :, None]
    return np.asarray(table[entry] * (1.0 - fraction) + table[np.minimum(entry + 1, 255)] * fraction, np.float64)


def line_width(height: int, width: int) -> int:
    """Return the width of an outline in pixels for a picture of this size."""
    return max(1, (min(height, width) + 180) // 360)


def on_line(inside: NDArray[np.bool_], distance: int) -> NDArray[np.bool_]:
    """Return which pixels are inside while one `distance` away in x or y, clamped to the picture, is not."""
    height, width = inside.shape
    line = np.zeros_like(inside)
    for y in range(height):
        for x in range(width):
            if inside[y, x]:
                left, right = max(x - distance, 0), min(x + distance, width - 1)
                top, bottom = max(y - distance, 0), min(y + distance, height - 1)
                line[y, x] = not (inside[y, left] and inside[y, right] and inside[top, x] and inside[bottom, x])
    return line


def to_uint8(values: Exact) -> NDArray[np.uint8]:
    """Round half up and clamp to 0..255."""
    return np.clip(np.floor(values + 0.5), 0.0, 255.0).astype(np.uint8)
