"""A GStreamer pipeline, as CSI cameras need it: run by gst-launch-1.0, since OpenCV's wheel has no GStreamer."""

from __future__ import annotations

import shlex
import shutil
import time

from edgex.errors import SourceError
from edgex.sources.address import masked_words
from edgex.sources.capture import LiveOptions
from edgex.sources.live import LiveSource
from edgex.sources.piped import PipedProgram
from edgex.sources.y4m import LONGEST_LINE, MARK, Layout, Y4mHeader, is_frame_line
from edgex.types import Image

_PROGRAM = "gst-launch-1.0"
_OPEN_S = 10.0  # a CSI camera takes some seconds to its first picture
_GSTREAMER_ROW = 4  # divides the length of each row in GStreamer's own layout
_AS_Y4M = ("videoconvert", "!", "video/x-raw,format=I420,colorimetry=bt601", "!", "y4menc")
# Paced by the clock, so that a test picture does not take a whole core; yet no camera's picture is waited for, because
# by this offset each is late by a second and goes out at once.
_SINK_OPTIONS = ("sync=true", "ts-offset=-1000000000")


class GstreamerCapture:
    """A running pipeline.

    Parameters
    ----------
    words : the pipeline, word by word, without a sink
    stall_s : seconds without a picture, after which it counts as broken

    Raises
    ------
    SourceError
        If it gives no picture.
    """

    def __init__(self, words: list[str], stall_s: float) -> None:
        self._stall_s = stall_s
        self._program = PipedProgram(
            lambda into: [_PROGRAM, "-q", *words, "!", *_AS_Y4M, "!", "fdsink", f"fd={into}", *_SINK_OPTIONS]
        )
        try:
            until_s = time.monotonic() + max(_OPEN_S, stall_s)
            self._header = Y4mHeader.parse(self._program.line(LONGEST_LINE, until_s))
            self._layout = self._searched_layout(until_s)
        except BaseException:
            self._program.close()
            raise
        self.fps = self._header.fps

    def read(self) -> Image:
        until_s = time.monotonic() + self._stall_s
        self._frame_line(until_s)
        return self._layout.picture(self._program.exactly(self._layout.bytes, until_s))

    def close(self) -> None:
        self._program.close()

    def _frame_line(self, until_s: float) -> bytes:
        line = self._program.line(LONGEST_LINE, until_s)
        if not is_frame_line(line):
            raise SourceError(f"expected a picture, got {line[:40]!r} from the pipeline; name one video source in it")
        return line

    def _searched_layout(self, until_s: float) -> Layout:
        """Return the layout after whose planes the next picture follows; that is waited for only where it matters."""
        layouts = [Layout(self._header, 1), Layout(self._header, _GSTREAMER_ROW)]
        if layouts[0].bytes == layouts[1].bytes:
            return layouts[0]
        line = self._frame_line(until_s)
        seen = self._program.exactly(layouts[1].bytes + len(MARK), until_s).tobytes()
        self._program.give_back(line + b"\n" + seen)
        for layout in layouts:
            if seen[layout.bytes : layout.bytes + len(MARK)] == MARK:
                return layout
        raise SourceError("expected pictures of a known layout, got another; let the pipeline give an even width")


def open_pipeline(text: str, live: LiveOptions) -> LiveSource:
    """Run a pipeline, as gst-launch-1.0 takes it; a last `! appsink ...` is left out.

    Raises
    ------
    SourceError
        If GStreamer is not installed, or the pipeline gives no picture.
    """
    if shutil.which(_PROGRAM) is None:
        raise SourceError(
            f"expected the program {_PROGRAM}, which runs a pipeline, got none; "
            "install it: apt install gstreamer1.0-tools gstreamer1.0-plugins-base gstreamer1.0-plugins-good"
        )
    words = pipeline_words(text)
    return LiveSource(lambda: GstreamerCapture(words, live.stall_s), masked_words(words), live, "pipeline")


def pipeline_words(text: str) -> list[str]:
    """Split a pipeline as a shell does, without running anything, and leave out the sink at its end.

    Raises
    ------
    SourceError
        If a quotation mark is open.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise SourceError(f"expected a pipeline, got one that cannot be split ({error}); close its quotes") from error
    last = len(words) - 1 - words[::-1].index("!") if "!" in words else len(words)
    return words[:last] if words[last + 1 : last + 2] in (["appsink"], []) else words
