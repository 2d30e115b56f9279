"""A contact sheet: evenly spaced composed frames as thumbnails in one picture."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np

from edgex.staged import StagedFile, write_image
from edgex.types import Image, Shot

_GAP_PX = 4
_PAPER = 24  # grey level between the thumbnails


class ContactSheetSink:
    """One picture with a grid of thumbnails.

    Only thumbnails are kept, at most twice as many as are shown, so a source of any length fits: when the store is
    full every second one goes and the distance between the kept ones doubles.

    Parameters
    ----------
    path : the picture to write
    columns, rows : size of the grid
    width_px : width of a thumbnail; a frame keeps its aspect ratio within `width_px` x `width_px`
    """

    wants_masks = False

    def __init__(self, path: Path, columns: int = 4, rows: int = 3, width_px: int = 480) -> None:
        self._file = StagedFile(path)
        self._columns = columns
        self._places = columns * rows
        self._width_px = width_px
        self._thumbnails: list[Image] = []
        self._distance = 1
        self._count = 0

    def write(self, shot: Shot) -> None:
        """Keep a thumbnail if the frame is one of the evenly spaced ones."""
        if self._count % self._distance == 0:
            self._thumbnails.append(_thumbnail(shot.picture, self._width_px))
            if len(self._thumbnails) > 2 * self._places:
                self._thumbnails = self._thumbnails[::2]
                self._distance *= 2
        self._count += 1

    def close(self) -> None:
        """Write the sheet under its final name.

        Raises
        ------
        SinkError
            If it cannot be written.
        """
        if not self._thumbnails:
            self._file.discard()
            return
        places = min(self._places, len(self._thumbnails))
        positions = np.linspace(0, len(self._thumbnails) - 1, places).round().astype(int)
        try:
            sheet = _sheet([self._thumbnails[i] for i in positions], self._columns)
            write_image(self._file.path, sheet, self._file.final)
        except BaseException:
            self._file.discard()
            raise
        self._file.commit()

    def abort(self) -> None:
        """Remove what was written."""
        self._file.discard()


def _thumbnail(picture: Image, side_px: int) -> Image:
    import cv2

    rows, columns = picture.shape[:2]
    scale = min(1.0, side_px / max(rows, columns))
    if scale == 1.0:
        return picture.copy()
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _sheet(thumbnails: list[Image], columns: int) -> Image:
    columns = min(columns, len(thumbnails))
    rows = math.ceil(len(thumbnails) / columns)
    height = max(thumbnail.shape[0] for thumbnail in thumbnails) + _GAP_PX
    width = max(thumbnail.shape[1] for thumbnail in thumbnails) + _GAP_PX
    sheet = np.full((rows * height + _GAP_PX, columns * width + _GAP_PX, 3), _PAPER, dtype=np.uint8)
    for position, thumbnail in enumerate(thumbnails):
        top = position // columns * height + _GAP_PX
        left = position % columns * width + _GAP_PX
        sheet[top : top + thumbnail.shape[0], left : left + thumbnail.shape[1]] = thumbnail
    return sheet
