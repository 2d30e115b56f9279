"""What there is to read in a container that FFmpeg opened."""

from __future__ import annotations

from typing import Any

from edgex.errors import SourceError

# Demuxers that pass on the sender's own time stamps or rate. Those of bare pictures (mpjpeg, image2) say 25 of any.
_TIMED = frozenset(("rtsp", "rtp", "sdp", "flv", "live_flv", "mpegts", "hls", "dash", "mp4", "matroska", "webm"))


def video_stream(container: Any, shown: str, kind: str = "video") -> Any:
    """Return the first video stream of an av.container.InputContainer, or close it and raise SourceError.

    Parameters
    ----------
    container : an open container
    shown : where it was opened, as it may be shown
    kind : "video" or "stream", for messages
    """
    if not container.streams.video:
        container.close()
        raise SourceError(f"expected a {kind} at {shown}, got one that holds no pictures; choose another")
    stream = container.streams.video[0]
    if stream.codec_context is None:
        container.close()
        raise SourceError(
            f"expected a {kind} that FFmpeg can decode, got {shown} with an unknown codec; convert it to H.264"
        )
    return stream


def sent_rate(container: Any, stream: Any) -> float | None:
    """Return the frame rate of a live stream where its sender tells it, in time stamps or in words, else None."""
    rate = stream.average_rate
    timed = not _TIMED.isdisjoint(container.format.name.split(","))
    return float(rate) if timed and rate and rate < 1000 else None
