"""Build: from an ONNX model to the engine of one backend, held against the model, with a sidecar that says so."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path

from edgex import __version__
from edgex.build_content import Made, make
from edgex.build_manifest import BuildManifest
from edgex.build_options import BuildOptions
from edgex.build_target import check_output, check_plan, choose_backend, default_output, require_builder
from edgex.build_trial import advice, tried
from edgex.calibrate import model_digest
from edgex.calibration import calibration_path, read_calibration
from edgex.engines.choose import module_of, version_of
from edgex.errors import UsageError
from edgex.graph import require_float
from edgex.image_input import ImageInput, InputOptions, image_input
from edgex.onnx_file import OnnxFile, read_onnx
from edgex.product import staging
from edgex.types import Observe


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
    check_plan(options.plan.to_dict(), backend)
    file = read_onnx(options.model)
    require_float(file)
    image = _image(file, options)
    output = options.output or default_output(options.model, options.precision, backend)
    check_output(output, options, backend)
    with staging(output) as product:
        made, tensors = make(options, file, backend, image, tell)
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
        if options.precision == "int8" and options.input == InputOptions():
            beside = options.calibration or calibration_path(options.model)
            if beside.is_file():  # it says how its frames became the input
                return read_calibration(beside).image
        if options.precision == "int8" or options.data is not None or file.manifest() is not None:
            raise
        return None


def _manifest(
    options: BuildOptions, file: OnnxFile, backend: str, image: ImageInput | None, made: Made
) -> BuildManifest:
    return BuildManifest(
        backend=backend,
        backend_version=version_of(backend),
        device=module_of(backend).device(),
        precision=options.precision,
        achieved=made.achieved or {},
        source=options.model.name,
        source_sha256=model_digest(file),
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


__all__ = ["BuildOptions", "Built", "build"]
