"""From ONNX to a TensorRT plan, strongly typed always: precision is what the graph says, and nothing else.

The work is done in a thread of its own: a signal of Python's must not come while C++ that cannot be unwound calls
back, so the caller's thread waits, tells of progress, and can be interrupted at any time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from edgex.engines.tensorrt_api import (
    TITLES,
    Journal,
    device,
    listening,
    load,
    one_line,
    reason_missing_build,
    reason_missing_run,
    version,
)
from edgex.engines.tensorrt_cache import Owner, TimingCache
from edgex.engines.tensorrt_options import PlanOptions, profile_shapes
from edgex.engines.tensorrt_parse import NetworkTypes, parse_types, parsed, types_of
from edgex.errors import EdgexError, ModelError, UsageError
from edgex.onnx_file import TensorSpec

__all__ = [
    "NetworkTypes",
    "Observe",
    "Plan",
    "PlanOptions",
    "build_plan",
    "parse_types",
    "profile_shapes",
    "reason_missing_build",
    "reason_missing_run",
    "version",
]
Observe = Callable[[str, int, int], Any]  # phase, steps done, steps in all; returns False to stop
PARSING = "Reading the model"
_MENDS = {  # part of TensorRT's words -> what to do
    "libnvinfer_lean": "install TensorRT's lean runtime, or build without version compatibility",
    "workspace": "give a larger workspace, or no limit",
    "cudaError": "see edgex doctor; with tensorrt-rtx, name target compute capabilities instead of current",
    "memory": "close other programs on the GPU, or give a smaller batch",
}


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan and what is known of it without a GPU.

    Attributes
    ----------
    plan : what goes into the engine file
    tensor_types, layer_types : of the strongly typed network, see NetworkTypes
    inputs, outputs : of the network
    seconds : that it took
    warnings : what TensorRT and edgex have to say, each once
    """

    plan: bytes
    tensor_types: Mapping[str, int]
    layer_types: Mapping[str, Mapping[str, int]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    seconds: float
    warnings: tuple[str, ...]


def build_plan(onnx: Path | bytes, options: PlanOptions, observe: Observe | None = None) -> Plan:
    """Build a plan.

    Parameters
    ----------
    onnx : a typed ONNX model, FP32, FP16 or with Q/DQ, as path or content
    options : for what, and how
    observe : is told of progress in the caller's thread, and stops the build by raising or by returning False

    Raises
    ------
    ModelError
        If the model cannot be read, parsed or built.
    UsageError
        If a dynamic size has no profile, or an option asks for what this version has not.
    MissingDependencyError
        If the flavour is not installed.
    EdgexError
        If TensorRT does not start.
    KeyboardInterrupt
        If `observe` returned False.
    """
    began = time.perf_counter()
    load(options.flavour)  # imported in the caller's thread, where its errors are at home
    events: SimpleQueue[tuple[str, int, int] | None] = SimpleQueue()
    stop = threading.Event()
    made: list[Plan | BaseException] = []

    def work() -> None:
        try:
            made.append(_build(onnx, options, events, stop, began))
        except BaseException as error:  # raised again where somebody can catch it
            made.append(error)
        finally:
            events.put(None)

    worker = threading.Thread(target=work, name="edgex-tensorrt-build")
    try:
        worker.start()
        while (event := events.get()) is not None:
            if observe is not None and observe(*event) is False:
                raise KeyboardInterrupt
    except BaseException:
        stop.set()
        if worker.ident is not None:
            while events.get() is not None:  # no join: interrupted, it takes a thread at work for ended (CPython 3.12)
                pass
        raise
    worker.join()
    outcome = made.pop()
    if isinstance(outcome, BaseException):
        raise outcome
    return outcome


def _build(
    onnx: Path | bytes,
    options: PlanOptions,
    events: SimpleQueue[tuple[str, int, int] | None],
    stop: threading.Event,
    began: float,
) -> Plan:
    trt = load(options.flavour)
    with listening(options.log_file) as journal:
        events.put((PARSING, 0, 1))
        with parsed(onnx, options.flavour, journal) as (builder, network):
            events.put((PARSING, 1, 1))
            types = types_of(trt, network)
            config = builder.create_builder_config()
            config.progress_monitor = monitor = _monitor(trt, events, stop)
            _configure(trt, config, options)
            _add_profile(builder, config, network, types, options)
            cache = None
            if options.timing_cache is not None:
                owner = Owner(options.flavour, version(options.flavour), device())
                cache = TimingCache(config, options.timing_cache, owner, journal)
            serialised = None if stop.is_set() else builder.build_serialized_network(network, config)
            if stop.is_set():
                raise EdgexError("expected a plan, got a stop; build it again")
            if serialised is None:
                raise _failure(onnx, options, journal)
            plan = bytes(serialised)
            if cache is not None:
                cache.keep()
            del serialised, cache, config, monitor, builder, network  # before the parser, whose weights they use
        warnings = tuple(dict.fromkeys(one_line(warning) for warning in journal.warnings))
    seconds = time.perf_counter() - began
    return Plan(plan, types.tensor_types, types.layer_types, types.inputs, types.outputs, seconds, warnings)


def _configure(trt: Any, config: Any, options: PlanOptions) -> None:
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # else the inspector knows names only
    if options.workspace_bytes is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.optimisation_level is not None:
        config.builder_optimization_level = options.optimisation_level
    if options.version_compatible:
        config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
    if options.compute_capabilities:
        known = {name.lower(): value for name, value in trt.ComputeCapability.__members__.items() if name != "NONE"}
        config.num_compute_capabilities = len(options.compute_capabilities)
        for index, name in enumerate(options.compute_capabilities):
            if name not in known:
                raise UsageError(f"expected a compute capability of {', '.join(known)}, got {name!r}; choose one")
            config.set_compute_capability(known[name], index)


def _add_profile(builder: Any, config: Any, network: Any, types: NetworkTypes, options: PlanOptions) -> None:
    profile = None
    for spec in types.inputs:
        if (shapes := profile_shapes(spec, options)) is not None:
            profile = profile or builder.create_optimization_profile()
            profile.set_shape(spec.name, *shapes)
    if profile is not None:
        config.add_optimization_profile(profile)


def _failure(onnx: Path | bytes, options: PlanOptions, journal: Journal) -> EdgexError:
    told, cause = " ".join(journal.errors), journal.cause()
    mend = next((mend for part, mend in _MENDS.items() if part in told), "the log file has all that TensorRT said")
    title = onnx if isinstance(onnx, Path) else "the model"
    return ModelError(f"expected {TITLES[options.flavour]} to build {title}, got: {cause}; {mend}")


def _monitor(trt: Any, events: SimpleQueue[tuple[str, int, int] | None], stop: threading.Event) -> Any:
    """Return what TensorRT tells of its progress, from any of its threads."""

    class Monitor(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._steps: dict[str, int] = {}

        def phase_start(self, phase: str, parent: str | None, steps: int) -> None:
            self._steps[phase] = steps
            events.put((phase, 0, steps))

        def step_complete(self, phase: str, step: int) -> bool:
            events.put((phase, step + 1, self._steps.get(phase, step + 1)))
            return not stop.is_set()

        def phase_finish(self, phase: str) -> None:
            steps = self._steps.get(phase, 1)
            events.put((phase, steps, steps))

    return Monitor()
