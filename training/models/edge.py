"""The `edge` Explainer: an INT8-friendly mask network over EfficientNet-Lite0, 3.9 M parameters, 0.84 GFLOP at 224.

Only convolutions with folded batch-norm, ReLU/ReLU6, additions and resizes: no squeeze-excite, no gate, no
multiplication of two activations, so that every layer has a fused INT8 kernel on CPUs and on TensorRT.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from training.models.efficientnet_lite import WIDTH, EfficientNetLite0Body

COARSE, FINE = 160, 96  # channels of the decoder at strides 32 and 16, and at stride 8
START = -2.0  # see EdgeExplainer


def _conv(inputs: int, outputs: int, kernel: int = 1, groups: int = 1, activate: bool = True) -> nn.Sequential:
    layers = [nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, groups=groups, bias=False)]
    rest: list[nn.Module] = [nn.BatchNorm2d(outputs)] + ([nn.ReLU6(inplace=True)] if activate else [])
    return nn.Sequential(*layers, *rest)


def _separable(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(_conv(inputs, inputs, 3, groups=inputs), _conv(inputs, outputs))


def _grow(features: Tensor, like: Tensor) -> Tensor:
    """Enlarge to the height and width of `like`; nearest, since a 3 x 3 convolution follows."""
    return functional.interpolate(features, size=like.shape[-2:], mode="nearest")


class EdgeExplainer(nn.Module):
    """Image [N, 3, H, W] to mask logits [N, C, H/8, W/8].

    Two answers are added. `evidence` says *what*: one linear map of the 1280 stride-32 features, which is a class
    activation map, and which `adopt` can fill from the Explanandum's own head. The decoder says *where*: strides 32
    (with a global-context branch), 16 and 8 fused by addition.

    The decoder's last bias starts at -2: masks start at 12 % instead of 50 %, inside the area bounds of 5 to 30 %,
    so that the first steps are spent on the classes rather than on shrinking every mask. When `adopt` fills the
    evidence, the bias starts at 0, since the Explanandum's own bias already speaks of rarity.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = EfficientNetLite0Body()
        self.coarse = _conv(WIDTH, COARSE, activate=False)
        self.context = nn.Sequential(nn.Conv2d(WIDTH, COARSE, 1), nn.ReLU6(inplace=True))  # 1 x 1 map: no batch-norm
        self.skip16 = _conv(112, COARSE, activate=False)
        self.fuse16 = _separable(COARSE, FINE)
        self.skip8 = _conv(40, FINE, activate=False)
        self.fuse8 = nn.Sequential(_separable(FINE, FINE), _separable(FINE, FINE))
        self.where = nn.Conv2d(FINE, classes, 1)
        self.evidence = nn.Conv2d(WIDTH, classes, 1, bias=False)
        nn.init.constant_(_bias(self.where), START)
        nn.init.normal_(self.where.weight, std=0.01)
        nn.init.normal_(self.evidence.weight, std=0.01)

    def adopt(self, head: nn.Linear) -> None:
        """Start from the class activation maps of a linear head [C, 1280] over this body's features."""
        with torch.no_grad():
            self.evidence.weight.copy_(head.weight[:, :, None, None])
            _bias(self.where).copy_(head.bias)

    def forward(self, image: Tensor) -> Tensor:
        at8, at16, at32 = self.body.pyramid(image)
        coarse = functional.relu6(self.coarse(at32) + self.context(functional.adaptive_avg_pool2d(at32, 1)))
        middle = self.fuse16(functional.relu6(_grow(coarse, at16) + self.skip16(at16)))
        fine = self.fuse8(functional.relu6(_grow(middle, at8) + self.skip8(at8)))
        what = functional.interpolate(self.evidence(at32), size=at8.shape[-2:], mode="bilinear", align_corners=False)
        mask_logits: Tensor = self.where(fine) + what
        return mask_logits


def _bias(layer: nn.Conv2d) -> Tensor:
    assert layer.bias is not None
    return layer.bias
