"""OpenVINO on the CPU: the faster backend on Intel's and AMD's CPUs, an optional package.

It would compute in bfloat16 by itself where the CPU can, which changes masks unasked: here the precision is what the
model file and its sidecar say.
"""

from __future__ import annotations

import io
import re
import threading
from collections.abc import Sequence
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.build_manifest import BuildManifest, read_sidecar
from edgex.engines import cpu
from edgex.engines.network import PRECISIONS, cannot, closed, image_input_of, is_fixed, require_fitting, require_threads
from edgex.errors import MissingDependencyError, ModelError
from edgex.onnx_file import Axis, OnnxFile, TensorSpec, read_onnx
from edgex.optional import require

_SIZES = 4  # of batch that are kept compiled
TITLE = "OpenVINO"
DEVICE = "CPU"
_NOT_LAYERS = ("Const", "Input", "Output")
_NOISE = re.compile(r"^(Exception from|Check '.*' failed at|FrontEnd API failed|Summary:|Loading input model).*$", re.M)


def version() -> str:
    """Return the version of OpenVINO, such as "2026.4.1". Raises MissingDependencyError where it is not installed."""
    return str(require("openvino").__version__).partition("-")[0]


def device() -> str:
    """Return the CPU's name and vector features."""
    return cpu.describe()


def reason_missing() -> str:
    """Return why OpenVINO cannot run here, in one sentence; empty where it can."""
    try:
        version()
    except MissingDependencyError as error:
        return str(error)
    return ""


def open(path: Path, threads: int | None = None, streams: int = 1) -> OpenVinoNetwork:
    """Load an ONNX file.

    Parameters
    ----------
    path : the ONNX file, of one input; half precision is used only where its sidecar says fp16
    threads : CPU threads of one inference; None is one per physical core, shared out among the streams
    streams : inferences at once

    Raises
    ------
    UsageError
        If `threads` or `streams` is not 1 to 256.
    MissingDependencyError
        If OpenVINO is not installed.
    ModelError
        If the file cannot be loaded, or needs half precision that this CPU does not have.
    """
    return load(read_onnx(path), threads, read_sidecar(path), streams)


def load(
    file: OnnxFile, threads: int | None = None, built: BuildManifest | None = None, streams: int = 1
) -> OpenVinoNetwork:
    """Load an ONNX file that was read, with what its sidecar says; see `open`."""
    require_threads(threads, streams)
    return OpenVinoNetwork(file, threads, streams, half=built is not None and built.precision == "fp16")


def achieved(network: OpenVinoNetwork) -> dict[str, dict[str, int]]:
    """Return what OpenVINO made of a model: layer kind -> precision ("fp32", "int8", ...) -> number of layers.

    The kinds are OpenVINO's own, such as Convolution, Pooling, Reorder. Raises ModelError where `network` is closed.
    """
    return network.achieved()


class OpenVinoNetwork:
    """A model in OpenVINO; see Network. Threads may share it: as many infer at once as it has streams.

    A model of any batch is compiled for the size of batch that comes, each of the newest four sizes once: where
    OpenVINO knows the size it is about a tenth faster. A model that cannot be is compiled for all sizes at once.
    """

    backend = "openvino"

    def __init__(self, file: OnnxFile, threads: int | None, streams: int = 1, half: bool = False) -> None:
        self.path = file.path
        self.manifest = file.manifest()
        self.input = image_input_of(file)
        self.outputs = file.outputs
        self.streams = streams
        _require_sound(file.path)
        self._lock = threading.Lock()
        self._core: Any | None = _core(file.path, threads, streams, half)
        self._sized: dict[int, _Compiled] = {}  # by batch
        self._any: _Compiled | None = None
        batch, *sides = self.input.shape or (1,)
        self._sides = None if is_fixed(batch) or not all(is_fixed(side) for side in sides) else sides
        self._compiled_for(1)

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        with self._lock:
            if self._core is None:
                raise closed(self.path)
            require_fitting(self.input, image)
            compiled = self._compiled_for(len(image))
        return compiled.infer(image)

    def achieved(self) -> dict[str, dict[str, int]]:
        """Return layer kind -> precision -> number of layers, as the compiled model tells."""
        with self._lock:
            if self._core is None:
                raise closed(self.path)
            return self._compiled_for(1).achieved()

    def close(self) -> None:
        with self._lock:
            self._core = self._any = None
            self._sized.clear()

    def _compiled_for(self, batch: int) -> _Compiled:
        """Return the model compiled for this batch, or for any where it counts on a batch of its own or of any size."""
        if self._sides is not None and batch not in self._sized:
            try:
                compiled = _Compiled(self._core, self.path, self.outputs, self.streams, [batch, *self._sides])
                if len(self._sized) == _SIZES:
                    del self._sized[next(iter(self._sized))]
                self._sized[batch] = compiled
            except ModelError:  # a graph that counts on more pictures than one, or no good at all: see below
                self._sides = None
        if batch in self._sized:
            return self._sized[batch]
        if self._any is None:
            self._any = _Compiled(self._core, self.path, self.outputs, self.streams)
        return self._any


class _Compiled:
    """A model compiled for one shape of its input, or for any that it takes, with a request for each stream."""

    def __init__(
        self,
        core: Any,
        path: Path,
        outputs: tuple[TensorSpec, ...],
        streams: int,
        shape: Sequence[Axis] | None = None,
    ) -> None:
        self.path = path
        try:
            # OpenVINO tells ONNX by the suffix, or by the bytes
            model = core.read_model(str(path) if path.suffix == ".onnx" else io.BytesIO(path.read_bytes()))
            if shape is not None:
                model.reshape({0: list(shape)})
            self._model = core.compile_model(model, DEVICE)
            self._idle: SimpleQueue[Any] = SimpleQueue()  # requests that nobody waits for
            for _ in range(streams):
                self._idle.put(self._model.create_infer_request())
            self._names = _positions(self._model.outputs, outputs)
        except Exception as error:  # OpenVINO raises RuntimeError and what its Python layer meets
            raise _cannot("load", path, error) from error

    def infer(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        request = self._idle.get()
        try:
            found = request.infer([np.ascontiguousarray(image)], share_inputs=True)  # the outputs are copies
            return {name: found[position] for name, position in self._names.items()}
        except Exception as error:  # see above
            raise _cannot("infer", self.path, error) from error
        finally:
            self._idle.put(request)

    def achieved(self) -> dict[str, dict[str, int]]:
        found: dict[str, dict[str, int]] = {}
        for layer in self._model.get_runtime_model().get_ops():
            about = layer.get_rt_info()
            kind, dtype = about["layerType"].astype(str), about["runtimePrecision"].astype(str)
            if kind not in _NOT_LAYERS:
                precision = PRECISIONS.get(dtype, dtype)
                counts = found.setdefault(kind, {})
                counts[precision] = counts.get(precision, 0) + 1
        return dict(sorted(found.items()))


def _core(path: Path, threads: int | None, streams: int, half: bool) -> Any:
    core = require("openvino").Core()
    if half and "FP16" not in core.get_property(DEVICE, "OPTIMIZATION_CAPABILITIES"):
        raise ModelError(
            f"expected a CPU that computes in half precision, as {path} was built for, got {cpu.describe()}; build it "
            "again here with --fp32 or --int8"
        )
    core.set_property({"ENABLE_MMAP": False})  # a weight file that is replaced while it is mapped ends the program
    options = {
        "INFERENCE_PRECISION_HINT": "f16" if half else "f32",
        "PERFORMANCE_HINT": "LATENCY" if streams == 1 else "THROUGHPUT",
        **({} if streams == 1 else {"NUM_STREAMS": streams}),
        "ENABLE_CPU_PINNING": False,  # the kernels that draw run on the same cores; measured, it costs nothing
        **({} if threads is None else {"INFERENCE_NUM_THREADS": threads * streams}),
    }
    core.set_property(DEVICE, options)
    return core


def _require_sound(path: Path) -> None:
    """Raise ModelError unless every node has the inputs and shapes that its operator asks for.

    OpenVINO 2026.4 trusts them: a Conv without weights, or a stride of 0, ends the program.
    """
    import onnx

    try:
        onnx.checker.check_model(str(path), full_check=True)
    except Exception as error:  # ValidationError and InferenceError have no common base but Exception
        cause = " ".join(str(error).replace("==> Context: ", "in ").split())[:300].rstrip(" .;:")
        raise ModelError(f"expected a sound ONNX model in {path}, got: {cause}; export the model again") from error


def _positions(ports: Sequence[Any], outputs: tuple[TensorSpec, ...]) -> dict[str, int]:
    """Return where each output of the graph stands among those of the compiled model."""
    found: dict[str, int] = {}
    for position, port in enumerate(ports):
        for name in port.get_names():
            found.setdefault(name, position)
    return {spec.name: found[spec.name] for spec in outputs}


def _cannot(verb: str, path: Path, error: Exception) -> ModelError:
    return cannot(TITLE, verb, path, _NOISE.sub("", str(error)).strip() or str(error))
