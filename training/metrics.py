"""The paper's scores of a mask against ground truth, and of a classifier against labels: arithmetic only, no network.

A score over many images is the mean of the images' own scores (as in the reference evaluation), never one count over
all pixels. Void pixels take part in no count. What is undefined is NaN, and `Means` counts it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from edgex.errors import UsageError
from edgex.types import FloatArray
from training.datasets import foreground

THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
QUARTERS = (0.25, 0.5, 0.75)
MIN_AREA = 0.05  # the saliency score stops rewarding smaller masks here
MIN_PROBABILITY = 1e-12  # a float32 softmax can underflow to 0; its logarithm must stay finite

Truth = NDArray[np.uint8]  # [H, W]; 0 background, 255 void, anything else an object


def has_foreground(truth: Truth) -> bool:
    """Whether any pixel is an object's; without one the scores against ground truth are undefined."""
    return bool(foreground(truth)[0].any())


def mask_metrics(mask: FloatArray, truth: Truth) -> dict[str, float]:
    """Score one mask against one ground truth.

    Parameters
    ----------
    mask : float [H, W], 0 to 1
    truth : uint8 [H, W], 0 background, 255 void, anything else an object (which one does not matter)

    Returns
    -------
    Name to score. `d_F1@t` and `d_IoU@t` have a pixel on where mask >= t; `d_F1@mean` and `d_IoU@mean` are over
    t = .1 ... .9. `auc` and `background_coverage` are NaN where every pixel is an object's. `pointing` is the share of
    the mask's largest pixels that lie on an object: the expected hit when ties are broken at random. `energy` is the
    share of the mask's sum that does, 0 for an empty mask.

    Raises
    ------
    UsageError
        If the shapes differ, a value of the mask is not in 0 to 1, or no pixel is an object's.
    """
    if mask.shape != truth.shape:
        raise UsageError(f"expected mask and ground truth of one shape, got {mask.shape} and {truth.shape}; resize one")
    binary, valid = foreground(truth)
    if not binary.any():
        raise UsageError("expected a ground truth with at least one object pixel, got none; leave the image out")
    single = np.asarray(mask, np.float32)[valid]  # [P]
    if not (single.min() >= 0.0 and single.max() <= 1.0):
        raise UsageError(f"expected a mask of 0 to 1, got {single.min()} to {single.max()}; apply the sigmoid first")
    object_pixels = binary[valid].astype(np.bool_)  # [P]
    m, g = single.astype(np.float64), object_pixels.astype(np.float64)

    scores = _discrete(single, object_pixels)
    tp, fp, fn, tn = (m * g).sum(), (m * (1 - g)).sum(), ((1 - m) * g).sum(), ((1 - m) * (1 - g)).sum()
    background = 1.0 - g.mean()
    largest = single == single.max()
    scores["c_F1"] = 2 * tp / (2 * tp + fp + fn)
    scores["c_IoU"] = np.minimum(m, g).sum() / np.maximum(m, g).sum()
    scores["accuracy"] = (tp + tn) / m.size
    scores["mask_coverage"] = 1.0 - np.maximum(g - m, 0).mean() / g.mean()
    scores["background_coverage"] = np.maximum(m - g, 0).mean() / background if background > 0 else math.nan
    scores["sim_ratio"] = tp / (tp + ((m - g) ** 2).sum())
    scores["auc"] = roc_auc(single, object_pixels)
    scores["pointing"] = g[largest].mean()
    scores["energy"] = tp / m.sum() if m.sum() > 0 else 0.0
    return {name: float(score) for name, score in scores.items()}


def _discrete(mask: FloatArray, object_pixels: NDArray[np.bool_]) -> dict[str, float]:
    scores: dict[str, float] = {}
    for threshold in sorted({*THRESHOLDS, *QUARTERS}):
        on = mask >= np.float32(threshold)  # float32 on both sides: else a mask of exactly .7 would be below .7
        tp = np.count_nonzero(on & object_pixels)
        wrong = np.count_nonzero(on != object_pixels)  # false positives and false negatives
        scores[f"d_F1@{threshold}"] = 2 * tp / (2 * tp + wrong)
        scores[f"d_IoU@{threshold}"] = tp / (tp + wrong)
    for name in ("d_F1", "d_IoU"):
        scores[f"{name}@mean"] = sum(scores[f"{name}@{threshold}"] for threshold in THRESHOLDS) / len(THRESHOLDS)
    return scores


def saliency(mask_mean: float, target_probability: float) -> float:
    """Score how small a mask still shows the target; lower is better.

    Parameters
    ----------
    mask_mean : mean of the mask over the non-void pixels
    target_probability : sum of the softmax probabilities of the target classes on the masked image
    """
    return math.log(max(mask_mean, MIN_AREA)) - math.log(max(target_probability, MIN_PROBABILITY))


def roc_auc(scores: FloatArray, positive: NDArray[np.bool_]) -> float:
    """Return the area under the ROC curve, equal scores counting half (mid-ranks); NaN when one side is empty.

    Parameters
    ----------
    scores : float [P]
    positive : bool [P]
    """
    positives = int(np.count_nonzero(positive))
    negatives = positive.size - positives
    if positives == 0 or negatives == 0:
        return math.nan
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    mid_ranks = np.cumsum(counts) - (counts - 1) / 2.0  # ranks from 1; equal scores share the middle of theirs
    rank_sum = float(mid_ranks[inverse][positive].sum())
    return (rank_sum - positives * (positives + 1) / 2.0) / (positives * negatives)


def average_precision(scores: FloatArray, positive: NDArray[np.bool_]) -> float:
    """Return the sum over distinct scores, downwards, of (rise in recall) * precision; NaN without a positive.

    This is scikit-learn's definition, without interpolation; VOC-2007's own 11-point figure is usually a little lower.

    Parameters
    ----------
    scores : float [M], of one class over M images
    positive : bool [M]
    """
    positives = int(np.count_nonzero(positive))
    if positives == 0:
        return math.nan
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(positive[order])
    last_of_equals = np.append(np.flatnonzero(np.diff(scores[order])), scores.size - 1)  # equal scores enter together
    hits = hits[last_of_equals]
    precision = hits / (last_of_equals + 1)
    return float((np.diff(hits, prepend=0) * precision).sum() / positives)


class Means:
    """Means of scores over images, with a count of the undefined (NaN) ones, which the mean leaves out."""

    def __init__(self) -> None:
        self.images = 0
        self._sums: dict[str, float] = {}
        self._undefined: dict[str, int] = {}

    def add(self, scores: Mapping[str, float]) -> None:
        """Add one image's scores; every image must bring the same names."""
        if self.images and set(scores) != set(self._sums):
            raise UsageError(f"expected the scores {sorted(self._sums)}, got {sorted(scores)}; score every image alike")
        self.images += 1
        for name, score in scores.items():
            undefined = math.isnan(score)
            self._sums[name] = self._sums.get(name, 0.0) + (0.0 if undefined else score)
            self._undefined[name] = self._undefined.get(name, 0) + undefined

    def means(self) -> dict[str, float | None]:
        """Return name to mean over the images where it is defined, None where it is nowhere."""
        counts = {name: self.images - self._undefined[name] for name in self._sums}
        return {name: total / counts[name] if counts[name] else None for name, total in self._sums.items()}

    def undefined(self) -> dict[str, int]:
        """Return name to number of images where the score is undefined, only those above 0."""
        return {name: count for name, count in self._undefined.items() if count}
