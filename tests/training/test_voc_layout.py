"""The layout of VOC, as its own development kit reads it."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from training.datasets import open_dataset
from training.scene import PlacedObject, Scene
from training.voc_layout import voc_palette, write_scene, write_split_lists

LABELS = ["bird", "road sign", "salt & pepper <old>"]
# VOC 2012 development kit, VOClabelcolormap: background, the 20 classes in order; and the void border.
PUBLISHED = (
    *((0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128), (0, 128, 128)),
    *((128, 128, 128), (64, 0, 0), (192, 0, 0), (64, 128, 0), (192, 128, 0), (64, 0, 128), (192, 0, 128)),
    *((64, 128, 128), (192, 128, 128), (0, 64, 0), (128, 64, 0), (0, 192, 0), (128, 192, 0), (0, 64, 128)),
)
PUBLISHED_VOID = (224, 224, 192)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """One written scene of 20 x 30 pixels."""
    segmentation = np.zeros((20, 30), np.uint8)
    segmentation[4:11, 5:13] = 255
    segmentation[5:10, 6:12] = 2
    segmentation[15:, 25:] = 3
    image = cv2.merge([segmentation, 255 - segmentation, np.full_like(segmentation, 128)])
    objects = (
        PlacedObject(1, "stop@home", (5, 4, 12, 10), truncated=False, occluded=True),
        PlacedObject(2, "mill", (25, 15, 29, 19), truncated=True, occluded=False),
    )
    write_scene(tmp_path, "val_000007", Scene(image, segmentation, objects), LABELS)
    (tmp_path / "labels.txt").write_text("\n".join(LABELS))
    write_split_lists(tmp_path, "val", {"val_000007": (1, 2)}, LABELS)
    return tmp_path


def test_the_palette_is_the_published_one() -> None:
    palette = voc_palette()
    assert palette.shape == (256, 3)
    assert [tuple(colour) for colour in palette[:21].tolist()] == list(PUBLISHED)
    assert tuple(palette[255].tolist()) == PUBLISHED_VOID
    assert len(np.unique(palette, axis=0)) == 256


def test_boxes_count_from_one_and_the_far_corner_is_inside(tree: Path) -> None:
    root = ElementTree.parse(tree / "Annotations" / "val_000007.xml").getroot()
    assert [root.findtext(f"size/{side}") for side in ("width", "height", "depth")] == ["30", "20", "3"]
    assert root.findtext("filename") == "val_000007.jpg"
    assert root.findtext("segmented") == "1"
    sign, mill = root.findall("object")
    assert [corner.tag for corner in sign.findall("bndbox/*")] == ["xmin", "ymin", "xmax", "ymax"]
    assert [corner.text for corner in sign.findall("bndbox/*")] == ["6", "5", "13", "11"]
    assert [corner.text for corner in mill.findall("bndbox/*")] == ["26", "16", "30", "20"]
    assert [sign.findtext(tag) for tag in ("name", "truncated", "occluded", "difficult")] == [
        "road sign",
        "0",
        "1",
        "0",
    ]
    assert [mill.findtext(tag) for tag in ("name", "truncated", "occluded")] == ["salt & pepper <old>", "1", "0"]
    assert sign.findtext("identity") == "stop@home"


def test_the_segmentation_holds_numbers_and_the_palette(tree: Path) -> None:
    with PillowImage.open(tree / "SegmentationClass" / "val_000007.png") as png:
        assert png.mode == "P"
        numbers, palette = np.array(png), png.getpalette()
    assert set(np.unique(numbers)) == {0, 2, 3, 255}
    assert palette is not None
    assert tuple(palette[6:9]) == PUBLISHED[2]
    assert tuple(palette[-3:]) == PUBLISHED_VOID


def test_the_lists_say_present_or_absent_for_each_class(tree: Path) -> None:
    lists = tree / "ImageSets"
    assert (lists / "Main" / "val.txt").read_text() == "val_000007\n"
    assert (lists / "Segmentation" / "val.txt").read_text() == "val_000007\n"
    assert (lists / "Main" / "bird_val.txt").read_text() == "val_000007 -1\n"
    assert (lists / "Main" / "road sign_val.txt").read_text() == "val_000007  1\n"


def test_the_loader_reads_it_back(tree: Path) -> None:
    dataset = open_dataset(f"voc:{tree}", "val")
    assert dataset.labels == tuple(LABELS)
    sample = dataset.load(0)
    assert sample.target.tolist() == [0, 1, 1]
    assert sample.image.shape == (20, 30, 3)
    assert sample.segmentation is not None
    assert sample.segmentation[6, 7] == 2
    assert sample.segmentation[4, 5] == 255
