"""A plan before it runs: whose it is, what it reads and gives, and why this machine may refuse it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgex.engines.tensorrt_api import (
    HEADER_BYTES,
    TITLES,
    Journal,
    check_flavour,
    device,
    dtype_name,
    logger,
    plan_origin,
    refuse,
    version,
)
from edgex.errors import ModelError, UsageError
from edgex.onnx_file import TensorSpec

Shape = tuple[int, ...]
_AGAIN = "build it again here"


@dataclass(frozen=True, slots=True)
class Binding:
    """An input or output of a plan.

    Attributes
    ----------
    spec : name, dtype and shape, None for a dynamic axis
    dtype : as NumPy has it
    profile : smallest, most usual and largest shape of an input; empty of an output
    """

    spec: TensorSpec
    dtype: np.dtype[Any]
    profile: tuple[Shape, ...]


def read_plan(path: Path, flavour: str) -> bytes:
    """Return the content of an engine file. Raises ModelError if there is none, or its header names another flavour."""
    check_flavour(flavour)
    try:
        plan = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelError(f"expected an engine file at {path}, got no file; check the path") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ModelError(f"expected a readable engine file at {path}, got {error}; check path and rights") from error
    if len(plan) < HEADER_BYTES:
        raise ModelError(f"expected a plan of {TITLES[flavour]} in {path}, got {len(plan)} bytes; {_AGAIN}")
    origin = plan_origin(plan)
    if origin is not None and origin[0] != flavour:
        raise ModelError(f"expected a plan of {TITLES[flavour]} in {path}, got one of {_named(plan)}; {_AGAIN}")
    return plan


def deserialised(trt: Any, flavour: str, path: Path, plan: bytes, journal: Journal) -> tuple[Any, Any]:
    """Return the runtime and the engine of a plan; a context has to be current.

    Raises
    ------
    ModelError
        If the plan is of another version or device, or damaged.
    EdgexError
        If TensorRT does not start.
    """
    try:
        runtime = trt.Runtime(logger(flavour))
    except TypeError:  # pybind11's word for a null pointer
        refuse(flavour, "start its runtime", journal)
    if hasattr(runtime, "engine_host_code_allowed"):
        runtime.engine_host_code_allowed = True  # a version compatible plan brings its runtime along
    if hasattr(runtime, "get_engine_validity"):
        validity, reasons = runtime.get_engine_validity(plan[: runtime.engine_header_size])
        if validity == trt.EngineValidity.INVALID:
            known = trt.EngineInvalidityDiagnostics.__members__.items()
            told = ", ".join(name.lower().replace("_", " ") for name, bit in known if int(reasons) & int(bit))
            raise not_here(path, flavour, plan, told or journal.cause())
    engine = runtime.deserialize_cuda_engine(plan)
    if engine is None:
        raise not_here(path, flavour, plan, journal.cause())
    return runtime, engine


def not_here(path: Path, flavour: str, plan: bytes, cause: str) -> ModelError:
    """Return the error for a plan that this version, or this device, refuses."""
    here = f"{TITLES[flavour]} {version(flavour)} on {device()}"
    return ModelError(
        f"expected a plan for {here} in {path}, got one of {_named(plan)} that it refuses: {cause}; {_AGAIN}"
    )


def bindings(trt: Any, engine: Any, path: Path) -> tuple[Binding, tuple[Binding, ...]]:
    """Return the input and the outputs of an engine. Raises ModelError unless it has one input, on the GPU."""
    inputs: list[Binding] = []
    outputs: list[Binding] = []
    for index in range(engine.num_io_tensors):
        name = engine.get_tensor_name(index)
        sizes = tuple(engine.get_tensor_shape(name))
        spec = TensorSpec(
            name, dtype_name(engine.get_tensor_dtype(name)), tuple(None if size < 0 else size for size in sizes)
        )
        try:
            dtype = np.dtype(spec.dtype)
        except TypeError as error:
            raise ModelError(f"expected types that NumPy has in {path}, got {spec}; export the model again") from error
        if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
            spans = engine.get_tensor_profile_shape(name, 0) if None in (spec.shape or ()) else [sizes] * 3
            inputs.append(Binding(spec, dtype, tuple(tuple(shape) for shape in spans)))
        else:
            outputs.append(Binding(spec, dtype, ()))
    if len(inputs) != 1 or not outputs or engine.get_tensor_location(inputs[0].spec.name) != trt.TensorLocation.DEVICE:
        names = ", ".join(str(binding.spec) for binding in inputs) or "none"
        raise ModelError(f"expected one input, an image, in {path}, got {names}; export the network alone")
    return inputs[0], tuple(outputs)


def require_within(path: Path, shape: Shape, smallest: Shape, largest: Shape) -> None:
    """Raise UsageError unless a shape of the right rank lies within the profile that a plan was built for."""
    if all(low <= size <= high for low, size, high in zip(smallest, shape, largest, strict=True)):
        return
    spans = (f"{low}" if low == high else f"{low} to {high}" for low, high in zip(smallest, largest, strict=True))
    raise UsageError(
        f"expected [{', '.join(spans)}], as {path} was built for, got {list(shape)}; build it for that too"
    )


def _named(plan: bytes) -> str:
    origin = plan_origin(plan)
    return "a version that it does not name" if origin is None else f"{TITLES[origin[0]]} {origin[1]}"
