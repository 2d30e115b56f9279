"""Smoothing of logits over time, so that masks and the list of classes do not flicker with the camera's noise.

By time and not by frame: a source that drops frames, or runs at another rate, is smoothed as much.
Why the default is what it is stands in benchmarks/smoothing.py.
"""

from __future__ import annotations

import math

import numpy as np

from edgex.errors import UsageError
from edgex.types import FloatArray, Logits, is_number

__all__ = ["RESTART", "SMOOTH_S", "Smoother"]
SMOOTH_S = 0.1  # time constant by default; benchmarks/smoothing.py chose it
RESTART = 5.0  # time constants without a frame, after which less than 1 % of the old state would count


class Smoother:
    """Exponential smoothing of one source's logits; one thread at a time calls it.

    A new frame counts with the weight 1 - exp(-dt / time constant), dt being the time since the frame before it, so a
    step in the logits has reached 63 % after one time constant.
    Smoothing starts anew, so the frame passes unchanged, after a gap of more than RESTART time constants, where time
    stands still or runs backwards, and where the shapes are others.

    Parameters
    ----------
    time_constant_s : in seconds, 0 or more; 0 passes everything unchanged

    Raises
    ------
    UsageError
        If it is anything else.
    """

    def __init__(self, time_constant_s: float) -> None:
        if not is_number(time_constant_s) or time_constant_s < 0.0:
            raise UsageError(
                f"expected a time constant of 0 seconds or more, got {time_constant_s!r}; give 0 for no smoothing"
            )
        self._time_constant_s = float(time_constant_s)
        self._time_ns: int | None = None
        self._masks = _Average()
        self._classes = _Average()

    def smooth(self, logits: Logits, time_ns: int) -> Logits:
        """Return the smoothed logits of the next frame.

        A logit that is not finite passes as it is, so it counts as minus infinity in this frame; the smoothing of that
        logit starts anew with the next frame.

        Parameters
        ----------
        logits : float32, what the engine gave; it is not changed
        time_ns : the frame's time stamp, Frame.time_ns

        Returns
        -------
        New float32 arrays of the same shapes; `logits` itself where the time constant is 0
        """
        if self._time_constant_s == 0.0:
            return logits
        weight = self._weight(time_ns)
        self._time_ns = time_ns
        masks = self._masks.add(logits.mask_logits, weight)
        classes = None if logits.class_logits is None else self._classes.add(logits.class_logits, weight)
        return Logits(masks, classes)

    def _weight(self, time_ns: int) -> float:
        """Return what the new frame counts, above 0 and at most 1."""
        if self._time_ns is None or time_ns <= self._time_ns:
            return 1.0
        past = (time_ns - self._time_ns) / 1e9 / self._time_constant_s
        return 1.0 if past > RESTART else -math.expm1(-past)


class _Average:
    """The running average of one array; two buffers of its size are kept and used again."""

    def __init__(self) -> None:
        self._state: FloatArray = np.empty(0, np.float32)
        self._step: FloatArray = np.empty(0, np.float32)

    def add(self, new: FloatArray, weight: float) -> FloatArray:
        """Return the average after `new` as a new array."""
        if weight == 1.0 or new.shape != self._state.shape:
            self._state = np.array(new, np.float32)
            self._step = np.empty_like(self._state)
            return self._state.copy()
        with np.errstate(invalid="ignore", over="ignore"):
            np.subtract(new, self._state, out=self._step)
        averaged = np.isfinite(self._step)  # false where one of the two is not finite, or they are too far apart
        self._step *= np.float32(weight)
        if averaged.all():
            self._state += self._step
        else:
            np.add(self._state, self._step, out=self._state, where=averaged)
            np.copyto(self._state, new, where=~averaged)
        return self._state.copy()
