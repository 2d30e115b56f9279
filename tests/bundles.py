"""Tiny real bundles for tests: class c's mask logits follow colour channel c % 3 (red, green, blue), untrained.

A pure red patch of 8 x 8 network pixels gives class 0 a mask logit of +14 there, grey gives -2, another primary
colour -6; the class logit is the largest mask logit, so a class "is there" as soon as a patch of its colour is.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgex.manifest import METADATA_KEY, InputSpec, Manifest, Task

LABELS = ("red", "green", "blue")
STRIDE = 8


def tiny_manifest(
    labels: Sequence[str] = LABELS, size: tuple[int, int] = (32, 32), task: Task = "multi-label", **fields: Any
) -> Manifest:
    """Return the manifest of a tiny bundle; `size` is (height, width), pixels are normalised to -1 to 1."""
    spec = InputSpec(height=size[0], width=size[1], mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return Manifest(labels=tuple(labels), task=task, input=spec, explanandum="tiny", explainer="tiny", **fields)


def write_bundle(
    path: Path,
    labels: Sequence[str] = LABELS,
    size: tuple[int, int] = (32, 32),
    *,
    task: Task = "multi-label",
    manifest: Manifest | str | None = None,
    with_manifest: bool = True,
    class_head: bool = True,
    mask_head: bool = True,
    batch: int | str = "N",
    half_weights: bool = False,
    channels_last: bool = False,
) -> Path:
    """Write a bundle ONNX and return its path.

    Parameters
    ----------
    path : file to write
    labels : names of the C classes
    size : height and width of the input, multiples of 8
    task : "multi-label" or "single-label"
    manifest : a manifest (or any text) in place of the one that fits, to contradict the graph
    with_manifest : False leaves the metadata out
    class_head, mask_head : False leaves out the output class_logits, mask_logits
    batch : a fixed batch size, or the name of a dynamic one
    half_weights : store weights in float16 and cast them to float32 in the graph
    channels_last : give mask_logits as [N, h, w, C], which is not a legal bundle
    """
    classes, (height, width) = len(labels), size
    weight = np.full((classes, 3, 1, 1), -4.0, np.float32)
    for index in range(classes):
        weight[index, index % 3] = 8.0
    bias = np.full(classes, -2.0, np.float32)
    kind = np.float16 if half_weights else np.float32
    initializers = [numpy_helper.from_array(a.astype(kind), n) for a, n in ((weight, "weight"), (bias, "bias"))]
    nodes = []
    names = ["weight", "bias"]
    if half_weights:
        nodes += [helper.make_node("Cast", [n], [n + "_f32"], to=TensorProto.FLOAT) for n in names]
        names = [n + "_f32" for n in names]
    nodes += [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[STRIDE] * 2, strides=[STRIDE] * 2),
        helper.make_node("Conv", ["small", *names], ["logits"]),
    ]
    outputs = []
    if class_head:
        nodes += [
            helper.make_node("GlobalMaxPool", ["logits"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["class_logits"]),
        ]
        outputs.append(helper.make_tensor_value_info("class_logits", TensorProto.FLOAT, [batch, classes]))
    if mask_head:
        permutation = [0, 2, 3, 1] if channels_last else [0, 1, 2, 3]
        nodes.append(helper.make_node("Transpose", ["logits"], ["mask_logits"], perm=permutation))
        shape = [batch, classes, height // STRIDE, width // STRIDE]
        shape = [shape[axis] for axis in permutation]
        outputs.append(helper.make_tensor_value_info("mask_logits", TensorProto.FLOAT, shape))
    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, 3, height, width])
    graph = helper.make_graph(nodes, "tiny", [image], outputs, initializers)
    model = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 20)], producer_name="edgex-tests", ir_version=10
    )
    onnx.checker.check_model(model, full_check=True)
    if with_manifest:
        manifest = manifest or tiny_manifest(labels, size, task)
        text = manifest if isinstance(manifest, str) else manifest.to_json()
        helper.set_model_props(model, {METADATA_KEY: text})
    path.write_bytes(model.SerializeToString())
    return path


def patched_picture(height: int = 64, width: int = 96, label: str = "red") -> np.ndarray:
    """Return a grey uint8 [height, width, 3] BGR picture whose left half is red, green or blue as `label` says."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[:, : width // 2] = {"red": (0, 0, 255), "green": (0, 255, 0), "blue": (255, 0, 0)}[label]
    return picture
