"""Build: from an ONNX model to the engine of one backend, held against the model, with a sidecar that says so."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast, get_args

from edgex import __version__
from edgex.build_int8 import Observe, Tensors, calibrated, checked_frames, needs_narrow, passed, shipped_frames
from edgex.build_manifest import BuildManifest, KeptNode, Precision
from edgex.build_plan import PlanRequest, planned
from edgex.build_target import check_output, choose_backend, default_output, require_builder
from edgex.build_trial import advice, tried
from edgex.calibrate import model_digest
from edgex.engines import BACKENDS, open_network
from edgex.engines.choose import TENSORRT, module_of
from edgex.errors import ModelError, UsageError
from edgex.fidelity import Budget, Fidelity
from edgex.graph import prepare
from edgex.image_input import ImageInput, InputOptions, image_input
from edgex.onnx_file import OnnxFile, read_onnx
from edgex.precision import RECIPES, quantize, to_float16
from edgex.product import staging


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What to build.

    Attributes
    ----------
    model : FP32 ONNX file
    precision : "fp32", "fp16" or "int8"
    backend : one of BACKENDS, or "auto": the first that runs here
    calibration : file that `calibrate` wrote, or None
    data : folder, glob or video to calibrate with, where there is no calibration, and to check the engine on
    output : engine to write; None is NAME.PRECISION.BACKEND and a suffix, beside the model
    frames : how many frames calibrate
    checked : how many frames, held back from calibration, the engine is checked on
    budget : what the check has to reach
    unchecked : write the engine without a check; its sidecar says so
    threads : CPU threads of the check
    input : what the model does not say of its input
    plan : what TensorRT is asked for
    """

    model: Path
    precision: Precision = "fp32"
    backend: str = "auto"
    calibration: Path | None = None
    data: str | None = None
    output: Path | None = None
    frames: int = 256
    checked: int = 64
    budget: Budget = field(default_factory=Budget)
    unchecked: bool = False
    threads: int | None = None
    input: InputOptions = field(default_factory=InputOptions)
    plan: PlanRequest = field(default_factory=PlanRequest)

    def __post_init__(self) -> None:
        if self.precision not in get_args(Precision):
            raise UsageError(f"expected a precision of fp32, fp16 or int8, got {self.precision!r}; choose one")
        if self.backend != "auto" and self.backend not in BACKENDS:
            raise UsageError(f"expected a backend of auto, {', '.join(BACKENDS)}, got {self.backend!r}; choose one")
        if self.frames < 1 or self.checked < 1:
            raise UsageError(
                f"expected at least one frame, got {min(self.frames, self.checked)}; 64 and more are usual"
            )


@dataclass(frozen=True, slots=True)
class Built:
    """What was written.

    Attributes
    ----------
    path : the engine
    manifest : what its sidecar says
    seconds : that it took
    advice : what to use instead, where the engine is no faster than the model, else None
    """

    path: Path
    manifest: BuildManifest
    seconds: float
    advice: str | None = None


@dataclass(frozen=True, slots=True)
class _Made:
    """An engine in the making: its bytes, and what is known of them."""

    content: bytes
    achieved: Mapping[str, Mapping[str, int]] | None = None
    fidelity: Fidelity | None = None
    kept: tuple[KeptNode, ...] = ()
    calibration_sha256: str | None = None
    warnings: tuple[str, ...] = ()


def build(options: BuildOptions, observe: Observe | None = None) -> Built:
    """Build an engine; nothing stands under the final name before it is whole and was checked.

    Raises
    ------
    UsageError
        If there is no calibration for INT8, or the options do not fit the model or backend.
    ModelError
        If the model cannot be read, or the backend does not compute in the precision asked for.
    FidelityError
        If the engine does not explain what the FP32 model explains.
    """
    began = time.perf_counter()
    tell: Observe = observe or (lambda stage, done, total: None)
    backend = choose_backend(options.backend)
    require_builder(backend)
    file = read_onnx(options.model)
    image = _image(file, options)
    output = options.output or default_output(options.model, options.precision, backend)
    check_output(output, options.model, backend)
    with staging(output) as product:
        made, tensors = _make(options, file, backend, image, tell)
        product.write(made.content)
        manifest = _manifest(options, file, backend, image, made)
        checked = () if options.unchecked else tensors
        manifest = tried(product, manifest, options.model, checked, options.budget, options.threads, tell)
        product.publish(manifest)
    return Built(output, manifest, time.perf_counter() - began, advice(manifest))


def _image(file: OnnxFile, options: BuildOptions) -> ImageInput | None:
    """Return how a frame becomes the input; None where nobody says it and nothing has to be looked at."""
    try:
        return image_input(file, options.input)
    except UsageError:
        if options.precision == "int8" or options.data is not None or file.manifest() is not None:
            raise
        return None


def _make(
    options: BuildOptions, file: OnnxFile, backend: str, image: ImageInput | None, observe: Observe
) -> tuple[_Made, Tensors]:
    """Return the engine's bytes, and the frames that it is to be checked on."""
    if options.precision == "int8":
        assert image is not None  # _image has seen to it
        return _make_int8(options, file, backend, image, observe)
    data = options.data or shipped_frames(file)
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
        return _Made(made.plan, made.layer_types, warnings=made.warnings), tensors
    if options.precision == "fp16" and backend == "onnxruntime":
        return _Made(to_float16(prepare(options.model)).SerializeToString()), tensors
    return _Made(_whole(options.model, file)), tensors


def _make_int8(
    options: BuildOptions, file: OnnxFile, backend: str, image: ImageInput, observe: Observe
) -> tuple[_Made, Tensors]:
    found = calibrated(file, options.calibration, options.data, options.frames, options.input, observe)
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
        tensors = checked_frames(found.data, options.checked, image, observe)
        reference = open_network(options.model, "onnxruntime", options.threads)
        try:
            outcome = passed(model, found, backend, reference, tensors, options.budget, options.threads, observe)
        finally:
            reference.close()
        graph, fidelity, kept = outcome.graph, outcome.fidelity, outcome.kept
    digest = found.calibration.digest()
    if backend in TENSORRT:
        made = planned(to_float16(graph), backend, _plan(options, image), observe)
        return _Made(made.plan, made.layer_types, fidelity, kept, digest, (*warnings, *made.warnings)), tensors
    return _Made(graph.SerializeToString(), None, fidelity, kept, digest, warnings), tensors


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


def _manifest(
    options: BuildOptions, file: OnnxFile, backend: str, image: ImageInput | None, made: _Made
) -> BuildManifest:
    module = module_of(backend)
    version = module.version(backend) if backend in TENSORRT else module.version()
    return BuildManifest(
        backend=backend,
        backend_version=version,
        device=module.device(),
        precision=options.precision,
        achieved=made.achieved or {},
        source=options.model.name,
        source_sha256=model_digest(options.model),
        product_sha256=hashlib.sha256(made.content).hexdigest(),
        product_bytes=len(made.content),
        input=file.inputs[0],
        outputs=file.outputs,
        image=image,
        manifest=file.manifest(),
        calibration_sha256=made.calibration_sha256,
        fidelity=None if made.fidelity is None else {**made.fidelity.to_dict(), "simulated": True},
        kept=made.kept,
        options=options.plan.to_dict(),
        warnings=made.warnings,
        edgex=__version__,
    )
