"""MS COCO 2014 as published: annotations/instances_{train,val}2014.json, train2014/, val2014/.

The paper splits train2014 in two for train and val, and tests on val2014; here val is a tenth of train2014, by hash.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.errors import DataError
from edgex.manifest import Task
from edgex.optional import require
from edgex.types import FloatArray, Image
from training.datasets import VOID, Sample, Split, read_image, split_by_hash

VAL_SHARE = 0.1  # of train2014


class CocoDataset:
    """One split of COCO 2014.

    The labels are the categories of the annotation file, numbered without the gaps of its ids: 80, not 91. A picture
    without annotations has no labels and a segmentation that is all background. Where objects overlap, the smaller
    one is on top; a crowd region, whose objects were not told apart, counts for the label and is void in the
    segmentation.

    Parameters
    ----------
    root : the folder that holds annotations, train2014 and val2014
    split : "train", "val" or "test"

    Raises
    ------
    DataError
        If the annotation file or a picture is missing or broken, or the split is empty.
    MissingDependencyError
        If pycocotools is not installed.
    """

    task: Task = "multi-label"

    def __init__(self, root: Path, split: Split) -> None:
        published = "val2014" if split == "test" else "train2014"
        self._listing = root / "annotations" / f"instances_{published}.json"
        self._coco = _read_annotations(self._listing)
        categories = sorted(self._coco.getCatIds())
        self.labels: tuple[str, ...] = tuple(self._coco.cats[category]["name"] for category in categories)
        self._class_of = {category: index for index, category in enumerate(categories)}
        self._images = _choose(sorted(self._coco.getImgIds()), split)
        folder = root / published
        present = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        for image_id in self._images:
            name = self._coco.imgs[image_id]["file_name"]
            if name not in present:
                raise DataError(
                    f"expected the picture {folder / name}, which {self._listing} lists, got no such file; restore it"
                )
            for drawn in self._coco.imgToAnns[image_id]:
                if drawn["category_id"] not in self._class_of:
                    raise DataError(
                        f"expected one of the {len(categories)} categories for {name} in {self._listing}, "
                        f"got the id {drawn['category_id']}; correct it"
                    )
        if not self._images:
            raise DataError(
                f"expected at least one picture of the split {split} in {self._listing}, got none; extract it again"
            )
        self._folder = folder

    def __len__(self) -> int:
        return len(self._images)

    def path(self, index: int) -> Path:
        """Return the file of one picture."""
        return self._folder / str(self._coco.imgs[self._images[index]]["file_name"])

    def target(self, index: int) -> FloatArray:
        """Return the target of one picture, float32 [C]."""
        target = np.zeros(len(self.labels), np.float32)
        for drawn in self._coco.imgToAnns[self._images[index]]:
            target[self._class_of[drawn["category_id"]]] = 1.0
        return target

    def load(self, index: int) -> Sample:
        """Read one picture and draw its segmentation."""
        path = self.path(index)
        image = read_image(path)
        return Sample(image, self.target(index), self._segmentation(self._images[index], image, path), path)

    def _segmentation(self, image_id: int, image: Image, path: Path) -> NDArray[np.uint8]:
        listed = self._coco.imgs[image_id]
        if (listed["height"], listed["width"]) != image.shape[:2]:
            raise DataError(
                f"expected {listed['width']} x {listed['height']} pixels in {path}, as {self._listing} says, "
                f"got {image.shape[1]} x {image.shape[0]} when upright by its EXIF; restore the published file"
            )
        segmentation = np.zeros(image.shape[:2], np.uint8)
        order = sorted(self._coco.imgToAnns[image_id], key=lambda drawn: (not drawn.get("iscrowd", 0), -drawn["area"]))
        for drawn in order:  # crowds first, then from large to small
            try:
                mask = self._coco.annToMask(drawn)
            except Exception as error:  # pycocotools raises whatever its C part meets
                raise DataError(
                    f"expected a polygon or run lengths for {path.name} in {self._listing}, "
                    f"got {type(error).__name__} for annotation {drawn['id']}; correct it"
                ) from error
            segmentation[mask > 0] = VOID if drawn.get("iscrowd", 0) else self._class_of[drawn["category_id"]] + 1
        return segmentation


def _read_annotations(path: Path) -> Any:
    require("pycocotools")
    coco_type = require("pycocotools.coco").COCO
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # pycocotools prints its progress
            coco = coco_type(str(path))
    except OSError as error:
        raise DataError(f"expected the annotations {path}, got {error.strerror}; extract them there") from error
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise DataError(
            f"expected COCO's JSON of instances in {path}, got {type(error).__name__}: {error}; extract it again"
        ) from error
    if not {"images", "annotations", "categories"} <= coco.dataset.keys():
        raise DataError(
            f"expected images, annotations and categories in {path}, got {', '.join(coco.dataset)}; extract it again"
        )
    return coco


def _choose(image_ids: list[int], split: Split) -> list[int]:
    if split == "test":
        return image_ids
    chosen = split_by_hash(map(str, image_ids), VAL_SHARE, 0.0)
    return [image_id for image_id in image_ids if chosen[str(image_id)] == split]
