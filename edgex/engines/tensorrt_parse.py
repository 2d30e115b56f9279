"""From ONNX to TensorRT's strongly typed network: what cannot be parsed is named, and the types of the rest counted."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from edgex.engines.tensorrt_api import TITLES, Journal, dtype_name, listening, load, logger, one_line, refuse, shortened
from edgex.engines.tensorrt_api import typed_network as empty_network
from edgex.errors import ModelError
from edgex.onnx_file import TensorSpec, read_onnx

SYMMETRIC = "quantise activations and weights as signed and symmetric, and no bias: edgex build --int8 does"
_QUANTISED = ("convolution", "deconvolution", "matrix_multiply", "elementwise", "pooling")
_MENDS = {  # part of the parser's words -> what to do
    "input has type Int32": "quantise no bias (QuantizeBias=False), as edgex build --int8 does",
    "zero point is not supported": SYMMETRIC,
    "UINT8": SYMMETRIC,
    "Plugin not found": "export the model with operators that TensorRT knows, or build for onnxruntime",
}


NOT_PARSED = frozenset({0, 12, 13, 14, 15, 24})  # UNDEFINED, UINT32, UINT64, complex numbers, FLOAT8E8M0


@dataclass(frozen=True, slots=True)
class NetworkTypes:
    """Types of a parsed, strongly typed network: precision as TensorRT has to keep it.

    Attributes
    ----------
    tensor_types : dtype to number of tensors, constants included
    layer_types : kind of layer ("convolution", "elementwise", ...) to dtype to number of layers; arithmetic whose
        operands all come from DequantizeLinear counts as what they were dequantised from, for TensorRT fuses them
    inputs, outputs : of the network
    """

    tensor_types: Mapping[str, int]
    layer_types: Mapping[str, Mapping[str, int]]
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]


def parse_types(onnx: Path | bytes, flavour: str) -> NetworkTypes:
    """Parse a model, build nothing, and return its types. Raises as `parsed` does."""
    with listening() as journal, parsed(onnx, flavour, journal) as (_, network):
        return types_of(load(flavour), network)


@contextmanager
def parsed(onnx: Path | bytes, flavour: str, journal: Journal) -> Iterator[tuple[Any, Any]]:
    """Yield a builder and the network parsed with it, both gone after the block.

    Raises
    ------
    ModelError
        If it is no ONNX model, is cut off, or has what TensorRT does not take; the message names the node.
    MissingDependencyError
        If the flavour is not installed.
    EdgexError
        If TensorRT does not start, as `tensorrt` without a GPU.
    """
    trt, log = load(flavour), logger(flavour)
    title = str(onnx) if isinstance(onnx, Path) else "the model"
    _check(onnx, title)
    try:
        builder = trt.Builder(log)
    except TypeError:  # pybind11's word for a null pointer
        refuse(flavour, "start its builder", journal)
    network = empty_network(trt, builder)
    parser = trt.OnnxParser(network, log)  # its weights are the network's: it has to live as long
    try:
        done = parser.parse(onnx) if isinstance(onnx, bytes) else parser.parse_from_file(str(onnx))
        if not done or not network.num_layers:
            raise _refusal(parser, title, flavour, journal)
        yield builder, network
    finally:
        del parser, network, builder  # in this order


def types_of(trt: Any, network: Any) -> NetworkTypes:
    """Return the types of a parsed network."""
    layers = [network.get_layer(index) for index in range(network.num_layers)]
    tensors: Counter[str] = Counter()
    kinds: defaultdict[str, Counter[str]] = defaultdict(Counter)
    stored: dict[str, str] = {}  # output of a DequantizeLinear -> dtype of its input
    for layer in layers:
        outputs = [layer.get_output(index) for index in range(layer.num_outputs)]
        tensors.update(dtype_name(output.dtype) for output in outputs)
        if layer.type == trt.LayerType.DEQUANTIZE:
            stored[outputs[0].name] = dtype_name(layer.get_input(0).dtype)
    for layer in layers:
        if layer.type == trt.LayerType.CONSTANT or not layer.num_outputs:
            continue
        operands = [layer.get_input(index) for index in range(layer.num_inputs)]
        sources = [stored.get(operand.name) for operand in operands if operand is not None]
        kind = layer.type.name.lower()
        quantised = sources[0] if kind in _QUANTISED and sources and None not in sources else None
        kinds[kind][quantised or dtype_name(layer.get_output(0).dtype)] += 1
    inputs = [network.get_input(index) for index in range(network.num_inputs)]
    outputs = [network.get_output(index) for index in range(network.num_outputs)]
    tensors.update(dtype_name(tensor.dtype) for tensor in inputs)
    return NetworkTypes(
        dict(sorted(tensors.items())),
        {kind: dict(sorted(kinds[kind].items())) for kind in sorted(kinds)},
        tuple(_spec(tensor) for tensor in inputs),
        tuple(_spec(tensor) for tensor in outputs),
    )


def _spec(tensor: Any) -> TensorSpec:
    """Return name, dtype and shape; a dynamic axis has the name that the model gives it."""
    sizes = tuple(tensor.shape)
    axes = tuple(size if size >= 0 else tensor.get_dimension_name(axis) or None for axis, size in enumerate(sizes))
    return TensorSpec(tensor.name, dtype_name(tensor.dtype), axes)


def _check(onnx: Path | bytes, title: str) -> None:
    """Raise ModelError for what is no model, before TensorRT's parser, which writes to stderr about some of it."""
    import onnx as library
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    external = isinstance(onnx, Path) and bool(read_onnx(onnx).external)
    content = onnx if isinstance(onnx, bytes) else onnx.read_bytes()
    try:
        model = library.load_model_from_string(content)
        if not model.graph.node or not model.graph.output:
            raise ModelError(
                f"expected an ONNX model with a graph, got {len(content)} bytes of other content; export it"
            )
        if isinstance(onnx, bytes) and any(tensor.external_data for tensor in model.graph.initializer):
            raise ModelError("expected a model that holds its weights, got one with external ones; give its path")
        if any(isinstance(text, bytes) for text in _texts(model)):  # what TensorRT says of it would end the process
            raise ValueError("names that are no UTF-8")
        values = (*model.graph.input, *model.graph.output)
        types = {value.type.tensor_type.elem_type for value in values if value.type.HasField("tensor_type")}
        types |= {tensor.data_type for tensor in model.graph.initializer}
        types |= {value.type.tensor_type.elem_type for value in model.graph.value_info} & NOT_PARSED
        if types & NOT_PARSED or not types <= set(library.TensorProto.DataType.values()):
            raise ValueError("a tensor of a type that TensorRT does not have")
        try:
            library.checker.check_model(str(onnx) if external else model)
        except library.checker.ValidationError as error:
            if "topologically sorted" not in str(error):
                raise
            _sort(model)  # programs that insert nodes, onnxruntime's float16 too, leave them at the end
            if not external:
                library.checker.check_model(model)
    except DecodeError as error:
        raise ModelError(
            f"expected an ONNX model in {title}, got {len(content)} bytes that are none or are cut off; export it again"
        ) from error
    except (library.checker.ValidationError, ValueError, RuntimeError) as error:
        cause = one_line(str(error).replace("==> Context: ", "in "))
        raise ModelError(f"expected a sound ONNX model in {title}, got: {cause}; export it again") from error


def _texts(message: Any) -> Iterator[str | bytes]:
    """Yield every text in a protobuf message; what is not UTF-8 comes as bytes."""
    for entry, value in message.ListFields():
        several = [value] if isinstance(value, (str, bytes)) or hasattr(value, "ListFields") else value
        if entry.type == entry.TYPE_MESSAGE:
            for inner in several:
                yield from _texts(inner)
        elif entry.type == entry.TYPE_STRING:
            yield from several


def _sort(model: Any) -> None:
    """Bring the nodes of a graph into an order in which they can run. Raises ValueError where there is none."""
    nodes = list(model.graph.node)
    made_by = {name: index for index, node in enumerate(nodes) for name in node.output if name}
    needs = {index: {made_by[name] for name in node.input if name in made_by} for index, node in enumerate(nodes)}
    try:
        order = list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        cycle = " -> ".join(nodes[index].name or nodes[index].op_type for index in error.args[1])
        raise ValueError(f"nodes that need one another: {cycle}") from error
    del model.graph.node[:]
    model.graph.node.extend(nodes[index] for index in order)


def _refusal(parser: Any, title: str, flavour: str, journal: Journal) -> ModelError:
    if not parser.num_errors:
        return ModelError(f"expected {TITLES[flavour]} to parse {title}, got: {journal.cause()}; export it again")
    error = parser.get_error(0)
    words = error.desc()
    mend = next((mend for part, mend in _MENDS.items() if part in words), "export the model with other operators")
    name = error.node_name() or "without a name"
    node = f"node {error.node()} ({error.node_operator()} {name})" if error.node() >= 0 else "the graph"
    cause = shortened(words.removeprefix(f"Invalid Node - {error.node_name()}"))
    return ModelError(f"expected {TITLES[flavour]} to parse {title}, got {node}: {cause}; {mend}")
