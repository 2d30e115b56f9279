"""The prepared graph: folded, lifted, every node named, and still the same function."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from edgex.errors import ModelError
from edgex.graph import (
    float_tensors,
    heads,
    is_weighted,
    prepare,
    producers,
    readers,
    require_float,
    sole_reader,
    stems,
    weights,
)
from edgex.onnx_file import read_onnx
from tests.bundles import write_bundle
from tests.engines.built import write_quantised
from tests.small_networks import make_model, write_small


def run(model: Any, seed: int = 0, size: int = 32) -> list[np.ndarray]:
    content = model.read_bytes() if isinstance(model, Path) else model.SerializeToString()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    image = np.random.default_rng(seed).uniform(-1, 1, (2, 3, size, size)).astype(np.float32)
    answers: list[np.ndarray] = session.run(None, {"image": image})
    return answers


def same(one: Any, other: Any) -> bool:
    return all(np.allclose(a, b, rtol=0, atol=2e-5) for a, b in zip(run(one), run(other), strict=True))


@pytest.mark.parametrize("opset", [11, 12, 13, 17])
def test_any_opset_becomes_one_that_can_be_quantised_and_computes_the_same(tmp_path: Path, opset: int) -> None:
    path = write_small(tmp_path / "small.onnx", opset=opset)
    model = prepare(path)
    assert {entry.domain: entry.version for entry in model.opset_import} == {"": max(opset, 13) if opset > 12 else 17}
    assert same(path, model)
    onnx.checker.check_model(model, full_check=True)


def test_the_manifest_stays(tmp_path: Path) -> None:
    path = write_small(tmp_path / "small.onnx")
    model = prepare(path)
    assert {entry.key: entry.value for entry in model.metadata_props} == dict(read_onnx(path).metadata)


def test_weights_in_half_precision_are_folded(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "half.onnx", half_weights=True)
    model = prepare(path)
    assert "Cast" not in {node.op_type for node in model.graph.node}
    assert {tensor.data_type for tensor in model.graph.initializer} == {onnx.TensorProto.FLOAT}
    assert same(path, model)


def test_weights_in_constants_are_stored_and_batch_norms_folded(tmp_path: Path) -> None:
    chance = np.random.default_rng(0)
    weight = onnx.numpy_helper.from_array(chance.normal(0, 1, (4, 3, 1, 1)).astype(np.float32))
    nodes = [
        helper.make_node("Constant", [], ["w"], value=weight),
        helper.make_node("Conv", ["image", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", "scale", "shift", "mean", "variance"], ["n"]),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    stored = {name: chance.uniform(0.5, 1, 4) for name in ("scale", "shift", "mean", "variance")}
    path = tmp_path / "norm.onnx"
    path.write_bytes(make_model(nodes, stored, {"y": ["N", 4, 32, 32]}, ["N", 3, 32, 32]).SerializeToString())
    model = prepare(path)
    assert [node.op_type for node in model.graph.node] == ["Conv", "Relu"]
    assert set(weights(model)) >= set(model.graph.node[0].input[1:])
    assert same(path, model)


def test_every_node_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = write_small(tmp_path / "small.onnx")
    model = onnx.load(path)
    for node in model.graph.node:
        node.name = ""
    model.graph.node[-1].name = "Conv_0_stem.y"  # what the first would be called
    path.write_bytes(model.SerializeToString())
    names = [node.name for node in prepare(path).graph.node]
    assert all(names)
    assert len(set(names)) == len(names)
    assert names == [node.name for node in prepare(path).graph.node]


def test_a_quantised_model_is_refused(tmp_path: Path) -> None:
    path = write_quantised(write_bundle(tmp_path / "tiny.onnx"), tmp_path / "q.onnx")
    with pytest.raises(ModelError, match=r"quantised already .*name the model it was made from"):
        prepare(path)
    require_float(read_onnx(tmp_path / "tiny.onnx"))


def test_a_graph_that_cannot_run_is_refused_in_one_sentence(tmp_path: Path) -> None:
    path = write_small(tmp_path / "small.onnx")
    model = onnx.load(path)
    model.graph.node[0].op_type = "Convolve"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match="expected a graph that ONNX Runtime can load") as refused:
        prepare(path)
    assert "\n" not in str(refused.value)


def test_external_weights_are_taken_in(tmp_path: Path) -> None:
    path = write_small(tmp_path / "small.onnx")
    (tmp_path / "apart").mkdir()
    apart = tmp_path / "apart" / "model.onnx"
    onnx.save(onnx.load(path), apart, save_as_external_data=True, location="weights.bin", size_threshold=0)
    model = prepare(apart)
    assert same(path, model)


def test_who_gives_and_who_reads(tmp_path: Path) -> None:
    model = prepare(write_small(tmp_path / "small.onnx", pairs=1))
    made_by, read_by = producers(model), readers(model)
    assert made_by["sum0.y"].op_type == "Add"
    assert sorted(node.name for node in read_by["down.a"]) == ["grow0", "sum0"]
    assert sole_reader("down.a", read_by) is None
    assert sole_reader("up.y", read_by).op_type == "Clip"
    assert sole_reader("mask_logits", read_by) is None


def test_heads_reach_back_to_the_last_weights(tmp_path: Path) -> None:
    model = prepare(write_small(tmp_path / "small.onnx"))
    stored = weights(model)
    found = heads(model)
    assert found == {"head", "masks", "best", "scores"}
    assert [node.name for node in model.graph.node if node.name in found and is_weighted(node, stored)] == ["head"]


def test_float_activations_are_known(tmp_path: Path) -> None:
    model = prepare(write_small(tmp_path / "small.onnx"))
    found = float_tensors(model)
    assert {"image", "up.a", "sum1.y", "mask_logits", "class_logits"} <= found
    assert not found & set(weights(model))


def test_stems_see_the_picture_itself_or_stand_depthwise_right_behind(tmp_path: Path) -> None:
    assert stems(prepare(write_small(tmp_path / "small.onnx"))) == {"stem"}
    ones = {name: np.ones(shape) for name, shape in (("a", (4, 3, 1, 1)), ("b", (4, 1, 1, 1)), ("c", (4, 4, 1, 1)))}
    nodes = [
        helper.make_node("Conv", ["image", "a"], ["x"], name="first"),
        helper.make_node("Conv", ["x", "b"], ["y"], name="depthwise", group=4),
        helper.make_node("Conv", ["y", "b"], ["z"], name="depthwise-again", group=4),
        helper.make_node("Conv", ["z", "c"], ["last"], name="last"),
    ]
    assert stems(make_model(nodes, ones, {"last": ["N", 4, 32, 32]}, ["N", 3, 32, 32])) == {"first", "depthwise"}


def test_what_folding_left_behind_is_no_tensor(tmp_path: Path) -> None:
    model = prepare(write_small(tmp_path / "small.onnx"))
    model.graph.value_info.append(helper.make_tensor_value_info("gone", onnx.TensorProto.FLOAT, [1]))
    assert "gone" not in float_tensors(model)
