"""Bodies and mask networks of torchvision, with the final upsampling cut off: others do that."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from training.models.classifier import Classifier, global_pool
from training.torchvision_shim import torchvision

MEAN = (0.485, 0.456, 0.406)  # ImageNet, as torchvision's weights were trained
STD = (0.229, 0.224, 0.225)
models = torchvision.models


def _weights(pretrained: bool) -> str | None:
    return "DEFAULT" if pretrained else None  # "DEFAULT" downloads once into torch's cache


def vgg16(classes: int, pretrained: bool) -> Classifier:
    """VGG-16 with its two wide layers kept and only the last layer new, as in the paper."""
    network = models.vgg16(weights=_weights(pretrained))
    neck = nn.Sequential(network.avgpool, nn.Flatten(), *list(network.classifier)[:-2])
    return Classifier(network.features, neck, 4096, classes, dropout=0.5)


def resnet50(classes: int, pretrained: bool) -> Classifier:
    """ResNet-50 with a new head."""
    network = models.resnet50(weights=_weights(pretrained))
    stages = [network.conv1, network.bn1, network.relu, network.maxpool]
    stages += [network.layer1, network.layer2, network.layer3, network.layer4]
    return Classifier(nn.Sequential(*stages), global_pool(), 2048, classes)


def mobilenet_v2(classes: int, pretrained: bool) -> Classifier:
    """MobileNetV2 with a new head."""
    network = models.mobilenet_v2(weights=_weights(pretrained))
    return Classifier(network.features, global_pool(), 1280, classes)


class MaskNetwork(nn.Module):
    """A torchvision segmentation network without its final upsampling: [N, 3, H, W] to [N, C, H/8, W/8]."""

    def __init__(self, body: nn.Module, head: nn.Module, features: Callable[[dict[str, Tensor]], object]) -> None:
        super().__init__()
        self.body = body
        self.head = head
        self._features = features

    def forward(self, image: Tensor) -> Tensor:
        mask_logits: Tensor = self.head(self._features(self.body(image)))
        return mask_logits


def deeplabv3_resnet50(classes: int, pretrained: bool) -> MaskNetwork:
    """The paper's Explainer: DeepLabV3 over ResNet-50, output stride 8, 39.6 M parameters."""
    network = models.segmentation.deeplabv3_resnet50(
        weights=None, weights_backbone=_weights(pretrained), num_classes=classes
    )
    return MaskNetwork(network.backbone, network.classifier, _last)


def lraspp_mobilenet_v3_large(classes: int, pretrained: bool) -> MaskNetwork:
    """LR-ASPP over MobileNetV3-Large, 3.2 M parameters: quick in float, but hard-swish and gates quantise badly."""
    network = models.segmentation.lraspp_mobilenet_v3_large(
        weights=None, weights_backbone=_weights(pretrained), num_classes=classes
    )
    return MaskNetwork(network.backbone, network.classifier, _all)


def _last(features: dict[str, Tensor]) -> Tensor:
    return features["out"]


def _all(features: dict[str, Tensor]) -> dict[str, Tensor]:
    return features
