"""From a sample to tensors: the device's own preprocessing, and augmentation that a resumed run repeats exactly."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset

from edgex.errors import DataError, UsageError
from edgex.manifest import InputSpec
from edgex.preprocess import preprocess, resize_area
from edgex.types import Image
from training.datasets import VOID, ImageDataset

ASPECT = math.log(4 / 3)  # a crop's aspect ratio differs from the picture's by at most this factor, as in torchvision
ERASED = (0.02, 0.2)  # share of the picture that one erased box covers


@dataclass(frozen=True, slots=True)
class Augmentation:
    """How a training picture is varied; all off by default.

    Attributes
    ----------
    flip : probability of a left-right flip
    crop : largest share of the picture's area that a random crop cuts away, at most 0.75: the target is kept, so the
        object should be too
    jitter : strength of brightness, contrast and saturation; each is multiplied by 1 - jitter to 1 + jitter
    hue : largest turn of the hue, as a share of the full circle, at most 0.5
    grey : probability of a picture without colour
    erase : probability that a box is filled with the mean colour, which is what a mask leaves; its ground truth is void
    """

    flip: float = 0.0
    crop: float = 0.0
    jitter: float = 0.0
    hue: float = 0.0
    grey: float = 0.0
    erase: float = 0.0

    def __post_init__(self) -> None:
        for option in fields(self):
            value, most = getattr(self, option.name), {"crop": 0.75, "hue": 0.5}.get(option.name, 1.0)
            if not 0.0 <= value <= most:
                raise UsageError(
                    f"expected an augmentation {option.name} of 0 to {most}, got {value}; choose one in between"
                )

    @property
    def active(self) -> bool:
        """Whether anything is varied at all."""
        return any(getattr(self, option.name) > 0 for option in fields(self))


class SampleError(DataError):
    """A sample that cannot be read, in one sentence also when a reading process of torch met it.

    torch raises a worker's error again with the text of its whole traceback, whose last line holds the sentence.
    """

    def __init__(self, text: str) -> None:
        super().__init__(text.strip().rpartition("SampleError: ")[2])


class TensorDataset(Dataset[dict[str, Any]]):
    """An ImageDataset as tensors of one size.

    Parameters
    ----------
    images : the samples
    spec : size and normalisation of the network's input
    augmentation : how pictures are varied
    seed : of the augmentation; the same (seed, epoch, index) gives the same tensors in every process
    """

    def __init__(
        self, images: ImageDataset, spec: InputSpec, augmentation: Augmentation | None = None, seed: int = 0
    ) -> None:
        self.images = images
        self.spec = spec
        self.augmentation = augmentation or Augmentation()
        self.seed = seed
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # workers that outlive an epoch see it change

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch, from 0, whose variations are drawn next."""
        self._epoch.fill_(epoch)

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one sample.

        Returns
        -------
        dict
            image : float32 [3, H, W], normalised; target : float32 [C]; segmentation : uint8 [H, W], 0 background,
            i + 1 class i, 255 void, all void where the data has none; index : int

        Raises
        ------
        SampleError
            If the file is broken; the message names it.
        """
        try:
            sample = self.images.load(index)
        except DataError as error:
            raise SampleError(str(error)) from error
        image, segmentation = sample.image, sample.segmentation
        if segmentation is None:
            segmentation = np.full((self.spec.height, self.spec.width), VOID, np.uint8)
        if self.augmentation.active:
            rng = np.random.default_rng([self.seed, int(self._epoch), index])
            image, segmentation = augment(image, segmentation, self.spec, self.augmentation, rng)
        return {
            "image": torch.from_numpy(preprocess(image, self.spec)[0]),
            "target": torch.from_numpy(sample.target),
            "segmentation": torch.from_numpy(resize_nearest(segmentation, self.spec.height, self.spec.width)),
            "index": index,
        }


def resize_nearest(segmentation: NDArray[np.uint8], height: int, width: int) -> NDArray[np.uint8]:
    """Resize class numbers [H, W]: each target pixel takes the source pixel under its centre, so none is invented.

    OpenCV's plain INTER_NEAREST takes the one under the corner, half a target pixel off the picture's own resize.
    """
    if segmentation.shape == (height, width):
        return np.array(segmentation)
    return cv2.resize(segmentation, (width, height), interpolation=cv2.INTER_NEAREST_EXACT)  # type: ignore[return-value]


def augment(
    image: Image, segmentation: NDArray[np.uint8], spec: InputSpec, augmentation: Augmentation, rng: np.random.Generator
) -> tuple[Image, NDArray[np.uint8]]:
    """Vary one picture and its ground truth alike.

    Parameters
    ----------
    image : uint8 [H, W, 3], BGR
    segmentation : uint8, any height and width: it covers the same view
    spec : the size in which colours are varied, which is less work than in the picture's own
    augmentation : what is varied, and how far
    rng : the only source of chance

    Returns
    -------
    image : uint8 [spec.height, spec.width, 3], BGR
    segmentation : uint8 [spec.height, spec.width]
    """
    area, aspect, left, top, flip, grey, erase = rng.random(7)
    box = (
        _crop_box(1.0 - augmentation.crop * area, ASPECT * (2 * aspect - 1), left, top)
        if augmentation.crop
        else (0.0, 0.0, 1.0, 1.0)
    )
    image = resize_area(_cut(image, box), spec.height, spec.width)
    segmentation = resize_nearest(_cut(segmentation, box), spec.height, spec.width)
    if flip < augmentation.flip:
        image, segmentation = image[:, ::-1], segmentation[:, ::-1]
    brightness, contrast, saturation = 1.0 + augmentation.jitter * rng.uniform(-1.0, 1.0, 3)
    turn = augmentation.hue * rng.uniform(-1.0, 1.0)
    image = _vary_colors(image, brightness, contrast, 0.0 if grey < augmentation.grey else saturation, turn)
    if erase < augmentation.erase:
        image, segmentation = image.copy(), segmentation.copy()
        share, aspect, left, top = rng.random(4)
        rows, columns = _span(
            _crop_box(ERASED[0] + (ERASED[1] - ERASED[0]) * share, ASPECT * (2 * aspect - 1), left, top), image
        )
        mean = np.asarray(spec.mean if spec.color == "BGR" else spec.mean[::-1])
        image[rows, columns] = np.rint(255 * np.clip(mean, 0, 1))
        segmentation[rows, columns] = VOID
    return np.ascontiguousarray(image), np.ascontiguousarray(segmentation)


def _crop_box(area: float, log_aspect: float, left: float, top: float) -> tuple[float, float, float, float]:
    """Return left, top, width and height, as shares of the picture, of a box of that area and about that aspect."""
    width, height = (min(1.0, math.sqrt(area * math.exp(sign * log_aspect))) for sign in (1, -1))
    width, height = max(width, area), max(height, area)
    return left * (1.0 - width), top * (1.0 - height), width, height


def _span(box: tuple[float, float, float, float], array: NDArray[np.uint8]) -> tuple[slice, slice]:
    left, top, width, height = box
    spans = []
    for start, length, size in ((top, height, array.shape[0]), (left, width, array.shape[1])):
        first = min(round(start * size), size - 1)
        spans.append(slice(first, max(first + 1, round((start + length) * size))))
    return spans[0], spans[1]


def _cut(array: NDArray[np.uint8], box: tuple[float, float, float, float]) -> NDArray[np.uint8]:
    return array[_span(box, array)]


def _vary_colors(image: Image, brightness: float, contrast: float, saturation: float, turn: float) -> Image:
    """Return the picture, uint8 [H, W, 3], with each factor applied; factors of 1 and a turn of 0 leave it as it is."""
    if (brightness, contrast, saturation, turn) == (1.0, 1.0, 1.0, 0.0):
        return image
    if turn:
        hsv = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2HSV_FULL)  # hue 0 to 255 is the full circle
        hsv[..., 0] += np.uint8(round(turn * 256) % 256)  # wraps round, as a hue does
        image = cv2.cvtColor(hsv, cv2.COLOR_HSV2BGR_FULL)  # type: ignore[assignment]
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)  # [H, W]
    own, of_grey = brightness * contrast * saturation, brightness * contrast * (1.0 - saturation)
    constant = brightness * (1.0 - contrast) * float(grey.mean())
    varied = cv2.addWeighted(image, own, cv2.cvtColor(grey, cv2.COLOR_GRAY2BGR), of_grey, constant)  # rounds and clamps
    return varied  # type: ignore[return-value]
