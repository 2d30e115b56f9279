"""PASCAL VOC, as published in 2007 and as `training compose` writes it.

    JPEGImages/ID.jpg  Annotations/ID.xml  SegmentationClass/ID.png  ImageSets/{Main,Segmentation}/{train,val,test}.txt

The splits train, val and test are the published ones. A `labels.txt` at the root replaces the 20 classes.
"""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from edgex.errors import DataError
from edgex.manifest import Task
from edgex.types import FloatArray, Image
from training.datasets import SUFFIXES, VOID, Sample, Split, multi_hot, read_image, read_labels, read_text

VOC_LABELS = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)


class VocDataset:
    """One split of a VOC tree.

    Objects marked difficult count as present: the segmentation shows them too, and an Explainer would otherwise be
    punished for seeing what is there. The splits are those of ImageSets/Main, where not every picture has a
    segmentation; a tree with ImageSets/Segmentation alone uses that.

    Parameters
    ----------
    root : the folder that holds JPEGImages, or one that holds VOC2007 or VOCdevkit/VOC2007
    split : "train", "val" or "test"

    Raises
    ------
    DataError
        If a folder, list, picture or annotation is missing or broken, the split is empty, or a label is unknown.
        All but the pixels is checked here, so that a run does not stop hours later.
    """

    task: Task = "multi-label"

    def __init__(self, root: Path, split: Split) -> None:
        self.root = _find_root(root)
        names = self.root / "labels.txt"
        self.labels: tuple[str, ...] = read_labels(names) if names.is_file() else VOC_LABELS
        listing = self._listing(split)
        lines = [line.split() for line in read_text(listing).splitlines()]
        self._ids = [fields[0] for fields in lines if fields]
        if not self._ids:
            raise DataError(f"expected at least one picture in {listing}, got none; write one name a line")
        self._paths = [self._picture(name, listing) for name in self._ids]
        self._targets = [self._read_target(name) for name in self._ids]

    def __len__(self) -> int:
        return len(self._ids)

    def path(self, index: int) -> Path:
        """Return the file of one picture."""
        return self._paths[index]

    def target(self, index: int) -> FloatArray:
        """Return the target of one picture, float32 [C]."""
        return self._targets[index].copy()

    def load(self, index: int) -> Sample:
        """Read one picture, its labels and, if it has one, its segmentation."""
        image = read_image(self._paths[index])
        drawn = self.root / "SegmentationClass" / f"{self._ids[index]}.png"
        segmentation = read_segmentation(drawn, image, len(self.labels)) if drawn.is_file() else None
        return Sample(image, self.target(index), segmentation, self._paths[index])

    def _listing(self, split: Split) -> Path:
        main, segmentation = (self.root / "ImageSets" / kind / f"{split}.txt" for kind in ("Main", "Segmentation"))
        if main.is_file() or segmentation.is_file():
            return main if main.is_file() else segmentation
        raise DataError(
            f"expected the split {split} in {main}, got no such file; VOC's test split is an archive of its own"
        )

    def _picture(self, name: str, listing: Path) -> Path:
        published = self.root / "JPEGImages" / f"{name}.jpg"
        if published.is_file():
            return published
        for suffix in sorted(SUFFIXES):
            if (other := published.with_name(name + suffix)).is_file():
                return other
        raise DataError(f"expected the picture {published}, which {listing} lists, got no such file; restore it")

    def _read_target(self, name: str) -> FloatArray:
        path = self.root / "Annotations" / f"{name}.xml"
        try:
            tree = ElementTree.parse(path).getroot()
        except OSError as error:
            raise DataError(f"expected the annotation {path}, got {error.strerror}; restore it") from error
        except ElementTree.ParseError as error:
            raise DataError(f"expected well-formed XML in {path}, got {error}; restore it") from error
        return multi_hot((found.findtext("name", "").strip() for found in tree.findall("object")), self.labels, path)


def read_segmentation(path: Path, image: Image, classes: int) -> NDArray[np.uint8]:
    """Read a palette or grey PNG of class numbers, uint8 [H, W], the size of `image`.

    Pillow reads it: OpenCV would turn the palette into colours and lose the numbers.

    Raises
    ------
    DataError
        If it does not decode, has colours, differs in size from the picture, or names a class above `classes`.
    """
    try:
        with PillowImage.open(path) as png:
            if png.mode not in ("P", "L"):
                raise DataError(
                    f"expected a palette or 8-bit grey PNG in {path}, got mode {png.mode}; "
                    "save class numbers, not colours"
                )
            if (png.height, png.width) != image.shape[:2]:
                raise DataError(
                    f"expected a segmentation of the picture's {image.shape[1]} x {image.shape[0]} pixels in {path}, "
                    f"got {png.width} x {png.height}; draw it on the picture as turned by its EXIF orientation"
                )
            numbers = np.array(png)
    except (OSError, ValueError, SyntaxError) as error:  # what Pillow raises on broken PNGs
        raise DataError(f"expected a PNG of class numbers in {path}, got {error}; replace or remove it") from error
    highest = int(np.where(numbers == VOID, 0, numbers).max())
    if highest > classes:
        raise DataError(
            f"expected class numbers up to {classes}, or 255 for void, in {path}, got {highest}; correct labels.txt"
        )
    return numbers


def _find_root(root: Path) -> Path:
    for candidate in (root, root / "VOC2007", root / "VOCdevkit" / "VOC2007"):
        if (candidate / "ImageSets").is_dir():
            for needed in ("JPEGImages", "Annotations"):
                if not (candidate / needed).is_dir():
                    raise DataError(
                        f"expected the folder {candidate / needed}, got none; extract the whole VOC archive"
                    )
            return candidate
    raise DataError(
        f"expected ImageSets in {root} or in its VOCdevkit/VOC2007, got none; name the folder of a VOC tree"
    )
