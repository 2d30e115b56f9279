"""Cameras: the one that is not there, and what a camera's pictures become (a file plays the camera's part)."""

from __future__ import annotations

import itertools
from pathlib import Path

import cv2
import pytest

from edgex.errors import SourceError
from edgex.sources import open_camera
from edgex.sources.camera import CameraSource
from tests.clips import write_clip

ABSENT = 63


@pytest.mark.skipif(Path(f"/dev/video{ABSENT}").exists(), reason="this machine has very many cameras")
def test_a_camera_that_is_not_there_is_told_in_one_sentence(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SourceError, match=r"no such device; plug it in.*edgex doctor") as caught:
        open_camera(ABSENT)
    assert f"/dev/video{ABSENT}" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_pictures_come_with_the_time_of_their_arrival(tmp_path: Path) -> None:
    camera = CameraSource(cv2.VideoCapture(str(write_clip(tmp_path / "a.mp4", fps=10))), "camera")
    frames = list(itertools.islice(camera, 4))
    camera.close()
    assert [frame.index for frame in frames] == [0, 1, 2, 3]
    assert all(later.time_ns >= earlier.time_ns for earlier, later in itertools.pairwise(frames))
    assert (camera.fps, camera.frame_count, camera.files) == (10.0, None, ())


def test_a_camera_that_stops_giving_pictures_is_an_error(tmp_path: Path) -> None:
    camera = CameraSource(cv2.VideoCapture(str(write_clip(tmp_path / "a.mp4"))), "camera")
    with pytest.raises(SourceError, match="check its cable"):
        list(camera)
