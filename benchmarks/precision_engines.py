"""What benchmarks/precision.py times and judges: engines that edgex builds, and the backends' own sessions as floor.

A bare session runs the same file with the same threads and arithmetic, called as the backend's documentation calls it.
"""

from __future__ import annotations

import re
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.precision_models import Model
from edgex.build import BuildOptions, build, default_output
from edgex.build_manifest import BuildManifest, Precision
from edgex.calibrate import CalibrateOptions, calibrate
from edgex.engines.choose import TENSORRT, module_of
from edgex.errors import EdgexError, FidelityError
from edgex.latency import PAUSE_S
from edgex.manifest import Manifest
from edgex.onnx_file import TensorSpec, read_onnx

PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
SAME = 1e-3  # largest difference of logits between edgex and the bare session of the same file
# The rewrite that edgex's engine switches off too, as it rounds weights that the gate kept in FP32.
UNWANTED = "WeightBiasQuantization"
HINTS = {"fp32": "f32", "int8": "f32", "fp16": "f16"}  # what OpenVINO is told; the rest of an INT8 file is FP32


@dataclass(frozen=True, slots=True)
class Bare:
    """A session of a backend without edgex, in the shape of a Network so that fidelity can be measured on it.

    Attributes
    ----------
    backend, path, input, outputs, manifest : as a Network has them
    call : one inference, [N, 3, H, W] to the outputs in the order of the graph; what is timed
    computes_in : the precision that the backend says it computes in, where it says so
    """

    backend: str
    path: Path
    input: TensorSpec
    outputs: tuple[TensorSpec, ...]
    manifest: Manifest | None
    call: Callable[[NDArray[Any]], Any]
    computes_in: str | None = None

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        given = self.call(image)
        return {spec.name: np.array(given[index]) for index, spec in enumerate(self.outputs)}

    def close(self) -> None:
        """Do nothing: the session goes when nobody holds it."""


def bare_onnxruntime(path: Path, threads: int) -> Bare:
    """Open a file in ONNX Runtime itself."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(
        str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=[UNWANTED]
    )
    file = read_onnx(path)
    name = file.inputs[0].name
    return Bare("onnxruntime", path, file.inputs[0], file.outputs, None, lambda image: session.run(None, {name: image}))


def bare_openvino(path: Path, threads: int, hint: str | None) -> Bare:
    """Open a file in OpenVINO itself, for one picture; `hint` is "f32", "f16" or None for OpenVINO's own choice."""
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    file = read_onnx(path)
    model.reshape([1, *(file.inputs[0].shape or ())[1:]])
    options = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads}
    if hint is not None:
        options["INFERENCE_PRECISION_HINT"] = hint
    compiled = core.compile_model(model, "CPU", options)
    request = compiled.create_infer_request()
    dtype = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Bare(
        *("openvino", path, file.inputs[0], file.outputs, None),
        call=lambda image: request.infer([image], share_inputs=True, share_outputs=True),
        computes_in=str(dtype),
    )


def bare_session(path: Path, backend: str, precision: str, threads: int) -> Bare | None:
    """Return the floor for an engine file, or None for TensorRT, whose plans have no shorter way."""
    if backend == "onnxruntime":
        return bare_onnxruntime(path, threads)
    return bare_openvino(path, threads, HINTS[precision]) if backend == "openvino" else None


def reason_missing(backend: str) -> tuple[str, str]:
    """Return why engines of a backend cannot be built here, and why they cannot run; empty where they can."""
    if backend not in TENSORRT:
        reason = str(module_of(backend).reason_missing())
        return reason, reason
    from edgex.engines.tensorrt_api import reason_missing_build, reason_missing_run

    return reason_missing_build(backend), reason_missing_run(backend)


def backend_version(backend: str) -> str | None:
    """Return the version of a backend, or None where it is not installed."""
    try:
        module = module_of(backend)
        return str(module.version(backend) if backend in TENSORRT else module.version())
    except (EdgexError, ImportError):
        return None


def calibrate_model(model: Model, threads: int) -> tuple[str, dict[str, Any]]:
    """Return the text of a calibration, and what it took."""
    began = time.perf_counter()
    calibration, warnings = calibrate(CalibrateOptions(model.path, str(model.frames), threads=threads))
    about = {
        "method": calibration.method,
        "frames": calibration.frames,
        "seconds": round(time.perf_counter() - began, 2),
        "warnings": list(warnings),
    }
    return calibration.to_json(), about


def build_engine(
    model: Model, backend: str, precision: Precision, calibration: str, folder: Path, threads: int
) -> tuple[dict[str, Any], Path | None]:
    """Build one engine; return what is known of it, and its file, or None where it was refused.

    Each build gets the calibration as it was made: what one build adds to it would make the next one quicker. What the
    gate refuses is built without it, to be measured, and the row says under "gate" what it was refused for.

    Parameters
    ----------
    model : what to build from; without training no fidelity is asked of it
    backend, precision : what to build
    calibration : text of the calibration
    folder : where calibration and engine go
    threads : CPU threads of the check
    """
    row: dict[str, Any] = {"backend": backend, "precision": precision}
    ranges = folder / f"{model.name}.{precision}.{backend}.calib.json"
    ranges.write_text(calibration, encoding="utf-8")
    options = BuildOptions(
        model=model.path,
        precision=precision,
        backend=backend,
        calibration=ranges if precision == "int8" else None,
        data=str(model.frames),
        output=folder / default_output(Path(f"{model.name}.onnx"), precision, backend).name,
        unchecked=not model.trained,
        threads=threads,
    )
    began = time.perf_counter()
    try:
        try:
            built = build(options)
        except FidelityError as error:
            row["gate"] = _sentence(error, model, folder)
            built = build(replace(options, unchecked=True))
    except EdgexError as error:
        return {**row, "refused": _sentence(error, model, folder)}, None
    row |= {**_about(built.manifest), "seconds": round(time.perf_counter() - began, 2), "advice": built.advice}
    return row, built.path


def _sentence(error: EdgexError, model: Model, folder: Path) -> str:
    """Return what an error says, without places of this machine."""
    sentence = re.sub(r"edgex-\w+/", "", str(error))  # folders of candidates
    for place in (folder, model.path.parent, Path(tempfile.gettempdir())):
        sentence = sentence.replace(f"{place}/", "")
    return sentence


def _about(manifest: BuildManifest) -> dict[str, Any]:
    layers: dict[str, int] = {}
    for kinds in manifest.achieved.values():
        for precision, count in kinds.items():
            layers[precision] = layers.get(precision, 0) + count
    return {
        "bytes": manifest.product_bytes,
        "layers": dict(sorted(layers.items())),
        "layers_by_kind": {kind: dict(counts) for kind, counts in manifest.achieved.items()},
        "kept": [node.name for node in manifest.kept],
        "build_fidelity": {key: value for key, value in (manifest.fidelity or {}).items() if key != "worst"},
        "build_latency_ms": dict(manifest.latency_ms),
        "warnings": list(manifest.warnings),
    }


def require_same(name: str, ours: dict[str, NDArray[Any]], theirs: dict[str, NDArray[Any]]) -> float:
    """Return by how much edgex and the bare session differ at most; raise SystemExit where it is more than SAME."""
    largest = max(float(np.abs(ours[key] - theirs[key]).max()) for key in theirs)
    if not largest <= SAME:
        raise SystemExit(f"{name}: edgex differs from the bare session by {largest:.3g}, so their times do not compare")
    return largest


def settle() -> None:
    """Wait until the threads of whatever ran before have stopped spinning."""
    time.sleep(PAUSE_S)
