"""The networks by name: Explananda (classifiers) and Explainers (mask networks)."""

from __future__ import annotations

from torch import nn

from edgex.errors import UsageError
from training.models import efficientnet_lite
from training.models.classifier import Classifier, EveryPlace

EXPLANANDA = ("efficientnet_lite0", "vgg16", "resnet50", "mobilenet_v2")
EXPLAINERS = ("edge", "deeplabv3_resnet50", "lraspp_mobilenet_v3_large")
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
Triple = tuple[float, float, float]


def input_mean_std(name: str) -> tuple[Triple, Triple]:
    """Return the mean and std that the ImageNet weights of a network were trained with, RGB of 0 to 1."""
    _require(name, EXPLANANDA + EXPLAINERS, "network")
    if name in ("efficientnet_lite0", "edge"):
        return efficientnet_lite.MEAN, efficientnet_lite.STD
    return IMAGENET_MEAN, IMAGENET_STD


def build_explanandum(name: str, classes: int, pretrained: bool) -> Classifier:
    """Build a classifier with a new head.

    Parameters
    ----------
    name : one of EXPLANANDA
    classes : number of outputs C
    pretrained : start from ImageNet weights (torchvision's are downloaded once) instead of random ones

    Returns
    -------
    module : image float32 [N, 3, H, W], normalised, to class logits [N, C]

    Raises
    ------
    UsageError
        If the name is not known.
    """
    _require(name, EXPLANANDA, "Explanandum")
    if name == "efficientnet_lite0":
        body = efficientnet_lite.EfficientNetLite0Body()
        if pretrained:
            efficientnet_lite.load_imagenet_weights(body)
        return Classifier(body, EveryPlace(), efficientnet_lite.WIDTH, classes)
    from training.models import torchvision_models

    builders = {
        "vgg16": torchvision_models.vgg16,
        "resnet50": torchvision_models.resnet50,
        "mobilenet_v2": torchvision_models.mobilenet_v2,
    }
    return builders[name](classes, pretrained)


def build_explainer(name: str, classes: int, pretrained: bool) -> nn.Module:
    """Build a mask network.

    Parameters
    ----------
    name : one of EXPLAINERS
    classes : number of mask logits C
    pretrained : start its body from ImageNet weights instead of random ones

    Returns
    -------
    module : image float32 [N, 3, H, W], normalised, to mask logits [N, C, H/8, W/8]; its attribute `body` holds
        the part that ImageNet weights fill

    Raises
    ------
    UsageError
        If the name is not known.
    """
    _require(name, EXPLAINERS, "Explainer")
    if name == "edge":
        from training.models.edge import EdgeExplainer

        network = EdgeExplainer(classes)
        if pretrained:
            efficientnet_lite.load_imagenet_weights(network.body)
        return network
    from training.models import torchvision_models

    if name == "deeplabv3_resnet50":
        return torchvision_models.deeplabv3_resnet50(classes, pretrained)
    return torchvision_models.lraspp_mobilenet_v3_large(classes, pretrained)


def start_from_explanandum(explainer: nn.Module, explanandum: nn.Module) -> None:
    """Copy the Explanandum's trained body (and, for `edge`, its head) into the Explainer.

    Raises
    ------
    UsageError
        If the two bodies are not the same network.
    """
    from training.models.edge import EdgeExplainer

    same = isinstance(explanandum, Classifier) and isinstance(explanandum.body, efficientnet_lite.EfficientNetLite0Body)
    if not (isinstance(explainer, EdgeExplainer) and same):
        raise UsageError(
            "expected an edge Explainer and an efficientnet_lite0 Explanandum to start one from the other, got "
            f"{type(explainer).__name__} and {type(explanandum).__name__}; leave --init-from-explanandum out"
        )
    explainer.body.load_state_dict(explanandum.body.state_dict())  # type: ignore[union-attr]
    head = explanandum.head[1]  # type: ignore[index]
    assert isinstance(head, nn.Linear)
    explainer.adopt(head)


def _require(name: str, known: tuple[str, ...], kind: str) -> None:
    if name not in known:
        raise UsageError(f"expected an {kind} of {', '.join(known)}, got {name!r}; choose one")
