"""How a frame becomes the input of any image model; what a file and the options lack, or contradict."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from edgex.errors import EdgexError, ModelError, UsageError
from edgex.image_input import ImageInput, InputOptions, image_input, labels, parse_options
from edgex.manifest import METADATA_KEY, InputSpec, Manifest
from edgex.onnx_file import OnnxFile, read_onnx
from edgex.preprocess import preprocess
from tests.bundles import LABELS, patched_picture, tiny_manifest, write_bundle

PLAIN = InputOptions(mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
RAW = (1 / 255, 1 / 255, 1 / 255)


def echo(
    path: Path,
    shape: list[Any] | None,
    dtype: int = TensorProto.FLOAT,
    opset: int = 17,
    manifest: Manifest | None = None,
) -> OnnxFile:
    """Write a model that gives its input back, and read it."""
    ports = [helper.make_tensor_value_info(name, dtype, shape) for name in ("picture", "same")]
    node = helper.make_node("Identity", ["picture"], ["same"])
    model = helper.make_model(
        helper.make_graph([node], "echo", ports[:1], ports[1:]),
        opset_imports=[helper.make_opsetid("", opset)],
        ir_version=8,
    )
    if manifest is not None:
        helper.set_model_props(model, {METADATA_KEY: manifest.to_json()})
    path.write_bytes(model.SerializeToString())
    return read_onnx(path)


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return tmp_path / "echo.onnx"


@pytest.mark.parametrize(
    ("shape", "layout", "batch"),
    [
        ([1, 3, 24, 32], "NCHW", 1),
        (["N", 3, 24, 32], "NCHW", None),
        ([4, 24, 32, 3], "NHWC", 4),
        ([-1, 24, 32, 3], "NHWC", None),
        ([None, None, 24, 32], "NCHW", None),
        ([0, 3, 24, 32], "NCHW", None),
    ],
)
@pytest.mark.parametrize("dtype", [TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.UINT8])
def test_onnx_runtime_takes_the_tensor(
    model: Path, shape: list[Any], layout: str, batch: int | None, dtype: int
) -> None:
    file = echo(model, [None if axis == 0 else axis for axis in shape], dtype)
    image = image_input(file, InputOptions() if dtype == TensorProto.UINT8 else PLAIN)
    assert (image.layout, image.batch, image.spec.height, image.spec.width) == (layout, batch, 24, 32)
    picture = patched_picture()
    tensor = image.tensor(picture)
    assert tensor.shape == ((1, 3, 24, 32) if layout == "NCHW" else (1, 24, 32, 3))
    assert tensor.flags.c_contiguous
    same = onnxruntime.InferenceSession(str(model)).run(None, {image.name: image.fixed(tensor)})[0]
    assert same.shape[0] == (batch or 1)
    np.testing.assert_array_equal(same, np.repeat(tensor, batch or 1, axis=0))
    planes = (tensor if layout == "NCHW" else tensor.transpose(0, 3, 1, 2)).astype(np.float32)
    spec = InputSpec(24, 32, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    expected = preprocess(picture, spec) * (255 if dtype == TensorProto.UINT8 else 1)
    np.testing.assert_allclose(planes, expected, atol=0.5 if dtype == TensorProto.UINT8 else 1e-3)


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_uint8_gets_the_very_pixels(model: Path, color: Any) -> None:
    image = image_input(echo(model, [1, 16, 256, 3], TensorProto.UINT8), InputOptions(color=color))
    ramp = np.arange(256, dtype=np.uint8)
    picture = np.ascontiguousarray(np.broadcast_to(np.stack([ramp, ramp[::-1], ramp ^ 0x55], axis=1), (16, 256, 3)))
    expected = picture[None] if color == "BGR" else picture[None, ..., ::-1]
    np.testing.assert_array_equal(image.tensor(picture), expected)


@pytest.mark.parametrize("given", [InputOptions(mean=(0.0, 0.0, 0.0)), InputOptions(std=(1.0, 1.0, 1.0)), PLAIN])
def test_uint8_refuses_a_normalisation(model: Path, given: InputOptions) -> None:
    with pytest.raises(UsageError, match=r"raw pixels .* --mean or --std"):
        image_input(echo(model, [1, 3, 16, 16], TensorProto.UINT8), given)


@pytest.mark.parametrize(("shape", "axis"), [([1, 1, 16, 16], 1), ([1, 16, 16, 1], 3)])
def test_one_channel_gets_grey(model: Path, shape: list[int], axis: int) -> None:
    image = image_input(echo(model, shape), InputOptions(mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    picture = np.full((16, 16, 3), (200, 100, 50), np.uint8)
    grey = int(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)[0, 0])
    tensor = image.tensor(picture)
    assert list(tensor.shape) == shape
    np.testing.assert_allclose(tensor, (grey / 255 - 0.5) / 0.5, atol=1e-5)
    assert tensor.shape[axis] == image.channels == 1


def test_the_manifest_says_all_of_a_bundle(bundle: Path) -> None:
    file = read_onnx(bundle)
    image = image_input(file)
    assert image == ImageInput("image", "float32", "NCHW", None, tiny_manifest().input)
    np.testing.assert_array_equal(image.tensor(patched_picture()), preprocess(patched_picture(), tiny_manifest().input))
    assert labels(file) == LABELS


def test_options_may_repeat_the_manifest(bundle: Path) -> None:
    options = parse_options("0.5", "0.5", "32x32", "nchw", ",".join(LABELS), "rgb")
    assert image_input(read_onnx(bundle), options) == image_input(read_onnx(bundle))
    assert labels(read_onnx(bundle), options) == LABELS


@pytest.mark.parametrize(
    ("name", "text"),
    [("mean", "0.4"), ("std", "1"), ("size", "64"), ("layout", "NHWC"), ("labels", "a,b,c"), ("color", "BGR")],
)
def test_options_that_contradict_a_bundle_are_refused(bundle: Path, name: str, text: str) -> None:
    file, options = read_onnx(bundle), parse_options(**{name: text})
    with pytest.raises(UsageError, match=f"--{name}"):
        labels(file, options) if name == "labels" else image_input(file, options)


def test_a_bundle_of_dynamic_size_takes_that_of_its_manifest(model: Path) -> None:
    image = image_input(echo(model, ["N", 3, "H", "W"], manifest=tiny_manifest()))
    assert (image.spec.height, image.spec.width) == (32, 32)


def test_a_manifest_that_contradicts_the_graph_is_the_file_s_fault(tmp_path: Path, model: Path) -> None:
    path = write_bundle(tmp_path / "other.onnx", manifest=tiny_manifest(size=(64, 64)))
    with pytest.raises(ModelError, match="64 x 64"):
        image_input(read_onnx(path))
    with pytest.raises(ModelError, match="raw pixels"):
        image_input(echo(model, [1, 3, 32, 32], TensorProto.UINT8, manifest=tiny_manifest()))


@pytest.mark.parametrize(
    "given", [InputOptions(), InputOptions(mean=(0.0, 0.0, 0.0)), InputOptions(std=(1.0, 1.0, 1.0))]
)
def test_a_normalisation_is_never_guessed(model: Path, given: InputOptions) -> None:
    with pytest.raises(UsageError, match="--mean 0,0,0 --std 1,1,1 for pixels / 255"):
        image_input(echo(model, [1, 3, 16, 16]), given)


@pytest.mark.parametrize("shape", [[1, 3, "H", "W"], [1, 3, 16, None], [1, 3, -1, 16], [1, "h", "w", 3]])
def test_a_dynamic_size_is_asked_for(model: Path, shape: list[Any]) -> None:
    file = echo(model, shape)
    with pytest.raises(UsageError, match="give --size"):
        image_input(file, PLAIN)
    image = image_input(file, dataclasses.replace(PLAIN, size=(16, 16)))
    assert image.tensor(patched_picture()).size == 3 * 16 * 16


def test_a_size_that_the_graph_does_not_take_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="--size"):
        image_input(echo(model, [1, 3, 16, "W"]), dataclasses.replace(PLAIN, size=(24, 16)))


@pytest.mark.parametrize("shape", [[1, 3, 16, 3], [None] * 4, ["N", "C", 16, "W"], None, [1, 1, 16, 1]])
def test_a_layout_that_can_be_either_is_asked_for(model: Path, shape: list[Any] | None) -> None:
    file = echo(model, shape)
    options = dataclasses.replace(PLAIN, size=(16, 3) if shape and shape[1] == 3 else (16, 16))
    if shape == [1, 1, 16, 1]:
        options = dataclasses.replace(PLAIN, size=(16, 1))
    with pytest.raises(UsageError, match="give --layout NCHW or NHWC"):
        image_input(file, options)
    assert image_input(file, dataclasses.replace(options, layout="NCHW")).layout == "NCHW"


def test_a_layout_without_channels_there_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="C of --layout NHWC"):
        image_input(echo(model, [1, 3, 16, 16]), dataclasses.replace(PLAIN, layout="NHWC"))


@pytest.mark.parametrize(
    ("shape", "dtype", "opset", "said"),
    [
        ([1, 3, 16, 16], TensorProto.DOUBLE, 17, "float64"),
        ([1, 3, 16, 16], TensorProto.INT64, 17, "int64"),
        ([3, 16, 16], TensorProto.FLOAT, 17, r"\[N, 3, H, W\] or \[N, H, W, 3\]"),
        ([1, 3, 8, 16, 16], TensorProto.FLOAT, 17, r"\[N, 3, H, W\]"),
        ([1, 4, 16, 16], TensorProto.FLOAT, 17, "3 channels"),
        ([1, 3, 9000, 16], TensorProto.FLOAT, 17, "8192"),
        ([1, 3, 16, 16], TensorProto.FLOAT, 10, "opset 11"),
    ],
)
def test_what_takes_no_picture_is_refused(model: Path, shape: list[int], dtype: int, opset: int, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        image_input(echo(model, shape, dtype, opset), PLAIN)


def test_opset_11_is_enough(model: Path) -> None:
    assert image_input(echo(model, [1, 3, 16, 16], opset=11), PLAIN).channels == 3


def test_two_inputs_are_refused(model: Path) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 8, 8]) for name in ("a", "b", "sum")]
    graph = helper.make_graph([helper.make_node("Add", ["a", "b"], ["sum"])], "add", ports[:2], ports[2:])
    model.write_bytes(helper.make_model(graph).SerializeToString())
    with pytest.raises(ModelError, match="one image input"):
        image_input(read_onnx(model), PLAIN)


def test_a_fixed_batch_is_filled_with_its_last_picture(model: Path) -> None:
    image = image_input(echo(model, [3, 3, 8, 8]), PLAIN)
    batch = np.arange(2, dtype=np.float32).reshape(2, 1, 1, 1) * np.ones((2, 3, 8, 8), np.float32)
    assert image.fixed(batch)[:, 0, 0, 0].tolist() == [0, 1, 1]
    with pytest.raises(UsageError, match="1 to 3 pictures"):
        image.fixed(np.zeros((4, 3, 8, 8), np.float32))


def test_an_input_survives_json_and_what_is_none_is_refused(bundle: Path) -> None:
    image = image_input(read_onnx(bundle))
    tree = json.loads(json.dumps(image.to_json()))
    assert ImageInput.from_json(tree) == image
    broken: list[Any] = [{}, {**tree, "dtype": "int4"}, {**tree, "spec": None}, {**tree, "extra": 1}]
    broken += [{**tree, "batch": 0}, {**tree, "spec": {**tree["spec"], "std": [0, 0, 0]}}, [], None]
    for one in broken:
        with pytest.raises(ModelError):
            ImageInput.from_json(one)


def test_labels_must_be_as_many_as_the_scores(tmp_path: Path) -> None:
    file = read_onnx(write_bundle(tmp_path / "bare.onnx", with_manifest=False))
    assert labels(file) == ()
    assert labels(file, InputOptions(labels=("a", "b", "c"))) == ("a", "b", "c")
    with pytest.raises(UsageError, match="3 --labels"):
        labels(file, InputOptions(labels=("a", "b")))


def test_texts_of_options_are_read(tmp_path: Path) -> None:
    names = tmp_path / "names.txt"
    names.write_text("tabby cat\n\n dog, wild \r\nÄffin\n", encoding="utf-8-sig")
    options = parse_options("0.485, 0.456,0.406", "1/255", "480x640", "nhwc", str(names), "bgr")
    assert options == InputOptions(
        (0.485, 0.456, 0.406), RAW, (480, 640), "NHWC", ("tabby cat", "dog, wild", "Äffin"), "BGR"
    )
    assert parse_options(size=" 224 ").size == (224, 224)
    assert parse_options(labels="cat, dog").labels == ("cat", "dog")
    assert parse_options() == InputOptions()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        *(("mean", text) for text in ("", "a,b,c", "1,2", "1,1,1,1", "nan", "inf,0,0", "123.7,116.3,103.5", "1/0")),
        *(("std", text) for text in ("0", "-1,1,1", "58,57,57", "1/", "0.5;0.5;0.5")),
        *(("size", text) for text in ("", "0", "224x", "-224", "224x224x3", "99999", "1e3", "９", "224 x 224 px")),
        *(("layout", text) for text in ("", "CHW", "NCWH")),
        *(("color", text) for text in ("", "GRAY")),
        *(("labels", text) for text in ("", "cat,", "cat,cat", "nowhere.txt", "/nowhere/names", "a\0b")),
    ],
)
def test_a_text_that_is_none_is_refused_by_its_option_s_name(name: str, text: str) -> None:
    with pytest.raises(UsageError, match=f"--{name}") as refused:
        parse_options(**{name: text})
    assert "\n" not in str(refused.value)


def test_a_file_of_labels_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_bytes(b"\xff\xfe\x00cat")
    with pytest.raises(UsageError, match="--labels"):
        parse_options(labels=str(tmp_path / "names.txt"))


AXES = st.one_of(st.integers(-1, 9), st.sampled_from([3, 1, 16]), st.none(), st.just("N"))


@settings(deadline=None, max_examples=200)
@given(
    shape=st.one_of(st.none(), st.lists(AXES, max_size=5), st.lists(AXES, min_size=4, max_size=4)),
    dtype=st.sampled_from([TensorProto.FLOAT, TensorProto.UINT8, TensorProto.FLOAT16, TensorProto.INT8]),
    size=st.one_of(st.none(), st.tuples(st.integers(1, 20), st.integers(1, 20))),
    layout=st.sampled_from([None, "NCHW", "NHWC"]),
    normalised=st.booleans(),
)
def test_any_shape_gives_a_tensor_that_fits_or_one_sentence(
    tmp_path_factory: pytest.TempPathFactory, shape: Any, dtype: int, size: Any, layout: Any, normalised: bool
) -> None:
    file = echo(tmp_path_factory.getbasetemp() / "any.onnx", shape, dtype)
    options = dataclasses.replace(PLAIN if normalised else InputOptions(), size=size, layout=layout)
    image, refusal = None, ""
    try:
        image = image_input(file, options)
    except EdgexError as error:
        refusal = str(error)
    if image is None:
        assert re.fullmatch(r"expected .+, got .+", refusal), refusal
        return
    tensor = image.fixed(image.tensor(patched_picture(40, 30)))
    assert tensor.dtype == np.dtype(image.dtype)
    for axis, declared in zip(tensor.shape, shape or [None] * 4, strict=True):
        assert not isinstance(declared, int) or declared < 1 or axis == declared
