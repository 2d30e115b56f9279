"""Sources: where frames come from. `open_source` chooses the kind by the URI."""

from __future__ import annotations

import glob
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from edgex.errors import SourceError
from edgex.sources.address import masked, scheme_of
from edgex.sources.camera import CameraOptions
from edgex.sources.capture import LiveOptions
from edgex.types import Frame, SourceState

__all__ = ["CameraOptions", "LiveOptions", "Source", "is_picture", "open_camera", "open_source"]

PICTURE_SUFFIXES = frozenset(
    (".bmp", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
)


class Source(Protocol):
    """A finite or endless stream of frames.

    Attributes
    ----------
    uri : what was opened
    frame_count : number of frames when the source knows it (skipped ones included), else None
    fps : frame rate of a video or camera; None for pictures, and for a live source whose sender does not tell it
    skipped : one sentence for each picture that could not be read and was passed over
    files : the files that are read; none for a camera
    warnings : one sentence for everything else that the user should know, such as a video that ends early
    live : whether frames come at their own pace: then the newest one wins, and those nobody took in time are dropped;
        else every frame comes, in order
    state : how the source stands now; may be asked from any thread
    """

    @property
    def uri(self) -> str: ...
    @property
    def frame_count(self) -> int | None: ...
    @property
    def fps(self) -> float | None: ...
    @property
    def files(self) -> tuple[Path, ...]: ...
    @property
    def skipped(self) -> list[str]: ...
    @property
    def warnings(self) -> list[str]: ...
    @property
    def live(self) -> bool: ...
    @property
    def state(self) -> SourceState: ...

    def __iter__(self) -> Iterator[Frame]:
        """Read frames in order. Raises SourceError when the source breaks."""
        ...

    def stop(self) -> None:
        """End a wait for the next frame, and the iteration with it; from any thread."""
        ...

    def close(self) -> None:
        """Give the source back."""
        ...


def open_source(uri: str | Path, live: LiveOptions | None = None) -> Source:
    """Open a picture, a folder or glob of pictures, a video, a stream, a camera, a pipeline or synthetic pictures.

    Parameters
    ----------
    uri : a path; a folder is read in natural order ("2.png" before "10.png") and not recursively; a path with
        `*`, `?` or `[` that does not exist as such is a glob.
        rtsp(s)://, rtmp(s):// and http(s):// are streams, of which the newest picture counts; an http(s) address of
        known length is a recording, of which every frame comes.
        /dev/videoN is a camera. A text with " ! " is a GStreamer pipeline without its sink, as CSI cameras need:
        "nvarguscamerasrc ! nvvidconv".
        synthetic:WxH gives pictures as fast as they are asked for, synthetic:WxH@FPS at the pace of a camera; both
        are told by their index, and :COUNT ends them ("synthetic:1280x720@30:300")
    live : how patient a live source is

    Raises
    ------
    SourceError
        If there is nothing to read there.
    """
    text = str(uri)
    return _open_live(text, live or LiveOptions()) or _open_files(text)


def open_camera(device: int | str, camera: CameraOptions | None = None, live: LiveOptions | None = None) -> Source:
    """Open the camera /dev/videoN.

    Parameters
    ----------
    device : N, "N" or "/dev/videoN"
    camera : what size, rate and format it is asked for
    live : how patient the source is

    Raises
    ------
    SourceError
        If there is no such camera, or it gives no picture.
    """
    from edgex.sources.camera import open_camera

    return open_camera(device, camera or CameraOptions(), live or LiveOptions())


def _open_live(text: str, live: LiveOptions) -> Source | None:
    """Open what is told by its text alone; None for what must be looked for among the files."""
    from edgex.sources.gstreamer import open_pipeline
    from edgex.sources.stream import STREAMS, open_stream
    from edgex.sources.synthetic import PREFIX, open_synthetic

    if " ! " in text and not Path(text).exists():
        return open_pipeline(text, live)
    if text.startswith(PREFIX):
        return open_synthetic(text, live)
    if re.fullmatch(r"/dev/(video\d+|v4l/.+)", text):
        return open_camera(text, live=live)
    scheme = scheme_of(text)
    if scheme in STREAMS:
        return open_stream(text, live)
    if scheme is not None:
        raise SourceError(f"expected an address of {', '.join(STREAMS)}, got {masked(text)!r}; fetch it first")
    return None


def _open_files(text: str) -> Source:
    path = Path(text)
    try:
        if path.is_dir():
            return _pictures(text, [entry for entry in path.iterdir() if not entry.name.startswith(".")])
        if path.is_file():
            return _pictures(text, [path]) if is_picture(path) else _video(path)
        matches = [Path(match) for match in glob.glob(text, recursive=True)] if glob.has_magic(text) else []
    except (OSError, ValueError) as error:
        raise SourceError(
            f"expected a readable picture, folder or video, got {text!r}: {error}; check the path"
        ) from error
    matches = [match for match in matches if match.is_file()]
    if len(matches) == 1 and not is_picture(matches[0]):
        return _video(matches[0])
    if matches:
        return _pictures(text, matches)
    if glob.has_magic(text):
        raise SourceError(f"expected files that match {text!r}, got none; check the pattern and put it in quotes")
    if path.exists():
        raise SourceError(
            f"expected a picture, folder or video, got {text!r}, a device or pipe that holds no file; "
            "cameras are named /dev/videoN"
        )
    raise SourceError(f"expected a picture, folder or video at {text!r}, got nothing there; check the path")


def is_picture(path: Path) -> bool:
    """Tell by its suffix whether a file is a picture."""
    return path.suffix.lower() in PICTURE_SUFFIXES


def _pictures(uri: str, paths: list[Path]) -> Source:
    from edgex.sources.images import ImageSource

    return ImageSource(uri, [path for path in paths if is_picture(path)])


def _video(path: Path) -> Source:
    from edgex.sources.video import open_video

    return open_video(path)
