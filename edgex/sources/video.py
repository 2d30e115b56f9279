"""A video, read whole with PyAV, turned as its rotation says. A damaged or missing end is told, not hidden."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgex.errors import SourceError
from edgex.sources.aside import ReadAhead
from edgex.sources.bgr import BgrConverter
from edgex.sources.container import video_stream
from edgex.types import Frame, SourceState

_NS = 1_000_000_000
_FPS_UNKNOWN = 30.0
_TOLERATED_FRAMES = 3  # so many frame durations may be missing at the end: containers round their duration


def open_video(path: Path) -> VideoSource:
    """Open a video file, any that FFmpeg reads. Raises SourceError if it holds no video."""
    import av

    try:
        if path.stat().st_size == 0:
            raise SourceError(f"expected a picture or a video, got the empty file {path}; copy it again")
        # FFmpeg takes the 12 of "12:30.mp4" for a protocol; a title need not be UTF-8
        container = av.open(str(path.absolute()), metadata_errors="replace")
    except (av.error.FFmpegError, OSError) as error:
        raise SourceError(
            f"expected a picture or a video, got {path}, which FFmpeg cannot open ({error.strerror}): "
            "it is not whole or of another kind; copy it again or convert it"
        ) from error
    return VideoSource(container, str(path), (path,))


class VideoSource:
    """A video whose every frame comes, in order.

    Parameters
    ----------
    container : an open av.container.InputContainer, which the source closes
    uri : what was opened
    files : the file, if it is one
    waits : whether a read may last long, as from a network; then a thread of its own reads, so that a stop is heard

    Raises
    ------
    SourceError
        If it holds no video, or one that FFmpeg cannot decode.
    """

    live = False
    state = SourceState()

    def __init__(self, container: Any, uri: str, files: tuple[Path, ...] = (), waits: bool = False) -> None:
        self.uri = uri
        self.files = files
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        self._container = container
        self._stream = video_stream(container, uri)
        self._stream.thread_type = "AUTO"
        rate = self._stream.average_rate or self._stream.guessed_rate
        self.fps = float(rate) if rate else _FPS_UNKNOWN
        self.frame_count: int | None = self._stream.frames or None
        self._tick_s = float(self._stream.time_base or 0)
        self._timed = "avi" not in self._container.format.name  # AVI stores frames in coding order, without a time
        self._end_s = 0.0  # where the last whole piece of the file that was read ends
        self._breaks_off = self._stopped = False
        packets = container.demux(self._stream)
        self._ahead = ReadAhead(packets, container.close) if waits else None
        self._coming: Iterator[Any] = self._ahead or packets

    def __iter__(self) -> Iterator[Frame]:
        """Read the frames in order of presentation.

        Raises
        ------
        SourceError
            If not one frame can be read.
        """
        index, damaged = 0, 0
        converted = BgrConverter()
        for packet in self._packets():
            pictures = self._decode(packet)
            damaged += pictures is None
            for picture in pictures or ():
                time_ns = round(self._seconds(picture, index) * _NS)
                yield Frame(converted(picture), index, time_ns, f"frame-{index:06d}")
                index += 1
        if self._stopped:
            return
        if index == 0:
            raise SourceError(f"expected a video, got {self.uri}, of which no frame can be decoded; convert it again")
        missing_s = max(0.0, self._duration_s() - self._end_s)
        if self._breaks_off or missing_s > _TOLERATED_FRAMES / self.fps:
            lost = f"the last {missing_s:.1f} s are missing" if missing_s else "the last one is cut off"
            self.warnings.append(f"the video {self.uri} ends early: {index} frames were read, {lost}")
        elif damaged:
            self.warnings.append(f"the video {self.uri} is damaged in {damaged} places; frames are missing there")

    def stop(self) -> None:
        """End the iteration, and a wait for the next piece of a recording on a server; from any thread."""
        self._stopped = True
        if self._ahead is not None:
            self._ahead.stop()

    def close(self) -> None:
        """Close the file, or leave it to the thread that reads it."""
        if self._ahead is not None:
            self._ahead.close()
        else:
            self._container.close()

    def _packets(self) -> Iterator[Any]:
        """Yield the packets, and None at the end, which makes the decoder hand out the frames it still holds."""
        import av

        while not self._stopped:
            try:
                packet = next(self._coming, None)
            except (av.error.FFmpegError, OSError):
                packet, self._breaks_off = None, True
            if packet is None or packet.size == 0:
                break
            self._breaks_off = packet.is_corrupt  # stays true only if no whole piece follows
            at = packet.dts if packet.pts is None else packet.pts
            if at is not None and not packet.is_corrupt:
                self._end_s = max(self._end_s, (at + (packet.duration or 0)) * self._tick_s)
            yield packet
        yield None

    def _decode(self, packet: Any) -> list[Any] | None:
        """Return the frames that became whole, or None when the packet is damaged."""
        import av

        try:
            return list(self._stream.codec_context.decode(packet))
        except av.error.FFmpegError:
            return None

    def _seconds(self, picture: Any, index: int) -> float:
        return picture.pts * self._tick_s if self._timed and picture.pts is not None else index / self.fps

    def _duration_s(self) -> float:
        """Return when the last frame should end, by the file's own word; 0 when it does not say."""
        if self._stream.duration is not None:
            return float((self._stream.duration + (self._stream.start_time or 0)) * self._tick_s)
        return float((self._container.duration or 0) / 1e6)  # AV_TIME_BASE: microseconds
