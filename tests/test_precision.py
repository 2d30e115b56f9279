"""Where Q/DQ stands in each recipe, what bias correction takes away, and what `restore` gives back."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper, numpy_helper

from edgex.bias_correction import correct_biases, mean_shift
from edgex.calibrate import CalibrateOptions, calibrate, with_outputs
from edgex.calibration import Calibration
from edgex.errors import ModelError
from edgex.graph import heads, prepare, producers, readers, stems, weights
from edgex.image_input import image_input
from edgex.onnx_file import read_onnx
from edgex.precision import CPU, RECIPES, TENSORRT, Recipe, quantised_nodes, quantize, to_float16
from edgex.restore import BLOCK, blocks, restore
from tests.bundles import write_bundle
from tests.small_networks import make_model, picture, write_pictures, write_small

EITHER = pytest.mark.parametrize("recipe", [CPU, TENSORRT], ids=["cpu", "tensorrt"])
FLOAT = {"stem", "head"}  # convolutions that no recipe rounds


class Made(NamedTuple):
    model: Any
    calibration: Calibration
    every: list[np.ndarray]  # frame of the calibration
    inputs: list[np.ndarray]  # some of them


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    folder = tmp_path_factory.mktemp("precision")
    path = write_small(folder / "small.onnx")
    options = CalibrateOptions(
        path, str(write_pictures(folder / "frames")), method="minmax", held_back=False, threads=1
    )
    image = image_input(read_onnx(path))
    inputs = [image.tensor(picture(index)) for index in range(48)]
    return Made(prepare(path), calibrate(options)[0], inputs, inputs[::6])


def run(model: Any, inputs: list[np.ndarray], outputs: list[str] | None = None) -> dict[str, np.ndarray]:
    """Return each output over all inputs, in the arithmetic that the graph itself says: nothing is fused."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = outputs or [value.name for value in session.get_outputs()]
    found = [session.run(names, {"image": tensor}) for tensor in inputs]
    return {name: np.concatenate([each[i] for each in found]) for i, name in enumerate(names)}


def largest(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> float:
    return max(float(np.abs(one[name] - other[name]).max()) for name in one)


def stored_arrays(model: Any) -> dict[str, np.ndarray]:
    return {name: numpy_helper.to_array(tensor) for name, tensor in weights(model).items()}


def dequantised_weight(model: Any, name: str) -> np.ndarray | None:
    """Return the weight that a node computes with, or None where it is stored in float."""
    node = next(node for node in model.graph.node if node.name == name)
    maker, arrays = producers(model).get(node.input[1]), stored_arrays(model)
    if maker is None:
        return None
    integers, scale = arrays[maker.input[0]], arrays[maker.input[1]]
    assert integers.dtype == np.int8
    assert scale.shape == (len(integers),)
    assert not arrays[maker.input[2]].any()
    dequantised: np.ndarray = integers.astype(np.float32) * scale.reshape(-1, 1, 1, 1)
    return dequantised


@EITHER
def test_a_quantised_graph_is_whole_and_close(made: Made, recipe: Recipe) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    onnx.checker.check_model(quantised, full_check=True)
    assert [entry.name for entry in quantised.graph.output] == ["class_logits", "mask_logits"]
    whole, rounded = run(made.model, made.inputs), run(quantised, made.inputs)
    assert 0 < largest(whole, rounded) < 0.15 * np.abs(whole["mask_logits"]).max()


@EITHER
def test_quantising_changes_neither_the_model_nor_itself(made: Made, recipe: Recipe) -> None:
    before = made.model.SerializeToString(deterministic=True)
    one, other = (quantize(made.model, made.calibration, recipe) for _ in range(2))
    assert made.model.SerializeToString(deterministic=True) == before
    assert one.SerializeToString(deterministic=True) == other.SerializeToString(deterministic=True)


@EITHER
def test_nodes_stand_in_an_order_that_can_be_run(made: Made, recipe: Recipe) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    for graph in (quantised, restore(quantised, made.model, blocks(made.model, made.calibration, recipe)[1:])):
        known = {"image", "", *weights(graph)}
        for node in graph.graph.node:
            assert set(node.input) <= known, node.name
            known.update(node.output)


@EITHER
def test_heads_and_stems_stay_float(made: Made, recipe: Recipe) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    assert all(dequantised_weight(quantised, name) is None for name in FLOAT)
    assert not any("image" in node.input for node in quantised.graph.node if node.op_type == "QuantizeLinear")
    made_by = producers(quantised)
    for name in ("class_logits", "mask_logits", "head.y"):
        assert made_by[name].op_type != "DequantizeLinear"
    assert not (heads(made.model) | stems(made.model)) & set(quantised_nodes(made.model, made.calibration, recipe))


@EITHER
@pytest.mark.parametrize("narrow", [False, True])
def test_weights_are_int8_for_each_channel(made: Made, recipe: Recipe, narrow: bool) -> None:
    quantised = quantize(made.model, made.calibration, recipe, narrow)
    originals = stored_arrays(made.model)
    levels = 64 if narrow else 127
    for node in made.model.graph.node:
        if node.op_type != "Conv" or node.name in FLOAT:
            continue
        weight, rounded = originals[node.input[1]], dequantised_weight(quantised, node.name)
        assert rounded is not None
        steps = np.abs(weight).reshape(len(weight), -1).max(axis=1) / levels
        error = np.abs(rounded - weight).reshape(len(weight), -1).max(axis=1)
        assert (error <= steps * 0.5001 + 1e-7).all()
    integers = [array for array in stored_arrays(quantised).values() if array.dtype == np.int8 and array.ndim == 4]
    assert max(np.abs(array.astype(int)).max() for array in integers) == levels


@pytest.mark.parametrize(("recipe", "kind"), [(CPU, "uint8"), (TENSORRT, "int8")], ids=["cpu", "tensorrt"])
def test_activations_have_the_recipe_s_type_and_the_calibration_s_range(made: Made, recipe: Recipe, kind: str) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    arrays, found = stored_arrays(quantised), 0
    for node in quantised.graph.node:
        if node.op_type != "QuantizeLinear":
            continue
        found += 1
        scale, zero = arrays[node.input[1]], arrays[node.input[2]]
        assert zero.dtype == kind
        assert zero.size == 1
        name = "last.a" if node.input[0] == "cells" else node.input[0]  # a pool changes no range: both share one scale
        low, high = made.calibration.ranges[name]
        if kind == "int8":
            assert zero == 0
            assert scale == pytest.approx(max(-low, high) / 127, rel=1e-5)
        else:
            assert scale == pytest.approx((high - low) / 255, rel=1e-5)
            assert abs(int(zero) - round(-low / float(scale))) <= 1
    assert found >= 7


def test_tensorrt_biases_are_float_and_the_cpu_s_are_integers(made: Made) -> None:
    for recipe, kind in ((CPU, np.int32), (TENSORRT, np.float32)):
        quantised = quantize(made.model, made.calibration, recipe)
        arrays, made_by = stored_arrays(quantised), producers(quantised)
        for node in quantised.graph.node:
            if node.op_type == "Conv" and node.name not in FLOAT:
                bias = made_by[node.input[2]].input[0] if kind is np.int32 else node.input[2]
                assert arrays[bias].dtype == kind, node.name


def test_tensorrt_quantises_what_convolutions_read_and_the_skip_of_a_sum_alone(made: Made) -> None:
    quantised = quantize(made.model, made.calibration, TENSORRT)
    made_by, read_by = producers(quantised), readers(quantised)
    for node in quantised.graph.node:
        if node.op_type == "QuantizeLinear":
            (dequantise,) = read_by[node.output[0]]
            assert {reader.op_type for reader in read_by[dequantise.output[0]]} <= {"Conv", "Add"}
    for pair, skip in enumerate(("down.a", "sum0.y")):
        addition = next(node for node in quantised.graph.node if node.name == f"sum{pair}")
        assert made_by[addition.input[0]].op_type == "DequantizeLinear"
        assert made_by[made_by[addition.input[0]].input[0]].input[0] == skip
        assert made_by[addition.input[1]].name == f"shrink{pair}"  # fused with the sum: no Q/DQ in between


def test_a_skip_is_quantised_once_and_whatever_side_it_stands_on(made: Made) -> None:
    model = onnx.ModelProto()
    model.CopyFrom(made.model)
    addition = next(node for node in model.graph.node if node.name == "sum0")
    skip, straight = addition.input
    addition.input[:] = [straight, skip]
    quantised = quantize(model, made.calibration, TENSORRT)
    addition = next(node for node in quantised.graph.node if node.name == "sum0")
    assert producers(quantised)[addition.input[1]].op_type == "DequantizeLinear"
    sources = [node.input[0] for node in quantised.graph.node if node.op_type == "QuantizeLinear"]
    assert sorted(sources) == sorted(set(sources))


def test_the_cpu_quantises_sums_and_the_tensors_around_them(made: Made) -> None:
    quantised = quantize(made.model, made.calibration, CPU)
    made_by, read_by = producers(quantised), readers(quantised)
    for addition in (node for node in quantised.graph.node if node.op_type == "Add"):
        assert {made_by[name].op_type for name in addition.input} == {"DequantizeLinear"}
        assert {node.op_type for node in read_by[addition.output[0]]} == {"QuantizeLinear"}


def test_recipes_of_the_backends() -> None:
    assert RECIPES["onnxruntime"] is RECIPES["openvino"] is CPU
    assert RECIPES["tensorrt"] is RECIPES["tensorrt-rtx"] is TENSORRT


@EITHER
def test_a_model_of_heads_alone_cannot_be_quantised(tmp_path: Path, recipe: Recipe) -> None:
    path = write_bundle(tmp_path / "tiny.onnx")
    data = write_pictures(tmp_path / "frames", 8)
    calibration, _ = calibrate(CalibrateOptions(path, str(data), threads=1))
    with pytest.raises(ModelError, match="expected nodes that can be quantised"):
        quantize(prepare(path), calibration, recipe)


def test_a_tensor_without_range_stays_float(made: Made) -> None:
    import dataclasses

    ranges = {name: pair for name, pair in made.calibration.ranges.items() if name != "up.a"}
    calibration = dataclasses.replace(made.calibration, ranges=ranges)
    quantised = quantize(made.model, calibration, CPU)
    assert dequantised_weight(quantised, "down") is None
    assert dequantised_weight(quantised, "grow0") is not None
    run(quantised, made.inputs[:1])


def test_half_precision_keeps_inputs_and_outputs(made: Made) -> None:
    half = to_float16(made.model)
    kinds = {tensor.data_type for tensor in half.graph.initializer}
    assert kinds == {onnx.TensorProto.FLOAT16}
    ends = [*half.graph.input, *half.graph.output]
    assert {value.type.tensor_type.elem_type for value in ends} == {onnx.TensorProto.FLOAT}
    whole, rounded = run(made.model, made.inputs), run(half, made.inputs)
    assert 0 < largest(whole, rounded) < 0.02 * np.abs(whole["mask_logits"]).max()


# Bias correction


def rounded_weight(weight: np.ndarray, levels: int) -> np.ndarray:
    scale = np.abs(weight).reshape(len(weight), -1).max(axis=1).reshape(-1, 1, 1, 1) / levels
    found: np.ndarray = np.round(weight / scale) * scale
    return found


def convolved(weight: np.ndarray, bias: np.ndarray, image: np.ndarray, groups: int) -> np.ndarray:
    node = helper.make_node("Conv", ["image", "w", "b"], ["y"], group=groups)
    shape = ["N", len(weight), None, None]
    model = make_model([node], {"w": weight, "b": bias}, {"y": shape}, list(image.shape))
    return run(model, [image])["y"]


@pytest.mark.parametrize(("inputs", "outputs", "groups"), [(6, 4, 1), (6, 6, 6), (6, 12, 6), (6, 4, 2)])
@pytest.mark.parametrize("levels", [127, 64, 3])
def test_the_mean_shift_is_taken_away(inputs: int, outputs: int, groups: int, levels: int) -> None:
    chance = np.random.default_rng(levels + groups)
    weight = chance.normal(0, 1, (outputs, inputs // groups, 3, 3)).astype(np.float32)
    bias = chance.normal(0, 1, outputs).astype(np.float32)
    means = chance.uniform(-1, 3, inputs)
    image = np.broadcast_to(means.astype(np.float32)[None, :, None, None], (1, inputs, 7, 7)).copy()
    shift = mean_shift(weight, means, levels)
    assert shift is not None
    wanted = convolved(weight, bias, image, groups).mean(axis=(0, 2, 3))
    rounded = rounded_weight(weight, levels).astype(np.float32)
    shifted = convolved(rounded, bias, image, groups).mean(axis=(0, 2, 3))
    mended = convolved(rounded, (bias - shift).astype(np.float32), image, groups).mean(axis=(0, 2, 3))
    assert np.abs(mended - wanted).max() < 1e-4
    assert np.abs(shifted - wanted).max() > 10 * np.abs(mended - wanted).max()


def test_shapes_that_do_not_fit_are_left_alone() -> None:
    weight = np.ones((4, 3, 1, 1), np.float32)
    assert mean_shift(weight, np.ones(5), 127) is None
    assert mean_shift(weight, np.ones(9), 127) is None


def test_a_weight_of_zeros_shifts_nothing() -> None:
    shift = mean_shift(np.zeros((4, 3, 1, 1), np.float32), np.ones(3), 127)
    assert shift is not None
    assert not shift.any()


def test_channels_keep_their_mean_in_the_graph(made: Made) -> None:
    """A convolution of 1 x 1 over the very frames of the calibration, its weights rounded to few levels, no more."""
    levels = 7
    plain, corrected = onnx.ModelProto(), correct_biases(made.model, made.calibration, {"down"}, levels)
    plain.CopyFrom(made.model)
    for model in (plain, corrected):
        tensor = weights(model)["down.w"]
        rough = rounded_weight(numpy_helper.to_array(tensor), levels).astype(np.float32)
        tensor.CopyFrom(numpy_helper.from_array(rough, "down.w"))
    wanted, shifted, mended = (
        run(with_outputs(model, ["down.y"]), made.every, ["down.y"])["down.y"].mean(axis=(0, 2, 3), dtype=np.float64)
        for model in (made.model, plain, corrected)
    )
    assert np.abs(shifted - wanted).max() > 1e-3
    assert np.abs(mended - wanted).max() < 1e-5


def test_a_bias_is_corrected_for_its_own_node_only(made: Made) -> None:
    shared = onnx.ModelProto()
    shared.CopyFrom(made.model)
    nodes = {node.name: node for node in shared.graph.node}
    nodes["shrink0"].input[2] = nodes["shrink1"].input[2]
    corrected = correct_biases(shared, made.calibration, {"shrink0"}, 127)
    found = {node.name: node.input[2] for node in corrected.graph.node if node.op_type == "Conv"}
    assert found["shrink0"] == "shrink0_corrected_bias"
    assert found["shrink1"] == "shrink1.b"
    assert "shrink1.b" in weights(corrected)
    onnx.checker.check_model(corrected)


def test_a_convolution_without_bias_gets_one(made: Made) -> None:
    bare = onnx.ModelProto()
    bare.CopyFrom(made.model)
    node = next(node for node in bare.graph.node if node.name == "grow1")
    del node.input[2]
    for recipe in (CPU, TENSORRT):
        quantised = quantize(bare, made.calibration, recipe)
        assert len(next(node for node in quantised.graph.node if node.name == "grow1").input) == 3
        kept = next(block for block in blocks(bare, made.calibration, recipe) if "grow1" in block)
        restored = restore(quantised, bare, [kept])
        assert len(next(node for node in restored.graph.node if node.name == "grow1").input) == 2
        run(restored, made.inputs[:1])


# Restore


@EITHER
def test_blocks_hold_neighbours_and_every_quantised_weight(made: Made, recipe: Recipe) -> None:
    found = blocks(made.model, made.calibration, recipe)
    names = [name for block in found for name in block]
    order = [node.name for node in made.model.graph.node]
    assert names == sorted(set(names), key=order.index)
    assert all(len(block) == BLOCK for block in found[:-1])
    convolutions = {node.name for node in made.model.graph.node if node.op_type == "Conv"}
    assert set(names) >= convolutions - FLOAT


@EITHER
def test_nothing_kept_is_the_graph_itself(made: Made, recipe: Recipe) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    assert restore(quantised, made.model, []) is quantised


@EITHER
def test_everything_kept_is_the_float_model(made: Made, recipe: Recipe) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    before = quantised.SerializeToString(deterministic=True)
    every = blocks(made.model, made.calibration, recipe)
    restored = restore(quantised, made.model, every)
    assert quantised.SerializeToString(deterministic=True) == before
    onnx.checker.check_model(restored, full_check=True)
    originals, found = stored_arrays(made.model), stored_arrays(restored)
    for node in made.model.graph.node:
        if node.op_type == "Conv":
            now = next(other for other in restored.graph.node if other.name == node.name)
            assert list(now.input[1:]) == list(node.input[1:])
            assert all(np.array_equal(found[name], originals[name]) for name in node.input[1:])
    left = {node.input[0] for node in restored.graph.node if node.op_type == "QuantizeLinear"}
    skips = {
        "down.a",
        "sum0.y",
        "sum1.y",
    }  # of sums: TensorRT's recipe rounds them for the Conv that fuses, kept or not
    assert left <= {"stem.a", "last.a", "cells"} | skips, "between kept nodes nothing is rounded"


def test_everything_kept_computes_what_the_float_model_does(made: Made) -> None:
    restored = restore(
        quantize(made.model, made.calibration, CPU), made.model, blocks(made.model, made.calibration, CPU)
    )
    wanted = run(made.model, made.inputs)
    rounded = largest(run(quantize(made.model, made.calibration, CPU), made.inputs), wanted)
    assert largest(run(restored, made.inputs), wanted) < 0.5 * rounded


@EITHER
def test_each_block_that_is_kept_leaves_a_graph_that_runs(made: Made, recipe: Recipe) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    every = blocks(made.model, made.calibration, recipe)
    wanted = run(made.model, made.inputs)
    for index, block in enumerate(every):
        restored = restore(quantised, made.model, [block])
        onnx.checker.check_model(restored, full_check=True)
        for name in (name for each in every for name in each):
            node = next(node for node in made.model.graph.node if node.name == name)
            if node.op_type != "Conv":
                continue
            assert (dequantised_weight(restored, name) is None) == (name in block)
        assert largest(run(restored, made.inputs), wanted) < 0.2 * np.abs(wanted["mask_logits"]).max(), index
    unread = {name for node in restored.graph.node for name in node.input}
    assert set(weights(restored)) <= unread


@EITHER
def test_more_kept_costs_less_fidelity(made: Made, recipe: Recipe) -> None:
    quantised = quantize(made.model, made.calibration, recipe)
    every = blocks(made.model, made.calibration, recipe)
    wanted = run(made.model, made.inputs)["mask_logits"]
    errors = [
        float(np.square(run(restore(quantised, made.model, every[:count]), made.inputs)["mask_logits"] - wanted).mean())
        for count in (0, len(every))
    ]
    assert errors[1] < 0.5 * errors[0]


def test_an_activation_that_was_taken_into_a_range_comes_back(made: Made) -> None:
    quantised = quantize(made.model, made.calibration, CPU)
    assert "down.relu" not in {node.name for node in quantised.graph.node}, "else this test shows nothing"
    block = next(block for block in blocks(made.model, made.calibration, CPU) if "down" in block)
    restored = {node.name: node for node in restore(quantised, made.model, [block]).graph.node}
    assert restored["down.relu"].op_type == "Relu"
    assert restored["up.clip"].op_type == "Clip"
