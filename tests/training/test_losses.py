"""Every term of the loss against numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from edgex.errors import UsageError
from training.losses import (
    PRESETS,
    LossWeights,
    absent_area,
    area,
    area_bounds,
    classification,
    explainer_loss,
    merged_mask,
    negative_entropy,
    random_target,
    total_variation,
    upsample,
)


def logit(p: float) -> float:
    return math.log(p / (1 - p))


def brightness(image: Tensor) -> Tensor:
    """A classifier of three classes that looks at the mean of each channel."""
    return image.mean(dim=(2, 3))


def test_binary_cross_entropy_is_the_mean_over_classes() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])  # sigmoids 1/2 and 3/4
    loss = classification(logits, torch.tensor([[1.0, 0.0]]), "multi-label")
    assert loss.tolist() == pytest.approx([(math.log(2) + math.log(4)) / 2])


def test_single_label_cross_entropy() -> None:
    logits = torch.tensor([[0.0, math.log(3.0)]])  # softmax 1/4 and 3/4
    loss = classification(logits, torch.tensor([[1.0, 0.0]]), "single-label")
    assert loss.tolist() == pytest.approx([math.log(4)])


def test_negative_entropy_is_averaged_over_classes() -> None:
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [math.log(3.0), 0.0, -60.0, -60.0]])  # 1/4 each; 3/4, 1/4, 0, 0
    by_hand = [math.log(1 / 4) / 4, (0.75 * math.log(0.75) + 0.25 * math.log(0.25)) / 4]
    assert negative_entropy(logits).tolist() == pytest.approx(by_hand)


def test_the_merged_mask_is_the_sigmoid_of_the_maximum_over_the_chosen_classes() -> None:
    logits = torch.tensor([[[[0.0, logit(0.9)]], [[logit(0.7), -1.0]], [[5.0, 5.0]]]])  # [1, 3, 1, 2]
    mask = merged_mask(logits, torch.tensor([[True, True, False]]))
    assert mask.flatten().tolist() == pytest.approx([0.7, 0.9])


def test_no_chosen_class_gives_an_empty_mask_and_finite_gradients() -> None:
    logits = torch.ones(1, 2, 2, 2, requires_grad=True)
    mask = merged_mask(logits, torch.tensor([[False, False]]))
    mask.sum().backward()
    assert mask.abs().max() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0


def test_logits_are_upsampled_before_the_maximum() -> None:
    # One row of two pixels, two classes that cross: at the middle of four pixels both are near 0, not near 4.
    low = torch.tensor([[[[4.0, -4.0]], [[-4.0, 4.0]]]])  # [1, 2, 1, 2]
    mask = merged_mask(upsample(low, 1, 4), torch.tensor([[True, True]])).flatten()
    # Half-pixel centres: 4, 2, -2, -4 and its mirror image; the maximum is 4, 2, 2, 4.
    assert mask.tolist() == pytest.approx([1 / (1 + math.exp(-v)) for v in (4.0, 2.0, 2.0, 4.0)])


def test_area_is_the_mean_of_the_mask() -> None:
    assert area(torch.tensor([[[[0.0, 1.0], [0.5, 0.5]]]])).tolist() == [0.5]


def test_total_variation_adds_the_means_of_both_directions() -> None:
    mask = torch.tensor([[[[0.0, 1.0, 1.0], [0.5, 0.5, 0.0]]]])
    horizontal, vertical = (1 + 0 + 0 + 0.5) / 4, (0.5 + 0.5 + 1) / 3
    assert total_variation(mask).tolist() == pytest.approx([horizontal + vertical])


def test_total_variation_of_a_single_pixel_is_zero() -> None:
    assert total_variation(torch.full((2, 1, 1, 1), 0.3)).tolist() == [0.0, 0.0]


def test_area_bounds_by_hand() -> None:
    # Ten pixels, bounds 20 % and 50 %: sorted down 0.9 0.8 | 0.7 0.6 0.5 | 0.4 0.3 0.2 0.1 0.1
    values = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6, 0.1, 0.5]
    one = torch.tensor([logit(v) for v in values]).reshape(1, 2, 5)
    logits = torch.cat([one, torch.full((1, 2, 5), -9.0), one])[None]  # the absent class 1 must not count
    lacking, exceeding = 0.1 + 0.2, 0.4 + 0.3 + 0.2 + 0.1 + 0.1
    once = area_bounds(logits, torch.tensor([[True, False, False]]), 0.2, 0.5)
    twice = area_bounds(logits, torch.tensor([[True, False, True]]), 0.2, 0.5)
    assert once.tolist() == pytest.approx([(lacking + exceeding) / 10], abs=1e-6)
    assert twice.tolist() == pytest.approx([2 * (lacking + exceeding) / 10], abs=1e-6)


def test_area_bounds_belong_to_their_own_image() -> None:
    logits = torch.full((3, 2, 4, 4), -40.0)  # empty masks: the first 25 % lack 1 each
    target = torch.tensor([[False, False], [True, False], [True, True]])
    assert area_bounds(logits, target, 0.25, 0.5).tolist() == pytest.approx([0.0, 0.25, 0.5])


def test_a_mask_within_the_bounds_costs_nothing() -> None:
    logits = torch.full((1, 1, 10, 10), -40.0)
    logits[..., :2, :] = 40.0  # 20 % of the pixels
    assert area_bounds(logits, torch.tensor([[True]]), 0.05, 0.30).tolist() == pytest.approx([0.0], abs=1e-6)


def test_absent_area_is_the_mean_over_the_absent_classes() -> None:
    logits = torch.tensor([logit(0.2), logit(0.4), logit(0.9)])[None, :, None, None].expand(2, 3, 2, 2)
    target = torch.tensor([[False, False, True], [True, True, True]])
    assert absent_area(logits, target).tolist() == pytest.approx([0.3, 0.0])


def test_the_random_target_is_one_of_the_targets() -> None:
    target = torch.tensor([[True, True, False], [False, False, True], [False, False, False]])
    draw = torch.tensor([[0.2, 0.7, 0.9], [0.9, 0.8, 0.0], [0.5, 0.5, 0.5]])
    chosen = random_target(target, draw)
    assert chosen.tolist() == [[False, True, False], [False, False, True], [False, False, False]]


def test_the_whole_loss_by_hand() -> None:
    """A 1 x 1 mask over a 2 x 2 picture: every term can be written down."""
    image = torch.tensor([1.0, 2.0, -1.0])[None, :, None, None].expand(1, 3, 2, 2).contiguous()
    target = torch.tensor([[1.0, 0.0, 0.0]])
    low = torch.tensor([logit(0.8), logit(0.3), logit(0.1)])[None, :, None, None]  # m = 0.8, n = 0.3
    weights = LossWeights(2.0, 1.0, 0.7, 0.1, 0.3, 0.25, 0.5, absent=0.5, single=0.4)
    terms = explainer_loss(brightness, image, target, low, weights, "multi-label", torch.rand(1, 3))
    masked, inverse = [0.8, 1.6, -0.8], [0.2, 0.4, -0.2]
    bce = (math.log1p(math.exp(-masked[0])) + math.log1p(math.exp(masked[1])) + math.log1p(math.exp(masked[2]))) / 3
    p = [math.exp(v) / sum(map(math.exp, inverse)) for v in inverse]
    entropy = sum(v * math.log(v) for v in p) / 3
    bound = (0.2 * 1 + 0.8 * 2) / 4  # the first pixel of four lacks 0.2, the last two exceed by 0.8
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(
        {
            "classification": bce,
            "entropy": entropy,
            "bound": bound,
            "target_area": 0.8,
            "nontarget_area": 0.3,
            "tv": 0.0,
            "single": bce,  # the only label is the one that was drawn
            "absent": 0.2,
            "loss": bce + 2 * entropy + 0.7 * bound + 0.08 + 0.09 + 0.5 * 0.2 + 0.4 * bce,
        },
        abs=1e-6,
    )


def test_the_terms_of_ours_are_off_in_the_papers_presets() -> None:
    table = {  # l_e, l_tv, w_b, w_m, w_n
        "voc-vgg16": (1, 1, 1, 0.1, 0.3),
        "voc-resnet50": (3, 1, 0.8, 0.01, 0.3),
        "coco-vgg16": (1, 0.3, 0.3, 0.03, 0.1),
        "coco-resnet50": (3, 0.05, 0.1, 0.01, 0.03),
    }
    for name, row in table.items():
        w = PRESETS[name]
        assert (w.entropy, w.tv, w.bound, w.target_area, w.nontarget_area) == row
        assert (w.min_area, w.max_area, w.absent, w.single) == (0.05, 0.30, 0.0, 0.0)
    terms = explainer_loss(
        brightness,
        torch.rand(2, 3, 4, 4),
        torch.eye(3)[:2],
        torch.zeros(2, 3, 1, 1),
        PRESETS["voc-vgg16"],
        "multi-label",
    )
    assert not {"absent", "single"} & set(terms)


@settings(deadline=None, max_examples=25)
@given(
    shape=st.tuples(st.integers(1, 4), st.integers(1, 5), st.integers(1, 9), st.integers(1, 9)),
    low=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    labels=st.sampled_from(["all", "none", "some"]),
    seed=st.integers(0, 99),
)
def test_any_size_any_labels_is_finite_and_no_image_depends_on_another(
    shape: tuple[int, int, int, int], low: tuple[int, int], labels: str, seed: int
) -> None:
    images, classes, height, width = shape
    chance = torch.Generator().manual_seed(seed)
    image = torch.randn(images, 3, height, width, generator=chance)
    share = {"all": 2.0, "none": -1.0, "some": 0.5}[labels]
    target = (torch.rand(images, classes, generator=chance) < share).float()
    logits = torch.randn(images, classes, *low, generator=chance).requires_grad_()
    draw = torch.rand(images, classes, generator=chance)
    mix = torch.randn(3, classes, generator=chance)

    def explanandum(x: Tensor) -> Tensor:
        return x.mean(dim=(2, 3)) @ mix

    weights = LossWeights(absent=0.3, single=0.2)
    together = explainer_loss(explanandum, image, target, logits, weights, "multi-label", draw)
    together["loss"].mean().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    for n in range(images):
        one = slice(n, n + 1)
        alone = explainer_loss(explanandum, image[one], target[one], logits[one], weights, "multi-label", draw[one])
        for name, value in alone.items():
            assert value.shape == (1,)
            torch.testing.assert_close(value, together[name][one], rtol=1e-4, atol=1e-5)


def test_the_term_single_asks_for_a_draw() -> None:
    with pytest.raises(UsageError, match="draw"):
        explainer_loss(
            brightness,
            torch.rand(1, 3, 2, 2),
            torch.eye(3)[:1],
            torch.zeros(1, 3, 1, 1),
            PRESETS["edge"],
            "multi-label",
        )


@pytest.mark.parametrize(
    ("bad", "named"), [({"min_area": 0.4}, "min-area"), ({"max_area": 1.1}, "max-area"), ({"tv": -1.0}, "weight tv")]
)
def test_weights_and_bounds_are_checked(bad: dict[str, float], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        LossWeights(**bad)
