from __future__ import annotations

from pathlib import Path

import pytest

from edgex.errors import DataError
from tests.training.trees import write_csv
from training.datasets import ImageDataset, open_dataset

SPLIT_COLUMNS = ("path", "labels", "split")


def paths(images: ImageDataset, root: Path) -> list[str]:
    return [images.path(i).relative_to(root).as_posix() for i in range(len(images))]


def test_labels_are_separated_by_semicolons_or_bars(tmp_path: Path) -> None:
    rows = [
        ("a.jpg", "dog; cat", "train"),
        ("in/b.png", "eel|cat", "train"),
        ("c.jpg", "", "train"),
        ("d.jpg", "fox", "test"),
    ]
    images = open_dataset(f"csv:{write_csv(tmp_path / 'list.csv', rows, SPLIT_COLUMNS)}", "train")
    assert (images.labels, images.task) == (("cat", "dog", "eel", "fox"), "multi-label")
    assert paths(images, tmp_path) == ["a.jpg", "in/b.png", "c.jpg"]
    assert [images.load(i).target.tolist() for i in range(3)] == [[1, 1, 0, 0], [1, 0, 1, 0], [0, 0, 0, 0]]
    assert (images.load(0).segmentation, images.load(0).image.shape) == (None, (24, 32, 3))


def test_a_bare_file_a_byte_order_mark_and_other_columns_are_fine(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "list.csv", [("a.jpg", "1", "dog", "val")], ("path", "width", " labels", "split"))
    file.write_text(file.read_text(), encoding="utf-8-sig")
    images = open_dataset(str(file), "val")
    assert (images.labels, paths(images, tmp_path)) == (("dog",), ["a.jpg"])


def test_without_the_column_split_the_paths_are_split_once_and_for_good(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "list.csv", [(f"{i:02d}.png", "cat") for i in range(20)])
    parts = {split: paths(open_dataset(f"csv:{file}", split), tmp_path) for split in ("train", "val", "test")}
    assert {split: len(part) for split, part in parts.items()} == {"train": 16, "val": 2, "test": 2}
    assert len({path for part in parts.values() for path in part}) == 20
    # The first tenth of `printf %s 00.png | sha256sum` and so on, sorted.
    assert parts["val"] == ["03.png", "06.png"]


def test_labels_txt_beside_it_fixes_the_labels(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "list.csv", [("a.jpg", "dog", "train")], SPLIT_COLUMNS)
    (tmp_path / "labels.txt").write_text("eel\ndog\n")
    assert open_dataset(f"csv:{file}", "train").load(0).target.tolist() == [0, 1]
    (tmp_path / "labels.txt").write_text("eel\n")
    with pytest.raises(DataError, match=r"1 labels in .*list\.csv, got 'dog'"):
        open_dataset(f"csv:{file}", "train")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"columns path and labels in .*list\.csv, got ;"),
        ("file,labels\na.jpg,dog\n", r"columns path and labels in .*list\.csv, got file, labels"),
        ("path,labels\n", r"labels in .*list\.csv, got none in 0 lines"),
        ("path,labels\na.jpg,\n", r"labels in .*list\.csv, got none in 1 lines"),
        ("path,labels,split\na.jpg,dog,valid\n", r"train, val, test, seen in line 2 of .*list\.csv, got 'valid'"),
        ("path,labels,split\na.jpg,dog,train\na.jpg,cat,val\n", r"once in .*list\.csv, got a\.jpg again in line 3"),
        ("path,labels,split\na.jpg,dog,cat,train\n", r"line 2 of .*list\.csv, got others"),
        ("path,labels,split\na.jpg,dog\n", r"line 2 of .*list\.csv, got others"),
        ("path,labels,split\n,dog,train\n", r"a path in line 2 of .*list\.csv, got an empty cell"),
        ("path,labels,split\nb.jpg,dog,train\n", r"the picture .*b\.jpg, line 2 of .*list\.csv"),
        ("path,labels,split\na.jpg,dog,test\n", r"the split train in .*list\.csv, got none of 1"),
        ("path,labels\na.jpg," + "x" * 200_000 + "\n", r"a CSV in .*list\.csv, got field larger"),
    ],
)
def test_a_broken_csv_is_refused_in_a_sentence_that_names_the_line(tmp_path: Path, text: str, message: str) -> None:
    file = write_csv(tmp_path / "list.csv", [("a.jpg", "dog")])
    file.write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(f"csv:{file}", "train")
    assert "\n" not in str(caught.value)


def test_a_csv_that_is_not_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "list.csv"
    file.write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(DataError, match=r"UTF-8 text file at .*list\.csv"):
        open_dataset(f"csv:{file}", "train")


def test_a_corrupt_picture_is_named(tmp_path: Path) -> None:
    file = write_csv(tmp_path / "list.csv", [("a.jpg", "dog", "train")], SPLIT_COLUMNS)
    (tmp_path / "a.jpg").write_bytes(b"")
    with pytest.raises(DataError, match=r"whole picture in .*a\.jpg"):
        open_dataset(f"csv:{file}", "train").load(0)
