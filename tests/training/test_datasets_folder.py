from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from edgex.errors import DataError, UsageError
from tests.training.trees import write_folder, write_picture
from training.datasets import ImageDataset, open_dataset, split_by_hash


def names(images: ImageDataset) -> list[str]:
    return [f"{images.path(i).parent.name}/{images.path(i).name}" for i in range(len(images))]


def test_the_folder_is_the_one_label(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "pets", {"train/dog": 2, "train/cat": 1, "val/cat": 1, "test/dog": 1})
    images = open_dataset(f"folder:{root}", "train")
    assert (images.labels, images.task) == (("cat", "dog"), "single-label")
    assert names(images) == ["cat/000.jpg", "dog/000.jpg", "dog/001.jpg"]
    assert [images.load(i).target.tolist() for i in range(3)] == [[1, 0], [0, 1], [0, 1]]
    assert images.load(0).segmentation is None
    assert names(open_dataset(str(root), "test")) == ["dog/000.jpg"]


def test_labels_are_those_of_all_splits(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/dog": 1, "train/cat": 1, "test/cat": 1, "test/eel": 1})
    assert {open_dataset(f"folder:{root}", split).labels for split in ("train", "test")} == {("cat", "dog", "eel")}


def test_without_split_folders_each_class_is_split_once_and_for_good(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"cat": 30, "dog": 3})
    parts = {split: names(open_dataset(f"folder:{root}", split)) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 25, "val": 4, "test": 4}
    assert len({name for part in parts.values() for name in part}) == 33
    assert all(sum(name.startswith("dog/") for name in part) == 1 for part in parts.values())
    # The first tenth of `printf %s cat/000.jpg | sha256sum` and so on, sorted.
    assert parts["val"] == ["cat/004.jpg", "cat/012.jpg", "cat/014.jpg", "dog/001.jpg"]


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train": 3, "car": 3})
    assert open_dataset(f"folder:{root}", "train").labels == ("car", "train")


def test_hidden_files_and_other_files_are_no_pictures(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/cat": 1, ".cache/cat": 1})
    write_picture(root / "train" / "cat" / "deeper" / "PHOTO.JPG")
    (root / "train" / "cat" / "notes.txt").write_text("a cat")
    (root / "train" / "cat" / "._000.jpg").write_text("")
    assert names(open_dataset(f"folder:{root}", "train")) == ["cat/000.jpg", "deeper/PHOTO.JPG"]


def test_labels_txt_fixes_the_order_and_refuses_other_folders(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/cat": 1, "train/dog": 1})
    (root / "labels.txt").write_text("dog\ncat\nbird\n")
    assert open_dataset(f"folder:{root}", "train").load(0).target.tolist() == [0, 1, 0]
    (root / "labels.txt").write_text("cat\n")
    with pytest.raises(DataError, match=r"1 labels in .*dog, got 'dog'"):
        open_dataset(f"folder:{root}", "train")


def test_an_empty_class_folder_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/cat": 1, "train/dog": 0})
    with pytest.raises(DataError, match="class folder dog"):
        open_dataset(f"folder:{root}", "train")


def test_an_empty_split_is_refused(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/cat": 1})
    with pytest.raises(DataError, match=r"the split val in .*, got none"):
        open_dataset(f"folder:{root}", "val")
    shutil.rmtree(root / "train")
    with pytest.raises(DataError, match=r"the split train in .*, got none"):
        open_dataset(f"folder:{root}", "train")


def test_a_corrupt_picture_is_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path, {"train/cat": 1})
    (root / "train" / "cat" / "000.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"whole picture in .*000\.jpg"):
        open_dataset(f"folder:{root}", "train").load(0)


def test_a_missing_path_and_an_unknown_split_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"voc:DIR, coco:DIR, folder:DIR or csv:FILE, got 'voc:.*nowhere'"):
        open_dataset(f"voc:{tmp_path / 'nowhere'}", "train")
    with pytest.raises(UsageError, match="split of train, val, test, seen, got 'trainval'"):
        open_dataset(str(tmp_path), "trainval")
    with pytest.raises(DataError, match=r"class folders at .*, got a file"):
        open_dataset(f"folder:{write_picture(tmp_path / 'one.png')}", "train")


def test_the_split_by_hash_does_not_depend_on_the_order() -> None:
    keys = [f"picture-{i}" for i in range(100)]
    split_of = split_by_hash(keys, 0.2, 0.1)
    assert split_of == split_by_hash(reversed(keys), 0.2, 0.1)
    counts = np.unique(list(split_of.values()), return_counts=True)
    assert dict(zip(*(part.tolist() for part in counts), strict=True)) == {"test": 10, "train": 70, "val": 20}
    assert set(split_by_hash(keys, 0.1, 0.0).values()) == {"train", "val"}
    assert set(split_by_hash(["a", "b"], 0.1, 0.1).values()) == {"train"}
