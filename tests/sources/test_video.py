"""Videos: frames, time stamps, rotation, and files that are damaged or end early."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest

from edgex.errors import SourceError
from edgex.sources import open_source
from tests.bundles import patched_picture
from tests.clips import moving_pictures, read_clip, turn, write_clip


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi", "ä ö.mp4", "no-suffix"])
def test_all_frames_come_in_order_with_their_time(tmp_path: Path, name: str) -> None:
    path = write_clip(tmp_path / Path(name).with_suffix(Path(name).suffix or ".mp4"), fps=10)
    path = path.rename(tmp_path / name)
    source = open_source(path)
    frames = list(source)
    source.close()
    assert source.fps == 10
    assert source.frame_count in (None, 12)
    assert [frame.index for frame in frames] == list(range(12))
    times_ms = [frame.time_ns / 1e6 for frame in frames]
    np.testing.assert_allclose(np.diff(times_ms), 100, atol=2)
    assert frames[7].name == "frame-000007"
    for frame, picture in zip(frames, read_clip(path), strict=True):
        np.testing.assert_array_equal(frame.image, picture)
    assert (source.skipped, source.warnings, source.files) == ([], [], (path,))


@pytest.mark.parametrize("quarter_turns", [0, 1, 2, 3])
def test_the_rotation_is_applied(tmp_path: Path, quarter_turns: int) -> None:
    picture = patched_picture(32, 64)
    path = write_clip(tmp_path / "a.mp4", [picture] * 3)
    if quarter_turns:
        turn(path, quarter_turns)
    expected = np.rot90(picture, -quarter_turns)
    frame = next(iter(open_source(path)))
    assert frame.image.shape == expected.shape
    assert frame.image.flags.c_contiguous
    assert np.abs(frame.image.astype(int) - expected).mean() < 10


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".avi"])
def test_a_video_that_ends_mid_frame_gives_what_is_there_and_says_so(tmp_path: Path, suffix: str) -> None:
    path = write_clip(tmp_path / f"a{suffix}", moving_pictures(60), fps=10)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) * 6 // 10])
    source = open_source(path)
    count = len(list(source))
    assert 5 < count < 55
    assert len(source.warnings) == 1
    assert f"ends early: {count} frames" in source.warnings[0]


def test_damage_in_the_middle_is_passed_over_and_told(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.avi", moving_pictures(40))
    content = bytearray(path.read_bytes())
    frames = [at for at in range(len(content) - 4) if content[at : at + 4] == b"00dc"]
    for at in frames[20:24]:
        content[at + 8 : at + 72] = b"\xff" * 64
    path.write_bytes(bytes(content))
    source = open_source(path)
    assert 20 <= len(list(source)) <= 40
    assert len(source.warnings) == 1
    assert "damaged" in source.warnings[0]


def test_stopping_in_the_middle_is_no_early_end(tmp_path: Path) -> None:
    source = open_source(write_clip(tmp_path / "a.mp4"))
    frames = iter(source)
    next(frames)
    frames.close()  # type: ignore[attr-defined]
    source.close()
    assert source.warnings == []


def without_index(path: Path) -> None:
    content = write_clip(path, moving_pictures(60), front=False).read_bytes()
    path.write_bytes(content[: len(content) // 2])


def index_alone(path: Path) -> None:
    content = write_clip(path, moving_pictures(60)).read_bytes()
    path.write_bytes(content[: content.index(b"mdat") + 8])


def sound(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 8000, 0, "NONE", ""))
        file.writeframes(bytes(1600))


@pytest.mark.parametrize(
    ("name", "write", "match"),
    [
        ("half.mp4", without_index, "not whole"),
        ("index.mp4", index_alone, "no frame can be decoded"),
        ("sound.wav", sound, "holds no pictures"),
        ("empty.mp4", Path.touch, "empty file"),
        ("text.mp4", lambda path: path.write_text("a text " * 50), "not whole or of another kind"),
        ("model.onnx", lambda path: path.write_bytes(bytes(range(256))), "FFmpeg cannot open"),
    ],
)
def test_what_holds_no_frame_is_an_error_that_names_the_file(tmp_path: Path, name: str, write, match: str) -> None:
    write(tmp_path / name)
    with pytest.raises(SourceError, match=match) as caught:
        list(open_source(tmp_path / name))
    assert name in str(caught.value)
