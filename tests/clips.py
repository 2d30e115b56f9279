"""Small real videos and pictures for tests, written without the code under test."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from tests.bundles import patched_picture


def moving_pictures(count: int = 12, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """Return grey pictures over which a red square moves to the right, over noise that the encoder cannot drop."""
    noise = np.random.default_rng(0).integers(100, 156, (count, height, width, 3), np.uint8)
    pictures = []
    for index in range(count):
        left = index * (width - 16) // max(1, count - 1)
        noise[index, 8:24, left : left + 16] = (0, 0, 255)
        pictures.append(noise[index])
    return pictures


def write_clip(
    path: Path, pictures: Sequence[np.ndarray] | None = None, fps: int = 10, front: bool = True, codec: str = "libx264"
) -> Path:
    """Write a video; `front` puts the index of an MP4 before its frames."""
    pictures = moving_pictures() if pictures is None else pictures
    options = {"movflags": "+faststart"} if front and path.suffix == ".mp4" else {}
    with av.open(str(path), "w", options=options) as container:
        stream: Any = container.add_stream(codec, rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    return path


def read_clip(path: Path) -> list[np.ndarray]:
    """Decode a whole video with FFmpeg, as a player does."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="bgr24") for frame in container.decode(video=0)]


def turn(path: Path, quarter_turns: int) -> None:
    """Write into an MP4's track header that a player shall turn it clockwise by so many quarter turns."""
    cosine, sine = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarter_turns % 4]
    one = 1 << 16  # 16.16 fixed point, ISO/IEC 14496-12 section 8.3.2
    identity = struct.pack(">9i", one, 0, 0, 0, one, 0, 0, 0, 1 << 30)
    turned = struct.pack(">9i", cosine * one, sine * one, 0, -sine * one, cosine * one, 0, 0, 0, 1 << 30)
    content = path.read_bytes()
    track = content.index(b"tkhd")
    assert content.find(identity, track) > 0
    path.write_bytes(content[:track] + content[track:].replace(identity, turned, 1))


def write_picture(path: Path, picture: np.ndarray | None = None) -> Path:
    """Write a picture in the format of the suffix; any file name."""
    whole, encoded = cv2.imencode(path.suffix, patched_picture() if picture is None else picture)
    assert whole
    path.write_bytes(encoded.tobytes())
    return path
