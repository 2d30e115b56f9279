from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgex.errors import DataError
from tests.training.trees import (
    COCO_IDS,
    HEIGHT,
    WIDTH,
    coco_annotation,
    coco_crowd,
    picture,
    write_coco,
    write_upright_by_exif,
)
from training.datasets import ImageDataset, Sample, open_dataset

PERSON, TOOTHBRUSH = 1, 90  # the first and the last category id
CROWD = np.zeros((HEIGHT, WIDTH), np.bool_)
CROWD[:, :8] = True


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Pictures 1 to 20 in both splits; in val2014, 1 to 4 have annotations."""
    val = [
        coco_annotation(1, PERSON, (4, 4, 20, 16)),
        coco_annotation(1, TOOTHBRUSH, (8, 8, 4, 4)),
        coco_annotation(1, PERSON, (20, 2, 8, 8)),
        coco_annotation(2, TOOTHBRUSH, (4, 0, 8, 24)),
        coco_crowd(2, PERSON, CROWD),
        coco_crowd(3, PERSON, CROWD),
        coco_annotation(4, 13, (0, 0, 32, 24)),  # stop sign: the first id after a gap
    ]
    return write_coco(tmp_path / "coco", {"val2014": val})


def by_id(images: ImageDataset, image_id: int) -> Sample:
    numbers = {int(images.path(index).stem[-12:]): index for index in range(len(images))}
    return images.load(numbers[image_id])


def test_there_are_80_labels_without_the_gaps_of_the_ids(coco: Path) -> None:
    images = open_dataset(f"coco:{coco}", "test")
    assert (len(images.labels), images.labels[0], images.labels[-1]) == (80, "person", "toothbrush")
    assert np.flatnonzero(by_id(images, 4).target).tolist() == [COCO_IDS.index(13)] == [11]
    assert np.flatnonzero(by_id(images, 1).target).tolist() == [0, 79]
    assert (images.task, by_id(images, 1).target.dtype) == ("multi-label", np.float32)


def test_a_picture_without_annotations_has_no_labels_and_is_all_background(coco: Path) -> None:
    sample = by_id(open_dataset(f"coco:{coco}", "test"), 9)
    assert sample.target.shape == (80,)
    assert sample.target.sum() == 0
    np.testing.assert_array_equal(sample.segmentation, np.zeros((HEIGHT, WIDTH), np.uint8))


def test_the_smaller_object_is_on_top(coco: Path) -> None:
    expected = np.zeros((HEIGHT, WIDTH), np.uint8)
    expected[4:20, 4:24] = expected[2:10, 20:28] = 1
    expected[8:12, 8:12] = 80
    np.testing.assert_array_equal(by_id(open_dataset(f"coco:{coco}", "test"), 1).segmentation, expected)


def test_a_crowd_counts_for_the_label_and_is_void_below_single_objects(coco: Path) -> None:
    images = open_dataset(f"coco:{coco}", "test")
    expected = np.where(CROWD, 255, 0).astype(np.uint8)
    np.testing.assert_array_equal(by_id(images, 3).segmentation, expected)
    assert np.flatnonzero(by_id(images, 3).target).tolist() == [0]
    expected[:, 4:12] = 80
    np.testing.assert_array_equal(by_id(images, 2).segmentation, expected)


def test_train2014_is_split_in_two_for_good_and_val2014_is_the_test(coco: Path) -> None:
    names = {
        split: {images.path(i).name for i in range(len(images))}
        for split in ("train", "val", "test")
        if (images := open_dataset(str(coco), split))
    }
    # The first tenth of `printf %s 1 | sha256sum` and so on, sorted.
    assert names["val"] == {f"COCO_train2014_{i:012d}.jpg" for i in (8, 9)}
    assert names["train"] == {f"COCO_train2014_{i:012d}.jpg" for i in range(1, 21)} - names["val"]
    assert names["test"] == {f"COCO_val2014_{i:012d}.jpg" for i in range(1, 21)}


def test_nothing_is_printed(coco: Path, capfd: pytest.CaptureFixture[str]) -> None:
    open_dataset(f"coco:{coco}", "test").load(0)
    assert capfd.readouterr() == ("", "")


def edit(coco: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = coco / "annotations" / "instances_val2014.json"
    tree = json.loads(file.read_text())
    change(tree)
    file.write_text(json.dumps(tree))


BROKEN_TREES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no annotations": (
        lambda coco: shutil.rmtree(coco / "annotations"),
        r"annotations .*instances_val2014\.json, got No such",
    ),
    "no pictures": (
        lambda coco: shutil.rmtree(coco / "val2014"),
        r"picture .*COCO_val2014_0+1\.jpg, which .*\.json lists",
    ),
    "picture missing": (
        lambda coco: (coco / "val2014/COCO_val2014_000000000007.jpg").unlink(),
        r"COCO_val2014_0+7\.jpg",
    ),
    "not JSON": (
        lambda coco: (coco / "annotations/instances_val2014.json").write_text("{"),
        r"JSON .*val2014\.json, got JSOND",
    ),
    "a JSON list": (
        lambda coco: (coco / "annotations/instances_val2014.json").write_text("[]"),
        r"JSON .*val2014\.json, got Ass",
    ),
    "no categories": (
        lambda coco: edit(coco, lambda tree: tree.pop("categories")),
        r"categories in .*val2014\.json, got",
    ),
    "empty split": (
        lambda coco: edit(coco, lambda tree: tree["images"].clear()),
        r"split test in .*val2014\.json, got none",
    ),
    "unknown category": (
        lambda coco: edit(coco, lambda tree: tree["annotations"][0].update(category_id=12)),
        r"80 categories for COCO_val2014_0+1\.jpg in .*val2014\.json, got the id 12",
    ),
}


@pytest.mark.parametrize("case", BROKEN_TREES)
def test_a_broken_tree_is_refused_when_opened_in_a_sentence_that_names_the_file(coco: Path, case: str) -> None:
    damage, message = BROKEN_TREES[case]
    damage(coco)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(f"coco:{coco}", "test")
    assert "\n" not in str(caught.value)


def test_a_broken_region_is_named(coco: Path) -> None:
    edit(coco, lambda tree: tree["annotations"][0].update(segmentation=[["x"]]))
    with pytest.raises(DataError, match=r"COCO_val2014_0+1\.jpg in .*val2014\.json, got .* annotation 100"):
        open_dataset(f"coco:{coco}", "test").load(0)


def test_a_picture_of_another_size_than_listed_is_named(coco: Path) -> None:
    write_upright_by_exif(coco / "val2014" / "COCO_val2014_000000000001.jpg", picture(0))
    with pytest.raises(DataError, match=r"32 x 24 pixels in .*COCO_val2014_0+1\.jpg.*, got 24 x 32"):
        open_dataset(f"coco:{coco}", "test").load(0)


def test_a_corrupt_picture_is_named(coco: Path) -> None:
    (coco / "val2014" / "COCO_val2014_000000000001.jpg").write_bytes(b"\xff\xd8")
    with pytest.raises(DataError, match=r"whole picture in .*COCO_val2014_0+1\.jpg"):
        open_dataset(f"coco:{coco}", "test").load(0)
