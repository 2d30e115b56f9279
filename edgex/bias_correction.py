"""Bias correction: what rounding the weights adds to a channel's mean is taken from its bias.

Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction", ICCV 2019, section 4.2, with the
means measured on the calibration frames instead of derived.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.calibration import Calibration
from edgex.graph import weights


def correct_biases(model: Any, calibration: Calibration, nodes: Collection[str], levels: int) -> Any:
    """Return a copy of the graph in which the named convolutions make good what rounding their weights will shift.

    Parameters
    ----------
    model : onnx.ModelProto before quantisation
    calibration : its `means` of the tensors that convolutions read
    nodes : names of the nodes whose weights will be rounded, per output channel, symmetric
    levels : largest integer of a weight, 127 for 8 bits
    """
    from onnx import numpy_helper

    model = copy.deepcopy(model)
    stored = weights(model)
    readers_of_bias: dict[str, int] = {}
    for node in model.graph.node:
        for name in node.input:
            readers_of_bias[name] = readers_of_bias.get(name, 0) + 1
    for node in model.graph.node:
        if node.op_type != "Conv" or node.name not in nodes or node.input[1] not in stored:
            continue
        means = calibration.means.get(node.input[0])
        weight = numpy_helper.to_array(stored[node.input[1]])
        shift = None if means is None else mean_shift(weight, np.asarray(means), levels)
        if shift is None:
            continue
        has_bias = len(node.input) > 2 and bool(node.input[2])
        if has_bias and node.input[2] not in stored:
            continue
        bias = numpy_helper.to_array(stored[node.input[2]]) if has_bias else np.zeros(len(weight), np.float32)
        name = f"{node.name}_corrected_bias"
        corrected = numpy_helper.from_array((bias - shift).astype(np.float32), name)
        model.graph.initializer.append(corrected)
        if has_bias and readers_of_bias[node.input[2]] == 1:
            model.graph.initializer.remove(stored[node.input[2]])
        del node.input[2:]
        node.input.append(name)
    return model


def mean_shift(weight: NDArray[Any], means: NDArray[np.float64], levels: int) -> NDArray[np.float64] | None:
    """Return how much rounding moves the mean of each output channel, float64 [O], or None where shapes do not fit.

    Parameters
    ----------
    weight : [O, I / groups, ...] of a convolution
    means : [I], mean of each input channel; at the border, where padding reads zeros, it is an approximation
    levels : largest integer of a weight
    """
    outputs, inputs = weight.shape[:2]
    if len(means) % inputs or outputs % (len(means) // inputs):
        return None
    scale = np.abs(weight.reshape(outputs, -1)).max(axis=1).astype(np.float64) / levels
    scale = np.where(scale > 0, scale, 1.0).reshape(-1, *[1] * (weight.ndim - 1))
    error = (np.round(weight / scale) * scale - weight).reshape(outputs, inputs, -1).sum(axis=2)
    channel_groups = len(means) // inputs
    seen = np.repeat(means.reshape(channel_groups, inputs), outputs // channel_groups, axis=0)
    shift: NDArray[np.float64] = (error * seen).sum(axis=1)
    return shift
