"""A video that browsers play: H.264, yuv420p, index at the front, written with PyAV."""

from __future__ import annotations

import logging
import math
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from edgex.staged import StagedFile, cannot_write
from edgex.types import Image, Shot

PICTURES_PER_S = 1.0  # how fast pictures, which have no frame rate, follow one another
_H264 = "libx264"
_LARGEST_PX = 4096  # decoders in browsers and phones end here
_CLOCK_HZ = 60_000  # divides by 24, 25, 30, 50 and 60, and 60000 / 1001; MPEG-4 part 2 allows no more than 65535
_BT709 = 1  # FFmpeg's number of the colour space of high-definition video; untagged video looks different everywhere

_log = logging.getLogger(__name__)


class VideoSink:
    """A video file.

    The first frame decides the size. H.264 needs even sizes: an odd one gets its last row or column once more. A
    frame beyond 4096 pixels is made smaller, and a later frame of another size is fitted in with black borders.

    Parameters
    ----------
    path : the file to write; .mp4, .m4v, .mov or .mkv
    fps : frame rate of the source; its time stamps are kept. None for pictures: one a second.
    """

    wants_masks = False

    def __init__(self, path: Path, fps: float | None) -> None:
        import av

        self._file = StagedFile(path)
        self._fps = fps
        self._stream: Any = None
        self._size = (0, 0)  # width, height as encoded
        self._start_ns = 0
        self._last_tick = -1
        try:
            self._container = av.open(str(self._file.path), "w", options={"movflags": "+faststart"})
        except (av.error.FFmpegError, OSError) as error:
            self._file.discard()
            raise cannot_write(path, error) from error

    def write(self, shot: Shot) -> None:
        """Encode one frame.

        Raises
        ------
        SinkError
            If it cannot be encoded or written.
        """
        import av

        try:
            if self._stream is None:
                self._start(shot)
            frame = av.VideoFrame.from_ndarray(_fitted(shot.picture, *self._size), format="bgr24")
            frame = frame.reformat(format="yuv420p", dst_colorspace=_BT709, dst_color_range=_BT709)
            frame.pts = self._tick(shot)
            frame.time_base = Fraction(1, _CLOCK_HZ)
            self._container.mux(self._stream.encode(frame))
        except (av.error.FFmpegError, OSError) as error:
            raise cannot_write(self._file.final, error) from error

    def close(self) -> None:
        """Encode what the encoder still holds and give the video its final name.

        Raises
        ------
        SinkError
            If it cannot be written.
        """
        import av

        if self._stream is None:
            self.abort()
            return
        try:
            self._container.mux(self._stream.encode(None))
            self._container.close()
        except (av.error.FFmpegError, OSError) as error:
            self._file.discard()
            raise cannot_write(self._file.final, error) from error
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written."""
        import av

        try:
            self._container.close()
        except (av.error.FFmpegError, OSError, ValueError):
            pass  # the file is thrown away in any case
        self._file.discard()

    def _start(self, shot: Shot) -> None:
        rows, columns = shot.picture.shape[:2]
        scale = min(1.0, _LARGEST_PX / max(rows, columns))
        if scale < 1.0:
            _log.warning("%s is made smaller, to %d px: browsers play no larger video", self._file.final, _LARGEST_PX)
        self._size = (_even(columns * scale), _even(rows * scale))
        self._start_ns = shot.frame.time_ns
        rate = Fraction(self._fps or PICTURES_PER_S).limit_denominator(1001) or Fraction(1, 1001)
        self._stream = self._container.add_stream(_encoder(), rate=rate)
        self._stream.width, self._stream.height = self._size
        self._stream.pix_fmt = "yuv420p"
        context = self._stream.codec_context
        context.time_base = Fraction(1, _CLOCK_HZ)
        context.colorspace = context.color_primaries = context.color_trc = context.color_range = _BT709
        context.thread_count = 2  # the network needs the other cores, and each thread holds frames
        if context.codec.name == _H264:
            context.options = {"preset": "veryfast", "crf": "20"}
        else:
            context.bit_rate = 4 * self._size[0] * self._size[1]

    def _tick(self, shot: Shot) -> int:
        """Return the time stamp in clock ticks: the source's own, and always later than the last one."""
        tick = round((shot.frame.time_ns - self._start_ns) * _CLOCK_HZ / 1_000_000_000)
        self._last_tick = max(tick, self._last_tick + 1)
        return self._last_tick


def _encoder() -> str:
    import av

    try:
        av.codec.Codec(_H264, "w")
        return _H264
    except (av.error.FFmpegError, ValueError):
        _log.warning(
            "this PyAV has no libx264, so the video is MPEG-4 part 2, which browsers do not play; "
            "run: pip install --force-reinstall av"
        )
        return "mpeg4"


def _even(length: float) -> int:
    return 2 * math.ceil(round(length) / 2)


def _fitted(picture: Image, width: int, height: int) -> Image:
    """Return the picture at exactly this size: last row and column doubled, or made smaller and bordered."""
    import cv2

    rows, columns = picture.shape[:2]
    if (columns, rows) == (width, height):
        return np.ascontiguousarray(picture)
    if 0 <= width - columns <= 1 and 0 <= height - rows <= 1:
        return np.pad(picture, ((0, height - rows), (0, width - columns), (0, 0)), mode="edge")
    scale = min(width / columns, height / rows)
    size = (max(1, min(width, round(columns * scale))), max(1, min(height, round(rows * scale))))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    left, top = (width - size[0]) // 2, (height - size[1]) // 2
    canvas = np.zeros((height, width, 3), dtype=np.uint8)
    canvas[top : top + size[1], left : left + size[0]] = small
    return canvas
