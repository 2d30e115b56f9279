"""Make the calibration frames that ship beside the bundle: crops of free photographs, none of the test split.

The scenes themselves cannot ship, for the licences of their pictures. Credits: edgex/models/CREDITS.md.

    python -m training.shipped.frames STOCK OUT_FOLDER        # STOCK is what `collect` wrote
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import cv2
import numpy as np

from edgex.types import Image

COUNT, HEIGHT, JPEG_QUALITY, SEED = 64, 256, 85, 42
STOCK_PICTURES = ("sunset", "life", "analogpattern", "infinite-sea")  # of backgrounds.csv, not in the test split
PACKAGE_PICTURES = {  # module -> pictures in it
    "skimage": ("chelsea.png", "coffee.png", "astronaut.png", "rocket.jpg"),
    "sklearn": ("flower.jpg", "china.jpg"),
}
FOLDERS = {"skimage": "data", "sklearn": "datasets/images"}


def pictures(stock: Path) -> list[Path]:
    """Return the photographs that frames are cut from."""
    found = [stock / "backgrounds" / f"{name}.jpg" for name in STOCK_PICTURES]
    for module, names in PACKAGE_PICTURES.items():
        package = importlib.util.find_spec(module)
        if package is None or package.origin is None:
            sys.exit(f"frames: expected the module {module}, got none; run: pip install scikit-image scikit-learn")
        found += [Path(package.origin).parent / FOLDERS[module] / name for name in names]
    return found


def cut(rng: np.random.Generator, image: Image) -> Image:
    """Cut one frame: a crop of 4:3 to 16:9 at a random place and zoom, mirrored at times, lighter or darker."""
    aspect = rng.uniform(4 / 3, 16 / 9)
    height = int(min(image.shape[0], image.shape[1] / aspect) * rng.uniform(0.5, 1.0))
    width = int(height * aspect)
    top, left = int(rng.integers(image.shape[0] - height + 1)), int(rng.integers(image.shape[1] - width + 1))
    crop = image[top : top + height, left : left + width, :]
    crop = crop[:, ::-1] if rng.random() < 0.5 else crop
    small = cv2.resize(crop, (round(HEIGHT * aspect), HEIGHT), interpolation=cv2.INTER_AREA)
    lit: Image = np.clip(small * rng.uniform(0.7, 1.3), 0, 255).astype(np.uint8)
    return lit


def write_frames(stock: Path, out: Path) -> int:
    """Write COUNT frames, evenly over the photographs; return their bytes."""
    rng = np.random.default_rng(SEED)
    out.mkdir(parents=True, exist_ok=True)
    sources = pictures(stock)
    for number in range(COUNT):
        path = sources[number % len(sources)]
        image = cv2.imread(str(path), cv2.IMREAD_COLOR)
        if image is None:
            sys.exit(f"frames: expected a picture in {path}, got none; run training.shipped.collect first")
        frame = cut(rng, image.astype(np.uint8, copy=False))
        cv2.imwrite(str(out / f"{number:03d}.jpg"), frame, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
    return sum(file.stat().st_size for file in out.iterdir())


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("usage: python -m training.shipped.frames STOCK OUT_FOLDER")
    print(f"{COUNT} frames, {write_frames(Path(sys.argv[1]), Path(sys.argv[2])) / 1e6:.2f} MB in {sys.argv[2]}")
