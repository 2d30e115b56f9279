"""The masks of a trained Explainer."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate


class ExplainerMethod:
    """One forward pass gives every class's mask: logits upsampled bilinearly to the image, then the sigmoid.

    Parameters
    ----------
    explainer : [N, 3, H, W] -> mask logits [N, C, h, w]; put into eval mode
    """

    name = "explainer"

    def __init__(self, explainer: nn.Module) -> None:
        self._explainer = explainer.eval()

    @torch.no_grad()
    def masks(self, image: Tensor, wanted: Tensor) -> Tensor:
        """See `Method.masks`; the masks of all classes are filled, wanted or not."""
        mask_logits = self._explainer(image)
        upsampled = interpolate(mask_logits.float(), size=image.shape[-2:], mode="bilinear", align_corners=False)
        return upsampled.sigmoid_()
