"""Clips for benchmarks/smoothing.py: what a camera of 640 x 480 at 30 frames/s gives of still, moving and new objects.

Made of labelled scenes, so where the object is in each frame is known. Noise depends on brightness, as a sensor's does:
its variance is 2^2 + 0.15 a level, so 4.8 levels of 255 at mid grey; JPEG is at quality 85, as a webcam's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.types import Image

Kind = Literal["noise", "noise and JPEG", "noise, JPEG and exposure", "object", "pan", "onset"]
STILL: tuple[Kind, ...] = ("noise", "noise and JPEG", "noise, JPEG and exposure")
WIDTH, HEIGHT, RATE = 640, 480, 30
FRAME_NS = 1_000_000_000 // RATE
READ_NOISE, SHOT_NOISE = 2.0, 0.15  # standard deviation in levels; variance a level
JPEG_QUALITY = 85
SWING, SWING_HZ = 0.02, 7.0  # of the exposure: the beat of mains light against 30 frames/s
SPARE = 64  # pixels by which the field of noise is larger than the picture
WINDOW = 0.5  # of a scene's width and height that a panning camera sees
SMALLEST = 0.04  # of the picture, that an object must fill


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip's frames as they come from the camera, one at a time.

    Attributes
    ----------
    kind : what happens
    speed : in picture widths a second, 0 where nothing moves
    classes : the classes whose merged mask is looked at
    frames : uint8 [480, 640, 3] and the ground truth of these classes, bool [480, 640]
    """

    kind: Kind
    speed: float
    classes: tuple[int, ...]
    frames: Iterator[tuple[Image, NDArray[np.bool_]]]


@dataclass(frozen=True, slots=True)
class Scene:
    """A labelled picture at the camera's size: image uint8 [480, 640, 3], truth uint8 [480, 640] as in a Sample."""

    image: Image
    truth: NDArray[np.uint8]

    @property
    def classes(self) -> tuple[int, ...]:
        """Those that fill enough of the picture."""
        counts = np.bincount(self.truth.ravel(), minlength=256)
        return tuple(int(each) - 1 for each in np.flatnonzero(counts[1:255] >= SMALLEST * self.truth.size) + 1)


def read_scenes(dataset: Any, indices: Sequence[int]) -> list[Scene]:
    """Read samples of a dataset; those without an object that is large enough are left out."""
    scenes = []
    for index in indices:
        sample = dataset.load(index)
        if sample.segmentation is not None:
            scenes.append(_scaled(sample.image, sample.segmentation))
    return [scene for scene in scenes if scene.classes]


def still(scene: Scene, kind: Kind, frames: int, seed: int) -> Clip:
    """Return a clip of a scene in which nothing happens but the camera's own noise."""
    truth = np.isin(scene.truth, [each + 1 for each in scene.classes])
    pictures = ((scene.image, truth) for _ in range(frames))
    return Clip(kind, 0.0, scene.classes, camera(pictures, seed, kind != "noise", kind.endswith("exposure")))


def moving(behind: Scene, before: Scene, speed: float, frames: int, seed: int) -> Clip:
    """Return a clip in which one object of `before` crosses `behind` from left to right."""
    index = before.classes[0]
    centre = np.flatnonzero((before.truth == index + 1).any(axis=0)).mean()
    start = WIDTH / 2 - centre - speed * WIDTH * frames / RATE / 2
    steps = (start + speed * WIDTH * number / RATE for number in range(frames))
    return Clip("object", speed, (index,), camera((_pasted(behind, before, index, step) for step in steps), seed))


def appearing(behind: Scene, before: Scene, frames: int, seed: int) -> Clip:
    """Return a clip in which one object of `before` stands in `behind` from frame `onset(frames)` on."""
    index = before.classes[0]
    empty = (behind.image, behind.truth == index + 1)
    there = _pasted(behind, before, index, 0.0)
    pictures = (there if number >= onset(frames) else empty for number in range(frames))
    return Clip("onset", 0.0, (index,), camera(pictures, seed))


def onset(frames: int) -> int:
    """Return the first frame with the object in a clip of `appearing`."""
    return frames // 3


def panned(scene: Scene, speed: float, frames: int, seed: int) -> Clip:
    """Return a clip of a camera that turns to the right and sees WINDOW of the scene; its middle frame is the centre's.

    Raises
    ------
    ValueError
        If it would leave the scene.
    """
    travel = speed * frames / RATE * WINDOW
    if WINDOW + travel > 1.0:
        raise ValueError(f"expected a pan within the scene, got {speed} widths/s over {frames} frames; pan slower")
    lefts = ((1.0 - WINDOW - travel) / 2 + speed * WINDOW * number / RATE for number in range(frames))
    return Clip("pan", speed, scene.classes, camera((_window(scene, left) for left in lefts), seed))


def camera(
    pictures: Iterator[tuple[Image, NDArray[np.bool_]]], seed: int, jpeg: bool = True, exposure: bool = False
) -> Iterator[tuple[Image, NDArray[np.bool_]]]:
    """Give pictures as a camera would: with noise, then JPEG, and an exposure that swings by SWING where asked for."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((HEIGHT + SPARE, WIDTH + SPARE, 3), np.float32)
    spread = np.sqrt(READ_NOISE**2 + SHOT_NOISE * np.arange(256)).astype(np.float32)
    for number, (picture, truth) in enumerate(pictures):
        gain = 1.0 + SWING * np.sin(2 * np.pi * SWING_HZ * number / RATE) if exposure else 1.0
        down, right = rng.integers(0, SPARE, 2)  # another place of one field of noise: drawing it anew takes longest
        noisy = spread[picture] * noise[down : down + HEIGHT, right : right + WIDTH]
        noisy += picture * np.float32(gain)
        seen = np.clip(np.rint(noisy, out=noisy), 0, 255).astype(np.uint8)
        if jpeg:
            _, coded = cv2.imencode(".jpg", seen, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
            seen = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), np.uint8)
        yield seen, truth


def _scaled(image: Image, truth: NDArray[np.uint8]) -> Scene:
    size = (WIDTH, HEIGHT)
    return Scene(
        np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8),
        np.asarray(cv2.resize(truth, size, interpolation=cv2.INTER_NEAREST), np.uint8),
    )


def _pasted(behind: Scene, before: Scene, index: int, right_px: float) -> tuple[Image, NDArray[np.bool_]]:
    """Return `behind` with one class of `before` over it, moved to the right by a fraction of pixels too."""
    shift = np.array([[1, 0, right_px], [0, 1, 0]], np.float32)
    alpha = cv2.warpAffine((before.truth == index + 1).astype(np.float32), shift, (WIDTH, HEIGHT))
    object_ = cv2.warpAffine(before.image, shift, (WIDTH, HEIGHT)).astype(np.float32)
    picture = behind.image + alpha[..., None] * (object_ - behind.image)
    return np.rint(picture).astype(np.uint8), (alpha >= 0.5) | (behind.truth == index + 1)


def _window(scene: Scene, left: float) -> tuple[Image, NDArray[np.bool_]]:
    """Return what the camera sees of a scene from `left` on, a share of its width, scaled to the camera's size."""
    scale, top = 1.0 / WINDOW, (1.0 - WINDOW) / 2
    move = np.array([[scale, 0, -left * WIDTH * scale], [0, scale, -top * HEIGHT * scale]], np.float32)
    image = cv2.warpAffine(scene.image, move, (WIDTH, HEIGHT), flags=cv2.INTER_LINEAR)
    truth = cv2.warpAffine(scene.truth, move, (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST)
    return np.asarray(image, np.uint8), np.isin(truth, [each + 1 for each in scene.classes])
