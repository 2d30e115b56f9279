"""Where Q/DQ is placed: one recipe for each kind of backend, over onnxruntime.quantization.

docs/precision.md says why it is placed so.
"""

from __future__ import annotations

import contextlib
import copy
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from edgex.bias_correction import correct_biases
from edgex.calibration import Calibration
from edgex.errors import ModelError
from edgex.graph import float_tensors, heads, is_weighted, producers, readers, sole_reader, stems, weights


@dataclass(frozen=True, slots=True)
class Recipe:
    """How quantisation is placed for one kind of backend.

    Attributes
    ----------
    name : what it is called in calibrations and manifests
    activations : "uint8", asymmetric, or "int8", symmetric
    operators : operators that take part
    outputs : whether outputs are quantised besides inputs
    residual : whether the skip input of an Add is quantised, where the other input comes straight from a Conv
    half : whether what is not INT8 becomes FP16 afterwards
    """

    name: str
    activations: Literal["uint8", "int8"]
    operators: tuple[str, ...]
    outputs: bool
    residual: bool
    half: bool


CPU = Recipe(
    name="cpu",
    activations="uint8",
    operators=(
        "Conv",
        "ConvTranspose",
        "Gemm",
        "MatMul",
        "Add",
        "Mul",
        "Clip",
        "Relu",
        "MaxPool",
        "AveragePool",
        "GlobalAveragePool",
        "Resize",
        "Concat",
    ),
    outputs=True,
    residual=False,
    half=False,
)
TENSORRT = Recipe(
    name="tensorrt",
    activations="int8",
    operators=("Conv", "ConvTranspose", "Gemm", "MatMul"),
    outputs=False,
    residual=True,
    half=True,
)
RECIPES = {"onnxruntime": CPU, "openvino": CPU, "tensorrt": TENSORRT, "tensorrt-rtx": TENSORRT}


def quantize(model: Any, calibration: Calibration, recipe: Recipe, narrow: bool = False) -> Any:
    """Return a copy of the graph with Q/DQ placed.

    Parameters
    ----------
    model : a prepared graph (`edgex.graph.prepare`) of the calibrated model
    calibration : its ranges
    recipe : where Q/DQ goes
    narrow : 7-bit weights, for x86 CPUs without VNNI, whose 16-bit sums of uint8 times int8 would saturate

    Raises
    ------
    ModelError
        If nothing could be quantised.
    """
    import numpy as np
    from onnxruntime.quantization import CalibrationMethod, QuantType
    from onnxruntime.quantization.calibrate import TensorData, TensorsData
    from onnxruntime.quantization.qdq_quantizer import QDQQuantizer

    chosen = quantised_nodes(model, calibration, recipe)
    stored = weights(model)
    if not any(is_weighted(node, stored) for node in model.graph.node if node.name in chosen):
        raise ModelError(
            "expected nodes that can be quantised, got none with weights and ranges; build with --fp16 or --fp32"
        )
    corrected = correct_biases(model, calibration, frozenset(chosen), 64 if narrow else 127)
    ranges = {
        name: TensorData(lowest=np.float32(low), highest=np.float32(high))
        for name, (low, high) in calibration.ranges.items()
    }
    symmetric = recipe.activations == "int8"
    options = {
        "ActivationSymmetric": symmetric,
        "WeightSymmetric": True,
        "QuantizeBias": not symmetric,  # TensorRT's parser refuses an int32 bias
        "OpTypesToExcludeOutputQuantization": [] if recipe.outputs else list(recipe.operators),
    }
    quantizer = QDQQuantizer(
        corrected,
        per_channel=True,
        reduce_range=narrow,
        weight_qType=QuantType.QInt8,
        activation_qType=QuantType.QInt8 if symmetric else QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, ranges),
        nodes_to_quantize=list(chosen),
        nodes_to_exclude=[],
        op_types_to_quantize=list(recipe.operators),
        extra_options=options,
    )
    with _silent():
        quantizer.quantize_model()
    quantizer.model.topological_sort()  # it appends Q/DQ at the end; OpenVINO reads a graph in its order
    quantised = quantizer.model.model
    if recipe.residual:
        _quantize_skips(quantised, calibration)
    return quantised


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """Keep the quantiser's log from the error stream: it writes about single tensors to the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)


def quantised_nodes(model: Any, calibration: Calibration, recipe: Recipe) -> tuple[str, ...]:
    """Return the names of the nodes that take part: those of the recipe whose tensors have ranges.

    Heads and stems are left out: a stem has three channels to average errors over, and costs little in float.
    """
    left = heads(model) | stems(model)
    floats, ranges, stored = float_tensors(model), calibration.ranges, weights(model)
    return tuple(
        node.name
        for node in model.graph.node
        if node.op_type in recipe.operators
        and node.name not in left
        and any(name in floats for name in node.input)
        and all(name in ranges for name in (*node.input, *node.output) if name in floats)
        and (recipe.outputs or is_weighted(node, stored))
    )


def to_float16(model: Any) -> Any:
    """Return a copy of a graph whose float arithmetic is FP16; inputs and outputs stay as they are.

    Raises
    ------
    ModelError
        If it cannot be converted.
    """
    import warnings

    from onnxruntime.transformers.float16 import convert_float_to_float16

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about weights that are too small for FP16, one line each
            return convert_float_to_float16(copy.deepcopy(model), keep_io_types=True, op_block_list=[])
    except Exception as error:  # the converter raises many kinds
        raise ModelError(f"expected a graph that FP16 expresses, got: {str(error)[:200]}; build with --fp32") from error


def _quantize_skips(model: Any, calibration: Calibration) -> None:
    """Put Q/DQ on the skip input of each residual sum, so that TensorRT fuses Conv and Add in INT8."""
    made_by, read_by, stored = producers(model), readers(model), weights(model)
    head = heads(model)
    additions: list[tuple[str, Any]] = []
    for node in model.graph.node:
        if node.op_type != "Add" or node.name in head or any(name in stored for name in node.input):
            continue
        index = _skip_index(node, made_by, read_by)
        if index is not None and node.input[index] in calibration.ranges:
            additions.append((node.input[index], (node, index)))
    for tensor, (node, index) in additions:
        node.input[index] = _dequantised(model, tensor, calibration, read_by)


def _skip_index(node: Any, made_by: dict[str, Any], read_by: dict[str, list[Any]]) -> int | None:
    """Return which input of a sum is the skip: the other one comes from a Conv that nothing else reads."""
    straight = [name in made_by and made_by[name].op_type == "Conv" and len(read_by[name]) == 1 for name in node.input]
    if straight == [False, True]:
        return 0
    return 1 if straight[0] else None


def _dequantised(model: Any, tensor: str, calibration: Calibration, read_by: dict[str, list[Any]]) -> str:
    """Return the name of the tensor after Q/DQ, placed now unless it is there."""
    import numpy as np
    from onnx import helper, numpy_helper

    for reader in read_by.get(tensor, []):
        if reader.op_type == "QuantizeLinear":
            found = sole_reader(reader.output[0], readers(model))
            if found is not None:
                return str(found.output[0])
    low, high = calibration.ranges[tensor]
    scale, zero = f"{tensor}_skip_scale", f"{tensor}_skip_zero_point"
    ends = f"{tensor}_skip_quantised", f"{tensor}_skip"
    if scale not in weights(model):
        model.graph.initializer.extend(
            [
                numpy_helper.from_array(np.array(max(-low, high, 1e-12) / 127, np.float32), scale),
                numpy_helper.from_array(np.array(0, np.int8), zero),
            ]
        )
        pair = [
            helper.make_node("QuantizeLinear", [tensor, scale, zero], [ends[0]], name=ends[0]),
            helper.make_node("DequantizeLinear", [ends[0], scale, zero], [ends[1]], name=ends[1]),
        ]
        _insert_after(model, tensor, pair)
    return ends[1]


def _insert_after(model: Any, tensor: str, nodes: Sequence[Any]) -> None:
    """Insert nodes behind the one that gives `tensor`, since a graph is stored in an order that can be run."""
    place = next((i + 1 for i, node in enumerate(model.graph.node) if tensor in node.output), 0)
    for offset, node in enumerate(nodes):
        model.graph.node.insert(place + offset, node)
