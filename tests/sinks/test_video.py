"""The video sink: it plays, keeps sizes, times and colours, and leaves nothing behind when it is given up."""

from __future__ import annotations

import logging
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgex.errors import SinkError
from edgex.sinks import video
from edgex.sinks.video import VideoSink
from tests.clips import moving_pictures, read_clip
from tests.sinks.shots import listing, shot


def write(path: Path, pictures: list[np.ndarray], fps: float | None = 10.0) -> Path:
    sink = VideoSink(path, fps)
    for index, picture in enumerate(pictures):
        sink.write(shot(index, picture, time_ns=index * (100_000_000 if fps else 1_000_000_000)))
    assert not path.exists()
    sink.close()
    assert listing(path.parent) == [path.name]
    return path


def write_all(sink: VideoSink, pictures: list[np.ndarray]) -> None:
    for index, picture in enumerate(pictures):
        sink.write(shot(index, picture))
    sink.close()


@pytest.mark.parametrize("suffix", [".mp4", ".m4v", ".mov", ".mkv"])
def test_it_is_h264_that_browsers_play(tmp_path: Path, suffix: str) -> None:
    path = write(tmp_path / f"a{suffix}", moving_pictures())
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert stream.codec_context.name == "h264"
        assert stream.codec_context.pix_fmt == "yuv420p"
        assert len(list(container.decode(stream))) == 12
    if suffix == ".mp4":
        content = path.read_bytes()
        assert content.index(b"moov") < content.index(b"mdat"), "the index must come first, for playing while loading"


def test_opencv_plays_it_too(tmp_path: Path) -> None:
    capture = cv2.VideoCapture(str(write(tmp_path / "a.mp4", moving_pictures())))
    assert capture.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    whole, picture = capture.read()
    assert whole
    assert picture.shape == (48, 64, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (2, 2), (33, 17), (48, 64), (65, 64)])
def test_an_odd_size_gets_its_last_row_or_column_once_more(tmp_path: Path, size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 90, np.uint8)
    picture[-1] = 200
    decoded = read_clip(write(tmp_path / "a.mp4", [picture] * 2))[0]
    assert decoded.shape == (size[0] + size[0] % 2, size[1] + size[1] % 2, 3)
    assert np.abs(decoded[-1].astype(int) - 200).max() < 12


def test_colours_stay(tmp_path: Path) -> None:
    colours = [(0, 0, 255), (0, 255, 0), (255, 0, 0), (0, 159, 230), (255, 255, 255), (0, 0, 0), (128, 128, 128)]
    picture = np.repeat(np.repeat(np.array([colours], np.uint8), 32, axis=0), 32, axis=1)
    decoded = read_clip(write(tmp_path / "a.mp4", [picture] * 2))[0]
    for column, colour in enumerate(colours):
        assert np.abs(decoded[16, 32 * column + 16].astype(int) - colour).max() <= 6, colour


def test_the_time_stamps_of_the_source_are_kept(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4", 25.0)
    times_ms = [500, 540, 700, 1500]
    for index, time_ms in enumerate(times_ms):
        sink.write(shot(index, time_ns=time_ms * 1_000_000))
    sink.close()
    with av.open(str(tmp_path / "a.mp4")) as container:
        found = [float(frame.pts * Fraction(frame.time_base)) for frame in container.decode(video=0)]
    np.testing.assert_allclose(np.diff(found), np.diff(times_ms) / 1000, atol=1e-4)


def test_time_stamps_that_stand_still_or_go_back_do_no_harm(tmp_path: Path) -> None:
    sink = VideoSink(tmp_path / "a.mp4", 25.0)
    for index, time_ns in enumerate((10**9, 10**9, 5, 2 * 10**9)):
        sink.write(shot(index, time_ns=time_ns))
    sink.close()
    assert len(read_clip(tmp_path / "a.mp4")) == 4


def test_pictures_follow_one_another_once_a_second(tmp_path: Path) -> None:
    with av.open(str(write(tmp_path / "a.mp4", moving_pictures(4), fps=None))) as container:
        assert container.duration == pytest.approx(4_000_000, abs=10_000)


def test_pictures_of_other_sizes_are_fitted_in(tmp_path: Path) -> None:
    white = [np.full(size, 255, np.uint8) for size in ((40, 80, 3), (80, 40, 3), (400, 800, 3), (1, 1, 3))]
    first, tall, large, _dot = read_clip(write(tmp_path / "a.mp4", white))
    assert first.shape == tall.shape == (40, 80, 3)
    assert large.min() > 240
    assert tall[:, :28].max() < 16
    assert tall[:, 34:46].min() > 240


def test_a_frame_too_large_for_players_is_made_smaller(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "edgex"):
        decoded = read_clip(write(tmp_path / "a.mp4", [np.full((41, 8200, 3), 80, np.uint8)]))
    assert decoded[0].shape == (20, 4096, 3)
    assert "made smaller" in caplog.text


def test_giving_up_leaves_nothing_and_keeps_what_was_there(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"older")
    sink = VideoSink(tmp_path / "a.mp4", 10.0)
    sink.write(shot())
    sink.abort()
    sink.abort()
    assert listing(tmp_path) == ["a.mp4"]
    assert (tmp_path / "a.mp4").read_bytes() == b"older"


def test_no_frame_makes_no_file(tmp_path: Path) -> None:
    VideoSink(tmp_path / "a.mp4", 10.0).close()
    assert listing(tmp_path) == []


def test_without_libx264_it_is_mpeg4_and_said_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(video, "_H264", "an-encoder-that-no-ffmpeg-has")
    with caplog.at_level(logging.WARNING, "edgex"):
        path = write(tmp_path / "a.mp4", moving_pictures())
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "mpeg4"
        assert len(list(container.decode(video=0))) == 12
    assert "browsers do not play" in caplog.text


def test_a_disk_that_is_full_is_told_and_nothing_stays(tmp_path: Path) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("no /dev/full here")
    sink = VideoSink(tmp_path / "a.mkv", 10.0)
    staged = next(tmp_path.iterdir())
    sink.abort()
    staged.symlink_to("/dev/full")
    full = VideoSink(tmp_path / "a.mkv", 10.0)
    with pytest.raises(SinkError, match="free some space"):
        write_all(full, moving_pictures(200))
    full.abort()
    assert listing(tmp_path) == []
