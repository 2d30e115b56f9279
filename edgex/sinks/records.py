"""Records: what was seen in each frame, one JSON object a line, each line on the disk before the next frame."""

from __future__ import annotations

import json
import os
from io import FileIO
from pathlib import Path

from edgex.staged import cannot_write, writable_file
from edgex.types import Shot


class RecordSink:
    """A JSON Lines file, under its final name from the first frame on: it can be followed, and read after a kill.

    A file that was there is replaced when the first line is written, not before.

    Parameters
    ----------
    path : the file to write; a line is `Shot.record`
    """

    wants_masks = True  # the record holds the area and the box of each mask

    def __init__(self, path: Path) -> None:
        self._path, self._is_new = writable_file(path)
        self._file: FileIO | None = None
        self._whole_bytes = 0  # where the last whole line ends

    def write(self, shot: Shot) -> None:
        """Write one line.

        Raises
        ------
        SinkError
            If the file cannot be written; what is left of it then ends with a whole line.
        """
        line = json.dumps(dict(shot.record), ensure_ascii=False, allow_nan=False) + "\n"
        # A file name that is not UTF-8 comes as half surrogate pairs: "\\udcff" is how JSON itself writes one.
        encoded = line.encode("utf-8", errors="backslashreplace")
        try:
            if self._file is None:
                self._file = self._path.open("wb", buffering=0)
            rest = memoryview(encoded)
            while rest:  # a disk that is nearly full takes a part
                rest = rest[self._file.write(rest) :]
        except OSError as error:
            raise cannot_write(self._path, error) from error
        self._whole_bytes += len(encoded)

    def close(self) -> None:
        """Finish; a run without a frame leaves an empty file.

        Raises
        ------
        SinkError
            If the file cannot be written.
        """
        try:
            if self._file is None:
                self._path.write_bytes(b"")
            else:
                self._file.close()
        except OSError as error:
            raise cannot_write(self._path, error) from error

    def abort(self) -> None:
        """Keep the whole lines; remove the file if it is new and holds none."""
        try:
            if self._file is not None:
                self._file.close()
            if self._whole_bytes:
                os.truncate(self._path, self._whole_bytes)
            elif self._is_new or self._file is not None:
                self._path.unlink(missing_ok=True)
        except OSError:
            pass  # another error is on its way
