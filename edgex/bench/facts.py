"""What is known of a model by its files, read when it is opened: while it is measured they may go, or be replaced."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from edgex.build_manifest import BuildManifest
from edgex.engines import Network
from edgex.engines.choose import is_engine, module_of
from edgex.errors import ModelError
from edgex.inspect_layers import layers
from edgex.onnx_file import read_onnx

Stamp = tuple[int, int, int] | None
log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Facts:
    """What the files of a model said when it was opened.

    Attributes
    ----------
    sha256 : of the model's file; where it keeps weights in other files, of the text that `sha256sum` prints of all of
        them, the model's file first and the others by name, so that other weights are another engine. The sidecar is no
        part of it: it tells of the engine, and of when it was built
    precision : that of its sidecar, or else what most layers of its graph compute in
    stamps : file to what tells whether it is still the same
    built : what its sidecar said, or None
    """

    sha256: str
    precision: str
    stamps: Mapping[Path, Stamp]
    built: BuildManifest | None

    @property
    def changed(self) -> str:
        """Name of the first file that is not as it was, or empty."""
        return next((path.name for path, stamp in self.stamps.items() if stamp_of(path) != stamp), "")

    def achieved(self, network: Network) -> dict[str, dict[str, int]]:
        """Return what the backend made of the model; of changed files what the sidecar said; {} where none tells."""
        if self.changed:
            return {} if self.built is None else {kind: dict(each) for kind, each in self.built.achieved.items()}
        try:
            found: dict[str, dict[str, int]] = module_of(network.backend).achieved(network)
            return found
        except Exception as error:  # whatever it is: the times were measured all the same
            log.info("%s does not tell what it made of %s: %s", network.backend, network.path, error)
            return {}


def read_facts(path: Path, built: BuildManifest | None) -> Facts:
    """Read what the files of a model say. Raises ModelError where one cannot be read."""
    is_onnx = not is_engine(path, built)
    external = sorted(read_onnx(path).external) if is_onnx else []
    files = [path, *(path.parent / name for name in external)]
    stamps = {file: stamp_of(file) for file in files}
    digests = [_sha256(file) for file in files]
    if external:
        named = zip(digests, [path.name, *external], strict=True)
        digests = [hashlib.sha256("".join(f"{digest}  {name}\n" for digest, name in named).encode()).hexdigest()]
    return Facts(digests[0], _precision(path, built) if is_onnx or built else "unknown", stamps, built)


def stamp_of(path: Path) -> Stamp:
    """Return what changes when a file is written or replaced, None where there is none."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _precision(path: Path, built: BuildManifest | None) -> str:
    if built is not None:
        return built.precision
    counts: dict[str, int] = {}
    for precisions in layers(path).values():
        for precision, count in precisions.items():
            counts[precision] = counts.get(precision, 0) + count
    return "int8" if "int8" in counts else max(counts, key=lambda each: counts[each], default="unknown")


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"expected a readable model file at {path}, got {error}; check path and rights") from error
    return digest.hexdigest()
