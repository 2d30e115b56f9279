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

from edgex.errors import EdgexError, SourceError
from training.scene import CUTOUT_SIDE_PX

STAMPS = "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
PYPI_MODULES = {"scikit-image": "skimage", "scikit-learn": "sklearn"}
BACKGROUND_SIDE_PX = 1080
HERE = Path(__file__).parent


def collect(packages: Path, out: Path) -> tuple[int, int]:
    """Write `out`/cutouts/CLASS/IDENTITY.png and `out`/backgrounds/NAME.jpg; return how many of each."""
    with (HERE / "stamps.csv").open(encoding="utf-8") as table:
        stamps = list(csv.DictReader(table))
    for row in stamps:
        source = packages / STAMPS / row["path"]
        name = row["identity"] if row["identity"] == source.stem else f"{row['identity']}@{source.stem}"
        _write_smaller(source, out / "cutouts" / row["class"] / f"{name}.png", CUTOUT_SIDE_PX * 2)
    with (HERE / "backgrounds.csv").open(encoding="utf-8") as table:
        backgrounds = list(csv.DictReader(table))
    for row in backgrounds:
        root = _pypi_root(row["package"]) if row["package"] in PYPI_MODULES else packages / row["package"]
        _write_smaller(root / row["path"], out / "backgrounds" / f"{row['name']}.jpg", BACKGROUND_SIDE_PX * 2)
    return len(stamps), len(backgrounds)


def _pypi_root(package: str) -> Path:
    module = importlib.util.find_spec(PYPI_MODULES[package])
    if module is None or module.origin is None:
        raise SourceError(f"expected the PyPI package {package}, got none; run: pip install {package}")
    return Path(module.origin).parent.parent


def _write_smaller(source: Path, target: Path, longest_px: int) -> None:
    flag = cv2.IMREAD_UNCHANGED if target.suffix == ".png" else cv2.IMREAD_COLOR
    image = cv2.imdecode(np.fromfile(source, np.uint8), flag) if source.is_file() else None
    if image is None:
        raise SourceError(f"expected a picture in {source}, got none; unpack its package there")
    shrink = longest_px / max(image.shape[:2])
    if shrink < 1:
        image = cv2.resize(image, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
    target.parent.mkdir(parents=True, exist_ok=True)
    encoded, content = cv2.imencode(target.suffix, image)
    assert encoded
    target.write_bytes(content.tobytes())


if __name__ == "__main__":
    try:
        found = collect(Path(sys.argv[1]), Path(sys.argv[2]))
    except IndexError:
        sys.exit("usage: python -m training.shipped.collect PACKAGES OUT")
    except EdgexError as error:
        sys.exit(f"collect: {error}")
    print(f"{found[0]} cut-outs and {found[1]} backgrounds in {sys.argv[2]}")
