"""Write scenes in the layout of PASCAL VOC: JPEGImages, Annotations, SegmentationClass, ImageSets."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from edgex.errors import SinkError
from training.scene import Scene

JPEG_QUALITY = 92


def write_scene(root: Path, name: str, scene: Scene, labels: Sequence[str]) -> None:
    """Write one scene's picture, annotation and segmentation under `root`."""
    for folder in ("JPEGImages", "Annotations", "SegmentationClass"):
        (root / folder).mkdir(exist_ok=True)
    picture = root / "JPEGImages" / f"{name}.jpg"
    encoded, jpeg = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    if not encoded:
        raise SinkError(f"expected to encode {picture}, got a refusal of the JPEG encoder; report this")
    picture.write_bytes(jpeg.tobytes())
    segmentation = PillowImage.fromarray(scene.segmentation)
    segmentation.putpalette(voc_palette().tobytes())
    segmentation.save(root / "SegmentationClass" / f"{name}.png", optimize=True)
    _annotation(name, scene, labels).write(root / "Annotations" / f"{name}.xml", encoding="utf-8")


def write_split_lists(root: Path, split: str, names: Mapping[str, Sequence[int]], labels: Sequence[str]) -> None:
    """Write the lists of one split: all names in Main and Segmentation, and 1 / -1 per class as VOC has them."""
    main, segmentation = root / "ImageSets" / "Main", root / "ImageSets" / "Segmentation"
    for folder in (main, segmentation):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in names), encoding="utf-8")
    for index, label in enumerate(labels):
        lines = (f"{name} {1 if index in classes else -1:2d}\n" for name, classes in names.items())
        (main / f"{label}_{split}.txt").write_text("".join(lines), encoding="utf-8")


def voc_palette() -> NDArray[np.uint8]:
    """Return the palette of VOC's segmentations, uint8 [256, 3] RGB: each class index's bits spread over R, G, B."""
    index = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            palette[:, channel] |= (((index >> channel) & 1) << (7 - bit)).astype(np.uint8)
        index = index >> 3
    return palette


def _annotation(name: str, scene: Scene, labels: Sequence[str]) -> ElementTree.ElementTree[ElementTree.Element]:
    height, width = scene.segmentation.shape
    root = ElementTree.Element("annotation")
    _leaves(root, {"folder": "composed", "filename": f"{name}.jpg"})
    _leaves(ElementTree.SubElement(root, "size"), {"width": width, "height": height, "depth": 3})
    _leaves(root, {"segmented": 1})
    for placed in scene.objects:
        element = ElementTree.SubElement(root, "object")
        _leaves(element, {"name": labels[placed.class_index], "pose": "Unspecified"})
        _leaves(element, {"truncated": int(placed.truncated), "occluded": int(placed.occluded), "difficult": 0})
        _leaves(element, {"identity": placed.identity})
        corners = zip(("xmin", "ymin", "xmax", "ymax"), placed.box, strict=True)
        # VOC counts pixels from 1
        _leaves(ElementTree.SubElement(element, "bndbox"), {side: 1 + corner for side, corner in corners})
    return ElementTree.ElementTree(root)


def _leaves(parent: ElementTree.Element, values: Mapping[str, object]) -> None:
    for tag, value in values.items():
        ElementTree.SubElement(parent, tag).text = str(value)
