"""The pictures to compose from: what is read, and how a bad file or name is told."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from edgex.errors import DataError
from tests.training.stocks import SIDE_PX, write_plain, write_square
from training.stock import (
    BACKGROUND_SIDE_PX,
    CUTOUT_SIDE_PX,
    find_backgrounds,
    find_cutouts,
    identity_of,
    read_background,
    read_bgra,
    read_cutout,
)


def test_a_cutout_is_cropped_to_what_is_opaque(tmp_path: Path) -> None:
    cutout = read_cutout(write_square(tmp_path / "square.png", (1, 2, 3), rim=7))
    assert np.array_equal(cutout, np.broadcast_to(np.array([1, 2, 3, 255], np.uint8), (SIDE_PX, SIDE_PX, 4)))


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    deep = np.full((4, 5, 4), (0x12FF, 0x8000, 0xFFFF, 0xFFFF), np.uint16)
    assert cv2.imwrite(str(tmp_path / "deep.png"), deep)
    cutout = read_cutout(tmp_path / "deep.png")
    assert cutout.dtype == np.uint8
    assert np.array_equal(cutout[2, 3], (0x12, 0x80, 0xFF, 0xFF))


@pytest.mark.parametrize("mode", ["LA", "PA"])
def test_grey_and_palette_pictures_with_alpha_are_cutouts_too(tmp_path: Path, mode: str) -> None:
    picture = PillowImage.new("RGBA", (6, 6), (90, 90, 90, 255))
    picture.putpixel((0, 0), (90, 90, 90, 0))
    picture = picture.convert("LA") if mode == "LA" else picture.quantize(8)
    picture.save(tmp_path / "few.png")
    cutout = read_bgra(tmp_path / "few.png")
    assert cutout[0, 0, 3] == 0
    assert np.array_equal(cutout[5, 5], (90, 90, 90, 255))


def test_a_large_cutout_is_shrunk_without_a_rim_of_hidden_colour(tmp_path: Path) -> None:
    bgra = np.zeros((1203, 90, 4), np.uint8)
    bgra[..., 1] = 255  # green that nobody sees
    bgra[1:1202, 1:89] = (0, 0, 200, 255)
    assert cv2.imwrite(str(tmp_path / "large.png"), bgra)
    bgra[0, 0, 3] = bgra[-1, -1, 3] = 255  # keeps the crop at the full picture
    assert cv2.imwrite(str(tmp_path / "corners.png"), bgra)
    for name in ("large", "corners"):
        cutout = read_cutout(tmp_path / f"{name}.png")
        assert max(cutout.shape[:2]) == CUTOUT_SIDE_PX
    rim = cutout[100:-100, 0]
    assert 0 < rim[0, 3] < 255
    assert np.abs(rim[:, :3].astype(int) - (0, 0, 200)).max() <= 1


def test_a_large_background_is_shrunk(tmp_path: Path) -> None:
    path = write_plain(tmp_path / "wide.jpg", (9, 9, 9), BACKGROUND_SIDE_PX + 20, BACKGROUND_SIDE_PX + 130)
    assert read_background(path).shape == (BACKGROUND_SIDE_PX, 1188, 3)
    assert read_background(write_plain(tmp_path / "small.jpg", (9, 9, 9), 5, 7)).shape == (5, 7, 3)


def truncated(path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 4), dtype=np.uint8)
    assert cv2.imwrite(str(path), noise)
    path.write_bytes(path.read_bytes()[:-300])


def damaged(path: Path) -> None:
    truncated(path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)


def without_alpha(path: Path) -> None:
    write_plain(path, (1, 2, 3))


def grey(path: Path) -> None:
    assert cv2.imwrite(str(path), np.zeros((8, 8), np.uint8))


def transparent(path: Path) -> None:
    assert cv2.imwrite(str(path), np.zeros((8, 8, 4), np.uint8))


def not_a_picture(path: Path) -> None:
    path.write_text("<html>404</html>")


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (Path.touch, "whole picture"),
        (not_a_picture, "whole picture"),
        (truncated, "whole picture"),
        (damaged, "whole picture"),
        (Path.mkdir, "whole picture"),
        (lambda path: None, "No such file"),
        (without_alpha, r"got 3 channel\(s\)"),
        (grey, r"got 1 channel\(s\)"),
        (transparent, "opaque"),
    ],
)
def test_a_bad_cutout_is_named_in_one_sentence(tmp_path: Path, spoil: Callable[[Path], None], says: str) -> None:
    path = tmp_path / "bad cut-out.png"
    spoil(path)
    with pytest.raises(DataError, match=says) as caught:
        read_cutout(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("spoil", [Path.touch, not_a_picture, truncated])
def test_a_bad_background_is_named(tmp_path: Path, spoil: Callable[[Path], None], suffix: str) -> None:
    path = tmp_path / f"bad{suffix}"
    if spoil is truncated and suffix == ".jpg":
        write_plain(path, (9, 99, 200))
        path.write_bytes(path.read_bytes()[:-4])
    else:
        spoil(path)
    with pytest.raises(DataError, match=f"bad{suffix}"):
        read_background(path)


def test_folders_are_classes_and_an_at_sign_joins_the_sides_of_an_identity(tmp_path: Path) -> None:
    for name in ("zebra/z.PNG", "ape/kong@left.png", "ape/kong@right.png", ".git/x.png", "ape/._kong.png"):
        write_square(tmp_path / name)
    (tmp_path / "readme.txt").touch()
    labels, (apes, zebras) = find_cutouts(tmp_path)
    assert labels == ["ape", "zebra"]
    assert [(one.path.name, one.class_index, one.identity) for one in apes] == [
        ("kong@left.png", 0, "kong"),
        ("kong@right.png", 0, "kong"),
    ]
    assert [one.identity for one in zebras] == ["z"]
    assert identity_of(Path("a b.c.png")) == "a b.c"


@pytest.mark.parametrize("name", ["new\nline", " blank", "blank ", "bell\x07"])
def test_a_name_that_a_list_cannot_hold_is_refused(tmp_path: Path, name: str) -> None:
    write_square(tmp_path / "classes" / name / "one.png")
    with pytest.raises(DataError, match="printable characters"):
        find_cutouts(tmp_path / "classes")
    write_square(tmp_path / "pictures" / "class" / f"{name}@side.png")
    with pytest.raises(DataError, match="printable characters"):
        find_cutouts(tmp_path / "pictures")


def test_more_classes_than_a_segmentation_can_number_are_refused(tmp_path: Path) -> None:
    for number in range(255):
        (tmp_path / f"{number:03d}").mkdir()
    with pytest.raises(DataError, match="1 to 254 folders"):
        find_cutouts(tmp_path)


@pytest.mark.parametrize("find", [find_cutouts, find_backgrounds])
def test_a_missing_or_empty_folder_is_named(tmp_path: Path, find: Callable[[Path], object]) -> None:
    for folder in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match=str(folder)):
            find(folder)
