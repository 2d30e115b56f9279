"""Compositor on OpenCV in float32: the arithmetic of `reference.py`, within one level of 255.

One class at a time is brought to full resolution, so memory grows with the picture, not with the number of classes.
What comes after that is done in strips of rows, which stay in the processor's cache and need no large temporaries.
Where two classes, or a logit and 0, lie closer than float32 can tell, winner or line may differ from the oracle.
Numbers are combined with arrays by NumPy, in place: OpenCV takes an array of 1 x 1 or 4 x 1 for a scalar of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.compositors import outline_width, require_mask_logits, require_size
from edgex.compositors.heatmap import wide_heat_table
from edgex.types import Color, Drawing, FloatArray, Image, require_image

STRIP_PX = 1 << 17  # pixels of a strip: 512 KB for each float32 plane
HEAT_STEPS = 65536  # entries of the widened heat table: its steps stay below a tenth of a level
DEEPEST = -80.0  # exp(80) still fits float32; the sigmoid is 0 to 34 digits there
STEEPEST = 1e30  # OpenCV subtracts neighbours, which must not overflow


def open() -> OpenCVCompositor:
    """Open the compositor."""
    return OpenCVCompositor()


class OpenCVCompositor:
    """Compositor on OpenCV's vectorised operations."""

    name = "opencv"

    def compose(self, image: Image, mask_logits: FloatArray, drawing: Drawing) -> Image:
        """Return a new uint8 [H, W, 3] picture; `mask_logits` is float32 [C, h, w]."""
        image = np.ascontiguousarray(require_image(image))
        require_mask_logits(mask_logits, drawing.classes)
        with_winner = drawing.style in ("overlay", "outline")
        best, winner = largest(mask_logits, drawing.classes, image, with_winner)
        line = outline(best) if drawing.style == "outline" else None  # a pixel on it looks at other rows
        picture = np.empty_like(image)
        rows = max(1, STRIP_PX // image.shape[1])
        for top in range(0, len(image), rows):
            strip = slice(top, top + rows)
            part, logits, out = image[strip], best[strip], picture[strip]
            if drawing.style == "heat":
                heat(part, logits, drawing.opacity, out)
            elif drawing.style == "cutout":
                hidden = sigmoid(np.negative(logits, out=logits))  # 1 - mask
                blend(part, paint(winner[strip], [drawing.fill]), hidden, drawing.opacity, out)
            elif line is None:
                blend(part, paint(winner[strip], drawing.colors), sigmoid(logits), drawing.opacity, out)
            else:
                colors = paint(winner[strip], drawing.colors)
                drawn = cv2.addWeighted(part, 1.0 - drawing.opacity, colors, drawing.opacity, 0.0)
                out[:] = part
                cv2.copyTo(drawn, line[strip], out)
        return picture

    def masks(self, mask_logits: FloatArray, classes: Sequence[int], height: int, width: int) -> NDArray[np.uint8]:
        """Return uint8 [K, height, width], round(255 * mask), one mask per class (no maximum between them)."""
        require_mask_logits(mask_logits, classes)
        require_size(height, width)
        planes = np.empty((len(classes), height, width), np.uint8)
        for plane, index in zip(planes, classes, strict=True):
            cv2.convertScaleAbs(mask(mask_logits[index], height, width), dst=plane, alpha=255.0)
        return planes


def mask(logits: FloatArray, height: int, width: int) -> FloatArray:
    """Return the mask float32 [height, width] in 0 to 1 of one class's float32 [h, w] logits."""
    return sigmoid(upsample(logits, height, width))


def upsample(logits: FloatArray, height: int, width: int) -> FloatArray:
    """Sample float32 [h, w] logits bilinearly at float32 [height, width] pixel centres, edges clamped."""
    finite = np.isfinite(logits)
    whole = bool(finite.all())
    taken = np.clip(logits if whole else np.where(finite, logits, 0), -STEEPEST, STEEPEST).astype(np.float32)
    samples = cv2.resize(taken, (width, height), interpolation=cv2.INTER_LINEAR)
    if not whole:
        samples[touched(~finite, height, width)] = -np.inf
    return np.asarray(samples, np.float32)


def touched(taps: NDArray[np.bool_], height: int, width: int) -> NDArray[np.bool_]:
    """Return which of [height, width] pixels sample one of the marked [h, w] taps with a weight above 0."""
    for axis, target in enumerate((height, width)):
        count = taps.shape[axis]
        # In integers, because a weight is 0 or it is not: position times 2 * target, edges clamped.
        position = np.clip((2 * np.arange(target, dtype=np.int64) + 1) * count - target, 0, (count - 1) * 2 * target)
        lower = position // (2 * target)
        upper = lower + (position % (2 * target) != 0)
        taps = taps.take(lower, axis) | taps.take(upper, axis)
    return taps


def largest(
    mask_logits: FloatArray, classes: Sequence[int], image: Image, with_winner: bool = False
) -> tuple[FloatArray, NDArray[np.unsignedinteger]]:
    """Return the largest logit over the classes, float32 [H, W], and which of them it was (all 0 unless asked for)."""
    height, width = image.shape[:2]
    best = upsample(mask_logits[classes[0]], height, width)
    winner: NDArray[np.unsignedinteger] = np.zeros((height, width), np.uint8 if len(classes) <= 256 else np.uint16)
    for position, index in enumerate(classes[1:], start=1):
        samples = upsample(mask_logits[index], height, width)
        if with_winner and len(classes) <= 256:
            wins = cv2.compare(
                samples, best, cv2.CMP_GT
            )  # 0 or 255; later positions are larger, so a maximum sets them
            cv2.max(winner, np.minimum(wins, position, out=wins), dst=winner)
        elif with_winner:
            winner[samples > best] = position
        cv2.max(best, samples, dst=best)
    return best, winner


def sigmoid(logits: FloatArray) -> FloatArray:
    """Return the sigmoid of float32 logits, in their place."""
    np.maximum(logits, DEEPEST, out=logits)
    np.negative(logits, out=logits)
    cv2.exp(logits, dst=logits)
    logits += 1.0
    return np.reciprocal(logits, out=logits)


def paint(winner: NDArray[np.unsignedinteger], colors: Sequence[Color]) -> Image:
    """Return uint8 [H, W, 3]: each pixel in its winner's color."""
    if winner.dtype != np.uint8:
        return np.asarray(np.array(colors, np.uint8)[winner], np.uint8)
    table = np.zeros((256, 1, 3), np.uint8)
    table[: len(colors), 0] = colors
    return np.asarray(cv2.applyColorMap(winner, table), np.uint8)


def blend(image: Image, target: Image, mask: FloatArray, opacity: float, out: Image) -> None:
    """Write image + opacity mask (target - image) into `out`; the mask is changed."""
    mask *= opacity
    cv2.blendLinear(image, target, 1.0 - mask, mask, dst=out)


def heat(image: Image, logits: FloatArray, opacity: float, out: Image) -> None:
    """Write the picture under the heat map of its float32 [H, W] logits into `out`; the logits are changed."""
    place = sigmoid(logits)
    place *= HEAT_STEPS - 1
    quads = _heat_quads().take(place.astype(np.uint16))  # four bytes at once: ten times as fast as three
    hot = cv2.cvtColor(quads.view(np.uint8).reshape(*image.shape[:2], 4), cv2.COLOR_BGRA2BGR)
    cv2.addWeighted(image, 1.0 - opacity, hot, opacity, 0.0, dst=out)


def outline(logits: FloatArray) -> NDArray[np.uint8]:
    """Return 1 where the line runs, uint8 [H, W]: inside, and a pixel t away in x or y is not."""
    height, width = logits.shape
    step = outline_width(height, width)
    inside = (logits >= 0.0).view(np.uint8)
    around = cv2.copyMakeBorder(inside, step, step, step, step, cv2.BORDER_REPLICATE)  # a partner outside is clamped
    line = np.zeros(inside.shape, np.bool_)
    for y, x in ((step, 0), (step, 2 * step), (0, step), (2 * step, step)):
        line |= inside > around[y : y + height, x : x + width]
    return line.view(np.uint8)


@cache
def _heat_quads() -> NDArray[np.uint32]:
    """Return uint32 [HEAT_STEPS], in memory the bytes blue, green, red, 0: the heat table, linear in between."""
    return np.floor(wide_heat_table(HEAT_STEPS) + 0.5).astype(np.uint8).view(np.uint32)[:, 0]
