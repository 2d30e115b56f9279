"""A camera of this machine, read through OpenCV (PyAV's wheel has no V4L2)."""

from __future__ import annotations

import os
import sys
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgex.errors import SourceError, UsageError
from edgex.sources.capture import LiveOptions
from edgex.sources.live import LiveSource
from edgex.sources.quiet import native_errors_silenced
from edgex.types import Image, is_number, is_whole

_ATTEMPTS = 5  # a USB camera drops single frames when the bus is busy
_SELECT_S = "OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT"  # OpenCV reads it when it first has to wait; 10 s if nobody sets it
_FPS_TOLERANCE = 0.1  # of the rate: drivers say 29.97, 30.0003 or 31 for 30
_LONGEST_SIDE_PX = 16_384


@dataclass(frozen=True, slots=True)
class CameraOptions:
    """What a camera is asked for; it may choose otherwise, which is told in the warnings.

    Attributes
    ----------
    size : width and height in pixels, or None for the camera's own
    fps : frames a second, or None for the camera's own
    format : four letters of the pixel format; MJPG lets a USB 2 camera send more than 640 x 480 at 30 a second
    """

    size: tuple[int, int] | None = None
    fps: float | None = None
    format: str = "MJPG"

    def __post_init__(self) -> None:
        size = self.size
        if size is not None and not (
            isinstance(size, tuple)
            and len(size) == 2
            and all(is_whole(side) and 1 <= side <= _LONGEST_SIDE_PX for side in size)
        ):
            raise UsageError(f"expected a camera size as (width, height) in pixels, got {size!r}; take (1280, 720)")
        if self.fps is not None and (not is_number(self.fps) or not 0 < self.fps < 1000):
            raise UsageError(f"expected a camera rate above 0 and below 1000 frames/s, got {self.fps}; take 30")
        if not isinstance(self.format, str) or len(self.format) != 4 or not self.format.isascii():
            raise UsageError(f"expected a pixel format of four letters, got {self.format!r}; take MJPG or YUYV")


class CameraCapture:
    """An open camera.

    Parameters
    ----------
    capture : an open cv2.VideoCapture
    device : the camera's name
    stall_s : seconds without a picture, after which it counts as broken
    """

    def __init__(self, capture: Any, device: str, stall_s: float) -> None:
        import cv2

        self._capture = capture
        self._device = device
        self._stall_s = stall_s
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not a queue of old ones
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1000 else None

    def read(self) -> Image:
        patient_until_s = time.monotonic() + self._stall_s
        for _ in range(_ATTEMPTS):
            whole, image = self._capture.read()
            if whole and image is not None and image.size:
                return np.asarray(image, dtype=np.uint8)
            if time.monotonic() > patient_until_s:
                break
        raise SourceError(f"expected pictures from the camera {self._device}, got none; check its cable")

    def close(self) -> None:
        self._capture.release()


def open_camera(device: int | str, camera: CameraOptions, live: LiveOptions) -> LiveSource:
    """Open the camera N, "N" or "/dev/videoN".

    Raises
    ------
    SourceError
        If there is no such camera, it may not be opened, or it is in use.
    UsageError
        If `device` is something else.
    """
    text = str(device).strip()
    place = f"/dev/video{text}" if text.isdecimal() else text
    if not place.startswith("/"):
        raise UsageError(f"expected a camera (--camera) as N or /dev/videoN, got {text!r}; see: edgex doctor")
    os.environ.setdefault(_SELECT_S, str(max(1, round(live.stall_s))))
    told: list[str] = []

    def opened() -> CameraCapture:
        capture = _open(place, camera)
        told[:] = differences(capture, place, camera)
        return CameraCapture(capture, place, live.stall_s)

    return LiveSource(opened, place, live, "camera", lambda: list(told))


def _open(place: str, camera: CameraOptions) -> Any:
    import cv2

    on_linux = sys.platform.startswith("linux")
    if on_linux and not os.path.exists(place):
        raise SourceError(f"expected a camera at {place}, got no such device; plug it in, or see: edgex doctor")
    if on_linux and not os.access(place, os.R_OK | os.W_OK):
        raise SourceError(f"expected a camera at {place}, got no permission; run: sudo usermod -aG video $USER")
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)  # else it writes a line for each time-out
    with native_errors_silenced():
        if on_linux:
            capture = cv2.VideoCapture(place, cv2.CAP_V4L2)
        else:
            capture = cv2.VideoCapture(int(place.removeprefix("/dev/video")), cv2.CAP_ANY)
        if capture.isOpened():
            _ask(capture, camera)
    if not capture.isOpened():
        raise SourceError(f"expected a camera at {place}, which does not open; close the program that uses it")
    return capture


def _ask(capture: Any, camera: CameraOptions) -> None:
    """Ask for format, size and rate, in the order in which V4L2 lets one depend on the other."""
    import cv2

    capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*camera.format))
    if camera.size is not None:
        capture.set(cv2.CAP_PROP_FRAME_WIDTH, camera.size[0])
        capture.set(cv2.CAP_PROP_FRAME_HEIGHT, camera.size[1])
    if camera.fps is not None:
        capture.set(cv2.CAP_PROP_FPS, camera.fps)


def differences(capture: Any, place: str, camera: CameraOptions) -> list[str]:
    """Return one sentence for each of size and rate that the camera gives otherwise than asked."""
    import cv2

    found = []
    size = round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT))
    if camera.size is not None and size != tuple(camera.size):
        asked = f"{camera.size[0]} x {camera.size[1]}"
        found.append(f"the camera {place} was asked for {asked} px and gives {size[0]} x {size[1]}")
    fps = capture.get(cv2.CAP_PROP_FPS)
    if camera.fps is not None and abs(fps - camera.fps) > _FPS_TOLERANCE * camera.fps:
        found.append(f"the camera {place} was asked for {camera.fps:g} frames/s and gives {fps:g}")
    return found
