"""Grad-CAM (Selvaraju et al., ICCV 2017) through the pytorch-grad-cam package, the baseline beside every table.

The package clips each heat map at 0, scales it to 0..1 by its own minimum and maximum, per image and class, and
resizes it bilinearly. So a Grad-CAM mask reaches about 1 somewhere even for an absent class, unless it is 0 everywhere.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from edgex.errors import UsageError
from training.models.classifier import Classifier
from training.torchvision_shim import torchvision  # noqa: F401  (pytorch_grad_cam imports it; the shim must come first)

_PAIRS_AT_ONCE = 32  # (image, class) pairs in one forward and backward pass


class GradCamMethod:
    """Grad-CAM of the Explanandum's own class logits, over the last feature maps of its body.

    That is `layer4` of a ResNet and `features` of VGG and MobileNet, as the package's documentation has it.

    Parameters
    ----------
    explanandum : a classifier of this project, in eval mode; its parameters may be frozen

    Raises
    ------
    UsageError
        If it is another module (one converted from ONNX): where its body ends is unknown.
    """

    name = "Grad-CAM"

    def __init__(self, explanandum: nn.Module) -> None:
        if not isinstance(explanandum, Classifier):
            raise UsageError(
                f"expected a classifier of this project for Grad-CAM, got {type(explanandum).__name__}, whose last "
                "feature maps are unknown; evaluate without Grad-CAM"
            )
        self._explanandum = explanandum

    def masks(self, image: Tensor, wanted: Tensor) -> Tensor:
        """See `Method.masks`; only wanted masks are filled: each costs a forward and a backward pass."""
        from pytorch_grad_cam.grad_cam import GradCAM
        from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

        masks = image.new_zeros((*wanted.shape, *image.shape[-2:]))
        pairs = wanted.nonzero().tolist()
        gradcam = GradCAM(self._explanandum, [self._explanandum.body])  # not as `with`: that swallows an IndexError
        try:
            for start in range(0, len(pairs), _PAIRS_AT_ONCE):
                rows, columns = (list(axis) for axis in zip(*pairs[start : start + _PAIRS_AT_ONCE], strict=True))
                with torch.enable_grad():
                    repeated = image[rows].detach().requires_grad_(True)  # frozen weights alone would leave no graph
                    heat = gradcam(repeated, [ClassifierOutputTarget(column) for column in columns])  # [P, H, W]
                masks[rows, columns] = torch.from_numpy(heat).to(masks).clamp_(0.0, 1.0)
        finally:
            gradcam.activations_and_grads.release()
        return masks
