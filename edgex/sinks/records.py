"""Records: what was seen in each frame, one JSON object a line."""

from __future__ import annotations

import json
from pathlib import Path

from edgex.staged import StagedFile, cannot_write
from edgex.types import Shot


class RecordSink:
    """A JSON Lines file; a line is `Shot.record`.

    Parameters
    ----------
    path : the file to write
    """

    wants_masks = True  # the record holds the area and the box of each mask

    def __init__(self, path: Path) -> None:
        self._file = StagedFile(path)
        # A file name that is not UTF-8 comes as half surrogate pairs: "\\udcff" is how JSON itself writes one.
        self._text = self._file.path.open("w", 1, "utf-8", errors="backslashreplace", newline="\n")

    def write(self, shot: Shot) -> None:
        """Write one line.

        Raises
        ------
        SinkError
            If the file cannot be written.
        """
        try:
            self._text.write(json.dumps(dict(shot.record), ensure_ascii=False, allow_nan=False) + "\n")
        except OSError as error:
            raise cannot_write(self._file.final, error) from error

    def close(self) -> None:
        """Give the file its final name."""
        try:
            self._text.close()
        except OSError as error:
            self._file.discard()
            raise cannot_write(self._file.final, error) from error
        self._file.commit()

    def abort(self) -> None:
        """Remove the file."""
        try:
            self._text.close()
        except OSError:
            pass  # a full disk: the lines are thrown away in any case
        self._file.discard()
