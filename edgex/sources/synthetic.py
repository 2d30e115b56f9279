"""Synthetic pictures: the same ones everywhere, told by their index, so that runs can be compared without a camera."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from edgex.errors import SourceError
from edgex.sources.capture import LiveOptions
from edgex.sources.live import LiveSource
from edgex.types import Frame, Image, SourceState

PREFIX = "synthetic:"
_TEXT = re.compile(r"synthetic:(\d{1,5})x(\d{1,5})(?:@(\d{1,4}(?:\.\d{1,3})?))?(?::(\d{1,9}))?")
_FPS = 30.0  # of the pictures that come as fast as they are asked for
_LARGEST_PX = 8192 * 8192
_PERIOD = 240  # frames in which the square goes round
_COLORS = ((0, 0, 255), (0, 200, 0), (255, 60, 0), (0, 220, 255))  # blue, green, red; one a round


@dataclass(frozen=True, slots=True)
class Scene:
    """A grey gradient over which a coloured square goes round; its colour changes with each round.

    Attributes
    ----------
    background : uint8 [H, W, 3]
    """

    background: Image

    @classmethod
    def of_size(cls, width: int, height: int) -> Scene:
        """Prepare what all pictures of this size share."""
        noise = np.random.default_rng(0).integers(0, 32, (height, width, 1), np.uint8)
        slope = np.linspace(60, 180, width).astype(np.uint8)[None, :, None]
        return cls(np.repeat(slope + noise, 3, axis=2))

    def picture(self, index: int) -> Image:
        """Return the picture of an index, uint8 [H, W, 3], new each time."""
        image = self.background.copy()
        height, width = image.shape[:2]
        side = max(1, min(height, width) // 4)
        turn = 2 * math.pi * (index % _PERIOD) / _PERIOD
        left = round((width - side) * (0.5 + 0.5 * math.cos(turn)))
        top = round((height - side) * (0.5 + 0.5 * math.sin(turn)))
        image[top : top + side, left : left + side] = _COLORS[index // _PERIOD % len(_COLORS)]
        return image


class SyntheticSource:
    """Synthetic pictures as a file gives them: each one, in order, as fast as they are asked for."""

    live = False
    fps = _FPS
    state = SourceState()
    files: tuple[Path, ...] = ()

    def __init__(self, uri: str, scene: Scene, count: int | None) -> None:
        self.uri = uri
        self.frame_count = count
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        self._scene = scene
        self._stopped = False

    def __iter__(self) -> Iterator[Frame]:
        index = 0
        while not self._stopped and (self.frame_count is None or index < self.frame_count):
            yield Frame(self._scene.picture(index), index, round(index * 1e9 / _FPS), f"frame-{index:06d}")
            index += 1

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        self._stopped = True


class SyntheticCapture:
    """Synthetic pictures at the pace of a camera; one that the reader is late for comes late and is not left out."""

    def __init__(self, scene: Scene, fps: float, count: int | None) -> None:
        self.fps = fps
        self._scene = scene
        self._count = count
        self._index = 0
        self._start_s = time.monotonic()

    def read(self) -> Image | None:
        if self._count is not None and self._index >= self._count:
            return None
        image = self._scene.picture(self._index)
        time.sleep(max(0.0, self._start_s + self._index / self.fps - time.monotonic()))
        self._index += 1
        return image

    def close(self) -> None:
        """Give nothing back."""


def open_synthetic(uri: str, live: LiveOptions) -> SyntheticSource | LiveSource:
    """Open "synthetic:WxH" or, at the pace of a camera, "synthetic:WxH@FPS", either with ":COUNT" frames.

    Raises
    ------
    SourceError
        If the address says something else.
    """
    match = _TEXT.fullmatch(uri)
    width, height = (int(match[1]), int(match[2])) if match else (0, 0)
    fps = float(match[3]) if match and match[3] else None
    count = int(match[4]) if match and match[4] else None
    if not 0 < width * height <= _LARGEST_PX or fps == 0 or count == 0:
        raise SourceError(f"expected synthetic:WxH, synthetic:WxH@FPS or either with :COUNT, got {uri!r}")
    scene = Scene.of_size(width, height)
    if fps is None:
        return SyntheticSource(uri, scene, count)
    return LiveSource(lambda: SyntheticCapture(scene, fps, count), uri, live, "synthetic camera")
