"""YUV4MPEG2, the plainest format for moving pictures: a header line, then each picture as one line and its planes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from edgex.errors import SourceError
from edgex.types import Image

LONGEST_LINE = 1024  # bytes; a real header has below 100
_LARGEST_PX = 8192 * 8192
MARK = b"FRAME"


@dataclass(frozen=True, slots=True)
class Y4mHeader:
    """Size and rate of 4:2:0 pictures of 8 bits.

    Attributes
    ----------
    width, height : in pixels
    fps : frames a second, or None where it does not say
    """

    width: int
    height: int
    fps: float | None

    @classmethod
    def parse(cls, line: bytes) -> Y4mHeader:
        """Read a header line, without its end. Raises SourceError if it is none, or of pictures other than 4:2:0."""
        words = line.split(b" ")
        fields = {word[:1]: word[1:] for word in words[1:] if word}
        width, height = _whole(fields.get(b"W")), _whole(fields.get(b"H"))
        chroma = fields.get(b"C", b"420")
        if words[0] != b"YUV4MPEG2" or not 0 < width * height <= _LARGEST_PX or not chroma.startswith(b"420"):
            raise SourceError(f"expected the header of a YUV4MPEG2 stream of 4:2:0 pictures, got {line[:80]!r}")
        if b"p1" in chroma:  # C420p10, C420p12: two bytes a sample
            raise SourceError(f"expected 8 bits a sample, got {chroma!r}; convert it")
        over, _, under = fields.get(b"F", b"").partition(b":")
        rate = _whole(over) / _whole(under) if _whole(under) else 0.0
        return cls(width, height, rate if 0 < rate < 1000 else None)


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the three planes of a picture lie: `aligned` bytes divide the length of each row.

    1 is what the format asks for; GStreamer's y4menc before 1.26 writes its own rows, whose length 4 divides.
    """

    header: Y4mHeader
    aligned: int

    @property
    def rows(self) -> tuple[int, int]:
        """Bytes in a row of the luminance, and in one of each of the colour planes."""
        if self.aligned == 1:
            return self.header.width, (self.header.width + 1) // 2
        luminance = _up(self.header.width, self.aligned)
        return luminance, _up(_up(self.header.width, 2) // 2, self.aligned)

    @property
    def bytes(self) -> int:
        """Bytes of the three planes."""
        luminance, color = self.rows
        heights = self._heights
        return luminance * heights[0] + 2 * color * heights[1]

    @property
    def _heights(self) -> tuple[int, int]:
        high = self.header.height
        return (high if self.aligned == 1 else _up(high, 2)), (high + 1) // 2

    def picture(self, planes: NDArray[np.uint8]) -> Image:
        """Return uint8 [H, W, 3], BGR, of uint8 [bytes], by BT.601 in its limited range."""
        import cv2

        width, height = self.header.width, self.header.height
        even_width, even_height = _up(width, 2), _up(height, 2)  # OpenCV converts no others
        row, color_row = self.rows
        high, color_high = self._heights
        packed = np.empty((even_height * 3 // 2, even_width), np.uint8)
        luminance = planes[: high * row].reshape(high, row)
        packed[:height, :width] = luminance[:height, :width]
        packed[height:even_height, :width] = luminance[height - 1, :width]
        packed[:even_height, width:] = packed[:even_height, width - 1 : width]
        colors = planes[high * row :].reshape(2, color_high, color_row)[:, :, : even_width // 2]
        packed[even_height:] = np.ascontiguousarray(colors).reshape(even_height // 2, even_width)
        picture = cv2.cvtColor(packed, cv2.COLOR_YUV2BGR_I420)
        return np.ascontiguousarray(picture[:height, :width])


def is_frame_line(line: bytes) -> bool:
    """Tell whether a line, without its end, is the one that stands before each picture."""
    return line == MARK or line.startswith(MARK + b" ")


def _whole(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() and len(text) <= 9 else 0


def _up(number: int, multiple: int) -> int:
    return -(-number // multiple) * multiple
