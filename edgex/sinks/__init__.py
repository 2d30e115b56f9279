"""Sinks: where finished frames go. One file per kind; `open_sinks` opens those that are asked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import ExitStack
from pathlib import Path
from typing import Protocol

from edgex.errors import SinkError, UsageError
from edgex.types import Shot

PICTURE_SUFFIXES = frozenset((".bmp", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"))
VIDEO_SUFFIXES = frozenset((".m4v", ".mkv", ".mov", ".mp4"))


class Sink(Protocol):
    """Takes finished frames in order.

    Attributes
    ----------
    wants_masks : whether `Shot.masks` must be filled
    """

    @property
    def wants_masks(self) -> bool: ...

    def write(self, shot: Shot) -> None:
        """Take one finished frame. Raises SinkError when it cannot be kept."""
        ...

    def close(self) -> None:
        """Finish: the product stands under its final name, whole, only after this."""
        ...

    def abort(self) -> None:
        """Give up after an error elsewhere: nothing half-written stays under the final name."""
        ...


def open_sinks(
    output: Path | None = None,
    masks: Path | None = None,
    records: Path | None = None,
    contact_sheet: Path | None = None,
    *,
    fps: float | None = None,
    frame_count: int | None = None,
    live: bool = False,
    inputs: Iterable[Path] = (),
    model: Path | None = None,
) -> list[Sink]:
    """Open the sinks that are asked for, all of them or none.

    Parameters
    ----------
    output : composed frames: a video, a picture (for one frame), or a folder of pictures where it has no suffix
    masks : folder of mask pictures
    records : JSON Lines file
    contact_sheet : picture with a grid of frames
    fps, frame_count, live : of the source; pictures of a live one appear in their folder at once
    inputs, model : the files that are read, which no sink may overwrite

    Raises
    ------
    SinkError
        If one of them cannot be written.
    UsageError
        If two of them, or one of them and an input, are the same.
    """
    from edgex.sinks.contact_sheet import ContactSheetSink
    from edgex.sinks.masks import MaskSink
    from edgex.sinks.records import RecordSink

    asked = {"--output": output, "--save-masks": masks, "--records": records, "--contact-sheet": contact_sheet}
    paths = {option: Path(path).absolute() for option, path in asked.items() if path is not None}
    _require_different(paths, {_real(path) for path in inputs}, None if model is None else _real(model))
    sinks: list[Sink] = []
    with ExitStack() as undo:
        for option, path in paths.items():
            sink: Sink
            if option == "--output":
                sink = _open_output(path, fps, frame_count, live)
            elif option == "--save-masks":
                sink = MaskSink(path, live)
            elif option == "--records":
                sink = RecordSink(path)
            else:
                _require_suffix(path, PICTURE_SUFFIXES, "picture")
                sink = ContactSheetSink(path)
            undo.callback(sink.abort)
            sinks.append(sink)
        undo.pop_all()
    return sinks


def _open_output(path: Path, fps: float | None, frame_count: int | None, live: bool) -> Sink:
    from edgex.sinks.images import FolderSink, PictureSink
    from edgex.sinks.video import VideoSink

    suffix = path.suffix.lower()
    if not suffix or os.path.isdir(path):  # unlike Path.is_dir, it never raises
        return FolderSink(path, live)
    if suffix in VIDEO_SUFFIXES:
        return VideoSink(path, fps)
    _require_suffix(path, PICTURE_SUFFIXES | VIDEO_SUFFIXES, "picture or video")
    if live or fps is not None or frame_count != 1:
        raise SinkError(
            f"expected a video or a folder for more than one frame, got the picture {path}; "
            f"name a .mp4 file or a folder"
        )
    return PictureSink(path)


def _require_suffix(path: Path, suffixes: frozenset[str], what: str) -> None:
    if path.suffix.lower() not in suffixes:
        raise SinkError(f"expected a {what} ending in {', '.join(sorted(suffixes))}, got {path}; rename it")


def _real(path: Path) -> Path:
    return Path(os.path.realpath(path))  # Path.resolve raises where links go round in a circle


def _require_different(paths: dict[str, Path], inputs: set[Path], model: Path | None) -> None:
    folders = {path.parent for path in inputs}
    resolved = {option: _real(path) for option, path in paths.items()}
    for option, path in resolved.items():
        if path == model:
            raise UsageError(f"expected {option} to differ from the model, got {path} for both; choose another name")
        if path in inputs or (path in folders and os.path.isdir(path)):
            raise UsageError(f"expected {option} to differ from the source, got {path} for both; choose another name")
    if len(set(resolved.values())) != len(resolved):
        raise UsageError(f"expected a name of its own for each of {', '.join(resolved)}; choose different names")
