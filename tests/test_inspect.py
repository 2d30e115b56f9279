"""`inspect` on bundles, on other ONNX files, on engines, with and without sidecar, and on garbage."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgex.build_manifest import KeptNode, sidecar
from edgex.errors import ModelError
from edgex.inspect import inspect
from edgex.inspect_backends import plan_refused
from edgex.manifest import METADATA_KEY
from tests.bundles import tiny_manifest, write_bundle
from tests.commands import assert_refused, edgex
from tests.engines.built import write_quantised, write_sidecar

ONNX_BACKENDS = tuple(name for name in ("onnxruntime", "openvino") if importlib.util.find_spec(name))
PLAN = b"ftrt" + bytes(20) + bytes((10, 3, 0, 26)) + b"the rest"


def test_bundle(bundle: Path) -> None:
    found = inspect(str(bundle))
    assert found.kind == "bundle"
    assert found.manifest == tiny_manifest()
    assert found.labels == ("red", "green", "blue")
    assert found.missing == ()
    assert found.runs_on == ONNX_BACKENDS
    assert [str(spec) for spec in found.inputs] == ["image float32 [N, 3, 32, 32]"]
    assert [str(s) for s in found.outputs] == ["class_logits float32 [N, 3]", "mask_logits float32 [N, 3, 4, 4]"]
    assert found.size_bytes == bundle.stat().st_size
    assert found.sha256 == hashlib.sha256(bundle.read_bytes()).hexdigest()
    assert (found.built, found.untouched, found.plan) == (None, None, "")
    assert found.file is not None
    assert found.file.weights == {"float32": 12}
    assert found.file.opset == {"": 20}
    assert found.file.producer == "edgex-tests"


def test_to_dict_is_json(bundle: Path) -> None:
    tree = inspect(bundle).to_dict()
    assert json.loads(json.dumps(tree)) == tree
    assert tree["path"] == str(bundle)
    assert tree["labels"] == ["red", "green", "blue"]
    assert tree["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["N", 3, 32, 32]}]
    assert tree["manifest"]["input"]["height"] == 32
    assert METADATA_KEY not in tree["metadata"]
    assert (tree["precision"], tree["untouched"]) == (None, None)


def test_every_kind_of_file_has_the_same_keys(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "m.engine").write_bytes(PLAN)
    write_sidecar(tmp_path / "m.engine", "tensorrt")
    assert list(inspect(bundle).to_dict()) == list(inspect(tmp_path / "m.engine").to_dict())


def test_half_weights_and_explainer_alone(tmp_path: Path) -> None:
    found = inspect(write_bundle(tmp_path / "m.onnx", half_weights=True, class_head=False))
    assert found.kind == "explainer"
    assert found.file is not None
    assert found.file.weights == {"float16": 12}
    assert found.layers == {name: {"fp32": 1} for name in ("AveragePool", "Conv", "Transpose")}
    assert found.missing == ()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    (sentence,) = inspect(write_bundle(path, with_manifest=False)).missing
    assert "expected a manifest" in sentence
    found = inspect(write_bundle(path, with_manifest=False, mask_head=False))
    assert (found.kind, found.manifest) == ("onnx", None)
    assert "onnxruntime" in found.runs_on  # `verify` and `bench` take it
    assert len(found.missing) == 2
    assert "Explainer" in found.missing[1]
    found = inspect(write_bundle(path, manifest="no json"))
    assert "JSON" in found.missing[0]
    assert (found.runs_on, "JSON" in found.reasons["onnxruntime"]) == ((), True)
    assert found.to_dict()["metadata"] == {METADATA_KEY: "no json"}
    (sentence,) = inspect(write_bundle(path, manifest=tiny_manifest(labels=("a", "b")))).missing
    assert "2 labels" in sentence


def test_any_onnx(tmp_path: Path) -> None:
    value = helper.make_tensor_value_info
    text = helper.make_tensor_sequence_value_info("s", TensorProto.FLOAT, None)
    graph = helper.make_graph(
        [helper.make_node("Mystery", ["x", "y"], ["s", "z"], domain="com.example")],
        "any",
        [value("x", TensorProto.INT64, None), value("y", TensorProto.BFLOAT16, ["a", 2, None])],
        [text, value("z", TensorProto.STRING, [])],
    )
    opsets = [helper.make_opsetid("", 20), helper.make_opsetid("com.example", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets), tmp_path / "any.onnx")
    found = inspect(tmp_path / "any.onnx")
    assert [str(spec) for spec in found.inputs] == ["x int64 [?]", "y bfloat16 [a, 2, ?]"]
    assert [str(spec) for spec in found.outputs] == ["s sequence_type [?]", "z string []"]
    assert found.file is not None
    assert found.file.operators == {"com.example.Mystery": 1}
    assert found.runs_on == ()
    assert "expected one input" in found.reasons["onnxruntime"]
    assert found.missing


def test_an_operator_of_nobody_runs_nowhere(bundle: Path) -> None:
    model = onnx.load(bundle)
    model.graph.node[0].domain = "com.example"
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    bundle.write_bytes(model.SerializeToString())
    found = inspect(bundle)
    assert found.runs_on == ()
    assert found.reasons["onnxruntime"].endswith("got those of com.example; export the model without them")


def test_each_backend_runs_it_or_says_why_not_in_one_sentence(bundle: Path) -> None:
    found = inspect(bundle)
    assert {*found.runs_on, *found.reasons} == {"onnxruntime", "openvino", "tensorrt", "tensorrt-rtx"}
    assert not set(found.runs_on) & set(found.reasons)
    for backend in ("tensorrt", "tensorrt-rtx"):
        assert found.reasons[backend].endswith(f"make one with edgex build {bundle.name} --backend {backend}")
    assert all(sentence.startswith("expected ") and "\n" not in sentence for sentence in found.reasons.values())


def test_layers_of_a_quantised_file_without_sidecar(bundle: Path, tmp_path: Path) -> None:
    before, after = inspect(bundle).layers, inspect(write_quantised(bundle, tmp_path / "q.onnx"))
    assert before["Conv"] == {"fp32": 1}
    assert after.layers["Conv"] == {"int8": 1}
    assert not {"QuantizeLinear", "DequantizeLinear"} & set(after.layers)
    assert "onnxruntime" in after.runs_on
    assert "quantised already" in after.reasons["tensorrt"]


def quantised_graph(path: Path, *nodes: onnx.NodeProto, last: str) -> Path:
    """Write a graph that begins with an image `x`, as uint8 `q`, back as `d`; a weight `w`, and one from int8, `v`."""
    one = numpy_helper.from_array(np.float32(0.5), "scale")
    zero = numpy_helper.from_array(np.uint8(0), "zero")
    weight = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.int8), "packed")
    plain = numpy_helper.from_array(np.ones((3, 3, 1, 1), np.float32), "w")
    begin = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["d"]),
        helper.make_node("DequantizeLinear", ["packed", "scale"], ["v"]),
    ]
    value = helper.make_tensor_value_info
    inputs, outputs = [value("x", TensorProto.FLOAT, [1, 3, 4, 4])], [value(last, TensorProto.FLOAT, None)]
    graph = helper.make_graph([*begin, *nodes], "q", inputs, outputs, [one, zero, weight, plain])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


NODES = {
    "both factors": (("Conv", ["d", "v"]), "int8"),
    "weight alone": (("Conv", ["x", "v"]), "fp32"),
    "picture alone": (("Conv", ["d", "w"]), "fp32"),
    "all of a sum": (("Add", ["d", "d"]), "int8"),
    "half of a sum": (("Add", ["d", "x"]), "fp32"),
    "stored limits": (("Clip", ["d", "scale", "scale"]), "int8"),
    "weights read as they are": (("Mul", ["d", "w"]), "int8"),
    "in whole numbers": (("MaxPool", ["q"]), "int8"),
}


@pytest.mark.parametrize("case", NODES)
def test_a_layer_is_int8_where_it_reads_what_was_quantised(tmp_path: Path, case: str) -> None:
    (kind, inputs), precision = NODES[case]
    attributes = {"kernel_shape": [2, 2]} if kind == "MaxPool" else {}
    node = helper.make_node(kind, inputs, ["y"], **attributes)
    given = ("y", [node]) if kind != "MaxPool" else ("z", [node, helper.make_node("Cast", ["y"], ["z"], to=1)])
    found = inspect(quantised_graph(tmp_path / "q.onnx", *given[1], last=given[0])).layers
    assert found == {kind: {precision: 1}}


def test_arithmetic_on_shapes_is_no_layer(tmp_path: Path) -> None:
    nodes = (
        helper.make_node("Shape", ["d"], ["s"]),
        helper.make_node("Gather", ["s", "s"], ["g"]),
        helper.make_node("Equal", ["g", "g"], ["e"]),
        helper.make_node("Where", ["e", "d", "d"], ["y"]),
    )
    assert inspect(quantised_graph(tmp_path / "q.onnx", *nodes, last="y")).layers == {"Where": {"int8": 1}}


def test_what_build_wrote_beside_an_onnx_file(bundle: Path) -> None:
    write_sidecar(
        bundle,
        precision="int8",
        achieved={"Convolution": {"int8": 1}},
        fidelity={"iou": {"mean": 0.99}},
        kept=(KeptNode("head", "Conv", 0.25),),
        calibration_sha256="c" * 64,
        latency_ms={"model": 5.0, "engine": 2.0},
    )
    found = inspect(bundle)
    assert found.untouched is True
    assert found.runs_on == ("onnxruntime",)
    assert all("one for onnxruntime" in found.reasons[other] for other in ("openvino", "tensorrt", "tensorrt-rtx"))
    tree = found.to_dict()
    assert (tree["backend"], tree["precision"], tree["untouched"]) == ("onnxruntime", "int8", True)
    assert tree["achieved"] == {"Convolution": {"int8": 1}}
    assert tree["layers"]["Conv"] == {"fp32": 1}
    assert tree["kept"] == [{"name": "head", "kind": "Conv", "effect": 0.25}]
    assert (tree["calibration_sha256"], tree["latency_ms"]["engine"]) == ("c" * 64, 2.0)
    shown = dict(found.rows())
    assert shown["untouched"] == "yes"
    assert "head (Conv, 0.25)" in shown["kept back"]


def test_a_file_that_was_changed_since(bundle: Path) -> None:
    write_sidecar(bundle)
    model = onnx.load(bundle)
    model.doc_string = "changed"
    bundle.write_bytes(model.SerializeToString())
    found = inspect(bundle)
    assert (found.untouched, found.runs_on) == (False, ())
    assert "--trust" in found.reasons["onnxruntime"]
    assert dict(found.rows())["untouched"].startswith("NO")


def test_an_engine_with_its_sidecar(tmp_path: Path) -> None:
    engine = tmp_path / "m.engine"
    engine.write_bytes(PLAN)
    write_sidecar(engine, "tensorrt", backend_version="10.3.0.26", precision="fp16", manifest=tiny_manifest())
    found = inspect(engine)
    assert (found.kind, found.plan, found.untouched) == ("engine", "TensorRT 10.3.0.26", True)
    assert found.labels == ("red", "green", "blue")
    assert [spec.name for spec in (*found.inputs, *found.outputs)] == ["image", "mask_logits"]
    assert found.sha256 == hashlib.sha256(PLAN).hexdigest()
    assert found.missing == ()
    assert found.runs_on == ()  # no machine has TensorRT 10.3.0.26 and "a device"
    assert "run tiny.onnx on openvino" in found.reasons["openvino"]
    assert "one for tensorrt; build tiny.onnx for tensorrt-rtx" in found.reasons["tensorrt-rtx"]
    assert found.reasons["tensorrt"]
    engine.write_bytes(PLAN + b"more")
    assert inspect(engine).untouched is False


def test_an_engine_of_a_model_without_manifest_says_what_run_lacks(tmp_path: Path) -> None:
    (tmp_path / "m.engine").write_bytes(PLAN)
    write_sidecar(tmp_path / "m.engine", "tensorrt")
    (sentence,) = inspect(tmp_path / "m.engine").missing
    assert "expected a manifest" in sentence


def test_an_engine_without_sidecar_is_known_by_its_header(tmp_path: Path) -> None:
    engine = tmp_path / "m.bin"
    engine.write_bytes(b"vtrt" + bytes(20) + bytes((1, 7, 1, 116)))
    found = inspect(engine)
    assert (found.kind, found.plan, found.inputs) == ("engine", "TensorRT-RTX 1.7.1.116", ())
    assert "m.bin.json" in found.missing[0]
    assert "for tensorrt-rtx" in found.reasons["tensorrt"]
    assert found.runs_on == ()


def test_a_plan_that_is_not_of_the_sidecar_s_flavour(tmp_path: Path) -> None:
    (tmp_path / "m.engine").write_bytes(PLAN)
    write_sidecar(tmp_path / "m.engine", "tensorrt-rtx")
    assert "got one of TensorRT;" in inspect(tmp_path / "m.engine").reasons["tensorrt-rtx"]


def test_a_plan_of_another_version_of_what_is_installed(tmp_path: Path) -> None:
    version = pytest.importorskip("tensorrt_rtx").__version__
    engine = tmp_path / "m.engine"
    engine.write_bytes(b"vtrt" + bytes(20) + bytes((99, 0, 0, 1)))
    write_sidecar(engine, "tensorrt-rtx", backend_version="99.0.0.1")
    reason = inspect(engine).reasons["tensorrt-rtx"]
    assert reason == f"expected a plan that {version} takes, got one of 99.0.0.1; build it again here"


@pytest.mark.parametrize(
    ("plan", "here", "compatible", "refused"),
    [
        ("10.3.0.26", "10.3.0.26", False, False),
        ("10.3.0.26", "10.3.0.30", False, True),
        ("11.4.1.2", "10.3.0.26", False, True),
        ("11.4.1.2", "10.3.0.26", True, True),
        ("10.3.0.26", "10.16.2.1", True, False),
        ("10.16.2.1", "10.3.0.26", True, True),
        ("10.3.0.26", "11.4.1.2", True, False),
        ("10.3.0.26", "11.4.1.2", False, True),
        ("8.6.2.3", "11.4.1.2", True, True),
    ],
)
def test_which_plan_a_version_takes(plan: str, here: str, compatible: bool, refused: bool) -> None:
    assert bool(plan_refused(plan, here, compatible)) is refused


def test_the_table_and_the_json_of_the_command(bundle: Path) -> None:
    done = edgex("inspect", bundle)
    assert (done.code, done.err) == (0, "")
    assert all(word in done.out for word in ("AveragePool", "onnxruntime", "red, green, blue"))
    assert json.loads(edgex("inspect", bundle, "--json").out) == inspect(bundle).to_dict()


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, bytes(999), b"\x08\x07"])
@pytest.mark.parametrize("name", ["m.onnx", "m.engine", "m.calib.json"])
def test_garbage(tmp_path: Path, content: bytes, name: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ModelError, match=r"^expected .*; "):
        inspect(tmp_path / name)
    assert_refused(edgex("inspect", tmp_path / name), 1, name)


@pytest.mark.parametrize("name", ["none.onnx", "none.engine"])
def test_missing_file_and_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ModelError, match="no file"):
        inspect(tmp_path / name)
    with pytest.raises(ModelError, match="folder"):
        inspect(tmp_path)


def test_a_broken_sidecar_is_one_sentence(bundle: Path) -> None:
    sidecar(bundle).write_text('{"product_sha256": 1}')
    assert_refused(edgex("inspect", bundle), 1, "build manifest", sidecar(bundle).name)


def test_a_sidecar_that_was_edited_by_hand_is_shown_or_refused(bundle: Path, tmp_path: Path) -> None:
    write_sidecar(bundle, kept=(KeptNode("head", "Conv", 0.25),), achieved={"Conv": {"int8": 1}}, fidelity={"iou": 1.0})
    whole = json.loads(sidecar(bundle).read_text())
    for name in whole:
        for value in (None, 7, "²", [], [1], {}, {"Conv": 3}, [{"name": 1, "kind": 2, "effect": "x"}]):
            sidecar(bundle).write_text(json.dumps({**whole, name: value}))
            done = edgex("inspect", bundle)
            assert "unexpected" not in done.err, (name, value)
            assert len(done.err.splitlines()) == done.code, (name, value)
            if done.code == 0:
                found = inspect(bundle)
                assert found.rows()
                assert found.to_dict()["backend"] == whole["backend"] or name == "backend"


def test_mutated_bundles_are_inspected_or_refused(bundle: Path) -> None:
    whole = bundle.read_bytes()
    random = np.random.default_rng(0)
    read = 0
    for _ in range(500):
        content = bytearray(whole)
        for place in random.integers(0, len(whole), 1 + random.integers(4)):
            content[place] = random.integers(256)
        bundle.write_bytes(content)
        with contextlib.suppress(ModelError):
            assert inspect(bundle).rows()
            read += 1
    assert 50 < read < 450  # both happened


def test_text_that_is_no_text(bundle: Path) -> None:
    bundle.write_bytes(bundle.read_bytes().replace(b"GlobalMaxPool", b"Global\xff\xfePool"[:13]))
    with pytest.raises(ModelError, match="not one or are cut off"):
        inspect(bundle)


def test_no_backend_meets_the_file(bundle: Path) -> None:
    code = (
        "import sys, onnxruntime, edgex.inspect as i\n"
        "onnxruntime.InferenceSession = None  # to call it is a TypeError\n"
        "assert 'onnxruntime' in i.inspect(sys.argv[1]).runs_on"
    )
    done = subprocess.run([sys.executable, "-c", code, str(bundle)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
