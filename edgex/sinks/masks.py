"""Masks: one 8-bit PNG per frame and shown class, at frame size, value = round(255 * mask)."""

from __future__ import annotations

from pathlib import Path

from edgex.errors import SinkError
from edgex.staged import StagedFolder
from edgex.types import Shot


class MaskSink:
    """A folder of masks named `<frame>_<class>.png`.

    Parameters
    ----------
    path : the folder to write
    at_once : let each mask appear when it is whole; else all of them at the end
    """

    wants_masks = True

    def __init__(self, path: Path, at_once: bool = False) -> None:
        self._folder = StagedFolder(path, at_once)

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
            self._folder.write_image(f"{shot.frame.name}_{shown.label}", mask)

    def close(self) -> None:
        """Move the masks to the final folder."""
        self._folder.commit()

    def abort(self) -> None:
        """Remove the masks."""
        self._folder.discard()
