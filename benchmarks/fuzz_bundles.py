"""Breaks models and the JSON beside them, at random, as disks, editors and people with bad intentions do.

What is changed: bytes, the ONNX graph as protobuf lets one write it, where its weights stand, and entries of JSON.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Random = np.random.Generator
Model = Any  # onnx.ModelProto
TEXTS = (
    "",
    "a\nb",
    "\x1b[2J",
    "é€😀",
    "../../etc/passwd",
    "/etc/passwd",
    "logits",
    "image",
    "n" * 5000,
    "a; b: expected",
)
SIZES = (-(2**63), -2, -1, 0, 1, 2, 3, 7, 224, 8193, 65536, 2**31 - 1, 2**31, 2**40, 2**63 - 1)
VALUES: tuple[Any, ...] = (None, True, -1, 0, 3, 1e308, -1e-320, float("nan"), float("inf"), 10**400, [], {}, [[]], "1")
OPERATORS = ("Nonsense", "Loop", "If", "Scan", "NonZero", "Expand", "ConstantOfShape", "Gather", "Einsum", "Resize")
MANIFEST = "edgex.manifest"


def one_of(random: Random, choices: Sequence[Any]) -> Any:
    return choices[int(random.integers(len(choices)))]


def changed_bytes(random: Random, content: bytes) -> bytes:
    """Return bytes with some flipped, cut off, moved or made up."""
    data = bytearray(content)
    first, last = sorted(int(place) for place in random.integers(0, len(data) + 1, 2))
    match int(random.integers(8)):
        case 0 | 1:
            for place in random.integers(0, len(data), int(random.integers(1, 8))) if data else ():
                data[place] ^= 1 << int(random.integers(8))
        case 2:
            del data[first:]
        case 3:
            del data[first:last]
        case 4:
            data[first:first] = data[first:last]
        case 5:
            data[first:first] = random.bytes(int(random.integers(1, 30)))
        case 6:
            data[first:last] = bytes(last - first)
        case 7:
            data = bytearray(random.bytes(int(random.integers(0, 400))))
    return bytes(data)


def changed_json(random: Random, text: str) -> str:
    """Return JSON with an entry replaced, left out or made up, or a text that is hardly JSON."""
    if random.random() < 0.15:
        odd = ("", "[" * 100_000, '{"a":' * 5000, "null", "3")
        texts = (*odd, "\ufeff" + text, text + text, text.replace(":", "=", 1))
        return str(one_of(random, texts))
    try:
        tree = json.loads(text)
    except ValueError:
        return text
    places = list(_places(tree))
    holder, key = one_of(random, places) if places else ([0], 0)
    match int(random.integers(5)):
        case 0:
            del holder[key]
        case 1 if isinstance(holder, dict):
            holder[one_of(random, TEXTS)] = holder[key]
        case 2:
            holder[key] = one_of(random, places)[0]
        case 3:
            holder[key] = one_of(random, (*TEXTS, "\ud800", "tensorrt", "tensorrt-rtx", "openvino", "99.0", "0" * 64))
        case _:
            holder[key] = one_of(random, VALUES)
    try:
        return json.dumps(tree)
    except ValueError:  # an entry put into itself
        return json.dumps(text)


def _places(tree: Any) -> Any:
    entries = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    for key, value in list(entries):
        yield tree, key
        yield from _places(value)


def nodes(random: Random, model: Model) -> None:
    """Remove, repeat or shuffle nodes, or wire one to what it must not read."""
    graph = model.graph
    if not graph.node:
        return
    node = one_of(random, graph.node)
    names = [name for each in graph.node for name in (*each.input, *each.output)] or [""]
    match int(random.integers(9)):
        case 0:
            graph.node.remove(node)
        case 1:
            graph.node.append(node)
        case 2:
            order = [graph.node[place] for place in random.permutation(len(graph.node))]
            del graph.node[:]
            graph.node.extend(order)
        case 3 | 4 if node.input:  # a cycle, or a tensor that nobody gives
            node.input[int(random.integers(len(node.input)))] = one_of(random, (*node.output, *names, *TEXTS))
        case 5 if node.output:
            node.output[int(random.integers(len(node.output)))] = one_of(random, (*names, *TEXTS))
        case 6:
            del (node.input if random.random() < 0.5 else node.output)[:]
        case 7:
            node.input.extend([one_of(random, names)] * int(random.integers(1, 300)))
        case _:
            node.name = one_of(random, TEXTS)


def operators(random: Random, model: Model) -> None:
    """Name another operator or domain, change an attribute, or put in a node that no exporter would write."""
    graph = model.graph
    node = one_of(random, graph.node) if graph.node else graph.node.add()
    match int(random.integers(7)):
        case 0:
            node.op_type = one_of(random, (*OPERATORS, *TEXTS, *{each.op_type for each in graph.node}))
        case 1:
            node.domain = one_of(random, ("com.nobody", "ai.onnx.ml", "com.microsoft", *TEXTS))
        case 2 if node.attribute:
            attribute = one_of(random, node.attribute)
            attribute.ints[:] = [one_of(random, SIZES) for _ in range(int(random.integers(0, 5)))]
        case 3 if node.attribute:
            attribute = one_of(random, node.attribute)
            attribute.type = int(random.integers(0, 15))
        case 4:
            node.attribute.append(
                helper.make_attribute(one_of(random, ("axis", "to", "pads", "group")), one_of(random, SIZES))
            )
        case 5:  # asks for memory that nobody has
            shape = numpy_helper.from_array(
                np.array([one_of(random, (0, 1, 65536, 2**40, 2**63 - 1))], np.int64), "size"
            )
            graph.initializer.append(shape)
            graph.node.insert(0, helper.make_node("ConstantOfShape", ["size"], [f"big{random.integers(3)}"]))
            graph.node.append(helper.make_node("ReduceSum", ["big0"], ["total"]))
        case _:
            branch = helper.make_graph([helper.make_node("Identity", ["logits"], ["r"])], "b", [], [])
            for _ in range(int(random.integers(1, 60))):
                inner = helper.make_node("If", ["image"], ["r"], then_branch=branch, else_branch=branch)
                branch = helper.make_graph([inner], "b", [], [])
                if branch.ByteSize() > 50_000:
                    break
            graph.node.extend(branch.node)


def tensors(random: Random, model: Model) -> None:
    """Change a stored tensor, or what the graph says of its input and outputs."""
    graph = model.graph
    values = [*graph.input, *graph.output]
    value = one_of(random, values) if values else graph.input.add()
    tensor = one_of(random, graph.initializer) if graph.initializer else graph.initializer.add()
    shape = value.type.tensor_type.shape.dim
    match int(random.integers(10)):
        case 0:
            tensor.data_type = int(random.integers(-1, 30))
        case 1:
            tensor.dims[:] = [one_of(random, SIZES) for _ in range(int(random.integers(0, 6)))]
        case 2:
            tensor.raw_data = changed_bytes(random, tensor.raw_data)
        case 3:
            count = len(tensor.raw_data) // 4
            tensor.raw_data = np.full(
                count, one_of(random, (np.nan, np.inf, -np.inf, 3e38, 1e-45)), np.float32
            ).tobytes()
        case 4 | 5 if shape:
            axis = one_of(random, shape)
            axis.dim_value = one_of(random, SIZES)
            if random.random() < 0.3:
                axis.dim_param = one_of(random, TEXTS)
        case 6:
            value.type.tensor_type.elem_type = int(random.integers(-1, 30))
        case 7:
            value.name = one_of(random, (*TEXTS, "class_logits", "mask_logits"))
        case 8:
            (graph.output if random.random() < 0.5 else graph.input).append(value)
        case _:
            value.type.Clear()
            if random.random() < 0.5:
                value.type.sequence_type.elem_type.tensor_type.elem_type = 1


def headers(random: Random, model: Model) -> None:
    """Change versions, names, metadata or the manifest."""
    match int(random.integers(6)):
        case 0:
            model.ir_version = one_of(random, SIZES)
        case 1:
            model.opset_import.add(domain=one_of(random, ("", "ai.onnx", "com.nobody")), version=one_of(random, SIZES))
        case 2:
            del model.opset_import[:]
            model.opset_import.add(version=one_of(random, (1, 7, 9, 11, 13, 15, 23, 99)))
        case 3:
            model.producer_name = model.graph.name = one_of(random, TEXTS)
            model.functions.add(name="f", domain=one_of(random, TEXTS), node=list(model.graph.node)[:2])
        case _:
            for entry in model.metadata_props:
                if entry.key == MANIFEST:
                    text = changed_json(random, entry.value)
                    entry.value = text.encode("utf-8", "replace").decode()


def external(random: Random, model: Model) -> None:
    """Put a tensor's values into a file beside the model, that is missing, too short or another's."""
    if not model.graph.initializer:
        return
    tensor = one_of(random, model.graph.initializer)
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    places = ("weights.bin", "missing.bin", ".", "model.onnx", "weights.bin/x", "w\0.bin", "link.bin", *TEXTS)
    tensor.external_data.add(key="location", value=one_of(random, places))
    for key in ("offset", "length"):
        if random.random() < 0.5:
            tensor.external_data.add(key=key, value=str(one_of(random, (*SIZES, "x", "", 10**30))))


GRAPH: tuple[Callable[[Random, Model], None], ...] = (nodes, operators, tensors, headers, external)


def changed_model(random: Random, content: bytes) -> tuple[list[str], bytes]:
    """Return what was changed in a sound ONNX file, and its bytes then."""
    if random.random() < 0.3:
        return ["bytes"], changed_bytes(random, content)
    model, done = onnx.ModelProto.FromString(content), []
    for _ in range(int(random.integers(1, 4))):
        change = one_of(random, GRAPH)
        before = model.SerializeToString()
        try:
            change(random, model)
            done.append(change.__name__)
        except (ValueError, TypeError):  # protobuf itself does not write it
            model = onnx.ModelProto.FromString(before)
    return done, model.SerializeToString()
