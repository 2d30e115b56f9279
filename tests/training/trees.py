"""Small dataset trees of the published layouts, with real pictures."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

HEIGHT, WIDTH = 24, 32
# The ids and names of COCO 2014's 80 categories: 11 ids of 1 to 90 are not used.
COCO_UNUSED_IDS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
COCO_IDS = tuple(number for number in range(1, 91) if number not in COCO_UNUSED_IDS)
COCO_NAMES = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant stop_sign parking_meter "
    "bench bird cat dog horse sheep cow elephant bear zebra giraffe backpack umbrella handbag tie suitcase frisbee "
    "skis snowboard sports_ball kite baseball_bat baseball_glove skateboard surfboard tennis_racket bottle wine_glass "
    "cup fork knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair couch "
    "potted_plant bed dining_table toilet tv laptop mouse remote keyboard cell_phone microwave oven toaster sink "
    "refrigerator book clock vase scissors teddy_bear hair_drier toothbrush"
)


def picture(seed: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Return smooth colours, uint8 [height, width, 3]."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 4, 3), dtype=np.uint8)
    return cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR)


def write_picture(path: Path, seed: int = 0, height: int = HEIGHT, width: int = WIDTH) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    assert cv2.imwrite(str(path), picture(seed, height, width))
    return path


def write_upright_by_exif(path: Path, stored: NDArray[np.uint8]) -> None:
    """Write a JPEG whose EXIF says: turn by a quarter, clockwise, to see it upright (orientation 6)."""
    exif = PillowImage.Exif()
    exif[0x0112] = 6
    PillowImage.fromarray(stored[..., ::-1]).save(path, exif=exif, quality=95)


def class_numbers(number: int, height: int = HEIGHT, width: int = WIDTH) -> NDArray[np.uint8]:
    """Return a box of one class within a one-pixel border of void, uint8 [height, width]."""
    numbers = np.zeros((height, width), np.uint8)
    numbers[height // 4 : -height // 4, width // 4 : -width // 4] = 255
    numbers[height // 4 + 1 : -height // 4 - 1, width // 4 + 1 : -width // 4 - 1] = number
    return numbers


def write_segmentation(path: Path, numbers: NDArray[np.uint8]) -> None:
    """Write VOC's palette PNG."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = PillowImage.fromarray(numbers)
    image.putpalette([value for index in range(256) for value in (index, 255 - index, index // 2)])
    image.save(path)


def voc_object(name: str, difficult: int = 0, part: str | None = None) -> str:
    inner = f"<part><name>{part}</name><bndbox><xmin>1</xmin></bndbox></part>" if part else ""
    return (
        f"<object><name>{name}</name><pose>Left</pose><truncated>1</truncated><difficult>{difficult}</difficult>"
        f"<bndbox><xmin>8</xmin><ymin>6</ymin><xmax>24</xmax><ymax>18</ymax></bndbox>{inner}</object>"
    )


def write_voc(root: Path) -> Path:
    """Write a VOC-2007 tree of 3 + 2 + 1 pictures and return `root`; only the first of each split is segmented."""
    splits = {"train": ["000012", "000017", "000023"], "val": ["000005", "000007"], "test": ["000001"]}
    objects = {
        "000012": voc_object("car"),
        "000017": voc_object("person", part="head") + voc_object("horse") + voc_object("person"),
        "000023": voc_object("bicycle", difficult=1),
        "000005": voc_object("chair"),
        "000007": voc_object("car"),
        "000001": voc_object("dog") + voc_object("person", difficult=1),
    }
    segmented = {"000012": 7, "000005": 9, "000001": 12}  # 1 + index among the 20 classes
    for number, (name, found) in enumerate(objects.items()):
        write_picture(root / "JPEGImages" / f"{name}.jpg", number)
        annotation = root / "Annotations" / f"{name}.xml"
        annotation.parent.mkdir(exist_ok=True)
        annotation.write_text(
            f"<annotation><folder>VOC2007</folder><filename>{name}.jpg</filename><size><width>{WIDTH}</width>"
            f"<height>{HEIGHT}</height><depth>3</depth></size><segmented>0</segmented>{found}</annotation>"
        )
    for name, class_number in segmented.items():
        write_segmentation(root / "SegmentationClass" / f"{name}.png", class_numbers(class_number))
    for split, names in {**splits, "trainval": splits["train"] + splits["val"]}.items():
        for kind, chosen in (("Main", names), ("Segmentation", [name for name in names if name in segmented])):
            folder = root / "ImageSets" / kind
            folder.mkdir(parents=True, exist_ok=True)
            (folder / f"{split}.txt").write_text("".join(f"{name}\n" for name in chosen))
        (root / "ImageSets" / "Main" / f"car_{split}.txt").write_text("".join(f"{name} -1\n" for name in names))
    return root


def coco_annotation(image_id: int, category: int, box: tuple[int, int, int, int]) -> dict[str, Any]:
    """Return a polygon annotation of a box x, y, width, height."""
    x, y, width, height = box
    corners = [x, y, x + width, y, x + width, y + height, x, y + height]
    fields = {"image_id": image_id, "category_id": category, "bbox": list(box), "area": width * height, "iscrowd": 0}
    return {**fields, "segmentation": [corners]}


def coco_crowd(image_id: int, category: int, mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a crowd annotation: uncompressed run lengths, column by column, beginning with a run of zeros."""
    flat = mask.T.ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *edges, flat.size]).tolist()
    runs = {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}
    fields = {
        "image_id": image_id,
        "category_id": category,
        "bbox": [0, 0, 1, 1],
        "area": int(mask.sum()),
        "iscrowd": 1,
    }
    return {**fields, "segmentation": runs}


def write_coco(root: Path, annotations: Mapping[str, Sequence[dict[str, Any]]], count: int = 20) -> Path:
    """Write a COCO-2014 tree of `count` pictures in each of train2014 and val2014 and return `root`."""
    categories = [
        {"id": i, "name": name, "supercategory": "thing"} for i, name in zip(COCO_IDS, COCO_NAMES.split(), strict=True)
    ]
    (root / "annotations").mkdir(parents=True)
    for folder in ("train2014", "val2014"):
        images = []
        for image_id in range(1, count + 1):
            name = f"COCO_{folder}_{image_id:012d}.jpg"
            write_picture(root / folder / name, image_id)
            images.append({"id": image_id, "file_name": name, "height": HEIGHT, "width": WIDTH})
        drawn = [{**annotation, "id": 100 + i} for i, annotation in enumerate(annotations.get(folder, []))]
        tree = {"info": {}, "licenses": [], "images": images, "annotations": drawn, "categories": categories}
        (root / "annotations" / f"instances_{folder}.json").write_text(json.dumps(tree))
    return root


def write_folder(root: Path, classes: Mapping[str, int]) -> Path:
    """Write `count` pictures into each class folder, which may be nested as "train/cat", and return `root`."""
    for folder, count in classes.items():
        (root / folder).mkdir(parents=True)
        for number in range(count):
            write_picture(root / folder / f"{number:03d}.jpg", number)
    return root


def write_csv(file: Path, rows: Sequence[Sequence[str]], header: Sequence[str] = ("path", "labels")) -> Path:
    """Write a CSV and every picture that its first column names, and return `file`."""
    for number, row in enumerate(rows):
        write_picture(file.parent / row[0], number)
    with file.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file
