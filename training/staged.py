"""Products of training appear under their final name only when they are whole."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgex.errors import EdgexError


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path` to write to, and rename it to `path` when the block ends without an error.

    Missing folders are made. After an error nothing is left, and a file that was there before is intact.

    Raises
    ------
    EdgexError
        If it cannot be written.
    """
    part = path.with_name(f".{path.stem[:60]}.{os.getpid()}.part{path.suffix}")  # the suffix tells writers the format
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        os.replace(part, path)
    except OSError as error:
        raise EdgexError(
            f"expected to write {path}, got {error.strerror or error}; free space or choose another place"
        ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
