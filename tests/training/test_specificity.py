"""Class specificity against a slow, plain count, and how images are drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

from training.metrics import THRESHOLDS
from training.specificity import draw_evenly, specificity

LABELS = ("red", "green", "blue")
CPU = torch.device("cpu")


class ChannelMeans(nn.Module):
    """Class logit c is four times the mean of channel c."""

    def __init__(self) -> None:
        super().__init__()
        self.passes = 0

    def forward(self, image: Tensor) -> Tensor:
        self.passes += len(image)
        return 4.0 * image.mean(dim=(2, 3))


class Scenes(Dataset[dict[str, Any]]):
    def __init__(self, targets: list[list[int]]) -> None:
        self.targets = torch.tensor(targets, dtype=torch.float32)
        self.images = torch.randn(len(targets), 3, 6, 8, generator=torch.Generator().manual_seed(3))

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {"image": self.images[index], "target": self.targets[index], "index": index}


class ChannelMasks:
    """The mask of class c is the sigmoid of channel c."""

    name = "channels"

    def masks(self, image: Tensor, wanted: Tensor) -> Tensor:
        return image.sigmoid()


class FixedMasks:
    name = "fixed"

    def __init__(self, *values: float) -> None:
        self.values = torch.tensor(values)

    def masks(self, image: Tensor, wanted: Tensor) -> Tensor:
        return self.values[None, :, None, None].expand(1, -1, *image.shape[-2:])


@pytest.mark.parametrize("batch", [1, 4, 100])
def test_the_matrix_is_the_plain_count(batch: int) -> None:
    scenes = Scenes([[1, 0, 0], [0, 1, 1], [0, 1, 0], [1, 1, 1]])
    classifier = ChannelMeans()
    used = [0, 1, 3]
    found = specificity(classifier, ChannelMasks(), scenes, used, LABELS, CPU, batch)
    matrix, no_mask, counts = np.zeros((3, 3)), np.zeros(3), np.zeros(3)
    for index in used:
        image = scenes.images[index][None]
        for r in torch.nonzero(scenes.targets[index]).flatten().tolist():
            counts[r] += 1
            no_mask[r] += classifier(image).softmax(1)[0, r].item()
            for c in range(3):
                for threshold in THRESHOLDS:
                    on = (image.sigmoid()[:, c : c + 1] >= threshold).float()
                    matrix[r, c] += classifier(image * on).softmax(1)[0, r].item() / 9
    np.testing.assert_allclose(found.matrix, matrix / counts[:, None], rtol=1e-5)
    np.testing.assert_allclose(found.no_mask, no_mask / counts, rtol=1e-5)
    assert found.counts.tolist() == [2, 2, 2]
    assert found.images == 3


def test_equal_masks_empty_ones_and_full_ones_cost_nothing() -> None:
    """Empty below .1, full above .9, and between the two .55 is full five times and empty four times."""
    scenes = Scenes([[1, 0, 0]])
    classifier = ChannelMeans()
    found = specificity(classifier, FixedMasks(0.0, 1.0, 0.55), scenes, [0], LABELS, CPU)
    assert found.forwards == 0
    assert classifier.passes == 2  # the image, and nothing but grey
    full = float(classifier(scenes.images[:1]).softmax(1)[0, 0])
    assert found.matrix[0].tolist() == pytest.approx([1 / 3, full, 5 / 9 * full + 4 / 9 / 3])


def test_a_class_without_images_is_left_out_of_the_means() -> None:
    found = specificity(ChannelMeans(), FixedMasks(1.0, 0.0, 0.0), Scenes([[1, 0, 0]]), [0], LABELS, CPU)
    summary = found.summary()
    assert summary["matrix"][1] == [None, None, None]
    assert summary["no_mask_column"][2] is None
    assert summary["images_per_class"] == {"red": 1, "green": 0, "blue": 0}
    assert summary["own"] == pytest.approx(summary["no_mask"])
    assert summary["own_over_no_mask"] == pytest.approx(1.0)
    assert summary["other"] == pytest.approx(1 / 3)
    assert summary["own_over_other"] == pytest.approx(3 * summary["own"])


def test_progress_is_told_image_by_image() -> None:
    told: list[tuple[int, int]] = []
    specificity(
        *(ChannelMeans(), ChannelMasks(), Scenes([[1, 0, 0], [0, 1, 0]]), [1, 0], LABELS, CPU),
        on_progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(1, 2), (2, 2)]


def test_images_are_drawn_evenly_over_the_classes() -> None:
    targets = np.zeros((100, 3), bool)
    targets[:80, 0] = targets[80:90, 1] = targets[90:, 2] = True
    drawn = draw_evenly(targets, 12, seed=0)
    assert targets[drawn].sum(axis=0).tolist() == [4, 4, 4]
    assert drawn == sorted(set(drawn))
    assert drawn == draw_evenly(targets, 12, seed=0)
    assert drawn != draw_evenly(targets, 12, seed=1)


def test_a_rare_class_is_drawn_up_and_the_others_fill_the_rest() -> None:
    targets = np.zeros((20, 2), bool)
    targets[:15, 0] = targets[15:17, 1] = True  # the last three hold no class
    assert targets[draw_evenly(targets, 10, seed=0)].sum(axis=0).tolist() == [8, 2]
    assert draw_evenly(targets, None, seed=0) == list(range(17))
    assert draw_evenly(targets, 99, seed=0) == list(range(17))
    assert draw_evenly(np.zeros((4, 2), bool), 3, seed=0) == []
