"""The loss of an Explainer. Every term is a function that returns one value per image, so that any split agrees.

Source: Stalder et al., "What You See is What You Classify", NeurIPS 2022 (arXiv 2205.11266). The terms `absent` and
`single` are this project's own, off by default. Logits are upsampled first, then the maximum is taken, then the
sigmoid: no other order gives the same mask. No labels: m = 0 and the bound term is 0. All labels: n = 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from edgex.errors import UsageError
from edgex.manifest import Task


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights and bounds of the loss L = L_c + entropy L_e + area terms + tv L_tv (+ absent + single).

    Attributes
    ----------
    entropy : weight of the negative entropy of the classifier on the inverse-masked image
    tv : weight of the total variation of m and n
    bound : weight of the area bounds of each target class's mask
    target_area, nontarget_area : weights of the mean of m and of n
    min_area, max_area : bounds, as fractions of the image; 0.05 and 0.30 assume large objects
    absent : ours: weight of the mean mask of each class that is not in the image, each on its own
    single : ours: weight of the classification of the image under one random target class's own mask, which must
        name that class and not the other ones present
    """

    entropy: float = 1.0
    tv: float = 1.0
    bound: float = 1.0
    target_area: float = 0.1
    nontarget_area: float = 0.3
    min_area: float = 0.05
    max_area: float = 0.30
    absent: float = 0.0
    single: float = 0.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.min_area <= self.max_area <= 1.0:
            raise UsageError(
                f"expected 0 <= min-area <= max-area <= 1, got {self.min_area} and {self.max_area}; set both"
            )
        for name in ("entropy", "tv", "bound", "target_area", "nontarget_area", "absent", "single"):
            value = getattr(self, name)
            if not 0.0 <= value < float("inf"):
                raise UsageError(f"expected a weight {name} of 0 or more, got {value}; set it")


PRESETS = {  # the paper's table, and `edge` for this project's own network
    "voc-vgg16": LossWeights(1, 1, 1, 0.1, 0.3),
    "voc-resnet50": LossWeights(3, 1, 0.8, 0.01, 0.3),
    "coco-vgg16": LossWeights(1, 0.3, 0.3, 0.03, 0.1),
    "coco-resnet50": LossWeights(3, 0.05, 0.1, 0.01, 0.03),
    "edge": LossWeights(1, 0.3, 1, 0.5, 0.3, 0.02, 0.30, absent=0.3, single=0.5),
}


def upsample(mask_logits: Tensor, height: int, width: int) -> Tensor:
    """Enlarge [N, C, h, w] to [N, C, height, width], bilinear with half-pixel centres."""
    return functional.interpolate(mask_logits, size=(height, width), mode="bilinear", align_corners=False)


def merged_mask(logits: Tensor, chosen: Tensor) -> Tensor:
    """Sigmoid of the maximum over the chosen classes: [N, C, H, W] and bool [N, C] to [N, 1, H, W]; 0 where none is."""
    hidden = logits.new_full((), float("-inf"))
    return torch.where(chosen[:, :, None, None], logits, hidden).amax(dim=1, keepdim=True).sigmoid()


def classification(class_logits: Tensor, target: Tensor, task: Task) -> Tensor:
    """Binary cross-entropy (mean over classes), or cross-entropy for a single label: [N, C], [N, C] to [N]."""
    if task == "multi-label":
        return functional.binary_cross_entropy_with_logits(class_logits, target, reduction="none").mean(dim=1)
    return functional.cross_entropy(class_logits, target, reduction="none")


def negative_entropy(class_logits: Tensor) -> Tensor:
    """Mean over classes of p log p, p the softmax: [N, C] to [N]. Lowest, -log(C) / C, when F knows nothing."""
    log_p = functional.log_softmax(class_logits, dim=1)
    return (log_p.exp() * log_p).mean(dim=1)


def area(mask: Tensor) -> Tensor:
    """Mean of a mask: [N, 1, H, W] to [N]."""
    return mask.mean(dim=(1, 2, 3))


def total_variation(mask: Tensor) -> Tensor:
    """Mean |horizontal difference| + mean |vertical difference|: [N, 1, H, W] to [N]. 0 along an axis of one pixel."""
    parts = []
    for axis in (2, 3):
        steps = mask.diff(dim=axis).abs()
        parts.append(steps.mean(dim=(1, 2, 3)) if steps.shape[axis] else mask.new_zeros(len(mask)))
    return parts[0] + parts[1]


def area_bounds(logits: Tensor, target: Tensor, min_area: float, max_area: float) -> Tensor:
    """Penalty of each target class's mask for being too small or too large: [N, C, H, W], bool [N, C] to [N].

    The pixels of one mask are sorted downwards: the first `min_area` of them should be 1, all after the first
    `max_area` should be 0. Mean over all pixels, summed over the target classes.
    """
    owner = target.nonzero()[:, 0]  # [K], the image of each of the K target masks
    # Sorting the logits of only those K masks; the sigmoid keeps their order.
    ordered = logits[target].flatten(1).sort(dim=1, descending=True).values.sigmoid()  # [K, H * W]
    pixels = ordered.shape[1]
    lacking = (1 - ordered[:, : round(min_area * pixels)]).sum(dim=1)
    exceeding = ordered[:, round(max_area * pixels) :].sum(dim=1)
    penalty = (lacking + exceeding) / pixels
    return penalty.new_zeros(len(logits)).index_add(0, owner, penalty)


def absent_area(logits: Tensor, target: Tensor) -> Tensor:
    """Mean over the absent classes of each one's mean mask: [N, C, H, W], bool [N, C] to [N]; 0 when none is absent."""
    absent = ~target
    owner = absent.nonzero()[:, 0]
    means = logits[absent].sigmoid().mean(dim=(1, 2))  # [K]
    return means.new_zeros(len(logits)).index_add(0, owner, means) / absent.sum(dim=1).clamp(min=1)


def random_target(target: Tensor, draw: Tensor) -> Tensor:
    """Choose one target class per image: bool [N, C] and uniform [N, C] to bool [N, C]; none where there is none."""
    chosen = torch.where(target, draw, draw.new_full((), -1.0)).argmax(dim=1, keepdim=True)
    return torch.zeros_like(target).scatter(1, chosen, True) & target


def explainer_loss(
    explanandum: Callable[[Tensor], Tensor],
    image: Tensor,
    target: Tensor,
    mask_logits: Tensor,
    weights: LossWeights,
    task: Task,
    draw: Tensor | None = None,
) -> dict[str, Tensor]:
    """Every term of the loss, unweighted, and their weighted sum.

    Parameters
    ----------
    explanandum : frozen classifier, image to class logits [N, C]
    image : float [N, 3, H, W], normalised; masking multiplies it, so hidden pixels become the mean colour
    target : float [N, C], 1 for the classes in the image
    mask_logits : float [N, C, h, w], low resolution, before the sigmoid
    weights : weights and bounds
    task : "multi-label" or "single-label"
    draw : uniform [N, C], chooses the class of the term `single`; needed when its weight is above 0

    Returns
    -------
    dict of [N] tensors: loss, classification, entropy, bound, target_area, nontarget_area, tv (and absent, single
    when their weights are above 0)
    """
    logits = upsample(mask_logits.float(), *image.shape[-2:])
    present = target > 0.5
    m = merged_mask(logits, present)
    n = merged_mask(logits, ~present)
    seen = [m * image, (1 - m) * image]
    one = None
    if weights.single > 0:
        if draw is None:
            raise UsageError("expected a random draw for the term single, got none; pass draw")
        one = random_target(present, draw)
        seen.append(merged_mask(logits, one) * image)
    # One pass for all masked images: the larger batch keeps the cores busier than several small ones.
    answers = explanandum(torch.cat(seen)).float().chunk(len(seen))
    terms = {
        "classification": classification(answers[0], target, task),
        "entropy": negative_entropy(answers[1]),
        "bound": area_bounds(logits, present, weights.min_area, weights.max_area),
        "target_area": area(m),
        "nontarget_area": area(n),
        "tv": total_variation(m) + total_variation(n),
    }
    if one is not None:
        terms["single"] = classification(answers[2], one.to(target.dtype), task)
    if weights.absent > 0:
        terms["absent"] = absent_area(logits, present)
    loss = terms["classification"]
    for name, value in terms.items():
        if name != "classification":
            loss = loss + getattr(weights, name) * value
    return {"loss": loss, **terms}
