"""The fidelity figures of a candidate over all frames, and the budget they are held against."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgex.errors import UsageError
from edgex.fidelity_figures import FrameFidelity, OutputFidelity, OutputSums, mean
from edgex.onnx_file import CLASS_LOGITS, MASK_LOGITS
from edgex.types import is_whole

WORST = 5  # frames that are named and drawn


@dataclass(frozen=True, slots=True)
class Budget:
    """How far a candidate may be from the reference.

    Attributes
    ----------
    mask_iou_mean, mask_iou_p5 : least mean and 5th percentile of the IoU of merged masks at 0.5
    top1_agreement : least share of frames in which both give their highest score to the same class
    mask_difference_mean : largest mean |difference of masks|
    score_drop : largest mean drop of the class score on the frame under the candidate's mask
    output_error : largest relative error of an output that holds neither masks nor class scores
    frames_with_mask : least number of frames that show a mask, below which the masks are not judged
    """

    mask_iou_mean: float = 0.95
    mask_iou_p5: float = 0.85
    top1_agreement: float = 0.98
    mask_difference_mean: float = 0.02
    score_drop: float = 0.05
    output_error: float = 0.1
    frames_with_mask: int = 1

    def __post_init__(self) -> None:
        for name, bound in dataclasses.asdict(self).items():
            whole = name == "frames_with_mask"
            if not (is_whole(bound) and bound > 0 if whole else 0.0 <= bound <= 1.0):
                expected = "1 or more" if whole else "0 to 1"
                raise UsageError(f"expected a budget of {name} of {expected}, got {bound!r}; choose one in between")


@dataclass(frozen=True, slots=True)
class Fidelity:
    """The figures over all frames. A figure that does not exist is None, never a good one.

    Attributes
    ----------
    frames : how many were compared
    frames_without_class : in how many the reference shows no class (none of 0.5 or more)
    frames_with_mask : in how many a class is shown and the masks cover 2 % of the frame; these have an IoU
    frames_without_mask : in how many a class is shown and both masks are empty or too small to be judged
    mask_iou_mean, mask_iou_p5 : mean and 5th percentile of the IoU of the merged masks at 0.5
    mask_difference_mean : mean |difference of masks|, 0 to 1
    top1_agreement : share of frames with the same top-1 class, among those that show one; without `class_logits`
        the least over the other vectors
    score_difference_mean : mean |difference of probabilities|
    score_drop_mean : mean drop of the class score, by the reference, from its own mask to the candidate's
    outputs : each output, by name
    worst : at most five frames, the worst first
    """

    frames: int
    frames_without_class: int = 0
    frames_with_mask: int = 0
    frames_without_mask: int = 0
    mask_iou_mean: float | None = None
    mask_iou_p5: float | None = None
    mask_difference_mean: float | None = None
    top1_agreement: float | None = None
    score_difference_mean: float | None = None
    score_drop_mean: float | None = None
    outputs: Mapping[str, OutputFidelity] = field(default_factory=dict)
    worst: tuple[FrameFidelity, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the figures as JSON types; what is None or infinite is None."""
        tree: dict[str, Any] = _json(dataclasses.asdict(self))
        return tree


class Tally:
    """What is kept of frames that went by: their figures, never their pixels."""

    def __init__(self, outputs: Iterable[str]) -> None:
        self.sums = {name: OutputSums() for name in outputs}
        self.worst: tuple[FrameFidelity, ...] = ()
        self._frames = self._without_class = self._without_mask = 0
        self._figures: dict[str, list[float]] = {
            name: [] for name in ("iou", "mask_difference", "agrees", "score_difference", "score_drop")
        }

    def add(self, frame: FrameFidelity) -> None:
        """Count one frame."""
        self._frames += 1
        if MASK_LOGITS in self.sums:
            self._without_class += frame.mask_difference is None
            self._without_mask += frame.mask_difference is not None and frame.iou is None
        for name, values in self._figures.items():
            figure = getattr(frame, name)
            if figure is not None:
                values.append(float(figure))
        self.worst = tuple(sorted((*self.worst, frame), key=lambda each: each.rank)[:WORST])

    def fidelity(self) -> Fidelity:
        """Return the figures of all frames added."""
        outputs = {name: sums.fidelity() for name, sums in self.sums.items()}
        ious = self._figures["iou"]
        agreement = mean(self._figures["agrees"])
        if CLASS_LOGITS not in outputs:
            rates = [one.top1_agreement for one in outputs.values() if one.top1_agreement is not None]
            agreement = min(rates, default=None)
        return Fidelity(
            frames=self._frames,
            frames_without_class=self._without_class,
            frames_with_mask=len(ious),
            frames_without_mask=self._without_mask,
            mask_iou_mean=mean(ious),
            mask_iou_p5=float(np.percentile(ious, 5)) if ious else None,
            mask_difference_mean=mean(self._figures["mask_difference"]),
            top1_agreement=agreement,
            score_difference_mean=mean(self._figures["score_difference"]),
            score_drop_mean=mean(self._figures["score_drop"]),
            outputs=outputs,
            worst=self.worst,
        )


def shortfalls(fidelity: Fidelity, budget: Budget | None = None) -> tuple[str, ...]:
    """Return one sentence for each way in which the figures miss the budget; nothing means that the gate is passed.

    Masks and class scores of a bundle are held against their own bounds. An output of another model passes by its
    relative error, or, where it is one vector a frame, by its top-1 agreement: an embedding has no class that could
    agree, and scores that differ in scale alone name the same class.
    """
    budget = budget or Budget()
    if not fidelity.frames:
        return ("expected at least 1 frame to compare, got none; give pictures or a video",)
    found = []
    if MASK_LOGITS in fidelity.outputs and fidelity.frames_with_mask < budget.frames_with_mask:
        frames = "1 frame" if budget.frames_with_mask == 1 else f"{budget.frames_with_mask} frames"
        found.append(
            f"expected at least {frames} in which the model shows a class and its mask, got "
            f"{fidelity.frames_with_mask} of {fidelity.frames}, so masks could not be judged; give pictures of what "
            "the model knows"
        )
    least = [("mean mask IoU", fidelity.mask_iou_mean, budget.mask_iou_mean)]
    least.append(("5th percentile of the mask IoU", fidelity.mask_iou_p5, budget.mask_iou_p5))
    if CLASS_LOGITS in fidelity.outputs:
        least.append(("top-1 agreement", fidelity.top1_agreement, budget.top1_agreement))
    most = [("mean difference of masks", fidelity.mask_difference_mean, budget.mask_difference_mean)]
    most.append(("mean score drop", fidelity.score_drop_mean, budget.score_drop))
    found += [
        f"expected a {name} of at least {bound:g}, got {_short(got)}"
        for name, got, bound in least
        if _below(got, bound)
    ]
    found += [
        f"expected a {name} of at most {bound:g}, got {_short(got)}" for name, got, bound in most if _below(bound, got)
    ]
    return (*found, *_output_shortfalls(fidelity, budget))


def _output_shortfalls(fidelity: Fidelity, budget: Budget) -> list[str]:
    found = []
    for name, output in fidelity.outputs.items():
        if name in (MASK_LOGITS, CLASS_LOGITS):
            continue
        error, agreement = output.relative_error, output.top1_agreement
        if output.frames_of_another_shape:
            found.append(
                f"expected output {name} of the reference's shape in every frame, got another one in "
                f"{output.frames_of_another_shape} of {fidelity.frames}"
            )
        elif _below(budget.output_error, error) and (agreement is None or agreement < budget.top1_agreement):
            also = "" if agreement is None else f" and a top-1 agreement of {_short(agreement)}"
            bound = f"a relative error of at most {budget.output_error:g}"
            found.append(f"expected output {name} with {bound}, got {_short(error)}{also}")
    return found


def _below(one: float | None, other: float | None) -> bool:
    """Tell whether a figure is too small; one that does not exist is told of elsewhere."""
    return one is not None and other is not None and not one >= other


def _short(figure: float | None) -> str:
    return f"{figure:.4g}"


def _json(tree: Any) -> Any:
    if isinstance(tree, dict):
        return {name: _json(each) for name, each in tree.items()}
    if isinstance(tree, (list, tuple)):
        return [_json(each) for each in tree]
    return None if isinstance(tree, float) and not math.isfinite(tree) else tree
