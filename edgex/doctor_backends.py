"""A row for each backend: its version, whether it builds and runs here, why not, and the command that mends it."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass

from edgex.doctor_check import PIP, Check
from edgex.doctor_gpu import JetPack
from edgex.engines.choose import BACKENDS, TENSORRT, reason_missing, version_of
from edgex.errors import EdgexError
from edgex.optional import EXTRAS, require

MODULES = {"onnxruntime": "onnxruntime", "openvino": "openvino", "tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
NEEDED = "onnxruntime"  # the backend that edgex always brings
_FITS = {
    "openvino": "not installed; it is the faster backend on x86 CPUs",
    "tensorrt": "not installed; it is for NVIDIA GPUs of Jetsons and data centres",
    "tensorrt-rtx": "not installed; it is for NVIDIA RTX GPUs",
}
_JETPACKS = "sudo apt-get install nvidia-jetpack"
_SEES_SYSTEM = (
    "make the virtual environment again with python3 -m venv --system-site-packages, for JetPack's own package"
)


@dataclass(frozen=True, slots=True)
class Backend:
    """What is known of a backend here.

    Attributes
    ----------
    name : one of BACKENDS
    version : that is installed; "" where none is, or it does not load
    broken : why it does not load though it is installed, in one sentence, or ""
    no_build, no_run : why it cannot build, and run, in one sentence, or ""
    precisions : that it computes in here
    """

    name: str
    version: str = ""
    broken: str = ""
    no_build: str = ""
    no_run: str = ""
    precisions: tuple[str, ...] = ()


def read_backends() -> tuple[Backend, ...]:
    """Load each backend and ask it; none is loaded that is not installed."""
    return tuple(_read(name) for name in BACKENDS)


def backend_check(backend: Backend, gpu: bool, jetpack: JetPack | None) -> Check:
    """Return the row of a backend.

    Parameters
    ----------
    backend : what is known of it
    gpu : whether this machine has an NVIDIA GPU, so that what keeps TensorRT from it is a gap
    jetpack : of a Jetson, whose TensorRT is not pip's
    """
    name, needed = f"backend {backend.name}", backend.name == NEEDED
    if backend.broken:
        mend = f"{PIP} install --force-reinstall {_requirement(backend.name)}"
        return Check(name, "gap", f"installed, but {backend.broken}", mend, needed)
    if not backend.version:
        return _not_installed(backend.name, name, needed, jetpack)
    what = ", ".join(backend.precisions) or "here"
    cannot = [reason for reason in (backend.no_build, backend.no_run) if reason]
    if not cannot:
        return Check(name, "ok", f"{backend.version}, builds and runs {what}", needed=needed)
    cause, _, mend = cannot[-1].rpartition("; ")
    if backend.no_build and backend.no_run:
        can = "neither builds nor runs here"
    else:
        can = f"runs {what}, does not build here" if backend.no_build else f"builds {what}, does not run here"
    found = f"{backend.version}, {can}: {cause or mend}"
    if gpu or backend.name not in TENSORRT:
        return Check(name, "gap", found, _exact(mend), needed)
    return Check(name, "none" if backend.no_build else "ok", found, needed=needed)


def pip_command(backend: str) -> str:
    """Return the command that installs a backend."""
    return f"{PIP} install {_requirement(backend)}"


def _read(name: str) -> Backend:
    module = MODULES[name]
    if importlib.util.find_spec(module) is None:
        return Backend(name)
    try:
        version = version_of(name)
        no_build = ""
        if name in TENSORRT:
            from edgex.engines.tensorrt_api import reason_missing_build

            no_build = reason_missing_build(name)
        return Backend(name, version, "", no_build, reason_missing(name), _precisions(name))
    except Exception as error:  # what a broken package raises has no bounds, and to say so is what this is for
        line = " ".join(str(error).split())[:300]
        return Backend(name, broken=line.rpartition("; ")[0] if isinstance(error, EdgexError) else line)


def _precisions(name: str) -> tuple[str, ...]:
    """Return the precisions that a backend computes in; on the CPU half precision takes one that has it."""
    if name == "onnxruntime":  # it computes half precision in float
        return ("fp32", "int8")
    if name == "openvino":
        told = require("openvino").Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
        return ("fp32", "fp16", "int8") if "FP16" in told else ("fp32", "int8")
    return ("fp32", "fp16", "int8")


def _not_installed(backend: str, name: str, needed: bool, jetpack: JetPack | None) -> Check:
    if needed:
        return Check(name, "gap", "not installed", pip_command(backend), needed)
    if backend == "tensorrt" and jetpack is not None:
        if jetpack.installed:
            return Check(
                name, "gap", f"JetPack's TensorRT {jetpack.installed} is not seen by this Python", _SEES_SYSTEM
            )
        return Check(name, "none", "not installed; JetPack brings it", _JETPACKS)
    return Check(name, "none", _FITS[backend], pip_command(backend))


def _requirement(backend: str) -> str:
    extra = EXTRAS.get(MODULES[backend])
    return f"'edgex[{extra}]'" if extra else backend


def _exact(mend: str) -> str:
    """Return a mend as a command of this Python."""
    return mend.removeprefix("run: ").replace("pip install", f"{PIP} install", 1)
