"""What is in a model file, ONNX or engine, and where it can run, without loading it into a backend."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from edgex.build_manifest import BuildManifest, read_sidecar, sidecar
from edgex.bundle import check_bundle, lacks_manifest, shortcomings
from edgex.engines.choose import is_engine
from edgex.engines.tensorrt_api import HEADER_BYTES, TITLES, plan_origin
from edgex.errors import ModelError
from edgex.inspect_backends import Origin, reasons_of_engine, reasons_of_onnx
from edgex.inspect_layers import layers
from edgex.manifest import METADATA_KEY, Manifest
from edgex.onnx_file import CLASS_LOGITS, MASK_LOGITS, OnnxFile, TensorSpec, read_onnx

Kind = Literal["bundle", "explainer", "onnx", "engine"]
_OF_ONNX = ("ir_version", "opset", "producer", "operators", "weights", "external", "metadata")
_OF_SIDECAR = (
    *("backend", "backend_version", "device", "precision", "achieved", "source", "source_sha256", "calibration_sha256"),
    *("image", "fidelity", "kept", "latency_ms", "options", "warnings", "edgex"),
)


@dataclass(frozen=True, slots=True)
class Inspection:
    """What is in a model file.

    Attributes
    ----------
    path : the file
    kind : "bundle" (classifier and Explainer), "explainer" (masks alone), "onnx" (anything else) or "engine"
    size_bytes, sha256 : of the file itself, external weights not included
    inputs, outputs : of the network; empty of an engine without sidecar
    manifest : what the file says of itself, or None
    missing : what keeps `edgex run` from using it, one sentence each
    runs_on : backends that can run it here
    reasons : backend to why it cannot, in one sentence, for the others
    layers : of an ONNX file, kind of layer to precision to number of layers, from the types of its graph
    file : operators, weights, ... of an ONNX file, or None
    built : what the sidecar of a file that `build` wrote says, or None
    untouched : whether the file's bytes are those that its sidecar speaks of, or None without sidecar
    plan : flavour and version of TensorRT that the header of an engine names, or ""
    """

    path: Path
    kind: Kind
    size_bytes: int
    sha256: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    manifest: Manifest | None
    missing: tuple[str, ...]
    runs_on: tuple[str, ...]
    reasons: Mapping[str, str]
    layers: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    file: OnnxFile | None = None
    built: BuildManifest | None = None
    untouched: bool | None = None
    plan: str = ""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes; empty where the file does not say."""
        return () if self.manifest is None else self.manifest.labels

    def to_dict(self) -> dict[str, Any]:
        """Return all of it, flat, in JSON types; what a file of this kind does not have is null."""
        flat: dict[str, Any] = {"path": self.path, "kind": self.kind, "plan": self.plan or None}
        flat |= {"size_bytes": self.size_bytes, "sha256": self.sha256, "untouched": self.untouched}
        flat |= {name: [dataclasses.asdict(spec) for spec in getattr(self, name)] for name in ("inputs", "outputs")}
        flat |= {"labels": self.labels, "layers": self.layers}
        built = {} if self.built is None else json.loads(self.built.to_json())
        flat |= {name: built.get(name) for name in _OF_SIDECAR}
        flat |= {name: getattr(self.file, name, None) for name in _OF_ONNX}
        if self.file is not None and self.manifest is not None:  # stands there as its own entry, read
            flat["metadata"] = {key: text for key, text in self.file.metadata.items() if key != METADATA_KEY}
        flat["manifest"] = None if self.manifest is None else dataclasses.asdict(self.manifest)
        flat |= {"missing": self.missing, "runs_on": self.runs_on, "reasons": self.reasons}
        plain: dict[str, Any] = json.loads(json.dumps(flat, default=str))
        return plain

    def rows(self) -> list[tuple[str, str]]:
        """Return name and text of everything that the file has, for a table."""
        from edgex.inspect_rows import rows

        return rows(self)


def inspect(path: str | Path) -> Inspection:
    """Look into a model file.

    Parameters
    ----------
    path : any ONNX file, a bundle or not, or an engine of TensorRT; what `build` wrote beside it is read too

    Raises
    ------
    ModelError
        If it is neither, or its sidecar is broken.
    """
    path = Path(path)
    built = read_sidecar(path) if path.name else None
    origin = plan_origin(_header(path))
    if origin is not None or is_engine(path, built):
        return _engine(path, built, origin)
    file = read_onnx(path)
    try:
        manifest = file.manifest()
    except ModelError:  # `missing` says it
        manifest = None
    masks, scores = file.output(MASK_LOGITS), file.output(CLASS_LOGITS)
    reasons = reasons_of_onnx(file, built)
    return Inspection(
        path=path,
        kind="onnx" if masks is None else "explainer" if scores is None else "bundle",
        size_bytes=file.size_bytes,
        sha256=file.sha256,
        inputs=file.inputs,
        outputs=file.outputs,
        manifest=manifest,
        missing=shortcomings(file),
        runs_on=tuple(backend for backend, reason in reasons.items() if not reason),
        reasons={backend: reason for backend, reason in reasons.items() if reason},
        layers=layers(path),
        file=file,
        built=built,
        untouched=None if built is None else built.product_sha256 == file.sha256,
    )


def _engine(path: Path, built: BuildManifest | None, origin: Origin | None) -> Inspection:
    size, digest = _size_and_hash(path)
    if built is None and origin is None:
        raise ModelError(
            f"expected a plan of TensorRT in {path}, got {size} bytes that name none, and no {sidecar(path).name} "
            "beside it; copy that there too, or build the engine again"
        )
    reasons = reasons_of_engine(path, built, origin)
    return Inspection(
        path=path,
        kind="engine",
        size_bytes=size,
        sha256=digest,
        inputs=() if built is None else (built.input,),
        outputs=() if built is None else built.outputs,
        manifest=None if built is None else built.manifest,
        missing=_missing(path, built),
        runs_on=tuple(backend for backend, reason in reasons.items() if not reason),
        reasons={backend: reason for backend, reason in reasons.items() if reason},
        built=built,
        untouched=None if built is None else built.product_sha256 == digest,
        plan="" if origin is None else f"{TITLES[origin[0]]} {origin[1]}",
    )


def _missing(path: Path, built: BuildManifest | None) -> tuple[str, ...]:
    if built is None:
        return (f"expected {sidecar(path).name} beside {path}, got no such file; copy it there too",)
    found = [] if built.manifest is not None else [str(lacks_manifest(path))]
    try:
        check_bundle(path, (built.input,), built.outputs, built.manifest)
    except ModelError as error:
        found.append(str(error))
    return tuple(found)


def _header(path: Path) -> bytes:
    """Return the first bytes of a file, none where they cannot be read: who reads all of it says why."""
    try:
        if not path.is_file():
            return b""
        with path.open("rb") as file:
            return file.read(HEADER_BYTES)
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return b""


def _size_and_hash(path: Path) -> tuple[int, str]:
    digest, size = hashlib.sha256(), 0
    try:
        if not path.is_file():
            raise ModelError(f"expected an engine file at {path}, got no file; check the path")
        with path.open("rb") as file:
            while chunk := file.read(2**20):
                digest.update(chunk)
                size += len(chunk)
    except (OSError, ValueError) as error:
        raise ModelError(f"expected a readable engine file at {path}, got {error}; check path and rights") from error
    return size, digest.hexdigest()
