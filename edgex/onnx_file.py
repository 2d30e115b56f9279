"""What is in an ONNX file, read without a backend: inputs, outputs, weights, metadata, hash.

The file is untrusted: nothing it declares is allocated, no path that it names outside its own folder is followed.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgex.errors import ModelError
from edgex.manifest import METADATA_KEY, Manifest, stays_below

IMAGE, CLASS_LOGITS, MASK_LOGITS = "image", "class_logits", "mask_logits"
LARGEST_BYTES = 2**31 - 1  # protobuf's own limit; larger models keep their weights in external files
HIGHEST_OPSET = 1000
Axis = int | str | None


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """An input or output of the graph.

    Attributes
    ----------
    name : its name
    dtype : "float32", "uint8", ... as NumPy names it where NumPy has it
    shape : one size, name of a dynamic size, or None (not said) per axis; None as a whole where the rank is not said
    """

    name: str
    dtype: str
    shape: tuple[Axis, ...] | None

    def __str__(self) -> str:
        axes = "?" if self.shape is None else ", ".join("?" if axis is None else str(axis) for axis in self.shape)
        return f"{self.name} {self.dtype} [{axes}]"


@dataclass(frozen=True, slots=True)
class OnnxFile:
    """What an ONNX file says of itself.

    Attributes
    ----------
    path : the file
    size_bytes, sha256 : of the file itself, external weights not included
    ir_version, opset : version of the format; domain ("" is ONNX itself) to version of the operators
    producer : name and version of the program that wrote it
    inputs, outputs : of the graph; weights are no inputs
    operators : operator to how often it stands in the graph
    weights : dtype to number of stored values
    external : file names of weights stored beside the file
    metadata : free key to text
    """

    path: Path
    size_bytes: int
    sha256: str
    ir_version: int
    opset: Mapping[str, int]
    producer: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]
    weights: Mapping[str, int]
    external: tuple[str, ...]
    metadata: Mapping[str, str]

    def manifest(self) -> Manifest | None:
        """Return the manifest, or None where the file has none. Raises ModelError when it is not a manifest."""
        text = self.metadata.get(METADATA_KEY)
        if text is None:
            return None
        try:
            return Manifest.from_json(text)
        except ModelError as error:
            raise ModelError(f"{error} (manifest of {self.path})") from error

    def input(self, name: str) -> TensorSpec | None:
        """Return the input of this name, or None."""
        return next((spec for spec in self.inputs if spec.name == name), None)

    def output(self, name: str) -> TensorSpec | None:
        """Return the output of this name, or None."""
        return next((spec for spec in self.outputs if spec.name == name), None)


def read_onnx(path: Path) -> OnnxFile:
    """Read what an ONNX file says of itself.

    Raises
    ------
    ModelError
        If there is no such file, or it is not ONNX, cut off, or names weights that are missing or lie elsewhere.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    content = _read_bytes(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(content)
        graph = model.graph
        if model.ir_version < 1 or not graph.node or not graph.output:
            raise ModelError(
                f"expected an ONNX model with a graph, got other content in {path}; export the model again"
            )
        _require_versions(path, model)
        stored = {_text(t.name) for t in graph.initializer} | {_text(t.values.name) for t in graph.sparse_initializer}
        return OnnxFile(
            path=path,
            size_bytes=len(content),
            sha256=hashlib.sha256(content).hexdigest(),
            ir_version=model.ir_version,
            opset={_text(entry.domain): entry.version for entry in model.opset_import},
            producer=f"{_text(model.producer_name)} {_text(model.producer_version)}".strip(),
            inputs=tuple(_spec(value) for value in graph.input if _text(value.name) not in stored),
            outputs=tuple(_spec(value) for value in graph.output),
            operators=_count((f"{_text(n.domain)}.{_text(n.op_type)}".lstrip("."), 1) for n in graph.node),
            weights=_count((_dtype(t.data_type), _values(t.dims)) for t in graph.initializer),
            external=_external(path, _tensors(model)),
            metadata={_text(entry.key): _text(entry.value) for entry in model.metadata_props},
        )
    except (DecodeError, UnicodeDecodeError) as error:
        raise ModelError(
            f"expected an ONNX model in {path}, got {len(content)} bytes that are not one or are cut off; "
            "export or copy the model again"
        ) from error


def _require_versions(path: Path, model: Any) -> None:
    """Raise ModelError for versions of operators that there are not: a backend may look for them one by one."""
    odd = [entry.version for entry in model.opset_import if not 0 < entry.version <= HIGHEST_OPSET]
    if odd:
        raise ModelError(f"expected opsets of 1 to {HIGHEST_OPSET} in {path}, got {odd[0]}; export the model again")


def _read_bytes(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ModelError(f"expected an ONNX file, got the folder {path}; name the file in it")
        size = path.stat().st_size
        if not path.is_file():
            raise ModelError(f"expected an ONNX file, got {path}, which is no regular file; name a file")
        if size == 0:
            raise ModelError(f"expected an ONNX model in {path}, got an empty file; export or copy the model again")
        if size > LARGEST_BYTES:
            raise ModelError(f"expected at most 2 GB in {path}, got {size} bytes; export with external weights")
        return path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"expected a model file at {path}, got no file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ModelError(f"expected a readable model file at {path}, got {error}; check path and rights") from error


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor that the file stores: weights and attributes, in branches, loops and functions too."""
    nodes = [node for function in model.functions for node in function.node]
    graphs = [model.graph]
    while graphs or nodes:
        if graphs:
            graph = graphs.pop()
            nodes += graph.node
            yield from graph.initializer
            yield from (part for sparse in graph.sparse_initializer for part in (sparse.values, sparse.indices))
            continue
        for attribute in nodes.pop().attribute:
            graphs += [*attribute.graphs, *([attribute.g] if attribute.HasField("g") else [])]
            sparse = [*attribute.sparse_tensors, attribute.sparse_tensor]
            yield from (attribute.t, *attribute.tensors)
            yield from (part for each in sparse for part in (each.values, each.indices))


def _external(path: Path, tensors: Iterable[Any]) -> tuple[str, ...]:
    """Return the names of external weight files; each must be there, in the model's own folder or below it."""
    from onnx import TensorProto

    names: dict[str, None] = {}
    for tensor in tensors:
        if tensor.data_location != TensorProto.EXTERNAL:
            continue
        location = next((_text(entry.value) for entry in tensor.external_data if entry.key == "location"), "")
        if not stays_below(location):
            raise ModelError(
                f"expected weights beside {path}, got the path {location[:200]!r}; do not trust this file, "
                "or export it again with its weights beside it"
            )
        names[location] = None
    for location in names:
        try:
            found = (path.parent / location).is_file()
        except (OSError, ValueError):
            found = False
        if not found:
            raise ModelError(
                f"expected the weights of {path} in {location[:200]!r} beside it, got no such file; copy it there too"
            )
    return tuple(names)


def _spec(value: Any) -> TensorSpec:
    tensor = value.type.tensor_type
    if not value.type.HasField("tensor_type"):
        return TensorSpec(_text(value.name), value.type.WhichOneof("value") or "unknown", None)
    shape = tuple(_axis(dim) for dim in tensor.shape.dim) if tensor.HasField("shape") else None
    return TensorSpec(_text(value.name), _dtype(tensor.elem_type), shape)


def _axis(dim: Any) -> Axis:
    kind = dim.WhichOneof("value")
    return None if kind is None else dim.dim_value if kind == "dim_value" else _text(dim.dim_param) or None


def _text(value: str | bytes) -> str:
    """Return the text; protobuf hands over as bytes what is not UTF-8."""
    return value if isinstance(value, str) else value.decode()


def _dtype(code: int) -> str:
    from onnx import TensorProto

    names: dict[int, str] = {number: name.lower() for name, number in TensorProto.DataType.items()}
    numpy_names = {"float": "float32", "double": "float64"}
    name = names.get(code, f"type {code}")
    return numpy_names.get(name, name)


def _values(dims: Any) -> int:
    return math.prod(max(0, size) for size in dims)


def _count(pairs: Any) -> dict[str, int]:
    total: dict[str, int] = {}
    for key, number in pairs:
        total[key] = total.get(key, 0) + number
    return dict(sorted(total.items(), key=lambda pair: (-pair[1], pair[0])))
