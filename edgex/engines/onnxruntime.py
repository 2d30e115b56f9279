"""ONNX Runtime on the CPU: the backend that runs wherever edgex does."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.build_manifest import BuildManifest
from edgex.engines import cpu
from edgex.engines.network import PRECISIONS, cannot, closed, image_input_of, require_fitting, require_threads
from edgex.onnx_file import OnnxFile, read_onnx

SILENT = 4  # ONNX Runtime's "fatal": what goes wrong comes back as an exception, not as lines on stderr
TITLE = "ONNX Runtime"
# It rounds the weights of a Conv between Q/DQ to 8 bits for the whole tensor: just those that a build kept in FP32
# because rounding cost fidelity. On the shipped bundle with its first layer kept: error 0.091 with it, 0.040 without.
_UNWANTED = "WeightBiasQuantization"


def version() -> str:
    """Return the version of ONNX Runtime."""
    import onnxruntime

    return str(onnxruntime.__version__)


def device() -> str:
    """Return the CPU's name and vector features."""
    return cpu.describe()


def reason_missing() -> str:
    """Return why ONNX Runtime cannot run here, in one sentence; empty where it can."""
    try:
        version()
    except ImportError as error:
        return f"expected the package onnxruntime, got {error}; run: pip install onnxruntime"
    return ""


def open(path: Path, threads: int | None = None, streams: int = 1) -> OnnxRuntimeNetwork:
    """Load an ONNX file.

    Parameters
    ----------
    path : the ONNX file, of one input
    threads : CPU threads of one inference; None is one per physical core
    streams : inferences at once; a session takes any number, so this only says how many are meant

    Raises
    ------
    UsageError
        If `threads` or `streams` is not 1 to 256.
    ModelError
        If the file cannot be loaded.
    """
    return load(read_onnx(path), threads, streams=streams)


def load(
    file: OnnxFile, threads: int | None = None, built: BuildManifest | None = None, streams: int = 1
) -> OnnxRuntimeNetwork:
    """Load an ONNX file that was read; see `open`. `built`, its sidecar, changes nothing: the graph says it all."""
    require_threads(threads, streams)
    return OnnxRuntimeNetwork(file, _session(file.path, threads), streams)


def achieved(network: OnnxRuntimeNetwork) -> dict[str, dict[str, int]]:
    """Return what ONNX Runtime made of a model: layer kind -> precision ("fp32", "int8", ...) -> number of layers.

    The kinds are those of the graph after optimisation, such as Conv, QLinearConv. The file is loaded once more, as a
    session does not tell what it became. Raises ModelError where it can no longer be loaded.
    """
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        optimised = Path(folder, "optimised.onnx")
        _session(network.path, None, optimised)
        graph = onnx.load(optimised, load_external_data=False).graph
    types = {value.name: value.type.tensor_type.elem_type for value in (*graph.input, *graph.value_info, *graph.output)}
    types |= {tensor.name: tensor.data_type for tensor in graph.initializer}
    found: dict[str, dict[str, int]] = {}
    for node in graph.node:
        dtype = str(onnx.TensorProto.DataType.Name(_reads(node, types))).lower()
        precision = PRECISIONS.get(dtype, dtype)
        counts = found.setdefault(node.op_type, {})
        counts[precision] = counts.get(precision, 0) + 1
    return dict(sorted(found.items()))


class OnnxRuntimeNetwork:
    """A model in ONNX Runtime; see Network. Threads may share it: a session keeps nothing between its runs."""

    backend = "onnxruntime"

    def __init__(self, file: OnnxFile, session: Any, streams: int = 1) -> None:
        import onnxruntime

        self.path = file.path
        self.manifest = file.manifest()
        self.input = image_input_of(file)
        self.outputs = file.outputs
        self.streams = streams
        self._names = [spec.name for spec in file.outputs]
        self._session: Any | None = session
        self._options = onnxruntime.RunOptions()
        self._options.log_severity_level = SILENT

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]:
        session = self._session  # another thread may close
        if session is None:
            raise closed(self.path)
        require_fitting(self.input, image)
        try:
            found = session.run(self._names, {self.input.name: np.ascontiguousarray(image)}, self._options)
        except Exception as error:  # ONNX Runtime has a dozen classes for this, under no common base but Exception
            raise cannot(TITLE, "infer", self.path, str(error)) from error
        return dict(zip(self._names, found, strict=True))

    def close(self) -> None:
        self._session = None


def _session(path: Path, threads: int | None, optimised: Path | None = None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads or 0  # 0: one per physical core
    options.inter_op_num_threads = 1  # one picture is one chain of operators
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    if optimised is not None:
        options.optimized_model_filepath = str(optimised)
    try:
        return onnxruntime.InferenceSession(
            str(path), options, providers=["CPUExecutionProvider"], disabled_optimizers=[_UNWANTED]
        )
    except Exception as error:  # see run
        raise cannot(TITLE, "load", path, str(error)) from error


def _reads(node: Any, types: dict[str, int]) -> int:
    """Return the type of what a node reads first, as its kernel is chosen by that; note the types of what it gives.

    ONNX Runtime does not save the types of the tensors that it made itself.
    """
    from onnx import TensorProto

    first = next((types[name] for name in node.input if name in types), 0)
    gives = first
    if node.op_type == "QuantizeLinear":  # the type of its zero point, which may be left out
        gives = types.get(node.input[2], 0) if len(node.input) > 2 else TensorProto.UINT8
    elif node.op_type == "DequantizeLinear":  # that of its scale
        gives = types.get(node.input[1], 0)
    elif node.op_type == "Cast":
        gives = next(attribute.i for attribute in node.attribute if attribute.name == "to")
    for name in node.output:
        types.setdefault(name, gives)
    return first
