"""The ONNX graph that is calibrated and quantised: constants folded, batch-norms in their convolutions, nodes named."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgex.errors import ModelError, SinkError
from edgex.onnx_file import OnnxFile, read_onnx
from edgex.staged import cannot_write

OLDEST_OPSET = 13  # that can quantise each channel on its own
TARGET_OPSET = 17  # what an older graph is lifted to; every backend and TensorRT 10.3 read it
WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_QUANTISED = ("QuantizeLinear", "DequantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeLinear")


def prepare(path: Path) -> Any:
    """Return the graph of an FP32 model as `calibrate` and `build` need it.

    ONNX Runtime's basic rewrites fold constants (weights that are stored in half precision among them) and
    batch-norms; they keep the names of what is left, so that ranges can be found by them.

    Parameters
    ----------
    path : an ONNX file

    Returns
    -------
    onnx.ModelProto, its weights inside, opset 13 or later, each node with a name of its own

    Raises
    ------
    ModelError
        If it is no ONNX model, is quantised already, or cannot be loaded.
    """
    import onnx

    file = read_onnx(path)
    require_float(file)
    try:
        model = onnx.load(str(path))
        if file.opset.get("", file.opset.get("ai.onnx", 0)) < OLDEST_OPSET:
            model = onnx.version_converter.convert_version(model, TARGET_OPSET)
        model = _folded(model)
    except OSError as error:  # of the temporary folder: the model was read before
        raise cannot_write(Path(tempfile.gettempdir()), error) from error
    except Exception as error:  # onnx and ONNX Runtime share no base class but Exception
        cause = " ".join(str(error).split())[:300].rstrip(" .;:")
        if "serialization failed" in cause:  # ONNX Runtime could not write the folded graph
            where = tempfile.gettempdir()
            raise SinkError(f"expected room for a copy of {path} in {where}, got: {cause}; free some space") from error
        raise ModelError(
            f"expected a graph that ONNX Runtime can load in {path}, got: {cause}; export it again"
        ) from error
    taken: set[str] = set()
    for index, node in enumerate(model.graph.node):
        if not node.name or node.name in taken:
            node.name = f"{node.op_type}_{index}_{node.output[0] if node.output else ''}"
        taken.add(node.name)
    return model


def require_float(file: OnnxFile) -> None:
    """Raise ModelError if the model is quantised already: ranges of such a model say nothing of the original."""
    found = [name for name in file.operators if name.rpartition(".")[2] in _QUANTISED or ".QLinear" in f".{name}"]
    if found:
        raise ModelError(
            f"expected an FP32 model, got {file.path}, which is quantised already ({', '.join(found[:3])}); "
            "name the model it was made from"
        )


def weights(model: Any) -> dict[str, Any]:
    """Return the stored tensors of a graph by name."""
    return {tensor.name: tensor for tensor in model.graph.initializer}


def readers(model: Any) -> dict[str, list[Any]]:
    """Return the nodes that read each tensor."""
    found: dict[str, list[Any]] = {}
    for node in model.graph.node:
        for name in dict.fromkeys(node.input):
            if name:
                found.setdefault(name, []).append(node)
    return found


def producers(model: Any) -> dict[str, Any]:
    """Return the node that gives each tensor."""
    return {name: node for node in model.graph.node for name in node.output if name}


def float_tensors(model: Any) -> set[str]:
    """Return the names of the float32 activations of a graph, its image input included, as far as types are known."""
    import onnx

    try:
        model = onnx.shape_inference.infer_shapes(model)
    except Exception:  # what it cannot infer is found out by running it
        pass
    values = [*model.graph.input, *model.graph.value_info, *model.graph.output]
    is_float = {value.name for value in values if value.type.tensor_type.elem_type == onnx.TensorProto.FLOAT}
    there = {value.name for value in model.graph.input} | set(producers(model))  # folding leaves infos of what is gone
    return (is_float & there) - set(weights(model))


def heads(model: Any) -> frozenset[str]:
    """Return the names of the nodes between each output and the last weighted nodes before it, these included."""
    stored, made_by = weights(model), producers(model)
    found: set[str] = set()
    open_tensors = [value.name for value in model.graph.output]
    while open_tensors:
        node = made_by.get(open_tensors.pop())
        if node is None or node.name in found:
            continue
        found.add(node.name)
        if not is_weighted(node, stored):
            open_tensors += [name for name in node.input if name]
    return frozenset(found)


def stems(model: Any) -> frozenset[str]:
    """Return the names of the weighted nodes that see the picture itself, and of depthwise ones straight behind them.

    These have three inputs, or nine weights, a channel to average rounding errors over, and all that follows reads
    what they give.
    """
    stored, read_by = weights(model), readers(model)
    found: set[str] = set()
    seen: set[str] = set()
    open_tensors = [(value.name, False) for value in model.graph.input if value.name not in stored]
    while open_tensors:
        tensor, behind = open_tensors.pop()
        for node in read_by.get(tensor, []):
            weighted = is_weighted(node, stored)
            if node.name in seen or (behind and weighted and not _is_depthwise(node, stored)):
                continue
            seen.add(node.name)
            if weighted:
                found.add(node.name)
            if not (behind and weighted):
                open_tensors += [(name, behind or weighted) for name in node.output if name]
    return frozenset(found)


def _is_depthwise(node: Any, stored: dict[str, Any]) -> bool:
    groups = next((attribute.i for attribute in node.attribute if attribute.name == "group"), 1)
    return node.op_type == "Conv" and groups > 1 and stored[node.input[1]].dims[1] == 1


def is_weighted(node: Any, stored: dict[str, Any]) -> bool:
    """Tell whether a node multiplies with stored weights."""
    return node.op_type in WEIGHTED and len(node.input) > 1 and any(name in stored for name in node.input[:2])


def sole_reader(tensor: str, read_by: dict[str, list[Any]]) -> Any | None:
    """Return the only node that reads a tensor, or None where there are several or none."""
    found = read_by.get(tensor, [])
    return found[0] if len(found) == 1 else None


def _folded(model: Any) -> Any:
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    with tempfile.TemporaryDirectory() as folder:
        options.optimized_model_filepath = str(Path(folder) / "folded.onnx")
        onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        folded = onnx.load(options.optimized_model_filepath)
    used = set(_domains(folded.graph))
    kept = [entry for entry in folded.opset_import if entry.domain in used]
    del folded.opset_import[:]
    folded.opset_import.extend(kept)
    del folded.metadata_props[:]
    folded.metadata_props.extend(model.metadata_props)
    return folded


def _domains(graph: Any) -> Iterator[str]:
    yield ""
    for node in graph.node:
        yield node.domain
        for attribute in node.attribute:
            if attribute.HasField("g"):
                yield from _domains(attribute.g)
