"""What `build` writes for, and where: which backend, under which name."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgex.build_manifest import Precision
from edgex.build_options import BuildOptions
from edgex.engines.choose import AUTO, ENGINE_SUFFIXES, TENSORRT, reason_missing, reason_passed_over, version_of
from edgex.errors import UsageError

log = logging.getLogger(__name__)


def choose_backend(backend: str) -> str:
    """Return the backend to build for; "auto" is the first that runs here, TensorRT before the CPU's."""
    if backend != "auto":
        return backend
    for each in (*TENSORRT, *AUTO):
        reason = reason_missing(each) if each in TENSORRT else reason_passed_over(each)
        if not reason:
            log.info("backend %s", each)
            return each
        log.info("backend %s passed over: %s", each, reason)
    return AUTO[-1]


def require_builder(backend: str) -> None:
    """Raise MissingDependencyError now, before minutes of work, where what builds for a backend is not installed."""
    version_of(backend)


def check_plan(asked: Mapping[str, Any], backend: str) -> None:
    """Raise UsageError where something is asked of TensorRT and another backend builds."""
    if asked and backend not in TENSORRT:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in asked)
        raise UsageError(f"expected {names} with a backend of TensorRT only, got {backend}; leave them out")


def default_output(model: Path, precision: Precision, backend: str) -> Path:
    """Return the name of an engine that is given none."""
    return model.with_name(f"{model.stem}.{precision}.{backend}{'.engine' if backend in TENSORRT else '.onnx'}")


def check_output(output: Path, options: BuildOptions, backend: str) -> None:
    """Raise UsageError where an engine of a backend cannot have that name, or a file that is read would be replaced."""
    suffixes = ENGINE_SUFFIXES if backend in TENSORRT else (".onnx",)
    if output.suffix not in suffixes:
        raise UsageError(f"expected an output named NAME{suffixes[0]} for {backend}, got {output.name!r}; rename it")
    for written in (output, options.plan.log_file, options.plan.timing_cache):
        for read in (options.model, options.calibration):
            require_other(written, read)


def require_other(written: Path | None, read: Path | None) -> None:
    """Raise UsageError where a file that is to be written is one that is read."""
    if written is not None and read is not None and written.exists() and read.exists() and written.samefile(read):
        raise UsageError(f"expected another file than {read} to write, got {written}; choose another name")
