"""Composed pictures: one file for a source of one picture, or a folder of PNG files named after the frames."""

from __future__ import annotations

from pathlib import Path

from edgex.errors import SinkError
from edgex.staged import StagedFile, StagedFolder, write_image
from edgex.types import Shot


class PictureSink:
    """One picture file, PNG, JPEG or WebP by its suffix.

    Parameters
    ----------
    path : the file to write
    """

    wants_masks = False

    def __init__(self, path: Path) -> None:
        self._file = StagedFile(path)
        self._written = False

    def write(self, shot: Shot) -> None:
        """Keep the picture.

        Raises
        ------
        SinkError
            If it cannot be written, or is the second one.
        """
        if self._written:
            raise SinkError(f"expected one picture for {self._file.final}, got more; give a folder or a .mp4")
        write_image(self._file.path, shot.picture, self._file.final)
        self._written = True

    def close(self) -> None:
        """Give the picture its final name."""
        if self._written:
            self._file.commit()
        else:
            self._file.discard()

    def abort(self) -> None:
        """Remove the picture."""
        self._file.discard()


class FolderSink:
    """A folder of PNG pictures, one a frame.

    Parameters
    ----------
    path : the folder to write
    at_once : let each picture appear when it is whole; else all of them at the end
    """

    wants_masks = False

    def __init__(self, path: Path, at_once: bool = False) -> None:
        self._folder = StagedFolder(path, at_once)

    def write(self, shot: Shot) -> None:
        """Write one picture."""
        self._folder.write_image(shot.frame.name, shot.picture)

    def close(self) -> None:
        """Move the pictures to the final folder."""
        self._folder.commit()

    def abort(self) -> None:
        """Remove the pictures."""
        self._folder.discard()
