"""A camera of this machine, read through OpenCV (PyAV's wheel has no V4L2)."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from edgex.errors import SourceError
from edgex.sources.quiet import native_errors_silenced
from edgex.types import Frame, SourceState

_FPS_UNKNOWN = 30.0
_ATTEMPTS = 5  # a USB camera drops single frames when the bus is busy


class CameraSource:
    """An open camera.

    Parameters
    ----------
    capture : an open cv2.VideoCapture
    uri : the device's name
    """

    live = True
    state = SourceState()

    def __init__(self, capture: Any, uri: str) -> None:
        import cv2

        self.uri = uri
        self.files: tuple[Path, ...] = ()
        self.frame_count: int | None = None
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        self._capture = capture
        capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)  # the newest picture, not a queue of old ones
        fps = capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(fps) if 0 < fps < 1000 else _FPS_UNKNOWN

    def __iter__(self) -> Iterator[Frame]:
        """Read pictures for as long as the camera gives them.

        Raises
        ------
        SourceError
            If the camera stops giving pictures.
        """
        index = 0
        while True:
            image = self._read()
            yield Frame(image, index, time.time_ns(), f"frame-{index:06d}")
            index += 1

    def stop(self) -> None:
        """Do nothing: no frame is waited for."""

    def close(self) -> None:
        """Give the camera back."""
        self._capture.release()

    def _read(self) -> Any:
        for _ in range(_ATTEMPTS):
            whole, image = self._capture.read()
            if whole and image is not None and image.size:
                return np.asarray(image, dtype=np.uint8)
        raise SourceError(f"expected pictures from the camera {self.uri}, got none; check its cable")


def open_camera(number: int) -> CameraSource:
    """Open the camera /dev/video<number>.

    Raises
    ------
    SourceError
        If there is no such camera, it may not be opened, or it is in use.
    """
    import cv2

    device = f"/dev/video{number}"
    on_linux = sys.platform.startswith("linux")
    if on_linux and not os.path.exists(device):
        raise SourceError(f"expected a camera at {device}, got no such device; plug it in, or see: edgex doctor")
    if on_linux and not os.access(device, os.R_OK | os.W_OK):
        raise SourceError(f"expected a camera at {device}, got no permission; run: sudo usermod -aG video $USER")
    with native_errors_silenced():
        capture = cv2.VideoCapture(number, cv2.CAP_V4L2 if on_linux else cv2.CAP_ANY)
    if not capture.isOpened():
        raise SourceError(f"expected a camera at {device}, which does not open; close the program that uses it")
    return CameraSource(capture, device)
