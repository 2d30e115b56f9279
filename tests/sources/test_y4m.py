"""YUV4MPEG2: what FFmpeg writes is read alike, in every size, and what is none is refused."""

from __future__ import annotations

import av
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.errors import SourceError
from edgex.sources.y4m import Layout, Y4mHeader, is_frame_line


def planes_of(picture: np.ndarray, aligned: int) -> tuple[np.ndarray, np.ndarray]:
    """Return a picture's 4:2:0 planes in a layout, and the picture that FFmpeg makes of them."""
    frame = av.VideoFrame.from_ndarray(picture, format="bgr24").reformat(format="yuv420p")
    layout = Layout(Y4mHeader(frame.width, frame.height, None), aligned)
    content = []
    for number, plane in enumerate(frame.planes):
        width, high = layout.rows[number > 0], plane.height + (plane.height % 2 if aligned > 1 and number == 0 else 0)
        rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: plane.height, : plane.width]
        content.append(np.pad(rows, ((0, high - rows.shape[0]), (0, width - rows.shape[1])), constant_values=77))
    return np.concatenate([plane.ravel() for plane in content]), frame.to_ndarray(format="bgr24")


@settings(deadline=None)  # the first example loads OpenCV and FFmpeg
@given(width=st.integers(1, 40), height=st.integers(1, 24), aligned=st.sampled_from([1, 4]))
def test_a_picture_of_any_size_is_read_as_ffmpeg_reads_it(width: int, height: int, aligned: int) -> None:
    down, right = np.mgrid[:height, :width]
    picture = np.stack([40 + 2 * right, 90 + 3 * down, 200 - right - down], axis=2).astype(np.uint8)
    planes, expected = planes_of(picture, aligned)
    layout = Layout(Y4mHeader(width, height, None), aligned)
    assert planes.size == layout.bytes
    read = layout.picture(planes)
    assert (read.shape, read.dtype, read.flags.c_contiguous) == (picture.shape, np.uint8, True)
    assert np.abs(read.astype(int) - expected).mean() < 4


def test_a_header_says_size_and_rate() -> None:
    assert Y4mHeader.parse(b"YUV4MPEG2 C420 W320 H240 Ip F30000:1001 A1:1") == Y4mHeader(320, 240, 30000 / 1001)
    assert Y4mHeader.parse(b"YUV4MPEG2 W3 H5") == Y4mHeader(3, 5, None)
    assert Y4mHeader.parse(b"YUV4MPEG2 W3 H5 F0:0 C420jpeg").fps is None
    assert is_frame_line(b"FRAME")
    assert is_frame_line(b"FRAME Ip")
    assert not is_frame_line(b"FRAMES")


@pytest.mark.parametrize(
    "line",
    [
        *(b"", b"RIFF", b"YUV4MPEG2", b"YUV4MPEG2 W0 H5", b"YUV4MPEG2 W-3 H5", b"YUV4MPEG2 W3 H5 C444"),
        *(b"YUV4MPEG2 W3 H5 C420p10", b"YUV4MPEG2 W99999 H99999", b"YUV4MPEG2 W3"),
    ],
)
def test_another_header_is_refused(line: bytes) -> None:
    with pytest.raises(SourceError, match="expected"):
        Y4mHeader.parse(line)


@settings(deadline=None)
@given(st.binary(max_size=80).map(lambda tail: b"YUV4MPEG2 " + tail) | st.binary(max_size=80))
def test_no_header_breaks_the_reader(line: bytes) -> None:
    try:
        header = Y4mHeader.parse(line)
    except SourceError:
        return
    assert 0 < header.width * header.height <= 8192 * 8192
