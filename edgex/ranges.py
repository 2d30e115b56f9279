"""Ranges of activations, gathered frame by frame: a tensor costs a few kilobytes however many frames are seen."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Method = Literal["entropy", "minmax", "percentile"]
BINS = 2048  # on either side of zero
LEVELS = 128  # that int8 has for magnitudes
MOST_VALUES = 65536  # of a tensor and frame that are counted; smallest and largest value are exact
TINIEST = 1e-30
STEP = 16  # bins between two thresholds that the entropy method tries

Counts = NDArray[np.int64]


class TensorRange:
    """What is known of one tensor's values: extremes, a histogram around zero and, if asked, a mean per channel.

    Parameters
    ----------
    channels : whether means along axis 1 are wanted

    Notes
    -----
    The histogram covers -limit to limit, a power of two; where a value exceeds it, neighbouring bins are added up and
    the limit doubles, so nothing that was counted is lost or guessed.
    """

    def __init__(self, channels: bool = False) -> None:
        self.low = 0.0  # zero must be exact in a quantised tensor, for padding and ReLU
        self.high = 0.0
        self.limit = 0.0
        self.counts: Counts = np.zeros(2 * BINS, np.int64)
        self.sums: NDArray[np.float64] | None = None
        self.frames = 0
        self._channels = channels

    def add(self, values: NDArray[Any]) -> None:
        """Take the values of one frame, [1, C, ...] or any shape; those that are not finite are left out."""
        if values.size == 0:
            return
        low, high = float(values.min()), float(values.max())
        if not np.isfinite(low + high):
            values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
            low, high = float(values.min()), float(values.max())
        self.low, self.high = min(self.low, low), max(self.high, high)
        self.frames += 1
        if self._channels and values.ndim > 1:
            means = values.mean(axis=tuple(axis for axis in range(values.ndim) if axis != 1), dtype=np.float64)
            self.sums = means if self.sums is None else self.sums + means
        self._cover(max(-low, high))
        if self.limit:
            flat = values.reshape(-1)
            step = -(-flat.size // MOST_VALUES) | 1  # odd, so that it does not walk along one column
            bins = np.floor(flat[::step] * np.float32(BINS / self.limit)).astype(np.int64) + BINS
            self.counts += np.bincount(np.clip(bins, 0, 2 * BINS - 1), minlength=2 * BINS)

    def means(self) -> NDArray[np.float64] | None:
        """Return the mean of each channel over all frames, float64 [C], or None where they were not wanted."""
        return None if self.sums is None else self.sums / self.frames

    def range(self, method: Method, percentile: float) -> tuple[float, float]:
        """Return (low, high), low at most 0 and high at least 0.

        Parameters
        ----------
        method : "minmax" takes all values; "percentile" leaves (100 - percentile) / 2 percent out on either side;
            "entropy" takes the threshold whose 128 levels lose the least information (Migacz, GTC 2017)
        percentile : 50 to 100, for "percentile"
        """
        if method == "minmax" or not self.limit:
            return self.low, self.high
        if method == "percentile":
            low, high = self._quantiles((100.0 - percentile) / 200.0)
        else:
            threshold = entropy_threshold(self.counts[BINS:] + self.counts[:BINS][::-1]) * self.limit
            low, high = -threshold, threshold
        return max(self.low, min(low, 0.0)), min(self.high, max(high, 0.0))

    def _cover(self, magnitude: float) -> None:
        if magnitude < TINIEST:  # to be told from zero by no kernel
            return
        needed = 2.0 ** np.ceil(np.log2(magnitude))
        if not self.limit:
            self.limit = needed
        while self.limit < needed:
            negative, positive = self.counts[:BINS].reshape(-1, 2).sum(1), self.counts[BINS:].reshape(-1, 2).sum(1)
            self.counts = np.zeros(2 * BINS, np.int64)
            self.counts[BINS - BINS // 2 : BINS] = negative
            self.counts[BINS : BINS + BINS // 2] = positive
            self.limit *= 2.0

    def _quantiles(self, share: float) -> tuple[float, float]:
        """Return the outer edges of the bins that hold the quantiles `share` and 1 - `share`."""
        below = np.cumsum(self.counts)
        total = int(below[-1])
        first = int(np.searchsorted(below, share * total, side="right"))
        last = int(np.searchsorted(below, (1.0 - share) * total, side="left"))
        width = self.limit / BINS
        return (first - BINS) * width, (last + 1 - BINS) * width


def entropy_threshold(counts: Counts) -> float:
    """Return the threshold, 0 to 1 of the histogram's end, that keeps the most information in 128 levels.

    Parameters
    ----------
    counts : int64 [bins], how often each magnitude was seen

    Notes
    -----
    For every threshold the histogram up to it, what lies beyond added to its last bin, is compared with what 128
    levels make of it, by their Kullback-Leibler divergence; the smallest wins.
    """
    histogram = counts.astype(np.float64)
    histogram[0] = histogram[1]  # the many exact zeros of a ReLU are exact in any scale, and would outvote the rest
    used = int(np.flatnonzero(histogram)[-1]) + 1 if histogram.any() else 0
    if used <= LEVELS:
        return used / len(counts) if used else 1.0
    ends = [*range(LEVELS, used, STEP), used]
    losses = [_divergence(histogram, end) for end in ends]
    return float(ends[int(np.argmin(losses))] / len(counts))


def _divergence(histogram: NDArray[np.float64], end: int) -> float:
    wanted = histogram[:end].copy()
    inside = wanted > 0
    level = np.arange(end) * LEVELS // end
    totals = np.bincount(level, weights=wanted, minlength=LEVELS)
    occupied = np.bincount(level, weights=inside, minlength=LEVELS)
    coarse = np.where(inside, (totals / np.maximum(occupied, 1.0))[level], 0.0)
    wanted[-1] += histogram[end:].sum()
    inside = wanted > 0
    wanted, coarse = wanted / wanted.sum(), coarse / max(coarse.sum(), 1e-30)
    return float(np.sum(wanted[inside] * np.log(wanted[inside] / np.maximum(coarse[inside], 1e-12))))
