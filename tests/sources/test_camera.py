"""Cameras: the one that is not there, and what a camera's pictures become (a file plays the camera's part)."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import pytest

from edgex.errors import SourceError, UsageError
from edgex.sources import CameraOptions, LiveOptions, open_camera, open_source
from edgex.sources.camera import CameraCapture, differences
from edgex.sources.live import LiveSource
from tests.clips import moving_pictures, write_clip

ABSENT = 63


@pytest.mark.skipif(Path(f"/dev/video{ABSENT}").exists(), reason="this machine has very many cameras")
@pytest.mark.parametrize("device", [ABSENT, f"{ABSENT}", f"/dev/video{ABSENT}"])
def test_a_camera_that_is_not_there_is_told_in_one_sentence(device, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"no such device; plug it in.*edgex doctor") as caught:
        open_camera(device)
    assert f"/dev/video{ABSENT}" in str(caught.value)
    assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(Path(f"/dev/video{ABSENT}").exists(), reason="this machine has very many cameras")
def test_the_name_of_a_device_is_a_source(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match="expected a camera at /dev/video63, got no such device"):
        open_source(f"/dev/video{ABSENT}")


@pytest.mark.parametrize("device", ["one", "", -1, "video0"])
def test_what_names_no_device_is_wrong(device) -> None:
    with pytest.raises(UsageError, match="expected a camera"):
        open_camera(device)


def test_what_is_no_camera_does_not_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "device").write_text("no camera")
    with pytest.raises(SourceError, match="does not open"):
        open_camera(str(tmp_path / "device"))
    assert capfd.readouterr() == ("", "")


def test_a_camera_s_pictures_come_and_its_loss_is_told(tmp_path: Path) -> None:
    clip = str(write_clip(tmp_path / "a.mp4", moving_pictures(12), fps=10))
    camera = CameraCapture(cv2.VideoCapture(clip), "camera", 1.0)
    assert camera.fps == 10.0
    assert [camera.read().shape for _ in range(12)] == [(48, 64, 3)] * 12
    with pytest.raises(SourceError, match="expected pictures from the camera camera, got none; check its cable"):
        camera.read()
    camera.close()


def test_a_camera_that_is_pulled_out_and_plugged_in_again_is_read_on(tmp_path: Path) -> None:
    clip = str(write_clip(tmp_path / "a.mp4"))
    options = LiveOptions(longest_pause_s=0.01)
    source = LiveSource(lambda: CameraCapture(cv2.VideoCapture(clip), "0", 1.0), "/dev/video0", options, "camera")
    frames = iter(source)
    while source.state.reconnects < 3:
        next(frames)
    source.close()
    assert source.warnings[0].startswith("the camera /dev/video0 broke and was opened again")


def test_another_size_and_rate_than_asked_are_told(tmp_path: Path) -> None:
    capture = cv2.VideoCapture(str(write_clip(tmp_path / "a.mp4", fps=10)))
    told = differences(capture, "/dev/video0", CameraOptions((1280, 720), 30.0))
    assert told == [
        "the camera /dev/video0 was asked for 1280 x 720 px and gives 64 x 48",
        "the camera /dev/video0 was asked for 30 frames/s and gives 10",
    ]
    for satisfied in (CameraOptions(), CameraOptions((64, 48), 10.4)):
        assert differences(capture, "/dev/video0", satisfied) == []


@pytest.mark.parametrize(
    "wrong",
    [{"size": size} for size in ((0, 3), (3,), [3, 3], (3.5, 4), "3x4", (99_999, 2))]
    + [{"fps": fps} for fps in (0, -1, float("nan"), "30", 1000)]
    + [{"format": text} for text in ("", "JPEG2", "é€äö", None)],
)
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r"expected .*, got .*; take"):
        CameraOptions(**wrong)  # type: ignore[arg-type]


def test_indices_count_the_frames_handed_out(tmp_path: Path) -> None:
    clip = str(write_clip(tmp_path / "a.mp4", moving_pictures(40)))
    source = LiveSource(lambda: CameraCapture(cv2.VideoCapture(clip), "0", 1.0), "0", LiveOptions(), "camera")
    assert [frame.index for frame in itertools.islice(source, 3)] == [0, 1, 2]
    source.close()
