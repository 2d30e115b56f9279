"""ONNX Runtime with real files: bundles of every legal kind, and every file that is none."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgex.engines import Engine, open_network
from edgex.engines import open_engine as open_with
from edgex.errors import ModelError, UsageError
from tests.bundles import tiny_manifest, write_bundle
from tests.engines.built import write_quantised


def open_engine(path: Path, threads: int | None = None) -> Engine:
    return open_with(path, "onnxruntime", threads)


def refused(path: Path, *words: str) -> str:
    """Open `path`, which must fail with one sentence that holds `words`, and return the sentence."""
    with pytest.raises(ModelError) as caught:
        open_engine(path)
    message = str(caught.value)
    assert message.startswith("expected ")
    assert "; " in message  # the mend
    assert "\n" not in message
    for word in words:
        assert word in message, message
    return message


def zeros(batch: int = 1) -> np.ndarray:
    return np.zeros((batch, 3, 32, 32), np.float32)


def test_infers_what_the_graph_says(bundle: Path) -> None:
    engine = open_engine(bundle, threads=1)
    assert (engine.backend, engine.path, engine.input_shape) == ("onnxruntime", bundle, (None, 3, 32, 32))
    assert engine.manifest == tiny_manifest()
    image = zeros(2)
    image[1, 0] = 1.0
    logits = engine.infer(image)
    assert logits.mask_logits.dtype == np.float32
    assert logits.mask_logits.shape == (2, 3, 4, 4)
    assert logits.class_logits is not None
    assert logits.class_logits.tolist() == [[-2, -2, -2], [6, -6, -6]]
    assert (logits.mask_logits[1, 0] == 6).all()


def test_explainer_alone_has_no_class_logits(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "m.onnx", class_head=False))
    assert engine.infer(zeros()).class_logits is None


def test_half_precision_weights_give_the_same_logits(tmp_path: Path, bundle: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    half = open_engine(write_bundle(tmp_path / "half.onnx", half_weights=True)).infer(image)
    full = open_engine(bundle).infer(image)
    np.testing.assert_allclose(half.mask_logits, full.mask_logits, atol=1e-5)


def test_strided_input_is_taken(bundle: Path) -> None:
    image = np.random.default_rng(0).normal(0, 1, (1, 3, 32, 32)).astype(np.float32)
    engine = open_engine(bundle)
    mirrored = engine.infer(image[:, :, :, ::-1]).mask_logits
    np.testing.assert_allclose(mirrored, engine.infer(image).mask_logits[:, :, :, ::-1], atol=1e-5)


def test_model_without_manifest_opens(tmp_path: Path) -> None:
    assert open_engine(write_bundle(tmp_path / "m.onnx", with_manifest=False)).manifest is None


def test_fixed_batch_is_kept(tmp_path: Path) -> None:
    engine = open_engine(write_bundle(tmp_path / "m.onnx", batch=2))
    assert engine.input_shape == (2, 3, 32, 32)
    with pytest.raises(UsageError, match=r"expected float32 \[2, 3, 32, 32\], got float32 \[1, 3, 32, 32\]"):
        engine.infer(zeros(1))


@pytest.mark.parametrize(
    "image", [np.zeros((1, 3, 32, 31), np.float32), np.zeros((1, 3, 32, 32)), np.zeros((3, 32, 32))]
)
def test_wrong_input_is_refused(bundle: Path, image: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"expected float32 \[N, 3, 32, 32\]"):
        open_engine(bundle).infer(image)


def test_empty_batch_is_refused(bundle: Path) -> None:
    with pytest.raises(UsageError, match="expected float32"):
        open_engine(bundle).infer(zeros(0))


def test_closed_engine_says_so(bundle: Path) -> None:
    engine = open_engine(bundle)
    engine.close()
    engine.close()
    with pytest.raises(ModelError, match="closed"):
        engine.infer(zeros())


@pytest.mark.parametrize("threads", [0, -1])
def test_threads_below_one_are_refused(bundle: Path, threads: int) -> None:
    with pytest.raises(UsageError, match="1 to 256 threads"):
        open_engine(bundle, threads=threads)


def test_missing_file(tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", "no file", "check the path")
    refused(Path("a\0b.onnx"))
    refused(tmp_path / ("x" * 5000))


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "folder")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_named_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.onnx")
    refused(tmp_path / "pipe.onnx", "no regular file")


def test_empty_file(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").touch()
    refused(tmp_path / "m.onnx", "empty")


def test_other_content(tmp_path: Path) -> None:
    for name, content in {
        "text": b"hello, I am no model\n" * 20,
        "png": b"\x89PNG\r\n\x1a\n" + bytes(200),
        "zeros": bytes(4096),
        "page": b"<!DOCTYPE html><html><body>404</body></html>",
        "pointer": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    }.items():
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name)


def test_random_bytes(tmp_path: Path) -> None:
    source = random.Random(1)
    for length in (1, 2, 7, 100, 5000):
        for _ in range(20):
            (tmp_path / "m.onnx").write_bytes(source.randbytes(length))
            refused(tmp_path / "m.onnx")


def test_cut_off_at_every_length(tmp_path: Path, bundle: Path) -> None:
    whole = bundle.read_bytes()
    for length in range(1, len(whole), 7):
        (tmp_path / "cut.onnx").write_bytes(whole[:length])
        refused(tmp_path / "cut.onnx")


def test_flipped_bytes_never_crash(tmp_path: Path, bundle: Path) -> None:
    whole = bundle.read_bytes()
    source = random.Random(2)
    broken = tmp_path / "broken.onnx"
    refusals = 0
    for _ in range(300):
        content = bytearray(whole)
        for _ in range(3):
            content[source.randrange(len(content))] = source.randrange(256)
        broken.write_bytes(bytes(content))
        try:
            open_engine(broken).infer(zeros())
        except (ModelError, UsageError) as error:
            refusals += 1
            assert "\n" not in str(error)  # noqa: PT017 (most changes are refused, some do no harm)
    assert refusals > 100


def test_declared_sizes_are_not_allocated(tmp_path: Path, bundle: Path) -> None:
    huge = onnx.load(bundle)
    del huge.graph.initializer[0].dims[:]
    huge.graph.initializer[0].dims.extend([1 << 40, 3, 1, 1])
    (tmp_path / "weights.onnx").write_bytes(huge.SerializeToString())
    refused(tmp_path / "weights.onnx")
    huge = onnx.load(bundle)
    huge.graph.input[0].type.tensor_type.shape.dim[2].dim_value = 1 << 40
    (tmp_path / "input.onnx").write_bytes(huge.SerializeToString())
    refused(tmp_path / "input.onnx", "1 to 8192", "1099511627776")


def test_nested_to_the_depths(tmp_path: Path) -> None:
    content = b""
    for _ in range(2000):  # a graph in an attribute of a node in a graph ...
        for tag in (0x32, 0x2A, 0x0A):  # AttributeProto.g, NodeProto.attribute, GraphProto.node
            content = bytes([tag]) + _varint(len(content)) + content
    (tmp_path / "m.onnx").write_bytes(bytes([0x3A]) + _varint(len(content)) + content)
    refused(tmp_path / "m.onnx")


def _varint(number: int) -> bytes:
    out = b""
    while number >= 128:
        out, number = out + bytes([number & 127 | 128]), number >> 7
    return out + bytes([number])


def _with_external(path: Path, location: str) -> Path:
    model = onnx.load(write_bundle(path))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    path.write_bytes(model.SerializeToString())
    return path


def test_external_weights_beside_the_file_are_read(tmp_path: Path, bundle: Path) -> None:
    path = _with_external(tmp_path / "m.onnx", "m.bin")
    weight = onnx.load(bundle).graph.initializer[0]
    (tmp_path / "m.bin").write_bytes(numpy_helper.to_array(weight).tobytes())
    image = np.ones((1, 3, 32, 32), np.float32)
    np.testing.assert_array_equal(
        open_engine(path).infer(image).mask_logits, open_engine(bundle).infer(image).mask_logits
    )


def test_external_weights_that_are_missing_or_elsewhere(tmp_path: Path) -> None:
    refused(_with_external(tmp_path / "m.onnx", "m.bin"), "'m.bin'", "no such file")
    for location in ("../secret", "/etc/hostname", "a/../../b", "C:\\x", "", "..\\x"):
        refused(_with_external(tmp_path / "m.onnx", location), "beside", "do not trust")


def test_classifier_needs_an_explainer(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m.onnx", mask_head=False)
    refused(path, "mask_logits", "class_logits float32 [N, 3]", "Explainer", "python -m training explainer")


def test_any_other_network_names_its_outputs(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "other",
        [value("x", TensorProto.FLOAT, [1, 4])],
        [value("y", TensorProto.FLOAT, [1, 4])],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10), tmp_path / "m.onnx")
    refused(tmp_path / "m.onnx", "y float32 [1, 4]")


def test_masks_with_channels_last_are_refused(tmp_path: Path) -> None:
    refused(write_bundle(tmp_path / "m.onnx", channels_last=True), "as many masks as classes")
    path = write_bundle(tmp_path / "m.onnx", channels_last=True, class_head=False)
    refused(path, "one channel for each of the 3 labels", "mask_logits float32 [N, 4, 4, 3]")


def test_masks_of_wrong_rank_are_refused(tmp_path: Path, bundle: Path) -> None:
    model = onnx.load(bundle)
    model.graph.output[1].type.tensor_type.shape.dim.pop()
    bundle.write_bytes(model.SerializeToString())
    refused(bundle, "[N, C, h, w]", "mask_logits float32 [N, 3, 4]")


def test_manifest_that_contradicts_the_graph(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    refused(write_bundle(path, manifest=tiny_manifest(labels=("a", "b"))), "2 labels")
    refused(write_bundle(path, manifest=tiny_manifest(size=(64, 32))), "64 x 32", "32 x 32")
    refused(write_bundle(path, manifest="{}"), "manifest", str(path))
    refused(write_bundle(path, manifest="no json"), "manifest")
    refused(write_bundle(path, manifest="[" * 100_000), "manifest")


def _with_bias(path: Path, value: float) -> Path:
    model = onnx.load(write_bundle(path))
    model.graph.initializer[1].CopyFrom(numpy_helper.from_array(np.full(3, value, np.float32), "bias"))
    path.write_bytes(model.SerializeToString())
    return path


def test_precision_achieved_is_told(tmp_path: Path, bundle: Path) -> None:
    from edgex.engines.onnxruntime import achieved

    assert achieved(open_network(bundle, "onnxruntime"))["Conv"] == {"fp32": 1}
    half = achieved(open_network(write_bundle(tmp_path / "half.onnx", half_weights=True), "onnxruntime"))
    assert half["Conv"] == {"fp32": 1}  # half precision is only how its weights are stored
    quantised = achieved(open_network(write_quantised(bundle, tmp_path / "int8.onnx"), "onnxruntime"))
    assert quantised["QLinearConv"] == {"int8": 1}
    assert "Conv" not in quantised


def test_threads_may_share_it(bundle: Path) -> None:
    engine = open_engine(bundle)
    images = [np.full((batch, 3, 32, 32), batch, np.float32) for batch in (1, 2, 3, 4)]
    expected = [engine.infer(image).mask_logits for image in images]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda index: engine.infer(images[index % 4]).mask_logits, range(400)))
    assert all(np.array_equal(masks, expected[index % 4]) for index, masks in enumerate(found))


def test_logits_that_are_all_nan_are_an_error(tmp_path: Path) -> None:
    engine = open_engine(_with_bias(tmp_path / "m.onnx", np.nan))
    with pytest.raises(ModelError, match=r"expected finite mask_logits.*NaN or infinity only.*export it again"):
        engine.infer(zeros())


def test_nothing_is_written_to_stderr_by_onnxruntime(tmp_path: Path, bundle: Path) -> None:
    model = onnx.load(bundle)
    model.graph.node[1].op_type = "Convolute"
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(model.SerializeToString())
    code = (
        "import sys, pathlib\n"
        "from edgex.engines import open_engine\n"
        "from edgex.errors import ModelError\n"
        "open_engine(pathlib.Path(sys.argv[1]), 'onnxruntime')\n"
        "try: open_engine(pathlib.Path(sys.argv[2]), 'onnxruntime')\n"
        "except ModelError as error: print(error)\n"
    )
    command = [sys.executable, "-c", code, str(bundle), str(broken)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert "Convolute" in done.stdout
