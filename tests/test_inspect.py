"""`inspect` on bundles, on other ONNX files and on garbage."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from edgex.errors import ModelError
from edgex.inspect import inspect
from edgex.manifest import METADATA_KEY
from tests.bundles import tiny_manifest, write_bundle


def test_bundle(bundle: Path) -> None:
    found = inspect(str(bundle))
    assert found.kind == "bundle"
    assert found.manifest == tiny_manifest()
    assert found.labels == ("red", "green", "blue")
    assert found.missing == ()
    assert found.runs_on == ("onnxruntime",)
    assert [str(spec) for spec in found.file.inputs] == ["image float32 [N, 3, 32, 32]"]
    assert [str(s) for s in found.file.outputs] == ["class_logits float32 [N, 3]", "mask_logits float32 [N, 3, 4, 4]"]
    assert found.file.weights == {"float32": 12}
    assert found.file.opset == {"": 20}
    assert found.file.producer == "edgex-tests"
    assert found.file.size_bytes == bundle.stat().st_size
    assert found.file.sha256 == hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_to_dict_is_json(bundle: Path) -> None:
    tree = inspect(bundle).to_dict()
    assert json.loads(json.dumps(tree)) == tree
    assert tree["path"] == str(bundle)
    assert tree["labels"] == ["red", "green", "blue"]
    assert tree["inputs"] == [{"name": "image", "dtype": "float32", "shape": ["N", 3, 32, 32]}]
    assert tree["manifest"]["input"]["height"] == 32
    assert METADATA_KEY not in tree["metadata"]


def test_half_weights_and_explainer_alone(tmp_path: Path) -> None:
    found = inspect(write_bundle(tmp_path / "m.onnx", half_weights=True, class_head=False))
    assert found.kind == "explainer"
    assert found.file.weights == {"float16": 12}
    assert found.missing == ()


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    (sentence,) = inspect(write_bundle(path, with_manifest=False)).missing
    assert "expected a manifest" in sentence
    found = inspect(write_bundle(path, with_manifest=False, mask_head=False))
    assert (found.kind, found.manifest, found.runs_on) == ("onnx", None, ())
    assert len(found.missing) == 2
    assert "Explainer" in found.missing[1]
    found = inspect(write_bundle(path, manifest="no json"))
    assert "JSON" in found.missing[0]
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
    assert [str(spec) for spec in found.file.inputs] == ["x int64 [?]", "y bfloat16 [a, 2, ?]"]
    assert [str(spec) for spec in found.file.outputs] == ["s sequence_type [?]", "z string []"]
    assert found.file.operators == {"com.example.Mystery": 1}
    assert found.runs_on == ()
    assert found.missing


@pytest.mark.parametrize("content", [b"", b"garbage" * 9, bytes(999), b"\x08\x07"])
def test_garbage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(content)
    with pytest.raises(ModelError, match=r"^expected .*; "):
        inspect(tmp_path / "m.onnx")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no file"):
        inspect(tmp_path / "none.onnx")
    with pytest.raises(ModelError, match="folder"):
        inspect(tmp_path)


def test_text_that_is_no_text(bundle: Path) -> None:
    bundle.write_bytes(bundle.read_bytes().replace(b"GlobalMaxPool", b"Global\xff\xfePool"[:13]))
    with pytest.raises(ModelError, match="not one or are cut off"):
        inspect(bundle)


def test_no_backend_is_loaded(bundle: Path) -> None:
    code = "import sys, edgex.inspect as i; i.inspect(sys.argv[1]); sys.exit('onnxruntime' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code, str(bundle)], check=False).returncode == 0
