"""Taking parts of a quantised graph back to float: weights, biases, and the activations between nodes that are kept."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from typing import Any

from edgex.calibration import Calibration
from edgex.graph import producers, readers, sole_reader, weights
from edgex.precision import Recipe, quantised_nodes

BLOCK = 6  # neighbours that are kept together: an inverted residual block is three Conv, two Clip and a sum
ACTIVATIONS = ("Clip", "Relu")
Block = tuple[str, ...]


def blocks(model: Any, calibration: Calibration, recipe: Recipe) -> tuple[Block, ...]:
    """Return what `restore` takes back at once: names of neighbouring nodes that are quantised, in graph order.

    A single node would keep its rounded neighbours, and the rounding between them costs as much as that of weights.

    Parameters
    ----------
    model : a prepared graph
    """
    names = quantised_nodes(model, calibration, recipe)
    return tuple(tuple(names[start : start + BLOCK]) for start in range(0, len(names), BLOCK))


def restore(quantised: Any, model: Any, kept: Iterable[Block]) -> Any:
    """Return a copy of a quantised graph in which some blocks compute in float again.

    Tensors between a kept node and one that is not stay quantised.

    Parameters
    ----------
    quantised : what `edgex.precision.quantize` made of `model`
    model : the prepared graph
    kept : blocks (`blocks`)
    """
    names = {name for block in kept for name in block}
    if not names:
        return quantised
    graph = copy.deepcopy(quantised)
    whole = _restore_nodes(graph, model, names)
    _bypass(graph, whole)
    _drop_unread(graph)
    return graph


def _restore_nodes(graph: Any, model: Any, names: Collection[str]) -> set[str]:
    """Give the named nodes their own weights, and the activation behind them that the quantiser took into their range.

    Returns the names of all nodes that are float now.
    """
    stored, there, read_by = weights(model), weights(graph), readers(model)
    present = {node.name for node in graph.graph.node}
    originals = {node.name: node for node in model.graph.node if node.name in names}
    whole, inserted, made = set(names), [], producers(graph)
    for node in graph.graph.node:
        original = originals.get(node.name)
        if original is None:
            continue
        for index, name in enumerate(original.input):
            if name in stored and index < len(node.input):
                node.input[index] = _store(graph, there, stored[name], made)
        del node.input[len(original.input) :]  # a bias that made good the rounding of weights that are float again
        after = sole_reader(original.output[0], read_by)
        if after is not None and after.op_type in ACTIVATIONS:
            whole.add(after.name)
            if after.name not in present:
                after = copy.deepcopy(after)
                for index, name in enumerate(after.input):
                    if name in stored:
                        after.input[index] = _store(graph, there, stored[name], made)
                node.output[0] = original.output[0]
                inserted.append((node.name, after))
    for name, activation in inserted:
        place = next(index for index, node in enumerate(graph.graph.node) if node.name == name)
        graph.graph.node.insert(place + 1, activation)
    return whole


def _bypass(graph: Any, whole: Collection[str]) -> None:
    """Let kept nodes read what kept nodes give, without the Q/DQ in between."""
    made_by, read_by = producers(graph), readers(graph)
    for quantise in [node for node in graph.graph.node if node.op_type == "QuantizeLinear"]:
        source = quantise.input[0]
        dequantise = sole_reader(quantise.output[0], read_by)
        if dequantise is None or source not in made_by or made_by[source].name not in whole:
            continue
        users = read_by.get(dequantise.output[0], [])
        if users and all(user.name in whole for user in users):
            for user in users:
                _reroute(user, dequantise.output[0], source)


def _reroute(node: Any, old: str, new: str) -> None:
    for index, name in enumerate(node.input):
        if name == old:
            node.input[index] = new


def _drop_unread(graph: Any) -> None:
    """Remove Q/DQ and stored tensors that nothing reads any more."""
    outputs = {value.name for value in graph.graph.output}
    while True:
        read = outputs | {name for node in graph.graph.node for name in node.input}
        dead = [
            node
            for node in graph.graph.node
            if node.op_type in ("QuantizeLinear", "DequantizeLinear") and not read.intersection(node.output)
        ]
        if not dead:
            break
        for node in dead:
            graph.graph.node.remove(node)
    for tensor in [tensor for tensor in graph.graph.initializer if tensor.name not in read]:
        graph.graph.initializer.remove(tensor)


def _store(graph: Any, there: dict[str, Any], tensor: Any, made: Collection[str]) -> str:
    """Store a tensor and return its name: another one where the quantiser gave its name to what it dequantises."""
    name = f"{tensor.name}_float" if tensor.name in made else str(tensor.name)
    if name not in there:
        added = graph.graph.initializer.add()
        added.CopyFrom(tensor)
        added.name = name
        there[name] = added
    return name
