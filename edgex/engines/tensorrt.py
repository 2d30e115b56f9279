"""TensorRT and TensorRT-RTX: a plan on the GPU, run in one stream, by names, for every batch of its profile."""

from __future__ import annotations

import math
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from weakref import WeakSet

import numpy as np
from numpy.typing import NDArray

from edgex import cuda
from edgex.build_manifest import read_sidecar
from edgex.cuda_graph import Graph
from edgex.cuda_lifetime import Held
from edgex.cuda_memory import Buffer
from edgex.engines.network import closed, require_fitting, require_threads
from edgex.engines.tensorrt_api import Journal, device, listening, load, reason_missing_run, version
from edgex.engines.tensorrt_lane import Lane, cannot, new_context
from edgex.engines.tensorrt_layers import precisions
from edgex.engines.tensorrt_plan import Binding, bindings, deserialised, read_plan, require_within
from edgex.errors import EdgexError, ModelError, UsageError
from edgex.manifest import Manifest
from edgex.onnx_file import TensorSpec

__all__ = ["TensorRtNetwork", "achieved", "device", "open", "reason_missing", "version"]
Shape = tuple[int, ...]
MOST_GRAPHS = 4  # shapes that have a CUDA graph; each takes an execution context, and its memory, of its own
reason_missing = reason_missing_run


def open(path: Path, threads: int | None = None, flavour: str = "tensorrt") -> TensorRtNetwork:
    """Load a plan.

    Parameters
    ----------
    path : the engine file, whose hash the caller has checked: a plan is code to the driver
    threads : of the CPU, which has nothing to do here; checked all the same
    flavour : "tensorrt" or "tensorrt-rtx"

    Raises
    ------
    UsageError
        If there is no such flavour, or `threads` is no number of threads.
    ModelError
        If there is no plan in the file, or one of another flavour, version or device.
    MissingDependencyError
        If the flavour is not installed.
    EdgexError
        If there is no GPU.
    """
    require_threads(threads)
    plan = read_plan(path, flavour)
    load(flavour)
    gpu = cuda.device()
    built = read_sidecar(path)
    return TensorRtNetwork(path, plan, flavour, gpu, None if built is None else built.manifest)


def achieved(network: TensorRtNetwork) -> dict[str, dict[str, int]]:
    """Return kind of layer -> precision ("fp32", "fp16", "int8", ...) -> number of layers, as the inspector tells."""
    return precisions(network.inspect())


@dataclass(frozen=True, slots=True)
class _Captured:
    """What is kept of one input shape: its CUDA graph, and the shapes of its outputs."""

    graph: Graph
    shapes: Mapping[str, Shape]


class TensorRtNetwork:
    """A plan in TensorRT; see Network. Threads may share it: one runs at a time.

    Attributes
    ----------
    backend : "tensorrt" or "tensorrt-rtx"
    smallest, usual, largest : shapes of the input that the plan was built for
    launches : "graph" where edgex keeps a CUDA graph for each batch, "runtime" where TensorRT-RTX does, or "plain"
    plain_because : why they are plain, or ""
    """

    def __init__(self, path: Path, plan: bytes, flavour: str, gpu: cuda.Device, manifest: Manifest | None) -> None:
        self.backend, self.path, self.manifest, self.streams = flavour, path, manifest, 1
        self._trt, self._gpu, self._lock = load(flavour), gpu, threading.Lock()
        self._held: list[Held] = []  # runtime, engine, contexts: given back from the last to the first
        self._graphs: dict[Shape, _Captured] = {}
        self._contexts: dict[str, Held] = {}
        self._lanes: WeakSet[Lane] = WeakSet()
        self._stream = cuda.Stream(gpu)
        self.launches = "runtime" if hasattr(self._trt, "CudaGraphStrategy") else "graph"
        self.plain_because = ""
        self._open = True
        with gpu.active(), listening() as journal:
            runtime, engine = deserialised(self._trt, flavour, path, plan, journal)
            self._hold(runtime)
            self._engine = self._hold(engine)
            self._input, self._outputs = bindings(self._trt, engine, path)
            self.input: TensorSpec = self._input.spec
            self.outputs = tuple(binding.spec for binding in self._outputs)
            self.smallest, self.usual, self.largest = self._input.profile
            self._buffers = {binding.spec.name: Buffer(gpu) for binding in (self._input, *self._outputs)}
            shapes = self._shaped(self._context("run", journal), self.largest)
            for binding in (self._input, *self._outputs):
                self._allocate(binding, {**shapes, self.input.name: self.largest}[binding.spec.name])

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        require_fitting(self.input, image)
        require_within(self.path, image.shape, self.smallest, self.largest)
        self._gpu.require_own_process()
        with self._lock, self._gpu.active(), listening() as journal:
            self._require_open()
            buffer = self._buffers[self.input.name]
            view = buffer.host(image.shape, image.dtype)
            np.copyto(view, image)
            buffer.upload(self._stream, view)
            shapes = self._launch(image.shape, journal)
            views = {}
            for binding in self._outputs:
                name = binding.spec.name
                views[name] = self._buffers[name].host(shapes[name], binding.dtype)
                self._buffers[name].download(self._stream, views[name])
            self._stream.synchronize()
            return {name: view.copy() for name, view in views.items()}

    def lane(self, addresses: Mapping[str, int], batch: int, stream: cuda.Stream, graph: bool = True) -> Lane:
        """Return what infers one batch in a stream, on memory of the caller's; lanes run beside one another.

        Parameters
        ----------
        addresses : on the GPU, of the input and of every output, by name; what is there is overwritten
        batch, stream : of the input, whose other axes are those of `largest`; idle
        graph : whether a CUDA graph is tried

        Raises
        ------
        UsageError
            If the names are others, or the batch is outside the profile.
        ModelError
            If TensorRT cannot.
        """
        shape = (batch, *self.largest[1:])
        require_within(self.path, shape, self.smallest, self.largest)
        self._gpu.require_own_process()
        with self._lock, self._gpu.active(), listening() as journal:
            self._require_open()
            if set(addresses) != set(self._buffers):
                names = ", ".join(self._buffers)
                raise UsageError(f"expected addresses of {names}, got {', '.join(addresses)}; name each")
            launches = "plain" if not graph else "runtime" if self.launches == "runtime" else "graph"
            (context := self._made(launches, journal)).set_input_shape(self.input.name, shape)
            self._lanes.add(lane := Lane(self, self._gpu, context, addresses, stream, launches))
            return lane

    def inspect(self) -> str:
        """Return what TensorRT's inspector tells of the layers, as JSON, for the most usual shape."""
        self._gpu.require_own_process()
        with self._lock, self._gpu.active(), listening() as journal:
            self._require_open()
            inspector = self._engine.raw.create_engine_inspector()
            context = self._context("run", journal)
            self._shaped(context, self.usual)  # formats are not known of shapes that are not
            inspector.execution_context = context.raw
            return str(inspector.get_engine_information(self._trt.LayerInformationFormat.JSON))

    def close(self) -> None:
        with self._lock:
            self._open = False
            for lane in tuple(self._lanes):
                lane.close()
            self._graphs.clear()
            self._contexts.clear()
            while self._held:
                self._held.pop().free()
            self._buffers.clear()

    def _hold(self, thing: Any) -> Held:
        self._held.append(Held(self, self._gpu.active, thing))
        return self._held[-1]

    def _require_open(self) -> None:
        if not self._open:
            raise closed(self.path)

    def _allocate(self, binding: Binding, shape: Shape) -> None:
        if any(size < 0 for size in shape):
            raise ModelError(
                f"expected outputs of {self.path} whose shape follows from the input's, got {binding.spec}; "
                "export the model without operators whose output depends on values, such as NonZero"
            )
        buffer = self._buffers[binding.spec.name]
        buffer.host(shape, binding.dtype)
        buffer.address(math.prod(shape) * binding.dtype.itemsize)

    def _context(self, purpose: str, journal: Journal) -> Held:
        """Return the execution context for a purpose; what one of them computes on is not another's."""
        if purpose not in self._contexts:
            self._contexts[purpose] = self._hold(self._made(self.launches, journal))
        return self._contexts[purpose]

    def _made(self, launches: str, journal: Journal) -> Any:
        return new_context(self._trt, self._engine.raw, launches, self.backend, self.path, journal)

    def _shaped(self, context: Held, shape: Shape) -> dict[str, Shape]:
        """Give a context its input's shape and return those of the outputs, -1 where they depend on values."""
        context.raw.set_input_shape(self.input.name, shape)
        return {b.spec.name: tuple(context.raw.get_tensor_shape(b.spec.name)) for b in self._outputs}

    def _put(
        self, context: Held, addresses: Mapping[str, int], shape: Shape, stream: cuda.Stream, journal: Journal
    ) -> dict[str, Shape]:
        shapes = self._shaped(context, shape)
        for name, address in addresses.items():
            context.raw.set_tensor_address(name, address)
        if not context.raw.execute_async_v3(stream.handle):
            raise cannot("infer", self.backend, self.path, journal, "see edgex doctor, or build it again here")
        return shapes

    def _launch(self, shape: Shape, journal: Journal) -> Mapping[str, Shape]:
        kept = self._graphs.get(shape)
        if kept is None and self.launches == "graph" and len(self._graphs) < MOST_GRAPHS:
            kept = self._capture(shape, journal)
        if kept is None:
            return self._put(self._context("run", journal), self._addresses(), shape, self._stream, journal)
        kept.graph.launch()
        return kept.shapes

    def _capture(self, shape: Shape, journal: Journal) -> _Captured | None:
        """Return the CUDA graph of a shape, or None, from then on, where TensorRT's work does not go into one."""
        purpose = f"graph of {shape}"  # a graph is void once its context's shape changes
        if "run" in self._contexts:
            self._contexts[purpose] = self._contexts.pop("run")
        context = self._context(purpose, journal)
        shapes = self._put(context, self._addresses(), shape, self._stream, journal)  # TensorRT's first run prepares
        self._stream.synchronize()
        try:
            graph = Graph(self._gpu, self._stream, lambda: bool(context.raw.execute_async_v3(self._stream.handle)))
        except EdgexError as error:
            self.launches, self.plain_because = "plain", str(error)
            return None
        self._graphs[shape] = _Captured(graph, shapes)
        return self._graphs[shape]

    def _addresses(self) -> dict[str, int]:
        return {name: buffer.address(0) for name, buffer in self._buffers.items()}
