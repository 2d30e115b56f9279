from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from edgex.errors import EdgexError, ModelError, UsageError
from edgex.manifest import METADATA_KEY, InputSpec, Manifest
from tests.training.pairs import LABELS, SPEC, write_pair
from training.checkpoint import load_checkpoint, load_explainer, load_explanandum, save_checkpoint
from training.models import build_explanandum
from training.models.frozen import ForeignInput, freeze
from training.models.onnx_explanandum import OneByOne


def complete(**changes: object) -> dict[str, object]:
    keys = ["kind", "architecture", "labels", "task", "input", "config", "model", "step", "epoch", "best_loss"]
    return {**dict.fromkeys(keys, 0), **changes}


def test_a_checkpoint_is_plain_types_and_tensors_and_comes_back(tmp_path: Path) -> None:
    weights = {"w": torch.arange(3.0)}
    save_checkpoint(tmp_path / "new" / "a.pt", complete(kind="explainer", model=weights))
    back = load_checkpoint(tmp_path / "new" / "a.pt", "explainer")
    assert torch.equal(back["model"]["w"], weights["w"])
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.pt"]


def test_loaded_networks_are_frozen_and_know_what_they_are_for(tmp_path: Path) -> None:
    explanandum, explainer = write_pair(tmp_path)
    for loaded, shape in ((load_explanandum(str(explanandum)), (2, 3)), (load_explainer(explainer), (2, 3, 4, 4))):
        assert (loaded.labels, loaded.task, loaded.input) == (LABELS, "multi-label", SPEC)
        assert not any(p.requires_grad for p in loaded.module.parameters())
        assert not any(m.training for m in loaded.module.modules())
        assert loaded.module(torch.zeros(2, 3, 32, 32)).shape == shape


def test_what_is_not_a_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no such file"):
        load_checkpoint(tmp_path / "none.pt")
    (tmp_path / "text.pt").write_text("not a checkpoint")
    with pytest.raises(ModelError, match=r"unreadable"):
        load_checkpoint(tmp_path / "text.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(ModelError, match=r"without kind"):
        load_checkpoint(tmp_path / "list.pt")
    explanandum, explainer = write_pair(tmp_path)
    explainer.write_bytes(explainer.read_bytes()[:5000])
    with pytest.raises(ModelError, match=r"unreadable"):
        load_explainer(explainer)
    with pytest.raises(ModelError, match=r"an explainer at .*, got an explanandum"):
        load_explainer(explanandum)


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    torch.save({"kind": Path}, tmp_path / "code.pt")
    with pytest.raises(ModelError, match="unreadable"):
        load_checkpoint(tmp_path / "code.pt")


def test_weights_of_another_network_are_named(tmp_path: Path) -> None:
    explanandum, _ = write_pair(tmp_path)
    changed = {**load_checkpoint(explanandum), "architecture": "mobilenet_v2"}
    save_checkpoint(explanandum, changed)
    with pytest.raises(ModelError, match="weights of mobilenet_v2"):
        load_explanandum(str(explanandum))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_out_of_space_is_one_error_and_the_previous_checkpoint_is_intact(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, complete(step=1))
    before = path.read_bytes()
    script = (
        "import resource, sys, torch; from pathlib import Path; from training.checkpoint import save_checkpoint\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        "save_checkpoint(Path(sys.argv[1]), {'model': torch.zeros(1_000_000)})"
    )
    run = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False)
    last_line = run.stderr.strip().splitlines()[-1]
    assert run.returncode == 1
    assert last_line.startswith("edgex.errors.EdgexError: expected room to write")
    assert "the previous checkpoint is intact" in last_line
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["last.pt"]


def test_a_folder_that_cannot_be_made_is_one_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EdgexError, match="nothing was written"):
        save_checkpoint(tmp_path / "file" / "last.pt", complete())


@pytest.fixture(scope="module")
def classifier() -> nn.Module:
    torch.manual_seed(3)
    return freeze(build_explanandum("efficientnet_lite0", 3, pretrained=True))


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    path = tmp_path / "labels.txt"
    path.write_text("cat\ndog\nowl\n")
    return path


@pytest.mark.parametrize("exporter", ["older", "newer"])
def test_any_onnx_classifier_is_an_explanandum_with_gradients(
    tmp_path: Path, labels: Path, classifier: nn.Module, exporter: str
) -> None:
    path, example = tmp_path / "classifier.onnx", (torch.zeros(2, 3, 64, 64),)
    ending_in_softmax = nn.Sequential(classifier, nn.Softmax(dim=1)).eval()
    if exporter == "older":
        torch.onnx.export(
            ending_in_softmax, example, path, dynamo=False, opset_version=13, input_names=["x"], dynamic_axes={"x": [0]}
        )
    else:
        free = ({0: torch.export.Dim("n", min=1, max=64)},)
        torch.onnx.export(
            ending_in_softmax, example, path, dynamo=True, opset_version=20, dynamic_shapes=free, verbose=False
        )
    loaded = load_explanandum(f"onnx:{path}", ForeignInput(labels, "multi-label"))
    assert (loaded.labels, loaded.task) == (("cat", "dog", "owl"), "multi-label")
    assert (loaded.input.height, loaded.input.width) == (64, 64)
    image = torch.randn(5, 3, 64, 64, requires_grad=True)
    logits = loaded.module(image)
    torch.testing.assert_close(logits, classifier(image), rtol=1e-3, atol=1e-3)  # the last softmax is cut off
    logits.sum().backward()
    assert image.grad is not None
    assert image.grad.abs().sum() > 0
    assert not any(p.requires_grad for p in loaded.module.parameters())


def tiny(
    path: Path, operator: str = "Relu", domain: str = "", outputs: int = 1, channels: int = 3, batch: str | int = "N"
) -> Path:
    """Write image -> mean -> linear -> `operator`, class logits [N, 3]."""
    inputs = [helper.make_tensor_value_info("image", TensorProto.FLOAT, [batch, channels, 8, 8])]
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "w"], ["logits"]),
        helper.make_node(operator, ["logits"], ["class_logits"], domain=domain),
    ]
    weights = [numpy_helper.from_array(torch.eye(channels, 3).numpy(), "w")]
    results = [helper.make_tensor_value_info("class_logits", TensorProto.FLOAT, [batch, 3])]
    if outputs == 2:
        nodes.append(helper.make_node("Sigmoid", ["image"], ["mask_logits"]))
        results.insert(0, helper.make_tensor_value_info("mask_logits", TensorProto.FLOAT, ["N", channels, 8, 8]))
    graph = helper.make_graph(nodes, "tiny", inputs, results, weights)
    opsets = [helper.make_opsetid("", 20)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def test_an_onnx_of_fixed_batch_is_run_image_by_image(tmp_path: Path, labels: Path) -> None:
    loaded = load_explanandum(f"onnx:{tiny(tmp_path / 'one.onnx', batch=1)}", ForeignInput(labels))
    assert isinstance(loaded.module, OneByOne)
    image = torch.rand(3, 3, 8, 8)
    torch.testing.assert_close(loaded.module(image), image.mean(dim=(2, 3)))


def test_a_manifest_in_the_onnx_says_everything(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    manifest = Manifest(("a", "b", "c"), "multi-label", InputSpec(8, 8, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)))
    model = onnx.load(path)
    model.metadata_props.add(key=METADATA_KEY, value=manifest.to_json())
    onnx.save(model, path)
    loaded = load_explanandum(f"onnx:{path}")
    assert (loaded.labels, loaded.task, loaded.input) == (manifest.labels, manifest.task, manifest.input)


def test_of_a_bundle_the_class_logits_are_used(tmp_path: Path, labels: Path) -> None:
    loaded = load_explanandum(f"onnx:{tiny(tmp_path / 'bundle.onnx', outputs=2)}", ForeignInput(labels))
    assert loaded.module(torch.ones(4, 3, 8, 8)).tolist() == [[1.0, 1.0, 1.0]] * 4


@pytest.mark.parametrize(("operator", "domain", "named"), [("Gelu", "", "Gelu"), ("Warp", "acme", r"acme\.Warp")])
def test_an_operator_that_cannot_be_converted_is_named(
    tmp_path: Path, labels: Path, operator: str, domain: str, named: str
) -> None:
    path = tiny(tmp_path / "odd.onnx", operator, domain)
    with pytest.raises(ModelError, match=rf"got {named} \(opset \d+\); export"):
        load_explanandum(f"onnx:{path}", ForeignInput(labels))


def test_an_onnx_that_does_not_fit_is_one_sentence(tmp_path: Path, labels: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    with pytest.raises(UsageError, match=r"give --labels FILE"):
        load_explanandum(f"onnx:{path}")
    two = tmp_path / "two.txt"
    two.write_text("a\nb\n")
    with pytest.raises(ModelError, match=r"class logits \[N, 2\] .*got \[3\]"):
        load_explanandum(f"onnx:{path}", ForeignInput(two))
    with pytest.raises(ModelError, match=r"an input \[N, 3, H, W\] .*channels-first"):
        load_explanandum(f"onnx:{tiny(tmp_path / 'four.onnx', channels=4)}", ForeignInput(labels))
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="expected an ONNX model"):
        load_explanandum(f"onnx:{path}", ForeignInput(labels))
    with pytest.raises(ModelError, match="no such file"):
        load_explanandum(f"onnx:{tmp_path / 'none.onnx'}", ForeignInput(labels))


def test_a_damaged_manifest_is_an_error_and_not_ignored(tmp_path: Path) -> None:
    path = tiny(tmp_path / "tiny.onnx")
    model = onnx.load(path)
    model.metadata_props.add(key=METADATA_KEY, value=json.dumps({"schema": 1}))
    onnx.save(model, path)
    with pytest.raises(ModelError, match="manifest"):
        load_explanandum(f"onnx:{path}")


@pytest.mark.parametrize("bad", [{"task": "regression"}, {"std": (1.0, 0.0, 1.0)}])
def test_what_is_said_of_a_foreign_classifier_is_checked(bad: dict[str, object]) -> None:
    with pytest.raises(UsageError, match="expected"):
        ForeignInput(**bad)  # type: ignore[arg-type]
