"""In which precision each kind of layer of an ONNX file computes, read from the types of its graph alone.

No shape inference and no backend meets the file. What a backend makes of a graph, such as fusing an activation into the
layer before it, is not known here: the sidecar of a built file has that.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from edgex.engines.network import PRECISIONS
from edgex.graph import WEIGHTED

_UNPACKS = "DequantizeLinear"
_PACKS = ("QuantizeLinear", "DynamicQuantizeLinear")
_NO_LAYERS = (*_PACKS, _UNPACKS, "Cast", "Constant", "ConstantOfShape", "Identity")
_IN_INT8 = ("ConvInteger", "MatMulInteger")  # they read 8 bits and give 32
_ON_SHAPES = ("int64", "int32", "bool", "string")  # arithmetic on shapes and indices, not on pictures
_FLOATS = ("float", "float16", "bfloat16", "double")
_FIXED = {  # operators whose output has one type, whatever they read
    **dict.fromkeys(("Shape", "Size", "NonZero", "ArgMax", "ArgMin", "NonMaxSuppression"), "int64"),
    **dict.fromkeys(("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual"), "bool"),
    **dict.fromkeys(("And", "Or", "Not", "Xor", "IsNaN", "IsInf"), "bool"),
    **dict.fromkeys(_IN_INT8, "int32"),
    "DynamicQuantizeLinear": "uint8",
}
_READS_SECOND = ("Where",)  # the first input only chooses


def layers(path: Path) -> dict[str, dict[str, int]]:
    """Return kind of layer -> precision ("fp32", "fp16", "int8", "unknown", ...) -> number of layers.

    A layer computes in int8 where it reads what DequantizeLinear gives: a Conv, Gemm or MatMul in both factors, any
    other in all that is not stored in the file. Q/DQ themselves, constants, branches and arithmetic on shapes are left
    out.

    Parameters
    ----------
    path : an ONNX file that `edgex.onnx_file.read_onnx` reads
    """
    import onnx

    model = onnx.ModelProto()
    model.ParseFromString(path.read_bytes())
    graph, name_of = model.graph, onnx.TensorProto.DataType.Name
    known = set(onnx.TensorProto.DataType.values())

    def named(code: int) -> str:
        return str(name_of(code)).lower() if code in known and code else ""

    types = {v.name: named(v.type.tensor_type.elem_type) for v in (*graph.input, *graph.value_info, *graph.output)}
    stored = {tensor.name: named(tensor.data_type) for tensor in graph.initializer}
    types.update(stored)
    fixed, unpacked = set(stored), set()
    found: dict[str, dict[str, int]] = {}
    for node in graph.node:
        gives = _gives(node, types, named)
        for name in node.output:
            if not types.get(name):
                types[name] = gives
        if node.op_type == _UNPACKS:
            unpacked.update(node.output)
        if node.op_type in ("Constant", "ConstantOfShape"):
            fixed.update(node.output)
        if node.op_type in _NO_LAYERS:
            continue
        precision = _precision(node, types, fixed, unpacked)
        if precision not in _ON_SHAPES:
            counts = found.setdefault(node.op_type, {})
            counts[precision] = counts.get(precision, 0) + 1
    return dict(sorted(found.items(), key=lambda pair: (-sum(pair[1].values()), pair[0])))


def _precision(node: Any, types: Mapping[str, str], fixed: Collection[str], unpacked: Collection[str]) -> str:
    gives = types.get(node.output[0], "") if node.output else ""
    factors = node.op_type in WEIGHTED
    reads = [name for name in (node.input[:2] if factors else node.input) if name and (factors or name not in fixed)]
    reads = [name for name in reads if types.get(name, "") in _FLOATS]
    if node.op_type in _IN_INT8 or (gives in _FLOATS and reads and all(name in unpacked for name in reads)):
        return "int8"
    return PRECISIONS.get(gives, gives) or "unknown"


def _gives(node: Any, types: Mapping[str, str], named: Callable[[int], str]) -> str:
    """Return the type of what a node gives, "" where it cannot be told."""
    attributes = {attribute.name: attribute for attribute in node.attribute}
    if any(attribute.HasField("g") for attribute in node.attribute):  # a branch or loop gives what its graphs do
        return ""
    if node.op_type in _FIXED:
        return _FIXED[node.op_type]
    if node.op_type == "Cast" and "to" in attributes:
        return named(attributes["to"].i)
    if node.op_type in ("Constant", "ConstantOfShape"):
        if "value" in attributes:
            return named(attributes["value"].t.data_type)
        return "int64" if {"value_int", "value_ints"} & attributes.keys() else "float"
    if node.op_type in ("QuantizeLinear", _UNPACKS):  # the type of the zero point, which may be left out; of the scale
        at, else_ = (2, "uint8") if node.op_type == "QuantizeLinear" else (1, "float")
        return types.get(node.input[at], "") or else_ if len(node.input) > at else else_
    inputs = node.input[1:] if node.op_type in _READS_SECOND else node.input
    return next((types[name] for name in inputs if types.get(name)), "")
