"""Methods: the Explainer, Grad-CAM against its own formula, and the baselines."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.functional import interpolate

from edgex.errors import UsageError
from training.methods import merge
from training.methods.constant import baseline_masks
from training.methods.explainer import ExplainerMethod
from training.methods.gradcam import GradCamMethod
from training.models.classifier import Classifier, global_pool
from training.models.frozen import freeze

CLASSES = 4


@pytest.fixture
def image() -> torch.Tensor:
    return torch.randn(3, 3, 16, 24, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def explainer() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, CLASSES, 8, stride=8), nn.BatchNorm2d(CLASSES))


@pytest.fixture
def classifier() -> Classifier:
    torch.manual_seed(0)
    body = nn.Sequential(nn.Conv2d(3, 6, 4, stride=4), nn.BatchNorm2d(6), nn.ReLU())
    return freeze(Classifier(body, global_pool(), 6, CLASSES))  # type: ignore[return-value]


def test_merged_masks_are_the_sigmoid_of_the_maximum_of_upsampled_logits(
    explainer: nn.Module, image: torch.Tensor
) -> None:
    chosen = torch.tensor([[1, 1, 0, 0], [0, 0, 0, 1], [1, 1, 1, 1]], dtype=torch.bool)
    merged = merge(ExplainerMethod(explainer).masks(image, chosen), chosen)
    with torch.no_grad():
        logits = interpolate(explainer(image), size=(16, 24), mode="bilinear", align_corners=False)
    for n in range(3):
        expected = logits[n, chosen[n]].amax(dim=0).sigmoid()
        torch.testing.assert_close(merged[n], expected)


def test_the_explainer_runs_in_eval_mode_and_without_a_graph(explainer: nn.Module, image: torch.Tensor) -> None:
    explainer.train()
    before = {name: value.clone() for name, value in explainer.state_dict().items()}
    masks = ExplainerMethod(explainer).masks(image, torch.ones(3, CLASSES, dtype=torch.bool))
    assert not masks.requires_grad
    assert all(torch.equal(before[name], value) for name, value in explainer.state_dict().items())


def test_nothing_chosen_merges_to_nothing() -> None:
    merged = merge(torch.rand(2, CLASSES, 3, 5), torch.zeros(2, CLASSES, dtype=torch.bool))
    assert torch.equal(merged, torch.zeros(2, 3, 5))


def test_gradcam_is_its_own_formula(classifier: Classifier, image: torch.Tensor) -> None:
    """Behind a mean over positions, the gradient of a class logit is that class's weight over their number."""
    wanted = torch.tensor([[1, 0, 0, 1], [0, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    masks = GradCamMethod(classifier).masks(image, wanted)
    features = classifier.body(image)  # [3, 6, 4, 6]
    weight = classifier.head[1].weight  # [C, 6]
    assert isinstance(weight, torch.Tensor)
    for n in range(3):
        for c in range(CLASSES):
            heat = torch.einsum("k,khw->hw", weight[c] / 24, features[n]).clamp(min=0) * float(wanted[n, c])
            scaled = (heat - heat.min()) / (1e-7 + (heat - heat.min()).max())
            expected = interpolate(scaled[None, None], size=(16, 24), mode="bilinear", align_corners=False)[0, 0]
            # The package scales once more after resizing, since the resize may miss the extremes.
            expected = (expected - expected.min()) / (1e-7 + (expected - expected.min()).max())
            torch.testing.assert_close(masks[n, c], expected, atol=1e-4, rtol=0)


def test_gradcam_does_not_depend_on_the_other_images_of_the_batch(classifier: Classifier, image: torch.Tensor) -> None:
    wanted = torch.ones(3, CLASSES, dtype=torch.bool)
    method = GradCamMethod(classifier)
    together = method.masks(image, wanted)
    for n in range(3):
        torch.testing.assert_close(together[n : n + 1], method.masks(image[n : n + 1], wanted[:1]), atol=1e-4, rtol=0)


def test_gradcam_leaves_the_explanandum_as_it_was(classifier: Classifier, image: torch.Tensor) -> None:
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    with torch.no_grad():  # as in an evaluation
        GradCamMethod(classifier).masks(image, torch.ones(3, CLASSES, dtype=torch.bool))
    assert all(torch.equal(before[name], value) for name, value in classifier.state_dict().items())
    assert all(parameter.grad is None for parameter in classifier.parameters())
    assert not classifier.body._forward_hooks


def test_gradcam_says_that_it_cannot_see_into_a_foreign_network() -> None:
    with pytest.raises(UsageError, match="evaluate without Grad-CAM"):
        GradCamMethod(nn.Conv2d(3, 2, 1))


def test_baselines_are_constant_or_the_truth() -> None:
    segmentation = torch.tensor([[[0, 3, 255], [7, 0, 0]]], dtype=torch.uint8)
    masks = {name: mask.numpy() for name, mask in baseline_masks(segmentation).items()}
    assert {name: np.unique(mask).tolist() for name, mask in masks.items()} == {
        "all 0": [0.0],
        "all 0.5": [0.5],
        "all 1": [1.0],
        "perfect": [0.0, 1.0],
    }
    assert masks["perfect"].tolist() == [[[0, 1, 0], [1, 0, 0]]]
