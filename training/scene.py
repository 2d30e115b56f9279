"""One composed scene: cut-outs with alpha placed over a crop of a background, with exact ground truth.

Every random choice comes from the generator that is passed in, so that a scene depends on its seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.errors import UsageError
from edgex.types import FloatArray, Image
from training.datasets import VOID
from training.stock import Cutout, read_background, read_cutout, shrink_bgra

Window = tuple[slice, slice]  # rows, columns


@dataclass(frozen=True, slots=True)
class SceneStyle:
    """How scenes are drawn.

    Attributes
    ----------
    size_px : square root of a scene's area, so a square scene's side
    aspect : range of width / height; devices see 16:9 and squeeze it into the network's square input
    object_shares : probabilities of 1, 2, ... objects
    empty_share : share of scenes without any object
    scale : range of an object's longest side relative to `size_px`, for a scene of one object
    rotation_deg : largest rotation either way
    lighting : strength of brightness, contrast, gamma and tint changes, 0 for none
    min_visible : share of each object that must stay visible
    void_px : width of the void border on either side of an object's outline
    """

    size_px: int = 320
    aspect: tuple[float, float] = (1.0, 1.78)
    object_shares: tuple[float, ...] = (0.4, 0.35, 0.17, 0.08)
    empty_share: float = 0.0
    scale: tuple[float, float] = (0.45, 0.9)
    rotation_deg: float = 25.0
    lighting: float = 0.25
    min_visible: float = 0.6
    void_px: int = 2

    def __post_init__(self) -> None:
        if not 32 <= self.size_px <= 4096:
            raise UsageError(f"expected a scene size of 32 to 4096 pixels, got {self.size_px}; choose one in between")
        if not 0.2 <= self.aspect[0] <= self.aspect[1] <= 5:
            raise UsageError(f"expected an aspect range in 0.2 to 5, got {self.aspect}; give the smaller number first")
        if not 0 < self.scale[0] <= self.scale[1] <= 2:
            raise UsageError(f"expected a scale range above 0 to 2, got {self.scale}; give the smaller number first")
        shares = self.object_shares
        if not all(0 <= share < np.inf for share in shares) or not sum(shares) > 0:
            raise UsageError(f"expected shares of 1, 2, ... objects, got {shares}; give at least one above 0")
        for name, lowest, highest in (
            ("empty_share", 0, 1),
            ("rotation_deg", 0, 180),
            ("lighting", 0, 0.9),
            ("min_visible", 0.01, 1),
            ("void_px", 0, 100),
        ):
            if not lowest <= getattr(self, name) <= highest:
                raise UsageError(
                    f"expected {name} of {lowest} to {highest}, got {getattr(self, name)}; choose one in between"
                )


@dataclass(frozen=True, slots=True)
class PlacedObject:
    """An object in a scene; the box is (xmin, ymin, xmax, ymax) in pixels from 0, inclusive, of what is visible."""

    class_index: int
    identity: str
    box: tuple[int, int, int, int]
    truncated: bool
    occluded: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """A composed picture, uint8 [H, W, 3] BGR, with its segmentation, uint8 [H, W]: 0, class index + 1, or VOID."""

    image: Image
    segmentation: NDArray[np.uint8]
    objects: tuple[PlacedObject, ...]


def make_scene(
    rng: np.random.Generator, cutouts: list[list[Cutout]], backgrounds: list[Path], style: SceneStyle
) -> Scene:
    """Compose one scene.

    Parameters
    ----------
    rng : source of every choice
    cutouts : the cut-outs to choose from, one list per class; classes are drawn evenly, then identities
    backgrounds : the photographs to choose from
    style : how scenes are drawn

    Raises
    ------
    DataError
        If a picture cannot be read; the message names the file.
    """
    aspect = rng.uniform(*style.aspect)
    size = round(style.size_px / aspect**0.5), round(style.size_px * aspect**0.5)  # height, width
    picture = _background(rng, read_background(backgrounds[rng.integers(len(backgrounds))]), size)
    picture = _light(rng, picture, style.lighting)
    owner = np.full(size, -1, np.int16)  # index of the object that a pixel shows
    full_area: list[int] = []
    chosen: list[tuple[Cutout, bool]] = []
    shares = np.asarray(style.object_shares) / sum(style.object_shares)
    count = 0 if rng.random() < style.empty_share else 1 + int(rng.choice(len(shares), p=shares))
    for class_index in rng.permutation(len(cutouts))[:count]:
        cutout = cutouts[class_index][rng.integers(len(cutouts[class_index]))]
        bgra = _transform(rng, read_cutout(cutout.path), style, count)
        for _ in range(20):  # another place, until everything stays visible enough
            top, left = _place(rng, bgra.shape[:2], size)
            solid, truncated = _solid(bgra, top, left, size)
            still_visible = [int(((owner == k) & ~solid).sum()) for k in range(len(chosen))]
            kept = all(seen >= style.min_visible * area for seen, area in zip(still_visible, full_area, strict=True))
            if solid.any() and kept:
                _blend(picture, bgra, top, left)
                owner[solid] = len(chosen)
                full_area.append(int(solid.sum()))
                chosen.append((cutout, truncated))
                break
    picture = np.clip(picture + rng.normal(0, rng.uniform(0, 4), picture.shape), 0, 255)
    objects = tuple(_describe(owner, k, *chosen[k], full_area[k]) for k in range(len(chosen)))
    return Scene(picture.astype(np.uint8), _segmentation(owner, [c for c, _ in chosen], style.void_px), objects)


def _background(rng: np.random.Generator, image: Image, size: tuple[int, int]) -> FloatArray:
    largest = min(image.shape[0] / size[0], image.shape[1] / size[1])
    zoom = largest * rng.uniform(0.4, 1.0)
    height, width = max(1, int(size[0] * zoom)), max(1, int(size[1] * zoom))
    top, left = int(rng.integers(image.shape[0] - height + 1)), int(rng.integers(image.shape[1] - width + 1))
    crop = cv2.resize(image[top : top + height, left : left + width], size[::-1], interpolation=cv2.INTER_AREA)
    return (crop[:, ::-1] if rng.random() < 0.5 else crop).astype(np.float32)


def _light(rng: np.random.Generator, bgr: FloatArray, strength: float) -> FloatArray:
    gain = 1 + strength * rng.uniform(-1, 1) + 0.3 * strength * rng.uniform(-1, 1, 3)
    gamma = 1 + strength * rng.uniform(-1, 1)
    lit = np.clip(bgr / 255, 0, 1) ** gamma * gain + 0.2 * strength * rng.uniform(-1, 1)
    return np.asarray(np.clip(lit * 255, 0, 255), np.float32)


def _transform(rng: np.random.Generator, bgra: NDArray[np.uint8], style: SceneStyle, count: int) -> FloatArray:
    """Flip, rotate, scale and light a cut-out: float32 [h, w, 4], premultiplied colours 0..255, alpha 0..1."""
    if rng.random() < 0.5:
        bgra = bgra[:, ::-1]
    height, width = bgra.shape[:2]
    longest = style.size_px * rng.uniform(*style.scale) / (1 + 0.15 * (count - 1))
    scale, angle = longest / max(height, width), np.deg2rad(rng.uniform(-style.rotation_deg, style.rotation_deg))
    if scale < 1:
        bgra, scale = shrink_bgra(bgra, scale), 1.0
        height, width = bgra.shape[:2]
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    out_w = int(np.ceil(abs(cos) * width + abs(sin) * height))
    out_h = int(np.ceil(abs(sin) * width + abs(cos) * height))
    turned = np.array([[cos, -sin], [sin, cos]]) @ [(width - 1) / 2, (height - 1) / 2]
    shift = np.array([(out_w - 1) / 2, (out_h - 1) / 2]) - turned  # centre onto centre
    matrix = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])
    alpha = bgra[..., 3:].astype(np.float32) / 255
    lit = _light(rng, bgra[..., :3].astype(np.float32), style.lighting)
    premultiplied = np.concatenate([lit * alpha, alpha], axis=2)
    return np.asarray(cv2.warpAffine(premultiplied, matrix, (out_w, out_h), flags=cv2.INTER_LINEAR), np.float32)


def _place(rng: np.random.Generator, shape: tuple[int, ...], size: tuple[int, int]) -> tuple[int, int]:
    """Draw the top left corner; up to an eighth of the object may lie outside the scene."""
    top, left = (
        int(rng.integers(min(-extent // 8, room - extent), max(room - extent + extent // 8, 1)))
        for extent, room in zip(shape, size, strict=True)
    )
    return top, left


def _window(shape: tuple[int, ...], top: int, left: int, size: tuple[int, ...]) -> tuple[Window, Window]:
    """Return the slices (of the scene, of the cut-out) where the two overlap."""
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + shape[0], size[0]), min(left + shape[1], size[1])
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _solid(bgra: FloatArray, top: int, left: int, size: tuple[int, int]) -> tuple[NDArray[np.bool_], bool]:
    """Return where the object covers the scene (alpha above one half), and whether the border cuts it."""
    there, here = _window(bgra.shape, top, left, size)
    solid = np.zeros(size, bool)
    solid[there] = bgra[here][..., 3] > 0.5
    return solid, int(solid.sum()) < int((bgra[..., 3] > 0.5).sum())


def _blend(picture: FloatArray, bgra: FloatArray, top: int, left: int) -> None:
    there, here = _window(bgra.shape, top, left, picture.shape)
    over = bgra[here]
    picture[there] = over[..., :3] + picture[there] * (1 - over[..., 3:])


def _describe(owner: NDArray[np.int16], k: int, cutout: Cutout, truncated: bool, area: int) -> PlacedObject:
    rows, columns = np.nonzero(owner == k)
    box = (int(columns.min()), int(rows.min()), int(columns.max()), int(rows.max()))
    return PlacedObject(cutout.class_index, cutout.identity, box, truncated, occluded=rows.size < area)


def _segmentation(owner: NDArray[np.int16], cutouts: list[Cutout], void_px: int) -> NDArray[np.uint8]:
    values = np.array([0, *(cutout.class_index + 1 for cutout in cutouts)], np.uint8)
    segmentation = np.asarray(values[owner + 1])
    if void_px:
        kernel = np.ones((2 * void_px + 1, 2 * void_px + 1), np.uint8)
        labelled = (owner + 1).astype(np.uint8)
        edge = cv2.dilate(labelled, kernel) != cv2.erode(labelled, kernel)
        segmentation[edge] = VOID
    return segmentation
