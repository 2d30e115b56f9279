"""The timing cache: what TensorRT measured in earlier builds, in a file of one backend version and one device.

A file of another version or device, or a damaged one, is not used and written anew; whoever reads sees a whole file.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgex.engines.tensorrt_api import NO_GPU, Journal

_MAGIC = b"edgex timing cache 1\n"
_LARGEST_BYTES = 2**30


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose measurements a timing cache holds."""

    backend: str
    version: str
    device: str

    def __str__(self) -> str:
        return f"{self.backend} {self.version} on {self.device}"


def read_cache(path: Path, owner: Owner) -> tuple[bytes, str | None]:
    """Return the measurements in a file, empty where they cannot be used, and then why, in one sentence.

    No file is no reason for a warning.
    """
    try:
        if path.stat().st_size > _LARGEST_BYTES:
            return b"", _unused(path, "a file that is too large")
        content = path.read_bytes()
    except FileNotFoundError:
        return b"", None
    except (OSError, ValueError) as error:
        return b"", _unused(path, str(error))
    header, _, measured = content.removeprefix(_MAGIC).partition(b"\n")
    try:
        tree: Any = json.loads(header) if content.startswith(_MAGIC) else None
        found, checksum = Owner(**{name: str(tree[name]) for name in asdict(owner)}), tree["sha256"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return b"", _unused(path, "another file")
    if hashlib.sha256(measured).hexdigest() != checksum:
        return b"", _unused(path, "a damaged one")
    return (measured, None) if found == owner else (b"", _unused(path, f"that of {found}"))


def write_cache(path: Path, owner: Owner, measured: bytes) -> str | None:
    """Replace the file; return why it could not be, in one sentence, or None."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        header = json.dumps({**asdict(owner), "sha256": hashlib.sha256(measured).hexdigest()}).encode()
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".part", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(_MAGIC + header + b"\n" + measured)
        os.replace(temporary, path)
    except (OSError, ValueError) as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        return f"expected to keep the timing cache in {path}, got {error}; the next build measures anew"
    return None


class TimingCache:
    """A timing cache in use by one build.

    Parameters
    ----------
    config : trt.IBuilderConfig that is to use it
    path : its file
    owner : whose it has to be
    journal : what TensorRT says meanwhile; takes the warnings too
    """

    def __init__(self, config: Any, path: Path, owner: Owner, journal: Journal) -> None:
        self._config, self._path, self._owner, self._journal = config, path, owner, journal
        measured, reason = read_cache(path, owner)
        if owner.device == NO_GPU:  # nothing was measured, and TensorRT-RTX asks for a driver to read even that
            measured = b""
        self._cache = self._attached(measured) if measured else None
        if measured and self._cache is None:
            reason = _unused(path, "one that TensorRT refuses")
        if reason is not None:
            journal.warnings.append(reason)
        if self._cache is None:
            self._cache = self._attached(b"")

    def keep(self) -> None:
        """Write what was measured, with what other builds have written meanwhile."""
        if self._cache is None:
            return
        others, _ = read_cache(self._path, self._owner)
        if others and self._owner.device != NO_GPU and (theirs := self._read(others)) is not None:
            with _quiet():
                self._cache.combine(theirs, False)
        with _quiet():
            measured = bytes(self._cache.serialize())
        if (reason := write_cache(self._path, self._owner, measured)) is not None:
            self._journal.warnings.append(reason)

    def _attached(self, measured: bytes) -> Any:
        """Return a cache that the configuration uses, or None where TensorRT does not take it."""
        made = self._read(measured)
        if made is None:
            return None
        with _quiet():
            return made if self._config.set_timing_cache(made, False) else None

    def _read(self, measured: bytes) -> Any:
        """Return trt.ITimingCache, or None where TensorRT makes an empty one of what it cannot read."""
        known = len(self._journal.warnings)
        with _quiet():
            made = self._config.create_timing_cache(measured)
        said = self._journal.warnings[known:]
        del self._journal.warnings[known:]
        return None if any("timing cache" in line for line in said) else made


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Python's warning that TensorRT-RTX, which measures nothing at build, keeps caches for no purpose."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


def _unused(path: Path, got: str) -> str:
    return f"expected a timing cache of this backend and device in {path}, got {got}; it is not used and written anew"
