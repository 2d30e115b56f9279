"""The sidecar of a built engine: FILE.json says what FILE was made from, for what, and what became of it.

It stands beside every file that `build` writes; an engine whose bytes are no longer those it speaks of is not run.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from edgex.errors import ModelError
from edgex.image_input import ImageInput
from edgex.manifest import Manifest
from edgex.onnx_file import TensorSpec

SCHEMA_VERSION = 1
LARGEST_BYTES = 64 * 2**20  # of a sidecar: beyond this it is none
Precision = Literal["fp32", "fp16", "int8"]
_AGAIN = "build the engine again"
_HASH_DIGITS = 64


@dataclass(frozen=True, slots=True)
class KeptNode:
    """A node that the gate took back to higher precision: its name, kind, and the share of the error it caused."""

    name: str
    kind: str
    effect: float


@dataclass(frozen=True, slots=True)
class BuildManifest:
    """What `build` knows of a file that it wrote.

    Attributes
    ----------
    backend, backend_version, device : what runs it, and what it was built on
    precision : "fp32", "fp16" or "int8", as asked for
    achieved : layer kind to precision to number of layers, as the backend itself tells
    source, source_sha256 : name and hash of the ONNX file that it was built from
    product_sha256, product_bytes : of the file beside the sidecar
    input, outputs : of the network
    image : how a frame becomes the input, where it is known
    manifest : what the source says of itself, or None for a model without manifest
    calibration_sha256 : of the calibration that gave the ranges, or None
    fidelity : figures of the engine against the FP32 source, or None where it was not compared
    kept : nodes that the gate took back to higher precision
    latency_ms : measured medians of one inference at batch 1, name to ms
    options : what else was asked for, such as batch profiles
    warnings : one sentence for everything that the user should know
    edgex : version that built it
    schema : version of this layout
    """

    backend: str
    backend_version: str
    device: str
    precision: Precision
    achieved: Mapping[str, Mapping[str, int]]
    source: str
    source_sha256: str
    product_sha256: str
    product_bytes: int
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    image: ImageInput | None = None
    manifest: Manifest | None = None
    calibration_sha256: str | None = None
    fidelity: Mapping[str, Any] | None = None
    kept: tuple[KeptNode, ...] = ()
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    edgex: str = ""
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check(self.schema == SCHEMA_VERSION, f"schema {SCHEMA_VERSION}", self.schema)
        _check(self.precision in get_args(Precision), "precision fp32, fp16 or int8", self.precision)
        for name in ("backend", "backend_version", "device", "source", "edgex"):
            _check(isinstance(getattr(self, name), str), f"{name} a string", getattr(self, name))
        for name in ("source_sha256", "product_sha256"):
            digest = getattr(self, name)
            _check(isinstance(digest, str) and len(digest) == _HASH_DIGITS, f"{name} of 64 digits", digest)
        for name in ("achieved", "latency_ms", "options"):
            _check(isinstance(getattr(self, name), Mapping), f"{name} an object", getattr(self, name))
        _check(self.fidelity is None or isinstance(self.fidelity, Mapping), "fidelity an object or null", self.fidelity)

    def to_json(self) -> str:
        """Return the manifest as one JSON object."""
        tree = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        tree["input"] = dataclasses.asdict(self.input)
        tree["outputs"] = [dataclasses.asdict(spec) for spec in self.outputs]
        tree["image"] = None if self.image is None else self.image.to_json()
        tree["manifest"] = None if self.manifest is None else json.loads(self.manifest.to_json())
        tree["kept"] = [dataclasses.asdict(node) for node in self.kept]
        return json.dumps(tree, ensure_ascii=False, indent=1)

    @classmethod
    def from_json(cls, text: str) -> BuildManifest:
        """Read a manifest. Raises ModelError if `text` is not one."""
        try:
            tree = json.loads(text)
            return cls(
                **{
                    **tree,
                    "input": _spec(tree["input"]),
                    "outputs": tuple(_spec(spec) for spec in tree["outputs"]),
                    "image": None if tree["image"] is None else ImageInput.from_json(tree["image"]),
                    "manifest": None if tree["manifest"] is None else Manifest.from_json(json.dumps(tree["manifest"])),
                    "kept": tuple(KeptNode(**node) for node in tree["kept"]),
                    "warnings": tuple(tree["warnings"]),
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(
                f"expected the JSON of a build manifest of schema {SCHEMA_VERSION}, got "
                f"{type(error).__name__}: {str(error)[:200]}; {_AGAIN}"
            ) from error


def sidecar(path: Path) -> Path:
    """Return where the sidecar of an engine stands."""
    return path.parent / f"{path.name}.json"


def read_sidecar(path: Path) -> BuildManifest | None:
    """Return what the sidecar of `path` says, or None where there is none. Raises ModelError if it is broken."""
    beside = sidecar(path)
    try:
        if not beside.is_file():
            return None
        if beside.stat().st_size > LARGEST_BYTES:
            raise ModelError(f"expected a build manifest in {beside}, got {beside.stat().st_size} bytes; {_AGAIN}")
        text = beside.read_text(encoding="utf-8")
        # Other programs write NAME.onnx.json too, about other things.
        return BuildManifest.from_json(text) if path.suffix != ".onnx" or '"product_sha256"' in text else None
    except ModelError as error:
        raise ModelError(f"{error} (sidecar {beside})") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"expected a readable build manifest at {beside}, got {error}; {_AGAIN}") from error


def require_untouched(path: Path, manifest: BuildManifest) -> None:
    """Raise ModelError unless `path` holds the very bytes that its manifest speaks of."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
    except OSError as error:
        raise ModelError(f"expected a readable engine at {path}, got {error}; check path and rights") from error
    if digest.hexdigest() != manifest.product_sha256:
        raise ModelError(
            f"expected {path} with the hash that its manifest gives, {manifest.product_sha256[:12]}, got "
            f"{digest.hexdigest()[:12]}; {_AGAIN}, or run it with --trust if you know where it comes from"
        )


def _spec(tree: Mapping[str, Any]) -> TensorSpec:
    shape = tree["shape"]
    if not isinstance(tree["name"], str) or not isinstance(tree["dtype"], str):
        raise TypeError(f"expected a tensor with name and dtype, got {tree}")
    return TensorSpec(tree["name"], tree["dtype"], None if shape is None else tuple(shape))


def _check(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ModelError(f"expected a build manifest with {expected}, got {str(got)[:200]}; {_AGAIN}")
