"""What scenes are composed from: cut-outs with alpha and background photographs, found, read whole and checked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from edgex.errors import DataError
from edgex.types import FloatArray, Image
from training.datasets import VOID, read_image

CUTOUT_SIDE_PX = 512  # longest side that a cut-out is kept at; scenes never show it larger than this
BACKGROUND_SIDE_PX = 1080  # shortest side that a background is kept at
BACKGROUND_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


@dataclass(frozen=True, slots=True)
class Cutout:
    """A cut-out object to choose from: its file, the index of its class, and whom or what it shows."""

    path: Path
    class_index: int
    identity: str


def identity_of(path: Path) -> str:
    """Return whom or what a picture shows: `NAME@a.png` and `NAME@b.png` show NAME from two sides."""
    return path.stem.split("@")[0]


def find_cutouts(folder: Path) -> tuple[list[str], list[list[Cutout]]]:
    """Return the labels (folder names, sorted) and each class's cut-outs; hidden files and folders are passed over.

    Raises
    ------
    DataError
        If there is no class, or more than a segmentation can number, or a name cannot stand in a list or in XML.
    """
    labels = sorted(path.name for path in _visible(folder) if path.is_dir())
    if not 0 < len(labels) < VOID:
        raise DataError(
            f"expected 1 to {VOID - 1} folders of cut-outs in {folder}, one a class, got {len(labels)}; "
            "see docs/training.md"
        )
    classes = []
    for index, label in enumerate(labels):
        _require_plain(folder / label, label)
        paths = sorted(path for path in _visible(folder / label) if path.suffix.lower() == ".png")
        for path in paths:
            _require_plain(path, identity_of(path))
        classes.append([Cutout(path, index, identity_of(path)) for path in paths])
    return labels, classes


def find_backgrounds(folder: Path) -> list[Path]:
    """Return the photographs in a folder, sorted. Raises DataError if there are fewer than 3."""
    found = sorted(path for path in _visible(folder) if path.suffix.lower() in BACKGROUND_SUFFIXES)
    if len(found) < 3:
        raise DataError(f"expected at least 3 photographs in {folder}, one for each split, got {len(found)}; add some")
    return found


def read_bgra(path: Path) -> NDArray[np.uint8]:
    """Read a PNG with alpha, uint8 [h, w, 4] BGRA; of 16-bit colours the upper byte is kept.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged or cut short, or has no alpha channel.
    """
    _require_whole(path)
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        got = "no picture" if image is None else f"{image.shape[2] if image.ndim == 3 else 1} channel(s)"
        raise DataError(f"expected an RGBA cut-out in {path}, got {got}; give it an alpha channel or remove it")
    if image.dtype == np.uint16:
        image = np.asarray(image, np.uint16) >> 8
    return np.asarray(image, np.uint8)


@lru_cache(maxsize=512)
def read_cutout(path: Path) -> NDArray[np.uint8]:
    """Read a cut-out, cropped to what is not transparent: uint8 [h, w, 4] BGRA, longest side at most CUTOUT_SIDE_PX.

    Raises
    ------
    DataError
        If `read_bgra` does, or nothing in it is opaque.
    """
    image = read_bgra(path)
    rows, columns = np.nonzero(image[..., 3] > 127)
    if rows.size == 0:
        raise DataError(f"expected a cut-out with opaque pixels in {path}, got none; remove it")
    image = image[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    shrink = CUTOUT_SIDE_PX / max(image.shape[:2])
    return shrink_bgra(image, shrink) if shrink < 1 else np.ascontiguousarray(image)


@lru_cache(maxsize=64)
def read_background(path: Path) -> Image:
    """Read a background photograph, uint8 [H, W, 3] BGR, shortest side at most BACKGROUND_SIDE_PX.

    Raises
    ------
    DataError
        If the file cannot be read, is damaged or cut short.
    """
    if path.suffix.lower() == ".png":
        _require_whole(path)
    image = read_image(path)
    shrink = BACKGROUND_SIDE_PX / min(image.shape[:2])
    if shrink < 1:
        image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    return image


def shrink_bgra(bgra: NDArray[np.uint8], scale: float) -> NDArray[np.uint8]:
    """Shrink with premultiplied alpha, so that the colour under transparent pixels does not bleed into the rim."""
    alpha = bgra[..., 3:].astype(np.float32) / 255
    stacked: FloatArray = np.concatenate([bgra[..., :3] * alpha, alpha], axis=2)
    size = (max(1, round(bgra.shape[1] * scale)), max(1, round(bgra.shape[0] * scale)))
    small = cv2.resize(stacked, size, interpolation=cv2.INTER_AREA)
    colour = small[..., :3] / np.maximum(small[..., 3:], 1e-3)
    return np.clip(np.concatenate([colour, small[..., 3:] * 255], axis=2) + 0.5, 0, 255).astype(np.uint8)


def _visible(folder: Path) -> list[Path]:
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise DataError(f"expected a folder at {folder}, got {error.strerror}; correct the path") from error


def _require_plain(path: Path, name: str) -> None:
    """Refuse what a list with one name a line, or XML, would not give back: control characters, a space at an end."""
    if not name or name != name.strip() or not name.isprintable():
        raise DataError(f"expected a name of printable characters, got {str(path)!r}; rename it")


def _require_whole(path: Path) -> None:
    """Check a PNG's chunks: some releases of OpenCV fill what is missing with black."""
    try:
        with PillowImage.open(path) as picture:
            picture.verify()
    except (OSError, ValueError, SyntaxError, PillowImage.DecompressionBombError) as error:  # what Pillow raises
        why = getattr(error, "strerror", None) or error
        raise DataError(f"expected a whole picture in {path}, got: {why}; replace or remove it") from error
