"""From a frame that FFmpeg decoded to the BGR picture that edgex works on."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgex.errors import SourceError
from edgex.types import Image


class BgrConverter:
    """Converts the frames of one video; it keeps FFmpeg's converter, whose making takes longer than its work.

    From PyAV 17 on FFmpeg would start a thread pool for each frame, which costs more than it gains.
    """

    def __init__(self) -> None:
        import av
        from av.video.reformatter import VideoReformatter

        self._reformatter = VideoReformatter()
        self._options = {"threads": 1} if int(av.__version__.partition(".")[0]) >= 17 else {}

    def __call__(self, frame: Any) -> Image:
        """Return uint8 [H, W, 3] for an av.VideoFrame, turned as its rotation says. Raises SourceError if it cannot."""
        import av

        try:
            picture = self._reformatter.reformat(frame, format="bgr24", **self._options).to_ndarray()
        except (av.error.FFmpegError, ValueError, MemoryError) as error:
            raise SourceError(f"expected a picture, got {frame}, which FFmpeg cannot convert ({error})") from error
        # rotation: degrees counterclockwise, a multiple of 90 in every file that a camera writes
        turned = np.rot90(picture, round(frame.rotation / 90) % 4)
        return np.ascontiguousarray(turned, dtype=np.uint8)
