"""Pictures: one file, or several in natural order. One that cannot be read among several is passed over."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from edgex.errors import SourceError
from edgex.sources.quiet import native_errors_silenced
from edgex.types import Frame, Image, SourceState

_NS_PER_PICTURE = 1_000_000_000  # pictures have no clock: one a second, as the video sink shows them


def read_image(path: Path) -> Image:
    """Read a picture as 8-bit BGR.

    Grey and palette pictures become BGR, 16-bit ones are scaled to 8 bit, the EXIF orientation is applied, and
    alpha is dropped: the network sees, and the overlay shows, the colours beneath it.

    Parameters
    ----------
    path : any file name, Unicode included

    Returns
    -------
    uint8 [H, W, 3]

    Raises
    ------
    SourceError
        If the file cannot be read, or holds no picture that OpenCV can decode.
    """
    import cv2

    try:
        if path.exists() and not path.is_file():  # a named pipe would be waited for
            raise SourceError(f"expected a picture, got {path}, which is no regular file; name a picture")
        encoded = np.fromfile(path, dtype=np.uint8)  # cv2.imread cannot open every Unicode name
    except OSError as error:
        raise SourceError(f"expected a readable picture, got {error.strerror or error} for {path}; check it") from error
    if encoded.size == 0:
        raise SourceError(f"expected a picture, got the empty file {path}; copy it again")
    image = None
    why = "is damaged or of an unknown kind"
    try:
        with native_errors_silenced():
            image = cv2.imdecode(encoded, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    except cv2.error as error:
        why = f"OpenCV cannot decode ({str(error.err).strip()})" if getattr(error, "err", "") else why
    if image is None:
        raise SourceError(f"expected a picture, got {path}, which {why}; open it in a viewer and save it again")
    if image.dtype == np.uint16:
        image = cv2.convertScaleAbs(image, alpha=1 / 257)  # 65535 -> 255, rounded
    if image.dtype != np.uint8:
        raise SourceError(f"expected a picture of 8 or 16 bits, got {image.dtype} in {path}; save it as PNG")
    return np.asarray(image, dtype=np.uint8)


class ImageSource:
    """One or more picture files.

    Parameters
    ----------
    uri : what the user asked for
    paths : the files, in any order

    Raises
    ------
    SourceError
        If there is no file.
    """

    fps = None
    live = False
    state = SourceState()

    def __init__(self, uri: str, paths: list[Path]) -> None:
        if not paths:
            raise SourceError(f"expected pictures in {uri!r}, got none; put .jpg or .png files there, or name a video")
        self.uri = uri
        self.files = tuple(sorted(paths, key=_natural))
        self.frame_count = len(paths)
        self.skipped: list[str] = []
        self.warnings: list[str] = []

    def __iter__(self) -> Iterator[Frame]:
        """Read the pictures in natural order.

        Raises
        ------
        SourceError
            If none of them can be read; a single one that cannot is passed over and told in `skipped`.
        """
        names = _names(self.files)
        readable = 0
        for index, (path, name) in enumerate(zip(self.files, names, strict=True)):
            try:
                image = read_image(path)
            except SourceError as error:
                if len(self.files) == 1:
                    raise
                self.skipped.append(str(error))
                continue
            readable += 1
            yield Frame(image, index, index * _NS_PER_PICTURE, name)
        if readable == 0:
            raise SourceError(
                f"expected pictures in {self.uri!r}, got {len(self.files)} files and none readable, "
                f"the first: {self.skipped[0]}"
            )

    def stop(self) -> None:
        """Do nothing: no frame is waited for."""

    def close(self) -> None:
        """Give nothing back: no file stays open."""


def _natural(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    parts = re.split(r"(\d+)", str(path).casefold())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], str(path)


def _names(paths: Sequence[Path]) -> list[str]:
    """Return the stems, and the whole file name with the dots replaced where stems meet ("a.jpg", "a.png")."""
    stems = Counter(path.stem.casefold() for path in paths)
    names = [path.stem if stems[path.stem.casefold()] == 1 else path.name.replace(".", "_") for path in paths]
    taken: set[str] = set()
    for position, name in enumerate(names):  # a glob over folders can still bring one file name twice
        unique, count = name, 1
        while unique.casefold() in taken:
            count += 1
            unique = f"{name}-{count}"
        taken.add(unique.casefold())
        names[position] = unique
    return names
