"""Shortcut checks: a learned Explainer can write the label into the shape of its mask, or rely on one kind of fill.

Every figure is the mean, over images, of the summed softmax probability of the image's true classes. An honest mask
keeps it under any fill and with a wider rim; on a constant, on noise or on a foreign picture, its shape alone must not.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import adaptive_avg_pool2d, interpolate, max_pool2d
from torch.utils.data import Dataset

from training.methods import Method, merge

_RIM_PX = 3  # dilation
_BLUR_CELLS = 8  # the blurred picture is 8 x 8 means, enlarged bilinearly
_ABSENT_AREA = 0.05  # an absent class's mask larger than this (mean over pixels) counts as not empty


@torch.no_grad()
def shortcuts(
    explanandum: nn.Module,
    method: Method,
    tensors: Dataset[dict[str, Any]],
    indices: list[int],
    device: torch.device,
    seed: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Run the checks with the merged masks of the true classes.

    Parameters
    ----------
    explanandum : [N, 3, H, W] -> class logits [N, C], in eval mode, on `device`
    method : whose masks
    tensors : samples as TensorDataset gives them
    indices : the images to use; each holds at least one class
    device : where to compute
    seed : of the noise
    on_progress : called with (images done, images in all)

    Returns
    -------
    JSON types
        images, foreign_images : how many were used; foreign content needs a next image without any of the classes
        chance : mean of (true classes / classes)
        target_probability : set-up to mean probability, None where no image allowed it
        area : mean mask of present and of absent classes, and the share of absent masks above 5 %
    """
    generator = torch.Generator().manual_seed(seed)
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    areas: dict[str, list[float]] = {"present": [], "absent": []}
    chance = 0.0
    foreign_sample = tensors[indices[-1]] if indices else None
    for done, index in enumerate(indices):
        sample = tensors[index]
        image, target = sample["image"][None].to(device), sample["target"].to(device) > 0  # [1, 3, H, W], [C]
        masks = method.masks(image, torch.ones_like(target)[None])  # [1, C, H, W]
        noise = torch.randn(image.shape[-2:], generator=generator).to(device).expand_as(image)
        inputs = _inputs(image, merge(masks, target[None])[:, None], noise)
        if foreign_sample is not None and not (foreign_sample["target"].to(device).bool() & target).any():
            foreign = foreign_sample["image"][None].to(device)
            inputs["foreign alone"] = foreign
            inputs["foreign, masked"] = foreign * merge(masks, target[None])[:, None]
        foreign_sample = sample
        probabilities = explanandum(torch.cat(list(inputs.values()))).softmax(1)[:, target].sum(1).tolist()
        for name, probability in zip(inputs, probabilities, strict=True):
            sums[name] = sums.get(name, 0.0) + probability
            counts[name] = counts.get(name, 0) + 1
        mean_areas = masks[0].mean(dim=(1, 2))
        areas["present"] += mean_areas[target].tolist()
        areas["absent"] += mean_areas[~target].tolist()
        chance += float(target.float().mean())
        if on_progress:
            on_progress(done + 1, len(indices))
    absent = areas["absent"]
    return {
        "images": len(indices),
        "foreign_images": counts.get("foreign alone", 0),
        "chance": chance / len(indices) if indices else None,
        "target_probability": {name: sums[name] / counts[name] for name in sums},
        "area": {
            "present": _mean(areas["present"]),
            "absent": _mean(absent),
            "absent_above_5_percent": _mean([float(area > _ABSENT_AREA) for area in absent]),
        },
    }


def _inputs(image: Tensor, mask: Tensor, noise: Tensor) -> dict[str, Tensor]:
    """Return set-up to what the classifier is shown; image [1, 3, H, W], mask [1, 1, H, W]; 0 is the mean grey."""
    cells = (min(_BLUR_CELLS, image.shape[2]), min(_BLUR_CELLS, image.shape[3]))
    blur = interpolate(adaptive_avg_pool2d(image, cells), size=image.shape[-2:], mode="bilinear", align_corners=False)
    wider = max_pool2d(mask, 2 * _RIM_PX + 1, stride=1, padding=_RIM_PX)
    return {
        "image": image,
        "masked, grey fill": image * mask,
        "masked, blur fill": image * mask + blur * (1 - mask),
        "masked, noise fill": image * mask + noise * (1 - mask),
        "masked, 3 px wider": image * wider,
        "rest, grey fill": image * (1 - mask),
        "shape on white": mask.expand_as(image) * 2.0,  # two standard deviations above grey
        "shape on noise": mask * noise,
        "grey alone": torch.zeros_like(image),
        "blur alone": blur,
        "noise alone": noise,
    }


def _mean(values: list[float]) -> float | None:
    return sum(values) / len(values) if values else None
