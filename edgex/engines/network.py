"""Network: any model with one image input, loaded into a backend; and what every backend checks and says alike."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Protocol, TypeGuard

import numpy as np
from numpy.typing import NDArray

from edgex.errors import ModelError, UsageError
from edgex.manifest import Manifest
from edgex.onnx_file import Axis, OnnxFile, TensorSpec

MOST_THREADS = 256
PRECISIONS = {  # as a backend names a type -> as edgex names a precision; other types keep their own names
    **{"float": "fp32", "float32": "fp32", "f32": "fp32", "float16": "fp16", "f16": "fp16", "bfloat16": "bf16"},
    **{"uint8": "int8", "int8": "int8", "u8": "int8", "i8": "int8", "i32": "int32", "i64": "int64"},
}


class Network(Protocol):
    """A model with one image input in a backend. Threads may share it.

    Attributes
    ----------
    backend : name of the backend
    path : the file that was opened
    manifest : what the file says of itself, or None when it has no manifest
    input : name, dtype and shape of the image input
    outputs : name, dtype and shape of each output, in the order of the graph
    streams : how many batches it infers at once; further threads wait
    """

    @property
    def backend(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def manifest(self) -> Manifest | None: ...
    @property
    def input(self) -> TensorSpec: ...
    @property
    def outputs(self) -> tuple[TensorSpec, ...]: ...
    @property
    def streams(self) -> int: ...

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        """Infer a batch.

        Parameters
        ----------
        image : of the dtype and shape that `input` says, batch first, any strides

        Returns
        -------
        one new array for each output, by name, batch first

        Raises
        ------
        UsageError
            If `image` has another dtype or shape.
        ModelError
            If the backend cannot.
        """
        ...

    def close(self) -> None:
        """Give the backend's memory back; the network cannot be used after it."""
        ...


def require_threads(threads: int | None, streams: int = 1) -> None:
    """Raise UsageError unless `threads` is None or a number of CPU threads that a machine may have; `streams`, too."""
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"expected 1 to {MOST_THREADS} threads, got {threads}; give one a core, or leave it out")
    if not 1 <= streams <= MOST_THREADS:
        raise UsageError(f"expected 1 to {MOST_THREADS} streams, got {streams}; give one a core at most")


def image_input_of(file: OnnxFile) -> TensorSpec:
    """Return the one input of a model. Raises ModelError where it has none, several, or one that is no array."""
    if len(file.inputs) != 1 or not _is_array(file.inputs[0]):
        names = ", ".join(str(found) for found in file.inputs) or "no input"
        raise ModelError(f"expected one input, an image, in {file.path}, got {names}; export the network alone")
    odd = [str(found) for found in file.outputs if not _is_array(found)]
    if odd:
        raise ModelError(f"expected outputs that are arrays in {file.path}, got {', '.join(odd)}; export it without")
    return file.inputs[0]


def require_fitting(spec: TensorSpec, image: NDArray[Any]) -> None:
    """Raise UsageError unless `image` has the dtype and shape of the input, at least one picture in it."""
    if image.dtype == spec.dtype and image.size and (spec.shape is None or _fits(spec.shape, image.shape)):
        return
    raise UsageError(f"expected the input {spec}, got {image.dtype} {list(image.shape)}; preprocess it first")


def is_fixed(axis: Axis) -> TypeGuard[int]:
    """Tell whether an axis has one size; some exporters write -1 for any."""
    return isinstance(axis, int) and axis > 0


def closed(path: Path) -> ModelError:
    """Return the error for a network that was closed."""
    return ModelError(f"expected an open engine, got one that is closed; load {path} again")


def cannot(runtime: str, verb: str, path: Path, cause: str) -> ModelError:
    """Return the error for what a runtime cannot `verb`, its cause in one line."""
    line = " ".join(cause.split())[:300].rstrip(" .;:")
    return ModelError(f"expected {runtime} to {verb} {path}, got: {line}; export the model again")


def _fits(axes: tuple[Axis, ...], shape: tuple[int, ...]) -> bool:
    same = zip(axes, shape, strict=False)
    return len(axes) == len(shape) and all(not is_fixed(axis) or axis == side for axis, side in same)


def _is_array(spec: TensorSpec) -> bool:
    try:
        return spec.dtype == "bfloat16" or np.dtype(spec.dtype).hasobject is False
    except TypeError:  # a sequence, a map, a type that NumPy does not have
        return False
