from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from edgex.errors import DataError, UsageError
from edgex.manifest import InputSpec, Task
from edgex.preprocess import preprocess
from edgex.types import FloatArray
from tests.training.trees import class_numbers, picture, write_voc
from training.datasets import Sample, foreground, open_dataset
from training.transforms import Augmentation, SampleError, TensorDataset, augment, resize_nearest

SPEC = InputSpec(16, 20, (0.4, 0.5, 0.6), (0.2, 0.25, 0.3))
STRONG = Augmentation(flip=0.5, crop=0.5, jitter=0.4, hue=0.1, grey=0.2, erase=0.5)


@dataclass
class Pictures:
    """An ImageDataset in memory."""

    images: list[NDArray[np.uint8]]
    segmentations: list[NDArray[np.uint8] | None]
    labels: tuple[str, ...] = ("cat", "dog")
    task: Task = "multi-label"

    def __len__(self) -> int:
        return len(self.images)

    def path(self, index: int) -> Path:
        return Path(f"{index}.png")

    def target(self, index: int) -> FloatArray:
        return np.array([1, index % 2], np.float32)

    def load(self, index: int) -> Sample:
        return Sample(self.images[index], self.target(index), self.segmentations[index], self.path(index))


@pytest.fixture
def pictures() -> Pictures:
    images = [picture(seed, 30, 40) for seed in range(6)]
    return Pictures(images, [class_numbers(1 + seed % 2, 30, 40) if seed else None for seed in range(6)])


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in ("image", "target", "segmentation"))


def test_without_augmentation_the_input_is_what_the_device_sees(pictures: Pictures) -> None:
    tensors = TensorDataset(pictures, SPEC)
    for index in range(len(tensors)):
        np.testing.assert_array_equal(tensors[index]["image"].numpy(), preprocess(pictures.images[index], SPEC)[0])
        assert tensors[index]["index"] == index


def test_shapes_and_types(pictures: Pictures) -> None:
    sample = TensorDataset(pictures, SPEC, STRONG)[1]
    assert {name: (sample[name].dtype, tuple(sample[name].shape)) for name in ("image", "target", "segmentation")} == {
        "image": (torch.float32, (3, 16, 20)),
        "target": (torch.float32, (2,)),
        "segmentation": (torch.uint8, (16, 20)),
    }
    assert sample["target"].tolist() == [1, 1]


@pytest.mark.parametrize("augmentation", [Augmentation(), STRONG])
def test_a_sample_without_segmentation_is_all_void(pictures: Pictures, augmentation: Augmentation) -> None:
    assert (TensorDataset(pictures, SPEC, augmentation)[0]["segmentation"] == 255).all()


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(0, 9))
def test_ground_truth_takes_the_pixel_under_each_centre(
    rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    source = np.random.default_rng(seed).integers(0, 256, (rows, columns), dtype=np.uint8)
    y, x = ((np.arange(n) * 2 + 1) * m // (2 * n) for n, m in ((height, rows), (width, columns)))
    resized = resize_nearest(source, height, width)
    ties = [((np.arange(n) * 2 + 1) * m) % (2 * n) == 0 for n, m in ((height, rows), (width, columns))]
    decided = ~ties[0][:, None] & ~ties[1][None]  # on a border between two source pixels either is under the centre
    np.testing.assert_array_equal(resized[decided], source[y][:, x][decided])


def test_resized_ground_truth_is_not_dilated_and_invents_no_class() -> None:
    truth = np.zeros((96, 96), np.uint8)
    truth[33:63, 33:63] = 20
    small = resize_nearest(truth, 32, 32)
    assert set(np.unique(small)) == {0, 20}
    assert (small == 20).sum() == 100


def test_void_never_becomes_foreground(pictures: Pictures) -> None:
    for index in range(1, 6):
        segmentation = TensorDataset(pictures, SPEC, STRONG)[index]["segmentation"]
        binary, valid = foreground(segmentation)
        assert isinstance(binary, torch.Tensor)
        assert not binary[segmentation == 255].any()
        assert torch.equal(valid, segmentation != 255)
        assert set(segmentation.unique().tolist()) <= {0, 1 + index % 2, 255}


def test_the_same_seed_epoch_and_index_give_the_same_sample(pictures: Pictures) -> None:
    first, second = (TensorDataset(pictures, SPEC, STRONG, seed=7) for _ in range(2))
    second[3]  # what was read before does not matter
    first.set_epoch(2)
    second.set_epoch(2)
    assert all(equal(first[index], second[index]) for index in range(6))
    assert not equal(first[3], TensorDataset(pictures, SPEC, STRONG, seed=8)[3])
    before = first[3]
    first.set_epoch(3)
    assert not equal(first[3], before)


def test_workers_give_the_same_samples_and_see_the_epoch_change(pictures: Pictures) -> None:
    tensors, alone = (TensorDataset(pictures, SPEC, STRONG, seed=7) for _ in range(2))
    loader = DataLoader(tensors, batch_size=6, num_workers=1, persistent_workers=True)
    for epoch in range(2):
        tensors.set_epoch(epoch)
        alone.set_epoch(epoch)
        batch = next(iter(loader))
        assert all(torch.equal(batch["image"][index], alone[index]["image"]) for index in range(6))


@pytest.mark.parametrize("workers", [0, 1])
def test_a_corrupt_picture_is_one_sentence_also_from_a_worker(tmp_path: Path, workers: int) -> None:
    images = open_dataset(f"voc:{write_voc(tmp_path / 'voc')}", "train")
    images.path(1).write_bytes(b"\xff\xd8 no more")
    with pytest.raises(SampleError) as caught:
        list(DataLoader(TensorDataset(images, SPEC), num_workers=workers))
    assert str(caught.value) == (
        f"expected a whole picture in {images.path(1)}, got 10 bytes that do not decode; replace it or remove its entry"
    )
    assert isinstance(caught.value, DataError)


def position_picture(height: int = 40, width: int = 40) -> NDArray[np.uint8]:
    """Return a picture whose blue tells the column and green the row."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = np.arange(width)[None] * 6
    image[..., 1] = np.arange(height)[:, None] * 6
    return image


@pytest.mark.parametrize("seed", range(8))
def test_flip_and_crop_move_picture_and_ground_truth_alike(seed: int) -> None:
    image = position_picture()
    truth = (image[..., 0] // 16 + 1).astype(np.uint8) * (image[..., 1] > 120)  # a class a band of columns, lower half
    spec = replace(SPEC, height=160, width=160)
    moved, numbers = augment(image, truth, spec, Augmentation(flip=0.5, crop=0.6), np.random.default_rng(seed))
    expected = (moved[..., 0] // 16 + 1) * (moved[..., 1] > 120)
    assert (numbers == expected).mean() > 0.9  # but for the pixels between two source pixels
    assert len(np.unique(numbers)) > 3


def test_a_flip_mirrors_exactly() -> None:
    image, truth = picture(0, 16, 20), class_numbers(1, 16, 20)
    truth[0, 0] = 2
    moved, numbers = augment(image, truth, SPEC, Augmentation(flip=1), np.random.default_rng(0))
    np.testing.assert_array_equal(moved, image[:, ::-1])
    np.testing.assert_array_equal(numbers, truth[:, ::-1])


@pytest.mark.parametrize("crop", [0.3, 0.75])
def test_a_crop_keeps_at_least_its_share_of_the_area(crop: float) -> None:
    image = position_picture()
    shares = []
    for seed in range(60):
        moved, _ = augment(image, image[..., 0], SPEC, Augmentation(crop=crop), np.random.default_rng(seed))
        spans = [int(np.ptp(moved[..., channel].astype(int))) / 6 / 40 for channel in (0, 1)]
        shares.append(spans[0] * spans[1])
    assert min(shares) > 1 - crop - 0.12  # the mean over a target pixel eats from both ends
    assert max(shares) > 0.75
    assert min(shares) < 1 - crop / 2


def test_jitter_stays_within_its_strength_and_leaves_ground_truth_alone() -> None:
    image, truth = np.full((16, 20, 3), 100, np.uint8), class_numbers(1, 16, 20)
    levels = []
    for seed in range(40):
        moved, numbers = augment(image, truth, SPEC, Augmentation(jitter=0.2), np.random.default_rng(seed))
        np.testing.assert_array_equal(numbers, truth)
        levels.append(int(moved[0, 0, 0]))
    assert min(levels) >= 80
    assert max(levels) <= 120
    assert max(levels) - min(levels) > 20


def test_colours_are_mixed_as_the_formula_says() -> None:
    image, truth = picture(5, 16, 20), class_numbers(1, 16, 20)
    for seed in range(5):
        moved, _ = augment(image, truth, SPEC, Augmentation(jitter=0.5), np.random.default_rng(seed))
        rng = np.random.default_rng(seed)
        rng.random(7)
        brightness, contrast, saturation = 1 + 0.5 * rng.uniform(-1, 1, 3)
        grey = np.rint(image @ [0.114, 0.587, 0.299])[..., None]
        mixed = grey + saturation * (image - grey)
        expected = np.clip(brightness * (grey.mean() + contrast * (mixed - grey.mean())), 0, 255)
        assert np.abs(moved - expected).max() < 2


def test_grey_takes_the_colour_and_hue_turns_it() -> None:
    image, truth = picture(3, 16, 20), class_numbers(1, 16, 20)
    grey, _ = augment(image, truth, SPEC, Augmentation(grey=1), np.random.default_rng(0))
    assert (np.ptp(grey, axis=2) == 0).all()
    assert np.ptp(grey) > 20
    turned, _ = augment(image, truth, SPEC, Augmentation(hue=0.5), np.random.default_rng(0))
    assert np.abs(turned.max(axis=2).astype(int) - image.max(axis=2)).max() <= 8  # brightness stays
    assert np.abs(turned.astype(int) - image).max() > 40


def test_an_erased_box_is_the_mean_colour_and_void() -> None:
    image, truth = np.full((16, 20, 3), 7, np.uint8), np.ones((16, 20), np.uint8)
    for seed in range(20):
        moved, numbers = augment(image, truth, SPEC, Augmentation(erase=1), np.random.default_rng(seed))
        erased = (moved == [153, 128, 102]).all(axis=2)  # the mean 0.4, 0.5, 0.6 of RGB, as BGR
        assert 0.01 < erased.mean() < 0.27
        np.testing.assert_array_equal(numbers == 255, erased)
        np.testing.assert_array_equal(moved[~erased], 7)
        assert np.abs(preprocess(moved, SPEC)[0][:, erased]).max() < 0.02
    assert (image == 7).all()


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2)])
def test_tiny_pictures_survive(size: tuple[int, int]) -> None:
    for seed in range(20):
        moved, numbers = augment(picture(1, *size), np.ones(size, np.uint8), SPEC, STRONG, np.random.default_rng(seed))
        assert (moved.shape, numbers.shape) == ((16, 20, 3), (16, 20))


@pytest.mark.parametrize(
    "option", [{"flip": 1.1}, {"crop": 0.8}, {"hue": 0.6}, {"jitter": -0.1}, {"erase": float("nan")}]
)
def test_augmentation_out_of_range_is_refused_by_name(option: dict[str, float]) -> None:
    (name,) = option
    with pytest.raises(UsageError, match=f"augmentation {name} of 0 to"):
        Augmentation(**option)
    assert not Augmentation().active
