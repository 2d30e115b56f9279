"""Which backend opens a file: the one that its sidecar names, else the one that is named, else the first that works.

A file that `build` wrote is opened by what it was built for and by nothing else. An engine of TensorRT is code to the
driver: it is opened only where its sidecar says that its bytes are those that were built, or where the user says so.
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any, NamedTuple

from edgex.build_manifest import BuildManifest, require_untouched, sidecar
from edgex.cores import usable_cores
from edgex.engines import cpu
from edgex.errors import ModelError, UsageError

BACKENDS = ("onnxruntime", "openvino", "tensorrt", "tensorrt-rtx")
TENSORRT = ("tensorrt", "tensorrt-rtx")  # two flavours of one module; they run engines, no ONNX
# The order in which "auto" tries them on an ONNX file. OpenVINO was measured faster on x86: DeepLabV3-ResNet50 at 224 x
# 224 in FP32 114 ms to 226, LR-ASPP 3.9 to 5.8. It is not tried elsewhere; ONNX Runtime is always there.
AUTO = ("openvino", "onnxruntime")
MOST_STREAMS = 4  # of one engine: reading and drawing keep up with no more
ENGINE_SUFFIXES = (".engine", ".plan", ".trt")


def module_of(backend: str) -> Any:
    """Return the module of a backend, one of BACKENDS; both flavours of TensorRT are in one."""
    return importlib.import_module(f"edgex.engines.{'tensorrt' if backend in TENSORRT else backend}")


def version_of(backend: str) -> str:
    """Return the version of a backend. Raises MissingDependencyError where it is not installed."""
    module = module_of(backend)
    return str(module.version(backend) if backend in TENSORRT else module.version())


def reason_missing(backend: str) -> str:
    """Return why a backend cannot run anything here, in one sentence; empty where it can."""
    module = module_of(backend)
    return str(module.reason_missing(backend) if backend in TENSORRT else module.reason_missing())


def require_backend(backend: str) -> None:
    """Raise UsageError unless it is "auto" or one of BACKENDS."""
    if backend != "auto" and backend not in BACKENDS:
        raise UsageError(f"expected a backend of auto, {', '.join(BACKENDS)}, got {backend!r}; choose one")


def reason_passed_over(backend: str) -> str:
    """Return why "auto" does not try a backend on an ONNX file here, in one sentence; empty where it does."""
    if backend == "openvino" and not cpu.is_x86():
        return f"expected an x86 CPU, where it is faster, got {cpu.describe()}; name it with --backend to use it"
    return reason_missing(backend)


def is_engine(path: Path, built: BuildManifest | None) -> bool:
    """Tell whether a file is an engine of TensorRT, by its sidecar or else by its name."""
    return path.suffix in ENGINE_SUFFIXES if built is None else built.backend in TENSORRT


def backend_for(path: Path, built: BuildManifest | None, backend: str, trust: bool) -> str:
    """Return the backend that is to open a file, "auto" where any ONNX backend may.

    Parameters
    ----------
    path : the file
    built : what its sidecar says, or None where it has none
    backend : one of BACKENDS, or "auto"
    trust : take an engine that has no sidecar, was changed since, or comes from another version or device

    Raises
    ------
    UsageError
        If the file was built for another backend than is named, or none is named for an engine without sidecar.
    ModelError
        If the file may not be opened, or not here; see `trust`.
    """
    if built is not None:
        return _as_built(path, built, backend, trust)
    if not is_engine(path, built):
        if backend in TENSORRT:
            raise UsageError(
                f"expected an engine for {backend}, got {path}; make one with edgex build {path} --backend {backend}"
            )
        return backend
    if not path.is_file():
        raise ModelError(f"expected a model file at {path}, got no file; check the path")
    if not trust:
        raise ModelError(
            f"expected {sidecar(path).name} beside the engine {path}, got no such file; copy it there too, build the "
            "engine again, or run it with --trust if you know where it comes from"
        )
    if backend not in TENSORRT:
        raise UsageError(
            f"expected the backend of {path}, which has no {sidecar(path).name}, got {backend}; name it with --backend "
            f"{' or '.join(TENSORRT)}"
        )
    return backend


def _as_built(path: Path, built: BuildManifest, backend: str, trust: bool) -> str:
    if built.backend not in BACKENDS:
        raise ModelError(
            f"expected {sidecar(path)} to name a backend of {', '.join(BACKENDS)}, got {built.backend[:80]!r}; build "
            "the engine again"
        )
    if backend not in ("auto", built.backend):
        raise UsageError(
            f"expected --backend {built.backend}, which {path} was built for, got {backend}; leave it out, or build "
            f"{built.source} for {backend}"
        )
    if not trust:
        require_untouched(path, built)
        if built.backend in TENSORRT:
            _require_home(path, built)
    return built.backend


def _require_home(path: Path, built: BuildManifest) -> None:
    """Raise ModelError where an engine was built by another version of its backend, or on another device."""
    module = module_of(built.backend)
    here = version_of(built.backend)
    if here != built.backend_version and not built.options.get("version_compatible"):
        raise ModelError(
            f"expected an engine of {built.backend} {here}, got {path} of {built.backend_version}; build it again here"
        )
    # TensorRT-RTX compiles for the GPU that it finds, and builds without one
    if built.backend == "tensorrt" and module.device() != built.device:
        raise ModelError(
            f"expected an engine for {module.device()}, got {path} for {built.device}; build it again here"
        )


class CpuShare(NamedTuple):
    """How an engine uses a CPU: `streams` inferences at once, each on `threads`; None is the backend's own choice."""

    threads: int | None
    streams: int


def cpu_share(threads: int | None, live: bool) -> CpuShare:
    """Return how an engine uses the CPU in `edgex run`.

    Who names a number of threads gets just those. A live frame is to be done soon, so it gets every core; the frames of
    a file are to be done fast, and several at once on a core each do not wait for one another's threads.
    """
    if threads is not None or live:
        return CpuShare(threads, 1)
    cores = len(usable_cores())
    streams = min(cores, MOST_STREAMS)
    return CpuShare(cores // streams, streams)
