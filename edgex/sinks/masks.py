"""Masks: one 8-bit PNG per frame and shown class, at frame size, value = round(255 * mask)."""

from __future__ import annotations

from pathlib import Path

from edgex.errors import SinkError
from edgex.staged import StagedFolder, write_image
from edgex.types import Shot


class MaskSink:
    """A folder of masks named `<frame>_<class>.png`.

    Parameters
    ----------
    path : the folder to write
    """

    wants_masks = True

    def __init__(self, path: Path) -> None:
        self._folder = StagedFolder(path)

    def write(self, shot: Shot) -> None:
        """Write the masks of one frame; a frame without shown classes has none.

        Raises
        ------
        SinkError
            If a file cannot be written.
        """
        if not shot.shown:
            return
        if shot.masks is None or len(shot.masks) != len(shot.shown):
            raise SinkError(f"expected {len(shot.shown)} masks, one a shown class, got none; ask for wants_masks")
        for shown, mask in zip(shot.shown, shot.masks, strict=True):
            path = self._folder.file(f"{shot.frame.name}_{shown.label}", ".png")
            write_image(path, mask, self._folder.final)

    def close(self) -> None:
        """Move the masks to the final folder."""
        self._folder.commit()

    def abort(self) -> None:
        """Remove the masks."""
        self._folder.discard()
