"""Small stocks to compose from: cut-outs of one colour with alpha, and backgrounds of one colour each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

SIDE_PX = 32
CLASSES = {
    "bird": ("crow", "owl", "lark@left", "lark@right", "duck", "swan", "gull"),
    "fish": ("carp", "cod", "eel", "pike", "tuna@a", "tuna@b", "tuna@c"),
    "road sign": ("stop", "yield", "school", "crossing", "no entry"),
}
COLOURS = {  # BGR; far enough apart to be told after JPEG compression and noise
    "black": (0, 0, 0),
    "blue": (255, 0, 0),
    "green": (0, 255, 0),
    "red": (0, 0, 255),
    "cyan": (255, 255, 0),
    "yellow": (0, 255, 255),
    "pink": (255, 0, 255),
    "white": (255, 255, 255),
}


def write_square(path: Path, bgr: tuple[int, int, int] = (40, 80, 200), height: int = SIDE_PX, rim: int = 3) -> Path:
    """Write an opaque square on transparent ground, `rim` pixels of it on every side."""
    bgra = np.zeros((height + 2 * rim, SIDE_PX + 2 * rim, 4), np.uint8)
    bgra[rim : rim + height, rim : rim + SIDE_PX] = (*bgr, 255)
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), bgra)
    return path


def write_plain(path: Path, bgr: tuple[int, int, int], height: int = 80, width: int = 120) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), np.full((height, width, 3), bgr, np.uint8))
    return path


def write_stock(
    root: Path, classes: Mapping[str, Sequence[str]] = CLASSES, backgrounds: Sequence[str] = tuple(COLOURS)
) -> Path:
    """Write `root`/cutouts and `root`/backgrounds and return `root`."""
    for number, (label, names) in enumerate(classes.items()):
        for position, name in enumerate(names):
            colour = (90 + 30 * number, 20 * position, 255 - 25 * position)
            write_square(root / "cutouts" / label / f"{name}.png", colour, SIDE_PX - position)
    for name in backgrounds:
        write_plain(root / "backgrounds" / f"{name}.png", COLOURS[name])
    return root
