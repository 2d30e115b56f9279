"""What TensorRT made of a network: its inspector's JSON, of 10.x and 11.x, counted by kind of layer and precision."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from typing import Any

_BOOKKEEPING = ("constant", "noop", "signal", "wait", "shapehosttodevice", "devicetoshapehost")
_KINDS = {"caskconvolution": "convolution", "caskgemmconvolution": "convolution", "caskdeconvolution": "deconvolution"}
_KINDS |= {"caskpooling": "pooling", "gemm": "matrix_multiply", "matrixmultiply": "matrix_multiply"}
_PRECISIONS = (  # as the inspector spells types and formats, in the order to look: "BFloat16" has "Float" in it
    (r"bf16|bfloat16", "bf16"),
    (r"int8|i8", "int8"),
    (r"fp8|float8|e4m3", "fp8"),
    (r"int4", "int4"),
    (r"fp4|float4|e2m1", "fp4"),
    (r"int32|i32", "int32"),
    (r"int64|i64", "int64"),
    (r"bool", "bool"),
    (r"half|fp16|float16", "fp16"),
    (r"float|fp32|tf32", "fp32"),
)
UNKNOWN = "unknown"


def precisions(text: str) -> dict[str, dict[str, int]]:
    """Return kind of layer -> precision -> number of layers.

    A layer has the precision of what it reads: of its weights where the inspector names them, else of its first
    input. What computes nothing, such as constants, is left out.

    Parameters
    ----------
    text : get_engine_information(LayerInformationFormat.JSON); nothing is found in it where the plan was built without
        detailed profiling verbosity, or it is no such JSON
    """
    try:
        tree: Any = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    layers = tree.get("Layers") if isinstance(tree, dict) else None
    found: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for layer in layers if isinstance(layers, list) else ():
        if not isinstance(layer, dict):  # its name only
            continue
        kind = _kind(layer)
        if kind not in _BOOKKEEPING:
            found[kind][_precision(layer)] += 1
    return {kind: dict(sorted(found[kind].items())) for kind in sorted(found)}


def _kind(layer: dict[str, Any]) -> str:
    parameters, written = layer.get("ParameterType"), layer.get("LayerType")
    named = parameters if isinstance(parameters, str) and parameters else written
    kind = named.lower() if isinstance(named, str) else UNKNOWN
    return _KINDS.get(kind, kind)


def _precision(layer: dict[str, Any]) -> str:
    weights = layer.get("Weights")
    if isinstance(weights, dict) and (name := _named(weights.get("Type"))) is not None:
        return name
    tensors = [tensor for side in ("Inputs", "Outputs") for tensor in _listed(layer.get(side))]
    for tensor in tensors:
        for key in ("DataType", "Datatype", "Format/Datatype", "Format/DataType", "Format"):
            if (name := _named(tensor.get(key))) is not None:
                return name
    return UNKNOWN


def _listed(side: Any) -> list[dict[str, Any]]:
    return [tensor for tensor in side if isinstance(tensor, dict)] if isinstance(side, list) else []


def _named(words: Any) -> str | None:
    if not isinstance(words, str):
        return None
    return next((name for pattern, name in _PRECISIONS if re.search(pattern, words.lower())), None)
