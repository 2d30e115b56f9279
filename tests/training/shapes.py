"""A tiny multi-label dataset in VOC layout that a network can learn: red discs, green boxes, blue bars on grey."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from tests.training.trees import voc_object, write_segmentation

LABELS = ("disc", "box", "bar")
COLORS = ((40, 40, 220), (40, 200, 40), (220, 80, 40))  # BGR
SIDE = 32


def write_shapes(root: Path, train: int = 8, val: int = 4) -> Path:
    """Write `train` + `val` + `val` (test) pictures of one or two shapes and return `root`."""
    for folder in ("JPEGImages", "Annotations", "SegmentationClass", "ImageSets/Main", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    (root / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    rng = np.random.default_rng(0)
    for split, count in (("train", train), ("val", val), ("test", val)):
        names = [f"{split}_{number:03d}" for number in range(count)]
        for number, name in enumerate(names):
            shown = [number % 3] if number % 2 else [number % 3, (number + 1) % 3]
            picture = rng.integers(90, 140, (SIDE, SIDE, 3), dtype=np.uint8)
            truth = np.zeros((SIDE, SIDE), np.uint8)
            for half, shape in enumerate(shown):
                center = (8 + 16 * half, int(rng.integers(9, 23)))
                for canvas, color in ((picture, COLORS[shape]), (truth, shape + 1)):
                    if shape == 0:
                        cv2.circle(canvas, center, 7, color, -1)
                    else:
                        width, height = (6, 6) if shape == 1 else (3, 9)
                        corners = [(center[0] + s * width, center[1] + s * height) for s in (-1, 1)]
                        cv2.rectangle(canvas, *corners, color, -1)
            assert cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), picture, [cv2.IMWRITE_JPEG_QUALITY, 95])
            objects = "".join(voc_object(LABELS[shape]) for shape in shown)
            (root / "Annotations" / f"{name}.xml").write_text(f"<annotation>{objects}</annotation>")
            write_segmentation(root / "SegmentationClass" / f"{name}.png", truth)
        for kind in ("Main", "Segmentation"):
            (root / "ImageSets" / kind / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    return root
