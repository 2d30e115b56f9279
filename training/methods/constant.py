"""Baselines that look at nothing: the same value everywhere, and the ground truth itself."""

from __future__ import annotations

import torch
from torch import Tensor

from training.datasets import foreground

CONSTANTS = {"all 0": 0.0, "all 0.5": 0.5, "all 1": 1.0}
PERFECT = "perfect"
BASELINES = (*CONSTANTS, PERFECT)


def baseline_masks(segmentation: Tensor) -> dict[str, Tensor]:
    """Return the merged mask of every baseline; they do not depend on the classes, so there is nothing to merge.

    Parameters
    ----------
    segmentation : uint8 [N, H, W]; 0 background, 255 void, anything else an object

    Returns
    -------
    Name to float32 [N, H, W]; "perfect" is 1 on every object and 0 elsewhere, void included.
    """
    masks = {
        name: torch.full(segmentation.shape, value, device=segmentation.device) for name, value in CONSTANTS.items()
    }
    masks[PERFECT] = foreground(segmentation)[0].float()
    return masks
