"""Pictures: every kind that people have, in natural order, with names of their own."""

from __future__ import annotations

import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image as PillowImage

from edgex.errors import SourceError
from edgex.sources import open_source
from edgex.sources.images import read_image
from tests.bundles import patched_picture
from tests.clips import write_picture


def names(uri: Path | str) -> list[str]:
    return [frame.name for frame in open_source(uri)]


@pytest.mark.parametrize("suffix", [".png", ".bmp", ".ppm", ".tiff", ".PNG"])
def test_a_picture_is_read_exactly(tmp_path: Path, suffix: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (7, 5, 3), np.uint8)
    np.testing.assert_array_equal(read_image(write_picture(tmp_path / f"a{suffix}", picture)), picture)


def test_a_jpeg_is_read_nearly(tmp_path: Path) -> None:
    read = read_image(write_picture(tmp_path / "a.jpg"))
    assert np.abs(read.astype(int) - patched_picture()).mean() < 2


def test_grey_becomes_three_equal_channels(tmp_path: Path) -> None:
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    read = read_image(write_picture(tmp_path / "a.png", grey))
    np.testing.assert_array_equal(read, np.repeat(grey[:, :, None], 3, axis=2))


@pytest.mark.parametrize("channels", [1, 3])
def test_sixteen_bits_are_scaled_not_cut(tmp_path: Path, channels: int) -> None:
    deep = np.linspace(0, 65535, 64 * channels).round().astype(np.uint16).reshape(8, 8, channels)
    read = read_image(write_picture(tmp_path / "a.png", deep))
    np.testing.assert_array_equal(read, np.broadcast_to(np.rint(deep / 257), read.shape))
    assert read.max() == 255


def test_alpha_is_dropped_and_the_colours_beneath_stay(tmp_path: Path) -> None:
    picture = patched_picture(8, 8)
    alpha = np.arange(64, dtype=np.uint8).reshape(8, 8, 1)
    read = read_image(write_picture(tmp_path / "a.png", np.concatenate([picture, alpha], axis=2)))
    np.testing.assert_array_equal(read, picture)


def test_a_palette_is_looked_up(tmp_path: Path) -> None:
    picture = patched_picture(8, 8)
    PillowImage.fromarray(picture[:, :, ::-1]).convert("P", palette=PillowImage.Palette.ADAPTIVE).save(
        tmp_path / "a.png"
    )
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_the_exif_orientation_is_applied(tmp_path: Path) -> None:
    exif = PillowImage.Exif()
    exif[0x0112] = 6  # to be turned clockwise by 90 degrees
    PillowImage.fromarray(patched_picture(32, 64)[:, :, ::-1]).save(tmp_path / "a.jpg", exif=exif, quality=95)
    read = read_image(tmp_path / "a.jpg")
    assert read.shape == (64, 32, 3)
    assert read[8, 16].argmax() == 2  # the red left half is now the upper one
    assert np.ptp(read[56, 16].astype(int)) < 20


@pytest.mark.parametrize("name", ["Grüße.png", "犬 と 猫.png", "a b'c&d.png", "né🐶.png"])
def test_any_file_name_is_read(tmp_path: Path, name: str) -> None:
    write_picture(tmp_path / name)
    assert names(tmp_path / name) == [Path(name).stem]


def test_one_pixel_is_a_picture(tmp_path: Path) -> None:
    assert read_image(write_picture(tmp_path / "a.png", np.zeros((1, 1, 3), np.uint8))).shape == (1, 1, 3)


def test_a_folder_is_read_in_natural_order_without_what_is_no_picture(tmp_path: Path) -> None:
    for name in ("img10.png", "img2.png", "img1.jpg", ".hidden.png"):
        write_picture(tmp_path / name)
    (tmp_path / "notes.txt").write_text("no picture")
    (tmp_path / "below").mkdir()
    write_picture(tmp_path / "below" / "img3.png")
    source = open_source(tmp_path)
    frames = list(source)
    assert [frame.name for frame in frames] == ["img1", "img2", "img10"]
    assert [frame.index for frame in frames] == [0, 1, 2]
    assert (source.frame_count, source.fps, source.skipped) == (3, None, [])
    assert [path.name for path in source.files] == ["img1.jpg", "img2.png", "img10.png"]


def test_a_glob_is_read(tmp_path: Path) -> None:
    for name in ("a1.png", "a2.png", "b1.png"):
        write_picture(tmp_path / name)
    assert names(f"{tmp_path}/a*.png") == ["a1", "a2"]


def test_a_file_whose_name_looks_like_a_glob_is_read(tmp_path: Path) -> None:
    write_picture(tmp_path / "a[1].png")
    assert names(tmp_path / "a[1].png") == ["a[1]"]


def test_frames_never_share_a_name(tmp_path: Path) -> None:
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        for name in ("a.png", "a.jpg", "A.bmp", "b.png"):
            write_picture(tmp_path / folder / name)
    found = names(f"{tmp_path}/*/*")
    assert len(found) == 8
    assert len({name.casefold() for name in found}) == 8
    assert names(tmp_path / "x")[-1] == "b"


def test_an_unreadable_picture_among_others_is_passed_over_and_told(tmp_path: Path) -> None:
    write_picture(tmp_path / "a.png")
    (tmp_path / "b.png").write_bytes(b"no picture at all")
    write_picture(tmp_path / "c.png")
    source = open_source(tmp_path)
    assert [(frame.index, frame.name) for frame in source] == [(0, "a"), (2, "c")]
    assert len(source.skipped) == 1
    assert "b.png" in source.skipped[0]


def half(content: bytes) -> bytes:
    return content[: len(content) // 2]


def png(height: int, width: int) -> bytes:
    return bytes(cv2.imencode(".png", np.zeros((height, width, 3), np.uint8))[1].tobytes())


def huge_header() -> bytes:
    """Return a PNG that claims to be 60000 x 60000."""
    content = bytearray(png(4, 4))
    content[16:24] = (60000).to_bytes(4, "big") * 2
    return bytes(content)


def float_tiff() -> bytes:
    buffer = io.BytesIO()
    PillowImage.fromarray(np.ones((4, 4), np.float32)).save(buffer, "TIFF")
    return buffer.getvalue()


UNREADABLE = {
    "empty.png": b"",
    "text.jpg": b"this is text",
    "half.png": half(png(40, 40)),
    "huge.png": huge_header(),
    "float.tiff": float_tiff(),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_what_is_no_picture_is_named_and_nothing_else_is_said(
    tmp_path: Path, name: str, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(SourceError, match=name):
        list(open_source(tmp_path / name))
    assert capfd.readouterr() == ("", "")


def test_a_folder_of_which_nothing_can_be_read_is_an_error(tmp_path: Path) -> None:
    for name in ("text.jpg", "half.png"):
        (tmp_path / name).write_bytes(UNREADABLE[name])
    with pytest.raises(SourceError, match="2 files and none readable"):
        list(open_source(tmp_path))


@pytest.mark.parametrize(
    ("uri", "match"),
    [
        ("nothing.png", "nothing there; check the path"),
        ("nothing*.png", "got none; check the pattern"),
        ("", "expected pictures in"),
        ("rtsp://somewhere/x", "the address"),
        ("a\0b", "check the path"),
    ],
)
def test_what_is_not_there_is_named_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, match: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SourceError, match=match):
        open_source(uri)
