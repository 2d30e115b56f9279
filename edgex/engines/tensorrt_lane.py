"""A lane through a plan: an execution context of its own, which infers in a stream and on memory of the caller's.

Lanes of one network share its weights and run beside one another; each has memory of its own for what lies in between.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgex import cuda
from edgex.cuda_graph import Graph
from edgex.cuda_lifetime import Held
from edgex.engines.network import closed
from edgex.engines.tensorrt_api import TITLES, Journal, listening
from edgex.errors import EdgexError, ModelError


class Lane:
    """One batch on fixed memory in one stream; one thread at a time launches it.

    Attributes
    ----------
    launches : "graph" where a CUDA graph was captured, "runtime" where TensorRT-RTX keeps one, or "plain"
    plain_because : why it is plain although a graph was asked for, or ""

    Parameters
    ----------
    network : what the context is of; lives as long as this
    context : made for this alone, its input's shape set
    addresses : on the GPU, by name; whoever gives them keeps the memory alive
    stream : that it works in
    launches : what to try
    """

    def __init__(
        self,
        network: Any,
        gpu: cuda.Device,
        context: Any,
        addresses: Mapping[str, int],
        stream: cuda.Stream,
        launches: str,
    ) -> None:
        self._network, self._gpu, self._stream = network, gpu, stream
        self._lock = threading.Lock()
        self._graph: Graph | None = None
        self.launches, self.plain_because = launches, ""
        with gpu.active(), listening() as journal:
            self._context = Held(self, gpu.active, context)
            for name, address in addresses.items():
                context.set_tensor_address(name, address)
            self._execute(journal)  # TensorRT's first run prepares, and would not go into a graph
            stream.synchronize()
            if launches == "graph":
                self._capture()

    def launch(self) -> None:
        """Put one inference into the stream; what it gives is there once the stream has come past it.

        Raises
        ------
        ModelError
            If TensorRT cannot, or the network was closed.
        """
        self._gpu.require_own_process()
        with self._lock, self._gpu.active(), listening() as journal:
            if self._context.raw is None:
                raise closed(self._network.path)
            if self._graph is not None:
                self._graph.launch()
            else:
                self._execute(journal)

    def close(self) -> None:
        """Wait for what it has put into its stream, and give the context back."""
        with self._lock:
            with contextlib.suppress(EdgexError):  # what failed there is told to whoever waits for it
                self._stream.synchronize()
            self._graph = None
            self._context.free()

    def _execute(self, journal: Journal) -> None:
        if not self._context.raw.execute_async_v3(self._stream.handle):
            raise cannot("infer", self._network.backend, self._network.path, journal, "see edgex doctor")

    def _capture(self) -> None:
        context, stream = self._context.raw, self._stream
        try:
            self._graph = Graph(self._gpu, stream, lambda: bool(context.execute_async_v3(stream.handle)))
        except EdgexError as error:
            self.launches, self.plain_because = "plain", str(error)


def new_context(trt: Any, engine: Any, launches: str, flavour: str, path: Path, journal: Journal) -> Any:
    """Return a new execution context of an engine. Raises ModelError where there is no room for its memory."""
    if launches == "runtime":
        config = engine.create_runtime_config()
        config.cuda_graph_strategy = trt.CudaGraphStrategy.WHOLE_GRAPH_CAPTURE
        made = engine.create_execution_context(config)
    else:
        made = engine.create_execution_context()
    if made is None:
        raise cannot("make room for", flavour, path, journal, "close other programs on the GPU")
    return made


def cannot(verb: str, flavour: str, path: Path, journal: Journal, mend: str) -> ModelError:
    """Return the error for what TensorRT does not do with a plan."""
    return ModelError(f"expected {TITLES[flavour]} to {verb} {path}, got: {journal.cause()}; {mend}")
