"""What goes into an engine file: the model as it is, in half precision or with Q/DQ, or a TensorRT plan of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from edgex.build_int8 import Tensors, calibrated, checked_frames, frames_at_hand, needs_narrow, passed
from edgex.build_manifest import KeptNode
from edgex.build_options import BuildOptions
from edgex.build_plan import PlanRequest, planned
from edgex.engines import open_network
from edgex.engines.choose import TENSORRT
from edgex.errors import ModelError, UsageError
from edgex.fidelity import Fidelity
from edgex.graph import prepare
from edgex.image_input import ImageInput
from edgex.onnx_file import OnnxFile
from edgex.precision import RECIPES, quantize, to_float16
from edgex.types import Observe


@dataclass(frozen=True, slots=True)
class Made:
    """An engine in the making: its bytes, and what is known of them before it runs."""

    content: bytes
    achieved: Mapping[str, Mapping[str, int]] | None = None
    fidelity: Fidelity | None = None
    kept: tuple[KeptNode, ...] = ()
    calibration_sha256: str | None = None
    warnings: tuple[str, ...] = ()


def make(
    options: BuildOptions, file: OnnxFile, backend: str, image: ImageInput | None, observe: Observe
) -> tuple[Made, Tensors]:
    """Return the engine's bytes, and the frames that it is to be checked on."""
    if options.precision == "int8":
        return _make_int8(options, file, backend, image, observe)
    data = options.data or frames_at_hand(file)
    tensors = (
        []
        if options.unchecked or data is None or image is None
        else checked_frames(data, options.checked, image, observe)
    )
    if backend in TENSORRT:
        graph = prepare(options.model)
        made = planned(
            to_float16(graph) if options.precision == "fp16" else graph, backend, _plan(options, image), observe
        )
        return Made(made.plan, made.layer_types, warnings=made.warnings), tensors
    if options.precision == "fp16" and backend == "onnxruntime":
        return Made(to_float16(prepare(options.model)).SerializeToString()), tensors
    return Made(_whole(options.model, file)), tensors


def _make_int8(
    options: BuildOptions, file: OnnxFile, backend: str, image: ImageInput | None, observe: Observe
) -> tuple[Made, Tensors]:
    found = calibrated(file, options.calibration, options.data, options.frames, options.input, observe)
    if image != found.calibration.image:
        raise UsageError(
            f"expected the input that was calibrated, {found.calibration.image.spec}, got other options; leave "
            "them out, or calibrate again"
        )
    model = prepare(options.model)
    warnings = found.warnings
    if options.unchecked:
        fidelity: Fidelity | None = None
        kept: tuple[KeptNode, ...] = ()
        recipe, tensors = RECIPES[backend], Tensors()
        graph = quantize(model, found.calibration, recipe, needs_narrow(recipe))
    else:
        if found.data is None:
            raise UsageError(
                f"expected frames to check the engine on, got none, as {found.calibration.source!r} is not there; give "
                "--data PATH, or --unchecked"
            )
        tensors = checked_frames(found.data, options.checked, found.calibration.image, observe)
        reference = open_network(options.model, "onnxruntime", options.threads)
        try:
            outcome = passed(model, found, backend, reference, tensors, options.budget, options.threads, observe)
        finally:
            reference.close()
        graph, fidelity, kept = outcome.graph, outcome.fidelity, outcome.kept
    digest = found.calibration.digest()
    if backend in TENSORRT:
        made = planned(to_float16(graph), backend, _plan(options, image), observe)
        return Made(made.plan, made.layer_types, fidelity, kept, digest, (*warnings, *made.warnings)), tensors
    return Made(graph.SerializeToString(), None, fidelity, kept, digest, warnings), tensors


def _plan(options: BuildOptions, image: ImageInput | None) -> PlanRequest:
    """Return what is asked of TensorRT; a model of any size is built for the one size that frames are brought to."""
    if options.plan.size is not None or image is None:
        return options.plan
    size = image.spec.height, image.spec.width
    return replace(options.plan, size=(size, size, size))


def _whole(path: Path, file: OnnxFile) -> bytes:
    """Return a model as one file."""
    import onnx

    if not file.external:
        return path.read_bytes()
    try:
        return cast(bytes, onnx.load(str(path)).SerializeToString())
    except Exception as error:  # onnx raises its own, protobuf's and Python's
        raise ModelError(
            f"expected the weights of {path} beside it, got: {str(error)[:200]}; copy them again"
        ) from error
