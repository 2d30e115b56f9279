"""Small networks whose convolutions can be quantised, and pictures for them: what the tests of `build` stand on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from edgex.manifest import METADATA_KEY
from tests.bundles import LABELS, patched_picture, tiny_manifest

SIZE = 32


def make_model(
    nodes: Sequence[Any], stored: dict[str, Any], outputs: dict[str, list[Any]], image: list[Any], opset: int = 17
) -> Any:
    """Return a checked model of one float32 input `image`."""
    graph = helper.make_graph(
        list(nodes),
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(np.asarray(array, np.float32), name) for name, array in stored.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model, full_check=True)
    return model


def write_small(
    path: Path, *, loud: float = 1.0, pairs: int = 2, opset: int = 17, manifest: bool = True, seed: int = 0
) -> Path:
    """Write a bundle that tells colours as tests/bundles.py does, through convolutions, clips and a sum for each pair.

    Parameters
    ----------
    path : file to write
    loud : what the first channel between the convolutions `up` and `down` is multiplied with: one range for all eight
        channels then leaves nothing of the others, while FP32 does not mind
    pairs : residual blocks behind them, of two convolutions and a sum each
    opset : of the graph
    manifest : whether it says what it is
    seed : of the small weights off the main path
    """
    chance = np.random.default_rng(seed)
    width = 8
    stored: dict[str, Any] = {"zero": 0.0, "six": 6.0, "most": 6.0 * loud}
    nodes = []

    def conv(name: str, source: str, weight: np.ndarray, bias: np.ndarray, act: str = "", **more: Any) -> str:
        stored[f"{name}.w"], stored[f"{name}.b"] = weight, bias
        nodes.append(helper.make_node("Conv", [source, f"{name}.w", f"{name}.b"], [f"{name}.y"], name=name, **more))
        if act == "Relu":
            nodes.append(helper.make_node("Relu", [f"{name}.y"], [f"{name}.a"], name=f"{name}.relu"))
        elif act:
            nodes.append(helper.make_node("Clip", [f"{name}.y", "zero", act], [f"{name}.a"], name=f"{name}.clip"))
        return f"{name}.a" if act else f"{name}.y"

    def noise(*shape: int) -> np.ndarray:
        return chance.normal(0.0, 0.02, shape).astype(np.float32)

    stem = noise(width, 3, 3, 3)
    for channel in range(6):  # positive and negative part of each colour
        stem[channel, channel // 2, 1, 1] += 1.0 if channel % 2 == 0 else -1.0
    x = conv("stem", "image", stem, noise(width), "Relu", pads=[1] * 4)
    factors = np.ones(width, np.float32)
    factors[0] = loud
    one = np.eye(width, dtype=np.float32)[:, :, None, None]
    x = conv("up", x, (one + noise(width, width, 1, 1)) * factors[:, None, None, None], noise(width) * factors, "most")
    x = conv("down", x, (one + noise(width, width, 1, 1)) / factors[None, :, None, None], noise(width), "Relu")
    for pair in range(pairs):
        y = conv(f"grow{pair}", x, 0.5 * one + noise(width, width, 3, 3), noise(width), "six", pads=[1] * 4)
        y = conv(f"shrink{pair}", y, 0.5 * one + noise(width, width, 1, 1), noise(width))
        nodes.append(helper.make_node("Add", [x, y], [f"sum{pair}.y"], name=f"sum{pair}"))
        x = f"sum{pair}.y"
    head = np.zeros((3, width, 1, 1), np.float32)
    for label in range(3):
        for colour in range(3):
            value = 4.0 if colour == label else -2.0
            head[label, 2 * colour], head[label, 2 * colour + 1] = value, -value
    x = conv("last", x, np.float32(0.5) * one + noise(width, width, 1, 1), noise(width), "Relu")
    nodes.append(helper.make_node("AveragePool", [x], ["cells"], name="cells", kernel_shape=[4, 4], strides=[4, 4]))
    conv("head", "cells", head, np.full(3, -2.0, np.float32))
    nodes += [
        helper.make_node("Transpose", ["head.y"], ["mask_logits"], name="masks", perm=[0, 1, 2, 3]),
        helper.make_node("GlobalMaxPool", ["head.y"], ["best"], name="best"),
        helper.make_node("Flatten", ["best"], ["class_logits"], name="scores"),
    ]
    outputs = {"class_logits": ["N", 3], "mask_logits": ["N", 3, SIZE // 4, SIZE // 4]}
    model = make_model(nodes, stored, outputs, ["N", 3, SIZE, SIZE], opset)
    if manifest:
        helper.set_model_props(model, {METADATA_KEY: tiny_manifest(LABELS, (SIZE, SIZE)).to_json()})
    path.write_bytes(model.SerializeToString())
    return path


def write_pictures(folder: Path, count: int = 48, size: int = SIZE) -> Path:
    """Write pictures with a patch of one colour each, noise over all, and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        cv2.imwrite(str(folder / f"{index:03}.png"), picture(index, size))
    return folder


def picture(index: int, size: int = SIZE) -> np.ndarray:
    chance = np.random.default_rng(index)
    patch = patched_picture(size, size, LABELS[index % 3]).astype(int)
    patch = np.roll(patch, int(chance.integers(size)), axis=1) + chance.normal(0, 12, patch.shape).astype(int)
    return patch.clip(0, 255).astype(np.uint8)
