"""Datasets: labelled pictures as `Sample`s, one file per published layout. `open_dataset` chooses one by the URI."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, TypeVar, get_args

import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.errors import DataError, UsageError
from edgex.manifest import Task
from edgex.types import FloatArray, Image

if TYPE_CHECKING:
    import torch

    Array = TypeVar("Array", NDArray[np.uint8], torch.Tensor)

Split = Literal["train", "val", "test", "seen"]
SPLITS: tuple[Split, ...] = get_args(Split)
KINDS = ("voc", "coco", "folder", "csv")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})
VOID = 255


@dataclass(frozen=True, slots=True)
class Sample:
    """One labelled picture.

    Attributes
    ----------
    image : uint8 [H, W, 3], BGR
    target : float32 [C], 1 for each class in the picture, else 0
    segmentation : uint8 [H, W], 0 background, i + 1 class i, 255 void; None where the data has none
    path : the picture's file
    """

    image: Image
    target: FloatArray
    segmentation: NDArray[np.uint8] | None
    path: Path


class ImageDataset(Protocol):
    """One split of labelled pictures.

    Attributes
    ----------
    labels : names of the C classes
    task : "multi-label" or "single-label"
    """

    @property
    def labels(self) -> tuple[str, ...]: ...
    @property
    def task(self) -> Task: ...

    def __len__(self) -> int: ...

    def load(self, index: int) -> Sample:
        """Read one picture and its labels. Raises DataError, naming the file, when it is broken."""
        ...

    def path(self, index: int) -> Path:
        """Return the file of one picture, without reading it."""
        ...

    def target(self, index: int) -> FloatArray:
        """Return the target of one picture, float32 [C], without reading the picture."""
        ...


def open_dataset(uri: str, split: str) -> ImageDataset:
    """Open one split of a dataset.

    Parameters
    ----------
    uri : "voc:DIR", "coco:DIR", "folder:DIR" or "csv:FILE"; a bare path is recognised by its layout
    split : "train", "val" or "test"; each loader says which published split that is. Composed scenes (VOC layout)
        have "seen" besides: training's identities over test's backgrounds

    Raises
    ------
    UsageError
        If the kind or the split is not known.
    DataError
        If the folder, an annotation or every picture of the split is missing, or a label is outside the list.
    """
    if split not in SPLITS:
        raise UsageError(f"expected a split of {', '.join(SPLITS)}, got {split!r}; choose one")
    chosen: Split = split
    kind, colon, rest = uri.partition(":")
    path = Path(rest) if colon and kind in KINDS else Path(uri)
    if not path.exists():
        raise DataError(
            f"expected a dataset such as voc:DIR, coco:DIR, folder:DIR or csv:FILE, got {uri!r}, "
            f"and {path} does not exist; correct the path"
        )
    if not colon or kind not in KINDS:
        kind = _recognise(path)
    if kind == "voc":
        from training.datasets.voc import VocDataset

        return VocDataset(path, chosen)
    if kind == "coco":
        from training.datasets.coco import CocoDataset

        return CocoDataset(path, chosen)
    if kind == "csv":
        from training.datasets.csv_labels import CsvDataset

        return CsvDataset(path, chosen)
    from training.datasets.folder import FolderDataset

    return FolderDataset(path, chosen)


def _recognise(path: Path) -> str:
    if path.is_file():
        return "csv"
    if any((path / inner / "ImageSets").is_dir() for inner in ("", "VOC2007", "VOCdevkit/VOC2007")):
        return "voc"
    return "coco" if any(path.glob("annotations/instances_*.json")) else "folder"


def foreground(segmentation: Array) -> tuple[Array, Array]:
    """Split a ground truth into what is an object and what may be judged at all.

    Parameters
    ----------
    segmentation : uint8 array or tensor of any shape, 0 background, i + 1 class i, 255 void

    Returns
    -------
    binary : bool, same shape, True on every class; never on void
    valid : bool, same shape, False on void, which no metric may count as object or as background
    """
    valid = segmentation != VOID
    return (segmentation != 0) & valid, valid


def read_image(path: Path) -> Image:
    """Decode a picture as OpenCV does: uint8 [H, W, 3], BGR, turned upright by its EXIF orientation.

    Raises
    ------
    DataError
        If the file is missing, not a picture, or cut short (some releases of OpenCV fill the rest of a JPEG with grey).
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError(
            f"expected a picture at {path}, got {error.strerror}; restore it or remove its entry"
        ) from error
    image: Image | None = None
    if not _cut_short(content):
        try:
            image = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)  # type: ignore[assignment]
        except cv2.error:  # an empty file, or more pixels than OpenCV allows
            image = None
    if image is None:
        raise DataError(
            f"expected a whole picture in {path}, got {len(content)} bytes that do not decode; "
            "replace it or remove its entry"
        )
    return image


def _cut_short(content: bytes) -> bool:
    """Whether a JPEG lacks the end marker after its last scan; an EXIF thumbnail before the scan has its own."""
    return content.startswith(b"\xff\xd8") and content.rfind(b"\xff\xd9") < content.rfind(b"\xff\xda")


def read_labels(path: Path) -> tuple[str, ...]:
    """Read a list of labels, one a line, empty lines left out.

    Raises
    ------
    DataError
        If the file cannot be read, is empty, or holds a label twice.
    """
    labels = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if not labels or len(set(labels)) != len(labels):
        raise DataError(f"expected labels in {path}, one a line and each once, got {len(labels)} lines; correct it")
    return labels


def read_text(path: Path) -> str:
    """Read a UTF-8 text file; a byte order mark is dropped. Raises DataError when there is none."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"expected a UTF-8 text file at {path}, got {error}; restore it") from error


def multi_hot(names: Iterable[str], labels: Sequence[str], where: Path) -> FloatArray:
    """Return float32 [C] with 1 for each name. Raises DataError, naming `where`, for a name outside the labels."""
    target = np.zeros(len(labels), np.float32)
    for name in names:
        if name not in labels:
            raise DataError(
                f"expected one of the {len(labels)} labels in {where}, got {name!r}; add it to labels.txt or correct it"
            )
        target[labels.index(name)] = 1.0
    return target


def split_by_hash(keys: Iterable[str], val: float, test: float) -> dict[str, Split]:
    """Split names for good: in the order of their SHA-256, so neither the listing's order nor the machine matters.

    Parameters
    ----------
    keys : names that differ, at least one
    val, test : share of each, 0 to 1; rounded, but at least one key where the share is above 0 and 3 keys are there
    """
    ordered = sorted(set(keys), key=lambda key: hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest())
    least = 1 if len(ordered) >= 3 else 0
    n_val, n_test = (max(least, round(len(ordered) * share)) if share > 0 else 0 for share in (val, test))
    first_test, first_train = n_val, n_val + n_test
    return {
        key: "val" if rank < first_test else "test" if rank < first_train else "train"
        for rank, key in enumerate(ordered)
    }
