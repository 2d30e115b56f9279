"""Products are written under a hidden temporary name beside the final one and renamed when they are whole."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgex.errors import SinkError

if TYPE_CHECKING:
    import av

_LONGEST_NAME = 200  # bytes; file systems allow 255, and the temporary name and the suffix need some


class StagedFile:
    """A file that appears under its final name only when it is whole.

    Parameters
    ----------
    path : the final name; its folder must exist. Where it is a link, the file that it points to is replaced.

    Raises
    ------
    SinkError
        If no file can be written there.
    """

    def __init__(self, path: Path) -> None:
        path = _regular(path)
        self.final = path
        self.path = path.with_name(_temporary(path) + path.suffix)
        _sweep(path, path.parent)
        try:
            self.path.touch()
        except OSError as error:
            raise cannot_write(path, error) from error

    def commit(self) -> None:
        """Give the file its final name."""
        try:
            os.replace(self.path, self.final)
        except OSError as error:
            self.discard()
            raise cannot_write(self.final, error) from error

    def discard(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):  # another error is on its way, and the other sinks have to be told of it
            self.path.unlink()


class StagedFolder:
    """A folder that receives its files only when all of them are whole, or, with `at_once`, each when it is whole.

    Parameters
    ----------
    path : the final folder; the folder above it must exist. Files of the same name in it are replaced.
    at_once : for what has no end, such as a camera: nobody waits weeks for a picture

    Raises
    ------
    SinkError
        If no folder can be made there.
    """

    def __init__(self, path: Path, at_once: bool = False) -> None:
        _require_folder(path)
        if path.exists() and not path.is_dir():
            raise SinkError(f"expected the name of a folder to write, got the file {path}; choose another name")
        self.final = path
        # Inside a folder that is there, because the folder above it may lie on another disk, where no file can be
        # renamed from, or may not be written.
        self._hidden = path / _temporary(path) if path.is_dir() or at_once else path.with_name(_temporary(path))
        self._at_once = at_once
        self._taken: set[str] = set()
        try:
            if at_once:
                path.mkdir(exist_ok=True)
            _sweep(path, self._hidden.parent)
            self._hidden.mkdir(exist_ok=True)
        except OSError as error:
            raise cannot_write(path, error) from error

    def write_image(self, name: str, image: object) -> None:
        """Write a PNG picture under this name, made legal and, unless `at_once`, different from all earlier ones.

        Raises
        ------
        SinkError
            If it cannot be encoded or written.
        """
        file = f"{self._unique(legal_name(name))}.png"
        write_image(self._hidden / file, image, self.final)
        if self._at_once:
            try:
                os.replace(self._hidden / file, self.final / file)
            except OSError as error:
                raise cannot_write(self.final, error) from error

    def commit(self) -> None:
        """Move every file to the final folder."""
        try:
            self.final.mkdir(exist_ok=True)
            for file in self._hidden.iterdir():
                os.replace(file, self.final / file.name)
            self._hidden.rmdir()
        except OSError as error:
            self.discard()
            raise cannot_write(self.final, error) from error

    def discard(self) -> None:
        """Remove what was written, but for what already stands in the final folder."""
        shutil.rmtree(self._hidden, ignore_errors=True)

    def _unique(self, legal: str) -> str:
        if self._at_once:  # frames without end have names of their own, and to remember them all takes memory
            return legal
        unique, count = legal, 1
        while unique.casefold() in self._taken:
            count += 1
            unique = f"{legal}-{count}"
        self._taken.add(unique.casefold())
        return unique


def writable_file(path: Path) -> tuple[Path, bool]:
    """See to it that a file can be written in place, and leave what it holds.

    Returns
    -------
    path : the file itself where `path` is a link
    is_new : whether there was none; then there is an empty one now

    Raises
    ------
    SinkError
        If no file can be written there.
    """
    path = _regular(path)
    is_new = not path.exists()
    try:
        path.open("ab").close()
    except OSError as error:
        raise cannot_write(path, error) from error
    return path, is_new


def write_image(path: Path, image: object, final: Path) -> None:
    """Write a picture, uint8 [H, W, 3] or [H, W], in the format of the suffix; an error names it `final`.

    Raises
    ------
    SinkError
        If it cannot be encoded or written.
    """
    import cv2

    try:
        whole, encoded = cv2.imencode(path.suffix, image)  # type: ignore[call-overload]
        if not whole:
            raise SinkError(f"expected a picture that {path.suffix} can hold, got one that it cannot; use .png")
        path.write_bytes(encoded.data)  # cv2.imwrite cannot open every Unicode name
    except cv2.error as error:
        raise SinkError(f"expected a picture that {path.suffix} can hold, got: {error.err}; use .png") from error
    except OSError as error:
        with contextlib.suppress(OSError):
            path.unlink()
        raise cannot_write(final, error) from error


def legal_name(name: str) -> str:
    """Return `name` with everything but letters, digits, `.`, `-` and `_` replaced, short enough for a file name."""
    legal = re.sub(r"[^\w.-]+", "_", name).strip(".") or "_"
    return legal.encode()[:_LONGEST_NAME].decode(errors="ignore")


def cannot_write(path: Path, error: OSError | av.error.FFmpegError) -> SinkError:
    """Return the error that says that, and why, a file cannot be written."""
    mend = "free some space" if error.errno == 28 else "choose a place where you may write"
    return SinkError(f"expected to write {path}, got: {error.strerror or error}; {mend}")


def _regular(path: Path) -> Path:
    """Return where a file is to be written, links followed; SinkError where no regular file can be."""
    _require_folder(path)
    if path.is_dir():
        raise SinkError(f"expected the name of a file to write, got the folder {path}; add a file name")
    path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file():  # renaming a file onto /dev/null would take it from the whole system
        raise SinkError(f"expected the name of a file to write, got the device {path}; name a regular file")
    return path


def _temporary(path: Path) -> str:
    """Return a hidden name that no other product of this run has, however long and alike their names are."""
    return f"{_beginning(path)}{os.getpid()}.part"


def _beginning(path: Path) -> str:
    return f".{path.stem[:20]}.{zlib.crc32(os.fsencode(path)):08x}."


def _sweep(path: Path, folder: Path) -> None:
    """Remove what runs left that were killed while they wrote this very product."""
    mine = re.compile(re.escape(_beginning(path)) + r"(\d+)\.part(\.\w+)?")
    for entry in folder.iterdir() if folder.is_dir() else ():
        match = mine.fullmatch(entry.name)
        if match is None or _is_running(int(match[1])):
            continue
        if entry.is_dir():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            with contextlib.suppress(OSError):  # somebody else's: it stays
                entry.unlink()


def _is_running(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:  # it runs, as somebody else
        pass
    return True


def _require_folder(path: Path) -> None:
    """Raise SinkError unless there is a folder for the file and the file system takes its name."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise cannot_write(path, error) from error
    if path.parent.exists() and not path.parent.is_dir():
        raise SinkError(f"expected a folder to write {path.name} in, got the file {path.parent}; choose another folder")
    if not path.parent.is_dir():
        raise SinkError(
            f"expected a folder {path.parent} to write {path.name} in, got none; run: mkdir -p {path.parent}"
        )
