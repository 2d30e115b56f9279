"""What one frame says about a candidate beside the reference: masks, scores and every output compared.

Masks are compared where the compositor draws them: upsampled first, then the maximum over classes, then the sigmoid.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.types import FloatArray

Mask = NDArray[np.bool_]  # [H, W], where a mask is at least 0.5, so its logit at least 0

SMALLEST = 0.02  # of the frame: 16 cells of 28 x 28


@dataclass(frozen=True, slots=True)
class FrameFidelity:
    """One frame, reference and candidate compared. A figure that does not exist for it is None.

    Attributes
    ----------
    index, name : which frame
    iou : of the merged masks at 0.5; None where no class is shown or both masks are too small
    mask_difference : mean |difference of masks| over pixels and the classes shown, 0 to 1
    agrees : whether both give their highest score to the same class
    score_difference : mean |difference of probabilities| over the classes that either shows
    score_drop : mean of max(0, probability that the reference gives to the frame under its own mask - under the
        candidate's mask) over the classes shown
    error : largest over the outputs of RMS(difference) / RMS(reference)
    classes : names of the classes that the reference shows
    """

    index: int
    name: str
    iou: float | None = None
    mask_difference: float | None = None
    agrees: bool | None = None
    score_difference: float | None = None
    score_drop: float | None = None
    error: float = 0.0
    classes: tuple[str, ...] = ()

    @property
    def rank(self) -> tuple[float, bool, float, int]:
        """What the worst frame has least of: IoU first, then agreement, then closeness of the outputs."""
        return 2.0 if self.iou is None else self.iou, self.agrees is not False, -self.error, self.index


@dataclass(frozen=True, slots=True)
class OutputFidelity:
    """One output over all frames. A figure is None where no frame could be compared.

    Attributes
    ----------
    relative_error : RMS(difference) / standard deviation of the reference (or its RMS, where it never varies)
    cosine : cosine similarity of all values as one vector
    top1_agreement : how often the largest value stands at the same place; None unless the output is one vector a frame
    frames_of_another_shape : in how many frames the candidate's shape is not the reference's, so nothing was compared
    """

    relative_error: float | None = None
    cosine: float | None = None
    top1_agreement: float | None = None
    frames_of_another_shape: int = 0


class OutputSums:
    """The sums over frames from which an OutputFidelity follows."""

    def __init__(self) -> None:
        self._values = self._another_shape = self._vectors = self._agreed = 0
        self._squares = np.zeros(3)  # of the difference, the reference, the candidate
        self._product = self._sum = 0.0

    def add(self, reference: NDArray[Any], candidate: NDArray[Any]) -> float:
        """Add one frame's output, [1, ...] each; return RMS(difference) / RMS(reference), infinite for other shapes."""
        if reference.shape != candidate.shape:
            self._another_shape += 1
            return math.inf
        a, b = (np.ravel(each).astype(np.float64) for each in (reference, candidate))
        difference = b - a
        squares = np.array([difference @ difference, a @ a, b @ b])
        self._squares += squares
        self._product += float(a @ b)
        self._sum += float(a.sum())
        self._values += a.size
        if is_vector(reference):
            self._vectors += 1
            self._agreed += int(a.argmax() == b.argmax())
        return _ratio(math.sqrt(squares[0]), math.sqrt(squares[1]))

    def fidelity(self) -> OutputFidelity:
        """Return the figures of all frames added."""
        if not self._values:
            return OutputFidelity(frames_of_another_shape=self._another_shape)
        error, rms, other = (math.sqrt(square / self._values) for square in self._squares)
        variance = rms**2 - (self._sum / self._values) ** 2
        varies = variance > 1e-12 * rms**2  # below that it is the rounding of the two sums
        lengths = rms * other * self._values
        return OutputFidelity(
            relative_error=_ratio(error, math.sqrt(variance) if varies else rms),
            cosine=min(1.0, max(-1.0, self._product / lengths)) if lengths else float(error == 0.0),
            top1_agreement=self._agreed / self._vectors if self._vectors else None,
            frames_of_another_shape=self._another_shape,
        )


def is_vector(output: NDArray[Any]) -> bool:
    """Tell whether a batched output is one floating vector a frame, as class scores are: [1, C] or [1, C, 1, 1]."""
    return output.dtype.kind == "f" and output.ndim > 1 and 1 < output.size == max(output.shape[1:])


def upsampled(mask_logits: FloatArray, height: int, width: int) -> FloatArray:
    """Sample mask logits [K, h, w] bilinearly at pixel centres: float32 [K, height, width], before the sigmoid."""
    from edgex.compositors.opencv import upsample

    planes = [upsample(plane.astype(np.float32), height, width) for plane in mask_logits]
    return np.stack(planes)


def merged(planes: FloatArray) -> FloatArray:
    """Return the mask float32 [H, W], 0 to 1, of upsampled logits [K, H, W]: their maximum, then the sigmoid."""
    return mask_of(np.max(planes, axis=0))


def mask_of(logits: FloatArray) -> FloatArray:
    """Return the sigmoid as a new float32 array."""
    from edgex.compositors.opencv import sigmoid

    return sigmoid(logits.astype(np.float32, copy=True))


def inside(planes: FloatArray) -> Mask:
    """Return where the merged mask of upsampled logits [K, H, W] is at least 0.5: where the largest is at least 0."""
    return np.asarray(planes.max(axis=0) >= 0.0)


def intersection_over_union(one: Mask, other: Mask) -> float | None:
    """Return the IoU of two masks [H, W]: 0 where one of them is empty, None where both are."""
    union = np.count_nonzero(one | other)
    return np.count_nonzero(one & other) / union if union else None


def channels_first(tensor: NDArray[Any]) -> bool:
    """Tell whether a network input is [N, C, H, W] and not [N, H, W, C]."""
    return tensor.shape[1] in (1, 3) or tensor.shape[-1] not in (1, 3)


def size_of(tensor: NDArray[Any]) -> tuple[int, int]:
    """Return height and width of a network input."""
    height, width = tensor.shape[2:] if channels_first(tensor) else tensor.shape[1:3]
    return int(height), int(width)


def judged_iou(one: Mask, other: Mask) -> float | None:
    """Return the IoU of two masks [H, W], or None where both together are too small to be judged by it.

    Below SMALLEST the masks are a dozen cells of the network's low-resolution grid, and each cell changes the IoU by
    more than the budget. A large mask that the candidate loses, or invents, is judged.
    """
    union = np.count_nonzero(one | other)
    return intersection_over_union(one, other) if union >= SMALLEST * one.size else None


def mask_difference(one: FloatArray, other: FloatArray) -> float:
    """Return the mean |difference of masks| of upsampled logits [K, H, W]."""
    return float(np.abs(mask_of(one) - mask_of(other)).mean(dtype=np.float64))


def mean(figures: Sequence[float]) -> float | None:
    """Return the mean, or None of nothing."""
    return math.fsum(figures) / len(figures) if figures else None


def _ratio(error: float, size: float) -> float:
    return error / size if size else 0.0 if error == 0.0 else math.inf
