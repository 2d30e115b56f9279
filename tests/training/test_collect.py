"""The shipped model's pictures are collected from unpacked packages by the two lists in the repository."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.training.stocks import write_plain, write_square
from training.shipped import collect
from training.stock import BACKGROUND_SIDE_PX, CUTOUT_SIDE_PX, find_backgrounds, find_cutouts, read_background

ROOT = Path(__file__).resolve().parent.parent.parent
LISTS = ROOT / "training" / "shipped"


def rows(name: str) -> list[dict[str, str]]:
    with (LISTS / name).open(encoding="utf-8", newline="") as lines:
        return list(csv.DictReader(lines))


@pytest.fixture
def packages(tmp_path: Path) -> Path:
    """Every file that the lists name, small, as unpacked packages hold them; one of each kind is large."""
    root = tmp_path / "packages"
    stamp = write_square(tmp_path / "stamp.png", height=8, rim=1).read_bytes()
    for row in rows("stamps.csv"):
        path = root / collect.STAMPS / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(stamp)
    assert cv2.imwrite(str(path), np.full((4 * CUTOUT_SIDE_PX, 8, 4), 255, np.uint8))
    photographs = {suffix: write_plain(tmp_path / f"one{suffix}", (9, 99, 200), 6, 8) for suffix in (".jpg", ".png")}
    for row in rows("backgrounds.csv"):
        module = collect.PYPI_MODULES.get(row["package"])
        path = (tmp_path / "site" if module else root / row["package"]) / row["path"]
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(photographs[path.suffix].read_bytes())
        if module:  # a package that is found before one that is installed
            (tmp_path / "site" / module / "__init__.py").touch()
        elif path.suffix == ".jpg":
            large = path
    write_plain(large, (9, 99, 200), 4 * BACKGROUND_SIDE_PX, 16)
    return root


def run(tmp_path: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "training.shipped.collect", *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT)])},
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_listed_picture_is_collected(packages: Path, tmp_path: Path) -> None:
    done = run(tmp_path, packages, tmp_path / "stock")
    assert done.returncode == 0, done.stderr
    stamps, photographs = rows("stamps.csv"), rows("backgrounds.csv")
    assert done.stdout == f"{len(stamps)} cut-outs and {len(photographs)} backgrounds in {tmp_path / 'stock'}\n"
    labels, cutouts = find_cutouts(tmp_path / "stock" / "cutouts")
    assert labels == sorted({row["class"] for row in stamps})
    for label, group in zip(labels, cutouts, strict=True):
        expected = Counter(row["identity"] for row in stamps if row["class"] == label)
        assert Counter(one.identity for one in group) == expected
    backgrounds = find_backgrounds(tmp_path / "stock" / "backgrounds")
    assert [path.stem for path in backgrounds] == sorted(row["name"] for row in photographs)
    assert max(max(read_background(path).shape) for path in backgrounds) == 2 * BACKGROUND_SIDE_PX
    last = tmp_path / "stock" / "cutouts" / stamps[-1]["class"] / f"{stamps[-1]['identity']}.png"
    tall = cv2.imread(str(last), cv2.IMREAD_UNCHANGED)
    assert tall is not None
    assert tall.shape == (2 * CUTOUT_SIDE_PX, 4, 4)


def test_what_is_missing_or_damaged_is_one_sentence(packages: Path, tmp_path: Path) -> None:
    first = packages / collect.STAMPS / rows("stamps.csv")[0]["path"]
    content = first.read_bytes()
    first.write_bytes(content[:-8])
    damaged = run(tmp_path, packages, tmp_path / "stock")
    first.unlink()
    missing = run(tmp_path, packages, tmp_path / "stock")
    first.write_bytes(content)
    (tmp_path / "file").touch()
    unwritable = run(tmp_path, packages, tmp_path / "file")
    for failed, says in (
        (damaged, f"whole picture in {first}"),
        (missing, f"expected a picture at {first}, got none; unpack its package there"),
        (unwritable, f"expected to write {tmp_path / 'file'}"),
    ):
        assert failed.returncode == 1
        assert len(failed.stderr.splitlines()) == 1
        assert says in failed.stderr


def test_wrong_arguments_show_the_usage(tmp_path: Path) -> None:
    assert run(tmp_path, tmp_path).stderr == "usage: python -m training.shipped.collect PACKAGES OUT\n"


def test_the_lists_name_enough_identities_and_each_picture_once() -> None:
    stamps, photographs = rows("stamps.csv"), rows("backgrounds.csv")
    assert stamps[0].keys() == {"class", "path", "identity"}
    assert photographs[0].keys() == {"package", "path", "name"}
    assert len({row["path"] for row in stamps}) == len(stamps)
    assert len({row["name"] for row in photographs}) == len(photographs)
    counts = Counter(label for label, _ in {(row["class"], row["identity"]) for row in stamps})
    assert len(counts) >= 10
    assert min(counts.values()) >= 8
    assert not [row for row in stamps if {"cartoon", "symbols"} & set(row["path"].split("/"))]
