from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from edgex.errors import DataError
from tests.training.trees import (
    class_numbers,
    picture,
    voc_object,
    write_segmentation,
    write_upright_by_exif,
    write_voc,
)
from training.datasets import foreground, open_dataset
from training.datasets.voc import VOC_LABELS


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    return write_voc(tmp_path / "VOCdevkit" / "VOC2007")


def present(root: Path, split: str) -> list[set[str]]:
    images = open_dataset(f"voc:{root}", split)
    return [{images.labels[i] for i in np.flatnonzero(images.target(n))} for n in range(len(images))]


def test_the_20_classes_are_voc_s_in_alphabetical_order() -> None:
    assert len(VOC_LABELS) == 20
    assert list(VOC_LABELS) == sorted(VOC_LABELS)


def test_the_splits_are_the_published_ones(voc: Path) -> None:
    stems = {
        split: [open_dataset(f"voc:{voc}", split).path(i).stem for i in range(n)]
        for split, n in (("train", 3), ("val", 2), ("test", 1))
    }
    assert stems == {"train": ["000012", "000017", "000023"], "val": ["000005", "000007"], "test": ["000001"]}
    assert len(open_dataset(f"voc:{voc}", "train")) == 3


@pytest.mark.parametrize("up", [0, 1, 2])
@pytest.mark.parametrize("prefix", ["voc:", ""])
def test_the_root_may_be_the_tree_or_the_folder_it_was_extracted_into(voc: Path, up: int, prefix: str) -> None:
    root = [voc, *voc.parents][up]
    images = open_dataset(f"{prefix}{root}", "test")
    assert (images.path(0), images.task, images.labels) == (
        voc / "JPEGImages" / "000001.jpg",
        "multi-label",
        VOC_LABELS,
    )


def test_labels_are_all_objects_difficult_ones_too_and_never_their_parts(voc: Path) -> None:
    assert present(voc, "train") == [{"car"}, {"person", "horse"}, {"bicycle"}]
    assert present(voc, "test") == [{"dog", "person"}]


def test_a_sample_holds_picture_target_and_class_numbers(voc: Path) -> None:
    sample = open_dataset(f"voc:{voc}", "train").load(0)
    assert (sample.image.dtype, sample.image.shape) == (np.uint8, (24, 32, 3))
    np.testing.assert_array_equal(sample.image, cv2.imread(str(sample.path)))
    assert sample.target.dtype == np.float32
    assert sample.target.tolist() == [float(label == "car") for label in VOC_LABELS]
    assert sample.segmentation is not None
    np.testing.assert_array_equal(sample.segmentation, class_numbers(VOC_LABELS.index("car") + 1))


def test_a_picture_without_segmentation_has_none(voc: Path) -> None:
    assert open_dataset(f"voc:{voc}", "train").load(1).segmentation is None


def test_the_void_border_is_neither_foreground_nor_valid(voc: Path) -> None:
    segmentation = open_dataset(f"voc:{voc}", "train").load(0).segmentation
    assert segmentation is not None
    binary, valid = foreground(segmentation)
    assert (segmentation == 255).sum() == 2 * 16 + 2 * 10
    np.testing.assert_array_equal(valid, segmentation != 255)
    np.testing.assert_array_equal(binary, segmentation == 7)


def test_labels_txt_replaces_the_classes(voc: Path) -> None:
    (voc / "labels.txt").write_text("dog\n\nperson\ncar \nhorse\nbicycle\nchair\n", encoding="utf-8-sig")
    assert open_dataset(f"voc:{voc}", "val").labels == ("dog", "person", "car", "horse", "bicycle", "chair")
    assert present(voc, "test") == [{"dog", "person"}]


def test_segmentation_lists_alone_are_enough(voc: Path) -> None:
    shutil.rmtree(voc / "ImageSets" / "Main")
    assert [open_dataset(f"voc:{voc}", "train").path(0).stem, len(open_dataset(f"voc:{voc}", "train"))] == ["000012", 1]


def test_changing_a_target_does_not_change_the_dataset(voc: Path) -> None:
    images = open_dataset(f"voc:{voc}", "train")
    images.load(0).target[:] = 9
    assert images.target(0).max() == 1


def test_pictures_are_turned_upright_and_so_must_the_segmentation_be(voc: Path) -> None:
    path, drawn = voc / "JPEGImages" / "000012.jpg", voc / "SegmentationClass" / "000012.png"
    stored = picture(3, 32, 24)  # 32 high, 24 wide
    write_upright_by_exif(path, stored)
    write_segmentation(drawn, class_numbers(7, 24, 32))
    sample = open_dataset(f"voc:{voc}", "train").load(0)
    assert sample.image.shape == (24, 32, 3)
    assert np.abs(sample.image.astype(int) - np.rot90(stored, -1)).mean() < 8  # JPEG's own loss
    write_segmentation(drawn, class_numbers(7, 32, 24))
    with pytest.raises(DataError, match=r"32 x 24 pixels in .*000012\.png, got 24 x 32; .* EXIF"):
        open_dataset(f"voc:{voc}", "train").load(0)


def shorten(path: Path, share: float = 0.7) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


BROKEN_TREES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no pictures": (lambda voc: shutil.rmtree(voc / "JPEGImages"), r"the folder .*JPEGImages, got none"),
    "no annotations": (lambda voc: shutil.rmtree(voc / "Annotations"), r"the folder .*Annotations, got none"),
    "no lists": (lambda voc: shutil.rmtree(voc / "ImageSets"), r"ImageSets in .*VOC2007"),
    "no train list": (
        lambda voc: [file.unlink() for file in (voc / "ImageSets").rglob("train.txt")],
        r"the split train in .*Main.train\.txt, got no such file",
    ),
    "empty split": (
        lambda voc: (voc / "ImageSets/Main/train.txt").write_text("\n"),
        r"one picture in .*train\.txt, got none",
    ),
    "picture missing": (lambda voc: (voc / "JPEGImages/000017.jpg").unlink(), r"000017\.jpg, which .*train\.txt lists"),
    "annotation missing": (
        lambda voc: (voc / "Annotations/000017.xml").unlink(),
        r"annotation .*000017\.xml, got No such",
    ),
    "broken XML": (lambda voc: shorten(voc / "Annotations/000017.xml"), r"well-formed XML in .*000017\.xml, got"),
    "unknown label": (
        lambda voc: (voc / "Annotations/000017.xml").write_text(f"<annotation>{voc_object('unicorn')}</annotation>"),
        r"20 labels in .*000017\.xml, got 'unicorn'",
    ),
    "no label name": (
        lambda voc: (voc / "Annotations/000017.xml").write_text("<annotation><object/></annotation>"),
        r"20 labels in .*000017\.xml, got ''",
    ),
    "label outside labels.txt": (
        lambda voc: (voc / "labels.txt").write_text("car\ndog\n"),
        r"2 labels in .*000017\.xml, got 'person'",
    ),
    "empty labels.txt": (lambda voc: (voc / "labels.txt").write_text("\n"), r"labels in .*labels\.txt, one a line"),
    "a label twice": (
        lambda voc: (voc / "labels.txt").write_text("car\ncar\n"),
        r"labels in .*labels\.txt, .* each once",
    ),
    "labels.txt not text": (
        lambda voc: (voc / "labels.txt").write_bytes(b"\xff\xfe\x00"),
        r"UTF-8 text file at .*labels\.txt",
    ),
}


@pytest.mark.parametrize("case", BROKEN_TREES)
def test_a_broken_tree_is_refused_when_opened_in_a_sentence_that_names_the_file(voc: Path, case: str) -> None:
    damage, message = BROKEN_TREES[case]
    damage(voc)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(f"voc:{voc}", "train")
    assert "\n" not in str(caught.value)


BROKEN_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "picture cut short": (lambda voc: shorten(voc / "JPEGImages/000012.jpg", 0.9), r"whole picture in .*000012\.jpg"),
    "picture without its last byte": (
        lambda voc: shorten(voc / "JPEGImages/000012.jpg", 0.999),
        r"whole picture in .*000012\.jpg",
    ),
    "empty picture": (lambda voc: shorten(voc / "JPEGImages/000012.jpg", 0), r"000012\.jpg, got 0 bytes"),
    "no picture at all": (
        lambda voc: (voc / "JPEGImages/000012.jpg").write_text("<html>"),
        r"000012\.jpg, got 6 bytes",
    ),
    "picture gone": (
        lambda voc: (voc / "JPEGImages/000012.jpg").unlink(),
        r"a picture at .*000012\.jpg, got No such file",
    ),
    "segmentation cut short": (
        lambda voc: shorten(voc / "SegmentationClass/000012.png"),
        r"class numbers in .*000012\.png",
    ),
    "segmentation in colours": (
        lambda voc: cv2.imwrite(str(voc / "SegmentationClass/000012.png"), picture(0)),
        r"palette or 8-bit grey PNG in .*000012\.png, got mode RGB",
    ),
    "segmentation of another size": (
        lambda voc: write_segmentation(voc / "SegmentationClass/000012.png", class_numbers(7, 12, 16)),
        r"32 x 24 pixels in .*000012\.png, got 16 x 12",
    ),
    "class number too high": (
        lambda voc: write_segmentation(voc / "SegmentationClass/000012.png", class_numbers(21)),
        r"up to 20, or 255 for void, in .*000012\.png, got 21",
    ),
}


@pytest.mark.parametrize("case", BROKEN_FILES)
def test_a_broken_file_is_named_when_it_is_read(voc: Path, case: str) -> None:
    images = open_dataset(f"voc:{voc}", "train")
    damage, message = BROKEN_FILES[case]
    damage(voc)
    with pytest.raises(DataError, match=message) as caught:
        images.load(0)
    assert "\n" not in str(caught.value)
    assert images.load(1).image.shape == (24, 32, 3)  # the others stand


def test_a_grey_png_of_class_numbers_is_read_too(voc: Path) -> None:
    PillowImage.fromarray(class_numbers(7)).save(voc / "SegmentationClass/000012.png")
    segmentation = open_dataset(f"voc:{voc}", "train").load(0).segmentation
    assert segmentation is not None
    np.testing.assert_array_equal(segmentation, class_numbers(7))


def test_a_segmentation_that_is_all_void_is_read(voc: Path) -> None:
    write_segmentation(voc / "SegmentationClass/000012.png", np.full((24, 32), 255, np.uint8))
    segmentation = open_dataset(f"voc:{voc}", "train").load(0).segmentation
    assert segmentation is not None
    assert not foreground(segmentation)[1].any()


def test_a_jpeg_whose_thumbnail_is_whole_is_still_cut_short(voc: Path) -> None:
    path = voc / "JPEGImages" / "000012.jpg"
    thumbnail = cv2.imencode(".jpg", picture(1, 8, 8))[1].tobytes()
    content = path.read_bytes()
    segment = b"\xff\xe1" + (len(thumbnail) + 2).to_bytes(2, "big") + thumbnail
    path.write_bytes(content[:2] + segment + content[2:])
    images = open_dataset(f"voc:{voc}", "train")
    assert images.load(0).image.shape == (24, 32, 3)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"000012\.jpg"):
        images.load(0)
