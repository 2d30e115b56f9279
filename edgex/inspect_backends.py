"""Which backend can run a model file here, and for each that cannot, why not in one sentence."""

from __future__ import annotations

from pathlib import Path

from edgex.build_manifest import BuildManifest
from edgex.engines.choose import BACKENDS, TENSORRT, backend_for, module_of, reason_missing
from edgex.engines.network import image_input_of
from edgex.engines.tensorrt_api import TITLES
from edgex.errors import EdgexError
from edgex.graph import require_float
from edgex.onnx_file import OnnxFile

DOMAINS = {"", "ai.onnx", "ai.onnx.ml", "com.microsoft"}  # operators that the backends' wheels bring
Origin = tuple[str, str]  # flavour and version that a plan's header names


def reasons_of_onnx(file: OnnxFile, built: BuildManifest | None) -> dict[str, str]:
    """Return backend -> why it cannot run an ONNX file here, "" where it can.

    Parameters
    ----------
    file : what the file holds
    built : what its sidecar says, or None
    """
    return {backend: _of_onnx(backend, file, built) for backend in BACKENDS}


def reasons_of_engine(path: Path, built: BuildManifest | None, origin: Origin | None) -> dict[str, str]:
    """Return backend -> why it cannot run an engine file here, "" where it can.

    Parameters
    ----------
    path : the engine
    built : what its sidecar says, or None
    origin : flavour and version that its header names, or None
    """
    return {backend: _of_engine(backend, path, built, origin) for backend in BACKENDS}


def plan_refused(plan: str, here: str, version_compatible: bool) -> str:
    """Return why a TensorRT refuses a plan of another version, in one sentence; empty where it takes it.

    A plan runs on the very version that built it; a version compatible one also on later versions of the same major
    version, and one of TensorRT 10 on TensorRT 11 (NVIDIA's support matrix of 11.4).

    Parameters
    ----------
    plan, here : versions such as "10.3.0.26", of the plan and of what is installed
    version_compatible : whether the plan was built so
    """
    theirs, ours = _numbers(plan), _numbers(here)
    if theirs == ours or (
        version_compatible and theirs < ours and (theirs[0] == ours[0] or (10, 11) == (theirs[0], ours[0]))
    ):
        return ""
    kind = "a version compatible plan" if version_compatible else "a plan"
    return f"expected {kind} that {here} takes, got one of {plan}; build it again here"


def _of_onnx(backend: str, file: OnnxFile, built: BuildManifest | None) -> str:
    path = file.path
    if built is not None and built.backend != backend:
        return f"expected an engine for {backend}, got one for {built.backend}; build {built.source} for {backend}"
    try:
        if backend in TENSORRT:
            require_float(file)
            return f"expected an engine, got ONNX; make one with edgex build {path.name} --backend {backend}"
        if reason := reason_missing(backend):
            return reason
        backend_for(path, built, backend, trust=False)
        file.manifest()
        image_input_of(file)
    except EdgexError as error:
        return str(error)
    foreign = sorted(set(file.opset) - DOMAINS)
    used = [name for name in foreign if any(operator.startswith(f"{name}.") for operator in file.operators)]
    if used:
        return f"expected operators of ONNX in {path}, got those of {', '.join(used)}; export the model without them"
    return ""


def _of_engine(backend: str, path: Path, built: BuildManifest | None, origin: Origin | None) -> str:
    source = "the ONNX file that it was built from" if built is None else built.source
    if backend not in TENSORRT:
        return f"expected ONNX, got an engine of TensorRT; run {source} on {backend}"
    own = built.backend if built is not None else origin[0] if origin is not None else backend
    if own != backend:
        return f"expected an engine for {backend}, got one for {own}; build {source} for {backend}"
    if origin is not None and origin[0] != own:
        return f"expected a plan of {TITLES[backend]}, got one of {TITLES[origin[0]]}; build {source} again"
    try:
        here = module_of(backend).version(backend)
        compatible = built is not None and bool(built.options.get("version_compatible"))
        plan = origin[1] if origin is not None else built.backend_version if built is not None else here
        if reason := plan_refused(plan, here, compatible) or reason_missing(backend):
            return reason
        backend_for(path, built, backend, trust=False)
    except EdgexError as error:
        return str(error)
    return ""


def _numbers(version: str) -> list[int]:
    return [int(part) if part.isdecimal() else 0 for part in version.split(".")] or [0]
