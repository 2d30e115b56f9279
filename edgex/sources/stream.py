"""Network streams through PyAV: RTSP, RTMP and HTTP. An address of known length is a recording, read as a file is."""

from __future__ import annotations

import functools
import time
from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from edgex.errors import SourceError
from edgex.sources.address import masked, scheme_of
from edgex.sources.aside import opened_aside
from edgex.sources.bgr import BgrConverter
from edgex.sources.capture import LiveOptions, Picture
from edgex.sources.container import sent_rate, video_stream
from edgex.sources.live import LiveSource

if TYPE_CHECKING:
    from edgex.sources import Source

STREAMS = ("rtsp", "rtsps", "rtmp", "rtmps", "http", "https")
_OPEN_S = 10.0  # a handshake and the first key frame may take longer than the pause that counts as a stall
_STALLS_WITHOUT_PICTURE = 4  # while data comes: cameras send a key frame only every ten seconds or so
_REORDER_US = 100_000  # how long a UDP packet that is missing is waited for
_LARGEST_PX = 8192 * 4320  # garbage may claim any size, and memory would be taken for it
_WEB = "http,https,tls,tcp,crypto,data"  # what a playlist from the network may lead to: no file of this machine


class StreamCapture:
    """An open stream.

    Parameters
    ----------
    container : an open av.container.InputContainer
    shown : where it was opened, as it may be shown
    stall_s : seconds without data, after which it counts as broken
    damage : counts the damaged packets that were passed over

    Raises
    ------
    SourceError
        If it holds no pictures, or such as FFmpeg cannot decode.
    """

    def __init__(self, container: Any, shown: str, stall_s: float, damage: Damage) -> None:
        self._container = container
        self._stream = video_stream(container, shown, "stream")
        # Decoding several frames at a time, as for files, would hold each one back until others have come.
        self._stream.thread_type = "SLICE"
        self._stream.codec_context.options = {"max_pixels": str(_LARGEST_PX)}
        self.fps = sent_rate(container, self._stream)
        self._patience_s = _STALLS_WITHOUT_PICTURE * stall_s
        self._stall_s = stall_s
        self._damage = damage
        self._packets: Iterator[Any] = container.demux(self._stream)
        self._frames: deque[Any] = deque()
        self._converted = BgrConverter()
        self._converts = False  # whether a first picture could be converted; then only those taken need be

    def read(self) -> Picture:
        patient_until_s = time.monotonic() + self._patience_s
        while not self._frames:
            self._frames.extend(self._decode(self._packet()))
            if not self._frames and time.monotonic() > patient_until_s:
                raise SourceError(f"expected pictures, got data without a picture for {self._patience_s:g} s")
        convert = functools.partial(self._converted, self._frames.popleft())
        if self._converts:
            return convert
        picture = convert()
        self._converts = True
        return picture

    def close(self) -> None:
        self._frames.clear()
        self._container.close()

    def _packet(self) -> Any:
        import av

        try:
            packet = next(self._packets, None)
        except (av.error.FFmpegError, OSError) as error:
            raise SourceError(f"expected pictures, got {_words(error, self._stall_s)}") from None  # as in _open
        if packet is None or packet.size == 0:
            raise SourceError("expected pictures, got the end of the stream")
        return packet

    def _decode(self, packet: Any) -> list[Any]:
        """Return the frames that became whole; what is damaged is passed over until a good one comes."""
        import av

        try:
            frames = self._stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            self._damage.packets += 1
            return []
        whole = [frame for frame in frames if not frame.is_corrupt]
        self._damage.packets += len(frames) - len(whole)
        return whole


class Damage:
    """How much of a stream could not be decoded, over all its captures: a count, since it may run for weeks."""

    def __init__(self, uri: str) -> None:
        self.packets = 0
        self._uri = masked(uri)

    def notes(self) -> list[str]:
        """Return one sentence, or none."""
        return [f"{self.packets} packets of the stream {self._uri} were damaged and passed over"] * bool(self.packets)


def open_stream(uri: str, live: LiveOptions) -> Source:
    """Open a stream, or a recording on a web server.

    Parameters
    ----------
    uri : an address whose scheme is one of STREAMS
    live : how patient a stream is; it holds nothing for a recording but the time-out

    Raises
    ------
    SourceError
        If it does not open, or holds no pictures.
    """
    from edgex.sources.video import VideoSource

    first: Any = opened_aside(lambda: _open(uri, live), lambda container: container.close())
    if first.duration is not None and scheme_of(uri) in ("http", "https"):
        return VideoSource(first, masked(uri), waits=True)
    damage = Damage(uri)

    def opened() -> StreamCapture:
        nonlocal first
        container, first = first or _open(uri, live), None
        return StreamCapture(container, masked(uri), live.stall_s, damage)

    return LiveSource(opened, uri, live, "stream", damage.notes)


def _open(uri: str, live: LiveOptions) -> Any:
    import av

    open_s = max(_OPEN_S, live.stall_s)
    options = {}
    if scheme_of(uri) in ("rtsp", "rtsps"):
        options = {"rtsp_transport": live.transport, "allowed_media_types": "video", "max_delay": str(_REORDER_US)}
    elif scheme_of(uri) in ("http", "https"):
        options = {"protocol_whitelist": _WEB}
    try:
        return av.open(uri, options=options, timeout=(open_s, live.stall_s), metadata_errors="replace")
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise SourceError(
            f"expected a stream at {masked(uri)}, got {_words(error, open_s)}; "
            "check the address and whether its sender runs"
        ) from None  # the cause's words hold the password


def _words(error: Exception, waited_s: float) -> str:
    """Return why FFmpeg gave up, without the address that its errors hold."""
    import av

    if isinstance(error, av.error.ExitError):
        return f"no data for {waited_s:g} s"
    return str(getattr(error, "strerror", None) or type(error).__name__)
