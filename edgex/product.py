"""An engine file and its sidecar, written so that nothing half-written ever stands under the final name."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from edgex.build_manifest import BuildManifest, sidecar
from edgex.staged import StagedFile, cannot_write


class Product:
    """An engine file in the making: private to this process until `publish`.

    Parameters
    ----------
    path : the final name; its folder must exist

    Raises
    ------
    SinkError
        If no file can be written there.
    """

    def __init__(self, path: Path) -> None:
        self._engine = StagedFile(path)
        try:
            self._manifest = StagedFile(sidecar(path))
        except BaseException:
            self._engine.discard()
            raise
        self.path = self._engine.final
        self.staged = self._engine.path

    def write(self, content: bytes) -> None:
        """Write the engine, and see it on the disk. Raises SinkError when it cannot be written."""
        _write(self._engine, content)

    def publish(self, manifest: BuildManifest) -> None:
        """Give the two files their final names, the sidecar first.

        Whoever is killed in between leaves a new sidecar beside an old engine, or none: the hashes differ, and that
        engine is refused instead of being taken for what it is not. Raises SinkError when it cannot be written.
        """
        _write(self._manifest, manifest.to_json().encode())
        with _alone(self.path.parent):
            self._manifest.commit()
            self._engine.commit()

    def discard(self) -> None:
        """Remove what was written."""
        self._engine.discard()
        self._manifest.discard()


@contextlib.contextmanager
def staging(path: Path) -> Iterator[Product]:
    """Give a product, and remove what is left of it unless it was published."""
    product = Product(path)
    try:
        yield product
    finally:
        product.discard()


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Keep two builds from mixing their pairs of files; where the file system has no locks they may."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError, ImportError):
            import fcntl

            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def require_writable(path: Path) -> None:
    """Raise SinkError now, before minutes of work, where no file can be written under that name."""
    StagedFile(path).discard()


def write_text(path: Path, text: str) -> None:
    """Write a whole text file under its final name, or none. Raises SinkError when it cannot be written."""
    staged = StagedFile(path)
    try:
        _write(staged, text.encode())
        staged.commit()
    finally:
        staged.discard()


def _write(staged: StagedFile, content: bytes) -> None:
    try:
        with staged.path.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise cannot_write(staged.final, error) from error
