"""How well a candidate explains what the reference explains, over frames: the gate of `build`, and `verify`.

One frame is in memory at a time, besides the reference's outputs, which are kept for the next candidate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgex.errors import ModelError, UsageError
from edgex.fidelity_budget import Budget, Fidelity, Tally, shortfalls
from edgex.fidelity_figures import (
    FrameFidelity,
    OutputFidelity,
    channels_first,
    inside,
    judged_iou,
    mask_difference,
    merged,
    size_of,
    upsampled,
)
from edgex.manifest import Task
from edgex.onnx_file import CLASS_LOGITS, MASK_LOGITS
from edgex.selection import scores_of, select
from edgex.types import FloatArray

if TYPE_CHECKING:
    from edgex.engines import Network

__all__ = ["Budget", "Fidelity", "FrameFidelity", "Judged", "OutputFidelity", "Reference", "compare", "shortfalls"]
KEPT_BYTES = 1 << 28  # 256 MiB of the reference's outputs; what does not fit is inferred again
Tensor = NDArray[Any]  # one frame as network input, [1, 3, H, W] or [1, H, W, 3]
Outputs = dict[str, NDArray[Any]]  # of one frame, [1, ...] each
AXES = {MASK_LOGITS: "[1, C, h, w]", CLASS_LOGITS: "[1, C]"}


@dataclass(frozen=True, slots=True)
class Judged:
    """One frame and the masks that were compared in it.

    Attributes
    ----------
    frame : its figures
    reference, candidate : float32 [K, h, w], mask logits of the classes that the reference shows; K may be 0
    """

    frame: FrameFidelity
    reference: FloatArray
    candidate: FloatArray


@dataclass(slots=True)
class _Seen:
    """What the reference gave for one frame: outputs, classes shown, their scores under its own mask (once asked)."""

    outputs: Outputs
    shown: tuple[int, ...]
    under_mask: FloatArray | None = None


class Reference:
    """A network whose outputs over some frames are the measure of many candidates.

    Parameters
    ----------
    network : the reference
    tensors : name and network input of each frame; walked once a candidate, so a list (or the like) for several
    task : how class logits become probabilities; None is the task of the network's manifest. Without a task or
        without `class_logits` nothing chooses classes, and the masks of all of them are compared
    score_drop : False leaves the score drop out, which takes one more inference of the reference a frame
    kept_bytes : how much of the reference's outputs is kept for the next candidate
    """

    def __init__(
        self,
        network: Network,
        tensors: Iterable[tuple[str, Tensor]],
        task: Task | None = None,
        *,
        score_drop: bool = True,
        kept_bytes: int = KEPT_BYTES,
    ) -> None:
        self._network = network
        self._tensors = tensors
        self._task: Task | None = task or (network.manifest.task if network.manifest else None)
        self._labels = network.manifest.labels if network.manifest else ()
        self._score_drop = score_drop
        self._room = kept_bytes
        self._kept: dict[tuple[int, str], _Seen] = {}

    def compare(self, candidate: Network, observe: Callable[[int], object] = lambda done: None) -> Fidelity:
        """Compare a candidate with the reference over all frames.

        Parameters
        ----------
        candidate : a network with the same outputs, on any backend
        observe : called with the number of frames done, after each

        Raises
        ------
        ModelError
            If one of the two cannot infer, lacks an output, or gives NaN or infinity.
        """
        tally = self.tally()
        for done, _ in enumerate(self.judge(candidate, tally), start=1):
            observe(done)
        return tally.fidelity()

    def tally(self) -> Tally:
        """Return an empty tally for `judge`."""
        return Tally(spec.name for spec in self._network.outputs)

    def judge(self, candidate: Network, tally: Tally) -> Iterator[Judged]:
        """Compare frame by frame; each is counted in `tally` before it is given out. Raises what `compare` raises."""
        missing = tally.sums.keys() - {spec.name for spec in candidate.outputs}
        if missing:
            got = ", ".join(spec.name for spec in candidate.outputs)
            raise ModelError(
                f"expected outputs {', '.join(sorted(missing))} of {candidate.path} as {self._network.path} has them, "
                f"got {got}; compare two forms of one model"
            )
        for index, (name, tensor) in enumerate(self._tensors):
            seen = self._seen(index, name, tensor)
            given = _infer(candidate, name, tensor)
            for key in AXES:
                _require_classes(candidate, key, seen.outputs, given)
            error = max(sums.add(seen.outputs[key], given[key]) for key, sums in tally.sums.items())
            judged = self._judged(FrameFidelity(index, name, error=error), tensor, seen, given)
            tally.add(judged.frame)
            yield judged

    def _seen(self, index: int, name: str, tensor: Tensor) -> _Seen:
        kept = self._kept.get((index, name))
        if kept is None:
            outputs = _infer(self._network, name, tensor)
            kept = _Seen(outputs, self._shown(outputs))
            size = sum(output.nbytes for output in outputs.values())
            if size <= self._room:
                self._room -= size
                self._kept[index, name] = kept
        return kept

    def _scores(self, outputs: Outputs) -> FloatArray | None:
        """Return probabilities float32 [C], or None where nothing gives them."""
        logits = outputs.get(CLASS_LOGITS)
        return None if logits is None or self._task is None else scores_of(logits[0], self._task)

    def _shown(self, outputs: Outputs) -> tuple[int, ...]:
        """Return the classes that `run` would show for these outputs; all where nothing can choose."""
        scores = self._scores(outputs)
        if scores is not None:
            return select(scores, self._labels)
        return tuple(range(outputs[MASK_LOGITS].shape[1])) if MASK_LOGITS in outputs else ()

    def _judged(self, frame: FrameFidelity, tensor: Tensor, seen: _Seen, given: Outputs) -> Judged:
        shown = list(seen.shown)
        if CLASS_LOGITS in given:
            frame = replace(frame, **self._score_figures(seen, given))
        if MASK_LOGITS not in given or not shown:
            nothing = np.zeros((0, 1, 1), np.float32)
            return Judged(frame, nothing, nothing)
        pair = [np.asarray(each[MASK_LOGITS][0, shown], np.float32) for each in (seen.outputs, given)]
        ours, theirs = (upsampled(logits, *size_of(tensor)) for logits in pair)
        frame = replace(
            frame,
            classes=tuple(self._labels[i] if i < len(self._labels) else f"class {i}" for i in shown),
            iou=judged_iou(inside(ours), inside(theirs)),
            mask_difference=mask_difference(ours, theirs),
        )
        if self._score_drop and self._scores(seen.outputs) is not None and tensor.dtype.kind == "f":
            if seen.under_mask is None:
                seen.under_mask = self._under_mask(frame.name, tensor, ours, shown)
            drops = seen.under_mask - self._under_mask(frame.name, tensor, theirs, shown)
            frame = replace(frame, score_drop=float(np.maximum(drops, 0.0).mean()))
        return Judged(frame, pair[0], pair[1])

    def _score_figures(self, seen: _Seen, given: Outputs) -> dict[str, Any]:
        best, guess = (int(each[CLASS_LOGITS][0].argmax()) for each in (seen.outputs, given))
        ours, theirs = self._scores(seen.outputs), self._scores(given)
        if ours is None or theirs is None:
            return {"agrees": best == guess}
        either = sorted({best, *seen.shown, *self._shown(given)})
        named = self._task == "single-label" or seen.shown  # the highest of scores that are all low names nothing
        return {
            "agrees": best == guess if named else None,
            "score_difference": float(np.abs(ours - theirs)[either].mean()),
        }

    def _under_mask(self, name: str, tensor: Tensor, planes: FloatArray, shown: list[int]) -> FloatArray:
        """Return what the reference gives the classes shown when it sees only what the mask lets through.

        Behind the mask lies 0, which in a normalised input is the mean colour.
        """
        mask = merged(planes)
        masked = tensor * (mask[None, None] if channels_first(tensor) else mask[None, :, :, None])
        scores = self._scores(_infer(self._network, name, masked.astype(tensor.dtype, copy=False)))
        assert scores is not None  # only a network that gave scores is asked
        return np.asarray(scores[shown], np.float32)


def compare(
    reference: Network,
    candidate: Network,
    tensors: Iterable[tuple[str, Tensor]],
    task: Task | None = None,
    observe: Callable[[int], object] = lambda done: None,
) -> Fidelity:
    """Compare two networks over named network inputs [1, ...], each looked at once. See `Reference.compare`."""
    return Reference(reference, tensors, task, kept_bytes=0).compare(candidate, observe)


def _infer(network: Network, name: str, tensor: Tensor) -> Outputs:
    """Return the outputs for one frame, [1, ...] each; a fixed batch is filled with it."""
    spec = network.input
    batch = spec.shape[0] if spec.shape else None
    if spec.dtype in ("float16", "float32") and tensor.dtype.kind == "f":
        tensor = tensor.astype(spec.dtype, copy=False)
    filled = isinstance(batch, int) and batch > 1
    try:
        outputs = network.run(np.repeat(tensor, batch, axis=0) if filled else tensor)  # type: ignore[arg-type]
    except UsageError as error:
        raise ModelError(f"expected {network.path} to take the same input as the other model: {error}") from error
    outputs = {key: output[:1].copy() if filled else output for key, output in outputs.items()}
    for key, output in outputs.items():
        if key in AXES and output.ndim != AXES[key].count(",") + 1:
            got = list(output.shape)
            raise ModelError(f"expected {key} {AXES[key]} of {network.path}, got {got}; export the model again")
        broken = 0 if output.dtype.kind in "iub" else int(np.count_nonzero(~np.isfinite(output)))
        if broken:
            raise ModelError(
                f"expected finite {key} of {network.path} for {name}, got NaN or infinity in {broken} of {output.size} "
                "values; its weights are broken or overflow in low precision: build it in a higher one"
            )
    return outputs


def _require_classes(candidate: Network, key: str, ours: Outputs, theirs: Outputs) -> None:
    if key in ours and ours[key].shape[1] != theirs[key].shape[1]:
        want, got = list(ours[key].shape), list(theirs[key].shape)
        raise ModelError(f"expected {key} {want} of {candidate.path}, got {got}; compare two forms of one model")
