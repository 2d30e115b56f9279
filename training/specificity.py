"""Class specificity: does the mask of a class show the classifier that class, and hide the others?

Row r, column c: the softmax probability of class r when images that hold r are masked by the mask of class c. The
diagonal should stay near the no-mask column, everything else should fall. This cannot be had by large masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import Dataset

from training.methods import Method
from training.metrics import THRESHOLDS

_FULL, _EMPTY = 0, 1  # rows of the table of probabilities that need no forward pass per mask


@dataclass(frozen=True, slots=True)
class Specificity:
    """The class-specificity matrix of one method.

    Attributes
    ----------
    method : name of the method
    labels : names of the C classes
    matrix : float64 [C, C], 0 to 1; row = true class, column = class of the mask; a row without images is NaN
    no_mask : float64 [C], the same without a mask
    counts : int64 [C], images per row; an image of several classes counts in the row of each
    images : number of different images
    forwards : forward passes of single masked images that were needed
    """

    method: str
    labels: tuple[str, ...]
    matrix: NDArray[np.float64]
    no_mask: NDArray[np.float64]
    counts: NDArray[np.int64]
    images: int
    forwards: int

    def summary(self) -> dict[str, Any]:
        """Return JSON types: own, other, no_mask (means over entries), their ratios, the matrix; None if undefined."""
        seen = self.counts > 0
        diagonal = np.eye(len(self.labels), dtype=bool)
        own = _mean(self.matrix[seen][diagonal[seen]])
        other = _mean(self.matrix[seen][~diagonal[seen]])
        no_mask = _mean(self.no_mask[seen])
        return {
            "own": own,
            "other": other,
            "no_mask": no_mask,
            "own_over_other": own / other if own is not None and other else None,
            "own_over_no_mask": own / no_mask if own is not None and no_mask else None,
            "images": self.images,
            "forwards": self.forwards,
            "thresholds": list(THRESHOLDS),
            "images_per_class": dict(zip(self.labels, self.counts.tolist(), strict=True)),
            "labels": list(self.labels),
            "matrix": [[None if math.isnan(entry) else entry for entry in row] for row in self.matrix.tolist()],
            "no_mask_column": [None if math.isnan(entry) else entry for entry in self.no_mask.tolist()],
        }


def _mean(entries: NDArray[np.float64]) -> float | None:
    return float(entries.mean()) if entries.size else None


def draw_evenly(targets: NDArray[np.bool_], count: int | None, seed: int) -> list[int]:
    """Draw images so that every class comes as often as it can: class by class in turn, images in seeded order.

    Parameters
    ----------
    targets : bool [M, C], which classes each image holds; images that hold none are never drawn
    count : how many images, or None for all that hold a class
    seed : of the order

    Returns
    -------
    Sorted indices into the M images, none twice
    """
    order = np.random.default_rng(seed).permutation(len(targets))
    queues = [[int(i) for i in order[::-1] if targets[i, c]] for c in range(targets.shape[1])]  # popped from the end
    drawn: set[int] = set()
    wanted = int(targets.any(axis=1).sum())
    wanted = wanted if count is None else min(count, wanted)
    while len(drawn) < wanted:
        for queue in queues:
            while queue and queue[-1] in drawn:
                queue.pop()
            if queue and len(drawn) < wanted:
                drawn.add(queue.pop())
    return sorted(drawn)


@torch.no_grad()
def specificity(
    explanandum: nn.Module,
    method: Method,
    tensors: Dataset[dict[str, Any]],
    indices: list[int],
    labels: tuple[str, ...],
    device: torch.device,
    batch: int = 32,
    on_progress: Callable[[int, int], None] | None = None,
) -> Specificity:
    """Measure the class-specificity matrix over all classes.

    Masks are binarised at .1 ... .9 (on where mask >= threshold) and multiply the normalised image. Binarised masks are
    nested, so one with as many pixels as the one before it is the same and costs nothing; nor does an empty or a full
    one.

    Parameters
    ----------
    explanandum : [N, 3, H, W] -> class logits [N, C], in eval mode, on `device`
    method : whose masks
    tensors : samples as TensorDataset gives them
    indices : the images to use
    labels : names of the C classes
    device : where to compute
    batch : masked images in one forward pass
    on_progress : called with (images done, images in all)
    """
    classes = len(labels)
    matrix, no_mask = np.zeros((classes, classes)), np.zeros(classes)
    counts = np.zeros(classes, np.int64)
    empty: Tensor | None = None
    forwards = 0
    for done, index in enumerate(indices):
        sample = tensors[index]
        image = sample["image"][None].to(device)  # [1, 3, H, W]
        if empty is None:  # what the classifier says of nothing but the mean grey: the same for every image
            empty = explanandum(torch.zeros_like(image)).softmax(1)
        full = explanandum(image).softmax(1)
        masks = method.masks(image, torch.ones(1, classes, dtype=torch.bool, device=device))[0]  # [C, H, W]
        shown, rows = _distinct(masks)
        table = [full, empty]  # rows _FULL and _EMPTY, then one per distinct mask: [2 + D, C]
        for chunk in torch.split(shown, batch):
            table.append(explanandum(image * chunk[:, None]).softmax(1))
        forwards += len(shown)
        probabilities = torch.cat(table).double().cpu().numpy()[rows].mean(axis=1)  # [C masks, 9, C] -> [C masks, C]
        for true in np.flatnonzero(sample["target"].numpy() > 0):
            matrix[true] += probabilities[:, true]
            no_mask[true] += float(full[0, true])
            counts[true] += 1
        if on_progress:
            on_progress(done + 1, len(indices))
    with np.errstate(invalid="ignore"):  # 0 / 0 = NaN marks a class without an image
        matrix, no_mask = matrix / counts[:, None], no_mask / counts
    return Specificity(method.name, labels, matrix, no_mask, counts, len(indices), forwards)


def _distinct(masks: Tensor) -> tuple[Tensor, NDArray[np.int64]]:
    """Return the distinct binarised masks, bool [D, H, W], and the table row of each, int64 [C, 9]."""
    thresholds = masks.new_tensor(THRESHOLDS)
    on = masks[:, None] >= thresholds[None, :, None, None]  # [C, 9, H, W]
    areas = on.sum(dim=(2, 3)).cpu().numpy()  # [C, 9], never rising along the thresholds
    pixels = masks[0].numel()
    rows = np.empty(areas.shape, np.int64)
    kept: list[tuple[int, int]] = []
    for c, t in np.ndindex(*areas.shape):
        if areas[c, t] in (0, pixels):
            rows[c, t] = _EMPTY if areas[c, t] == 0 else _FULL
        elif t > 0 and areas[c, t] == areas[c, t - 1]:
            rows[c, t] = rows[c, t - 1]
        else:
            rows[c, t] = 2 + len(kept)
            kept.append((c, t))
    shown = on[[c for c, _ in kept], [t for _, t in kept]] if kept else on.new_zeros((0, *masks.shape[1:]))
    return shown, rows
