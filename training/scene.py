"""One composed scene: cut-outs with alpha placed over a crop of a background, with exact ground truth.

Every random choice comes from the generator that is passed in, so that a scene depends on its seed alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.errors import SourceError, UsageError
from edgex.types import Image

VOID = 255
CUTOUT_SIDE_PX = 512  # longest side that a cut-out is kept at; scenes never show it larger than this


@dataclass(frozen=True, slots=True)
class Cutout:
    """A cut-out object to choose from: its file, the index of its class, and whom or what it shows."""

    path: Path
    class_index: int
    identity: str


@dataclass(frozen=True, slots=True)
class SceneStyle:
    """How scenes are drawn.

    Attributes
    ----------
    size_px : side of the square scene
    object_shares : probabilities of 1, 2, ... objects
    empty_share : share of scenes without any object
    scale : range of an object's longest side relative to the scene, for a scene of one object
    rotation_deg : largest rotation either way
    lighting : strength of brightness, contrast, gamma and tint changes, 0 for none
    min_visible : share of each object that must stay visible
    void_px : width of the void border on either side of an object's outline
    """

    size_px: int = 320
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
        if not 0 < self.scale[0] <= self.scale[1] <= 2:
            raise UsageError(f"expected a scale range within 0 to 2, got {self.scale}; give the smaller number first")
        if not self.object_shares or min(self.object_shares) < 0 or sum(self.object_shares) <= 0:
            raise UsageError(f"expected shares of 1, 2, ... objects, got {self.object_shares}; give at least one above 0")


@dataclass(frozen=True, slots=True)
class PlacedObject:
    """An object as it stands in a scene; the box is (xmin, ymin, xmax, ymax) in pixels, inclusive, of what is visible."""

    class_index: int
    identity: str
    box: tuple[int, int, int, int]
    truncated: bool
    occluded: bool


@dataclass(frozen=True, slots=True)
class Scene:
    """A composed picture, uint8 [S, S, 3] BGR, with its segmentation, uint8 [S, S]: 0, class index + 1, or VOID."""

    image: Image
    segmentation: NDArray[np.uint8]
    objects: tuple[PlacedObject, ...]


@lru_cache(maxsize=512)
def read_cutout(path: Path) -> NDArray[np.uint8]:
    """Read a cut-out, cropped to what is not transparent: uint8 [h, w, 4] BGRA, longest side at most CUTOUT_SIDE_PX."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED) if path.stat().st_size else None
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        got = "no readable picture" if image is None else f"{image.shape[2] if image.ndim == 3 else 1} channel(s)"
        raise SourceError(f"expected an RGBA cut-out in {path}, got {got}; give it an alpha channel or remove it")
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    rows, columns = np.nonzero(image[..., 3] > 127)
    if rows.size == 0:
        raise SourceError(f"expected a cut-out with opaque pixels in {path}, got none; remove it")
    image = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    shrink = CUTOUT_SIDE_PX / max(image.shape[:2])
    return _resize_bgra(image, shrink) if shrink < 1 else np.ascontiguousarray(image)


@lru_cache(maxsize=64)
def read_background(path: Path) -> Image:
    """Read a background photograph, uint8 [H, W, 3] BGR, shortest side at most 1080 pixels."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_COLOR) if path.stat().st_size else None
    if image is None:
        raise SourceError(f"expected a readable background picture in {path}, got none; remove it or save it anew")
    shrink = 1080 / min(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    return image.astype(np.uint8, copy=False)


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
    SourceError
        If a picture cannot be read; the message names the file.
    """
    side = style.size_px
    picture = _background(rng, read_background(backgrounds[rng.integers(len(backgrounds))]), side)
    picture = _light(rng, picture, style.lighting)
    owner = np.full((side, side), -1, np.int16)  # index of the object that a pixel shows
    full_area: list[int] = []
    chosen: list[tuple[Cutout, bool]] = []
    shares = np.asarray(style.object_shares) / sum(style.object_shares)
    count = 0 if rng.random() < style.empty_share else 1 + int(rng.choice(len(shares), p=shares))
    for class_index in rng.permutation(len(cutouts))[:count]:
        cutout = cutouts[class_index][rng.integers(len(cutouts[class_index]))]
        bgra = _transform(rng, read_cutout(cutout.path), style, count)
        for _ in range(20):  # another place, until everything stays visible enough
            top, left = _place(rng, bgra.shape[:2], side)
            solid, truncated = _solid(bgra, top, left, side)
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


def _background(rng: np.random.Generator, image: Image, side: int) -> NDArray[np.float32]:
    crop = int(min(image.shape[:2]) * rng.uniform(0.4, 1.0))
    top, left = (int(rng.integers(extent - crop + 1)) for extent in image.shape[:2])
    square = cv2.resize(image[top : top + crop, left : left + crop], (side, side), interpolation=cv2.INTER_AREA)
    return (square[:, ::-1] if rng.random() < 0.5 else square).astype(np.float32)


def _light(rng: np.random.Generator, bgr: NDArray[np.float32], strength: float) -> NDArray[np.float32]:
    gain = 1 + strength * rng.uniform(-1, 1) + 0.3 * strength * rng.uniform(-1, 1, 3)
    gamma = 1 + strength * rng.uniform(-1, 1)
    lit = np.clip(bgr / 255, 0, 1) ** gamma * gain + 0.2 * strength * rng.uniform(-1, 1)
    return np.asarray(np.clip(lit * 255, 0, 255), np.float32)


def _transform(
    rng: np.random.Generator, bgra: NDArray[np.uint8], style: SceneStyle, count: int
) -> NDArray[np.float32]:
    """Flip, rotate, scale and light a cut-out: float32 [h, w, 4], premultiplied colours 0..255, alpha 0..1."""
    if rng.random() < 0.5:
        bgra = bgra[:, ::-1]
    height, width = bgra.shape[:2]
    longest = style.size_px * rng.uniform(*style.scale) / (1 + 0.15 * (count - 1))
    scale, angle = longest / max(height, width), np.deg2rad(rng.uniform(-style.rotation_deg, style.rotation_deg))
    if scale < 1:
        bgra, scale = _resize_bgra(bgra, scale), 1.0
        height, width = bgra.shape[:2]
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    out_w, out_h = int(np.ceil(abs(cos) * width + abs(sin) * height)), int(np.ceil(abs(sin) * width + abs(cos) * height))
    shift = np.array([(out_w - 1) / 2, (out_h - 1) / 2]) - np.array([[cos, -sin], [sin, cos]]) @ [(width - 1) / 2, (height - 1) / 2]
    matrix = np.array([[cos, -sin, shift[0]], [sin, cos, shift[1]]])
    alpha = bgra[..., 3:].astype(np.float32) / 255
    lit = _light(rng, bgra[..., :3].astype(np.float32), style.lighting)
    premultiplied = np.concatenate([lit * alpha, alpha], axis=2)
    return np.asarray(cv2.warpAffine(premultiplied, matrix, (out_w, out_h), flags=cv2.INTER_LINEAR), np.float32)


def _resize_bgra(bgra: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Shrink with premultiplied alpha, so that the colour under transparent pixels does not bleed into the rim."""
    alpha = bgra[..., 3:].astype(np.float32) / 255
    stacked = np.concatenate([bgra[..., :3] * alpha, alpha], axis=2)
    size = (max(1, round(bgra.shape[1] * scale)), max(1, round(bgra.shape[0] * scale)))
    small = cv2.resize(stacked, size, interpolation=cv2.INTER_AREA)
    colour = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
    return np.clip(np.concatenate([colour, small[..., 3:] * 255], axis=2) + 0.5, 0, 255).astype(np.uint8)


def _place(rng: np.random.Generator, shape: tuple[int, ...], side: int) -> tuple[int, int]:
    """Draw the top left corner; up to an eighth of the object may lie outside the scene."""
    top, left = (int(rng.integers(min(-extent // 8, side - extent), max(side - extent + extent // 8, 1))) for extent in shape)
    return top, left


def _window(shape: tuple[int, ...], top: int, left: int, side: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Return the slices (of the scene, of the cut-out) where the two overlap."""
    y0, x0, y1, x1 = max(top, 0), max(left, 0), min(top + shape[0], side), min(left + shape[1], side)
    return (slice(y0, y1), slice(x0, x1)), (slice(y0 - top, y1 - top), slice(x0 - left, x1 - left))


def _solid(bgra: NDArray[np.float32], top: int, left: int, side: int) -> tuple[NDArray[np.bool_], bool]:
    """Return where the object covers the scene (alpha above one half), and whether the border cuts it."""
    there, here = _window(bgra.shape, top, left, side)
    solid = np.zeros((side, side), bool)
    solid[there] = bgra[here][..., 3] > 0.5
    return solid, int(solid.sum()) < int((bgra[..., 3] > 0.5).sum())


def _blend(picture: NDArray[np.float32], bgra: NDArray[np.float32], top: int, left: int) -> None:
    there, here = _window(bgra.shape, top, left, picture.shape[0])
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
