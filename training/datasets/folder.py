"""A folder of pictures with one sub-folder a class: train/CLASS/*.jpg, val/..., test/..., or CLASS/*.jpg alone."""

from __future__ import annotations

from pathlib import Path

from edgex.errors import DataError
from edgex.manifest import Task
from training.datasets import SPLITS, SUFFIXES, Split, multi_hot, read_labels, split_by_hash
from training.datasets.labelled_files import LabelledFiles

VAL_SHARE, TEST_SHARE = 0.1, 0.1


class FolderDataset(LabelledFiles):
    """One split of an image folder; each picture has the one label that its folder names.

    When the sub-folders are train, val and test (any of them, and nothing else), they are the splits. Otherwise each
    class is split by a hash of its file names: a tenth val, a tenth test, the same on every machine. A class of at
    least three pictures is in every split. Adding pictures moves the border: make sub-folders once results are to be
    compared. The labels are the names of the class folders of all splits, or `labels.txt` at the root.

    Parameters
    ----------
    root : the folder
    split : "train", "val" or "test"

    Raises
    ------
    DataError
        If a class or the split has no pictures, or a folder is outside `labels.txt`.
    """

    task: Task = "single-label"

    def __init__(self, root: Path, split: Split) -> None:
        if not root.is_dir():
            raise DataError(f"expected a folder of class folders at {root}, got a file; name the folder, or csv:{root}")
        inner = _folders(root)
        split_folders = bool(inner) and {folder.name for folder in inner} <= set(SPLITS)
        pictures = {
            folder: _pictures(folder) for top in (inner if split_folders else [root]) for folder in _folders(top)
        }
        names = root / "labels.txt"
        found = tuple(sorted({folder.name for folder in pictures}))
        self.labels: tuple[str, ...] = read_labels(names) if names.is_file() else found
        for name in found:
            if not any(files for folder, files in pictures.items() if folder.name == name):
                raise DataError(f"expected pictures in the class folder {name} of {root}, got none; fill or remove it")
        super().__init__()
        for folder, files in pictures.items():
            target = multi_hot([folder.name], self.labels, folder)
            if split_folders:
                chosen = files if folder.parent.name == split else []
            else:
                split_of = split_by_hash((file.relative_to(root).as_posix() for file in files), VAL_SHARE, TEST_SHARE)
                chosen = [file for file in files if split_of[file.relative_to(root).as_posix()] == split]
            self._samples += [(file, target) for file in chosen]
        if not self._samples:
            raise DataError(
                f"expected pictures of the split {split} in {root}, got none; "
                f"make {root / split} with one folder a class, or give each class at least three pictures"
            )


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if path.is_dir() and not path.name.startswith("."))


def _pictures(folder: Path) -> list[Path]:
    return sorted(
        path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
    )
