"""Export: the bundle's layout, its parity with PyTorch under ONNX Runtime, and what is refused."""

from __future__ import annotations

import collections
import dataclasses
import json
from pathlib import Path

import numpy as np
import onnx
import onnx.version_converter
import onnxruntime
import pytest
import torch
from onnx import numpy_helper
from torch import Tensor, nn

from edgex.errors import FidelityError, ModelError, UsageError
from edgex.manifest import METADATA_KEY, Manifest
from tests.training.pairs import LABELS, SPEC, write_pair, write_scenes
from training.evaluate import EvaluateOptions, evaluate
from training.export import TOLERANCE, Bundle, Exported, ExportOptions, checked, compare, export, to_onnx
from training.models.frozen import freeze
from training.onnx_graph import halve_weights, join, simplify
from training.report import MAIN_SCORES

BOTH = ("class_logits", "mask_logits")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Checkpoints, pictures and an evaluation of them."""
    folder = tmp_path_factory.mktemp("export")
    _, explainer = write_pair(folder)
    scenes = write_scenes(folder / "scenes")
    evaluate(EvaluateOptions(str(scenes), explainer, output=folder / "report.json", specificity_images=2))
    return folder


@pytest.fixture(scope="module")
def exported(folder: Path) -> Exported:
    options = ExportOptions(
        folder / "explainer.pt",
        folder / "bundle.onnx",
        str(folder / "scenes"),
        split="test",
        images=3,
        evaluation=folder / "report.json",
        training_data="three colours",
        licence="CC0-1.0",
        calibration="bundle.calibration",
    )
    return export(options)


def test_the_bundle_has_the_layout_of_the_design(exported: Exported) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [entry.version for entry in model.opset_import if entry.domain == ""] == [20]
    session = onnxruntime.InferenceSession(str(exported.path))
    assert [(i.name, i.type, i.shape) for i in session.get_inputs()] == [("image", "tensor(float)", ["N", 3, 32, 32])]
    outputs = [(o.name, o.type, o.shape) for o in session.get_outputs()]
    assert outputs == [
        ("class_logits", "tensor(float)", ["N", 3]),
        ("mask_logits", "tensor(float)", ["N", 3, 4, 4]),  # stride 8: the last upsampling is not in it
    ]
    assert exported.size_bytes == exported.path.stat().st_size


def test_batch_norms_are_folded(exported: Exported) -> None:
    operators = collections.Counter(node.op_type for node in onnx.load(exported.path).graph.node)
    assert operators["Conv"] > 100
    assert operators["BatchNormalization"] == 0


def test_the_manifest_travels_in_the_file(exported: Exported) -> None:
    texts = {entry.key: entry.value for entry in onnx.load(exported.path).metadata_props}
    manifest = Manifest.from_json(texts[METADATA_KEY])
    assert dataclasses.asdict(manifest) == dataclasses.asdict(exported.manifest)
    assert manifest.labels == LABELS
    assert manifest.input == SPEC
    assert (manifest.explanandum, manifest.explainer) == ("efficientnet_lite0", "edge")
    assert (manifest.training_data, manifest.licence) == ("three colours", "CC0-1.0")
    assert manifest.calibration == "bundle.calibration"


def test_the_manifest_holds_the_evaluation_s_main_scores(exported: Exported, folder: Path) -> None:
    report = json.loads((folder / "report.json").read_text())
    found = exported.manifest.evaluation
    for protocol in ("labels", "predictions"):
        for name in MAIN_SCORES:
            expected = report["protocols"][protocol]["explainer"]["scores"][name]
            assert found[f"{protocol}/explainer/{name}"] == pytest.approx(expected, abs=1e-4)
    ratio = report["specificity"]["Grad-CAM"]["own_over_other"]
    assert found["specificity/Grad-CAM/own_over_other"] == pytest.approx(ratio, abs=1e-4)
    assert not any("perfect" in name for name in found)


def test_onnx_runtime_agrees_with_pytorch(exported: Exported) -> None:
    assert exported.images == 3
    assert 0.0 < exported.float32.largest < TOLERANCE
    assert exported.rounded is None


def test_nothing_of_the_exporting_machine_is_in_the_file(exported: Exported) -> None:
    content = exported.path.read_bytes()
    here = str(Path(__file__).resolve().parents[2]).encode()
    assert here not in content
    assert b".py" not in content


def test_a_report_on_other_checkpoints_is_refused(folder: Path, tmp_path: Path) -> None:
    write_pair(tmp_path, seed=1)
    options = ExportOptions(
        tmp_path / "explainer.pt",
        tmp_path / "b.onnx",
        str(folder / "scenes"),
        split="test",
        evaluation=folder / "report.json",
    )
    with pytest.raises(UsageError, match="another explainer"):
        export(options)
    (tmp_path / "report.json").write_text("[]")
    with pytest.raises(UsageError, match="expected a report of `evaluate`"):
        export(dataclasses.replace(options, evaluation=tmp_path / "report.json"))
    assert not (tmp_path / "b.onnx").exists()


def test_a_bundle_s_own_classifier_can_be_the_explanandum(exported: Exported, folder: Path, tmp_path: Path) -> None:
    """The way of a foreign ONNX classifier, and weights in float16."""
    options = ExportOptions(
        folder / "explainer.pt",
        tmp_path / "again.onnx",
        str(folder / "scenes"),
        explanandum=f"onnx:{exported.path}",
        split="test",
        images=2,
        fp16=True,
    )
    again = export(options)
    assert again.manifest.explanandum == "bundle.onnx"
    assert again.float32.largest < TOLERANCE
    assert again.rounded is not None
    assert again.rounded.largest > again.float32.largest
    assert again.size_bytes < 0.55 * exported.size_bytes
    sessions = [onnxruntime.InferenceSession(str(path)) for path in (exported.path, again.path)]
    image = np.random.default_rng(0).normal(size=(2, 3, 32, 32)).astype(np.float32)
    for first, second in zip(*(session.run(None, {"image": image}) for session in sessions), strict=True):
        assert np.ptp(first) > 0.1
        np.testing.assert_allclose(first, second, atol=0.05)


def test_options_are_checked() -> None:
    with pytest.raises(UsageError, match=r"NAME\.onnx"):
        ExportOptions(Path("e.pt"), Path("bundle.engine"), "voc:x")
    with pytest.raises(UsageError, match="images of 1 or more"):
        ExportOptions(Path("e.pt"), Path("b.onnx"), "voc:x", images=0)


class Body(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv2d(3, 16, 3, stride=8, padding=1), nn.BatchNorm2d(16), nn.ReLU6())
        nn.init.uniform_(self.layers[1].running_mean)  # type: ignore[arg-type]

    def forward(self, image: Tensor) -> Tensor:
        features: Tensor = self.layers(image)
        return features


class Head(nn.Module):
    def __init__(self, body: nn.Module, pool: bool) -> None:
        super().__init__()
        self.body, self.last, self.pool = body, nn.Conv2d(16, 3, 1), pool

    def forward(self, image: Tensor) -> Tensor:
        logits: Tensor = self.last(self.body(image))
        return logits.mean(dim=(2, 3)) if self.pool else logits


@pytest.fixture(scope="module")
def tiny() -> Bundle:
    """Two networks over bodies of equal weights, which are different modules."""
    torch.manual_seed(0)
    first, second = Body(), Body()
    second.load_state_dict(first.state_dict())
    return freeze(Bundle(Head(first, pool=True), Head(second, pool=False)))  # type: ignore[return-value]


@pytest.fixture(scope="module")
def tiny_model(tiny: Bundle) -> onnx.ModelProto:
    return to_onnx(tiny, SPEC, BOTH)


@pytest.fixture
def images() -> list[np.ndarray]:
    return list(np.random.default_rng(0).normal(size=(3, 1, 3, 32, 32)).astype(np.float32))


def test_a_body_with_equal_weights_is_stored_and_computed_once(
    tiny: Bundle, tiny_model: onnx.ModelProto, images: list[np.ndarray]
) -> None:
    assert [node.op_type for node in tiny_model.graph.node].count("Conv") == 3
    assert sum(list(tensor.dims) == [16, 3, 3, 3] for tensor in tiny_model.graph.initializer) == 1
    assert compare(tiny, tiny_model, images).largest < 1e-5


def test_bodies_of_different_weights_stay_two(images: list[np.ndarray]) -> None:
    torch.manual_seed(1)
    bundle = freeze(Bundle(Head(Body(), pool=True), Head(Body(), pool=False)))
    model = to_onnx(bundle, SPEC, BOTH)
    assert [node.op_type for node in model.graph.node].count("Conv") == 4
    assert compare(bundle, model, images).largest < 1e-5


def test_simplifying_twice_changes_nothing(tiny_model: onnx.ModelProto) -> None:
    assert simplify(tiny_model).SerializeToString() == tiny_model.SerializeToString()


def test_parity_sees_a_changed_weight_and_nan(
    tiny: Bundle, tiny_model: onnx.ModelProto, images: list[np.ndarray]
) -> None:
    for value, name in ((0.5, "explainer.last.bias"), (np.nan, "explanandum.last.bias")):
        changed = onnx.ModelProto()
        changed.CopyFrom(tiny_model)
        tensor = next(tensor for tensor in changed.graph.initializer if tensor.name == name)
        weights = numpy_helper.to_array(tensor).copy()
        weights[0] += value
        tensor.CopyFrom(numpy_helper.from_array(weights, name))
        difference = compare(tiny, changed, images)
        assert not difference.largest < TOLERANCE
        if np.isnan(value):
            assert np.isnan(difference.class_logits)
            assert difference.mask_logits < 1e-5
        else:
            assert difference.mask_logits == pytest.approx(0.5, abs=1e-5)


def test_a_bundle_that_disagrees_is_refused(tiny: Bundle, images: list[np.ndarray]) -> None:
    torch.manual_seed(2)
    other = freeze(Bundle(Head(Body(), pool=True), Head(Body(), pool=False)))
    with pytest.raises(FidelityError, match="nothing was written"):
        checked(tiny, to_onnx(other, SPEC, BOTH), images, fp16=False)


@pytest.mark.parametrize("free_batch", [True, False])
def test_a_foreign_classifier_keeps_its_own_graph(tiny: Bundle, images: list[np.ndarray], free_batch: bool) -> None:
    """Its names may be the bundle's own, its opset an older one, its batch fixed."""
    classifier = to_onnx(tiny.explanandum, SPEC, ("mask_logits",), free_batch)
    classifier = onnx.version_converter.convert_version(classifier, 18)
    joined = join(classifier, to_onnx(tiny.explainer, SPEC, ("mask_logits",), free_batch))
    onnx.checker.check_model(joined, full_check=True)
    assert [entry.name for entry in joined.graph.output] == ["class_logits", "mask_logits"]
    assert [(entry.domain, entry.version) for entry in joined.opset_import] == [("", 20)]
    batch = joined.graph.input[0].type.tensor_type.shape.dim[0]
    assert (batch.dim_param, batch.dim_value) == (("N", 0) if free_batch else ("", 1))
    assert "Identity" not in {node.op_type for node in joined.graph.node}
    assert compare(tiny, joined, images).largest < 1e-5


def test_halved_weights_are_cast_back_when_the_file_is_loaded(
    tiny: Bundle, tiny_model: onnx.ModelProto, images: list[np.ndarray], tmp_path: Path
) -> None:
    halved = halve_weights(tiny_model, smallest=256)
    onnx.checker.check_model(halved, full_check=True)
    kinds = {tensor.name: tensor.data_type for tensor in halved.graph.initializer}
    assert [name for name, kind in kinds.items() if kind == onnx.TensorProto.FLOAT16] == [
        "explanandum.body.layers.0.weight.half"
    ]
    assert {entry.type.tensor_type.elem_type for entry in (*halved.graph.input, *halved.graph.output)} == {1}
    assert 0.0 < compare(tiny, halved, images).largest < 0.01
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(tmp_path / "loaded.onnx")
    onnxruntime.InferenceSession(halved.SerializeToString(), options)
    loaded = onnx.load(tmp_path / "loaded.onnx")
    assert "Cast" not in {node.op_type for node in loaded.graph.node}
    assert {tensor.data_type for tensor in loaded.graph.initializer} <= {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}


def test_a_weight_beyond_float16_is_refused(tiny_model: onnx.ModelProto) -> None:
    large = onnx.ModelProto()
    large.CopyFrom(tiny_model)
    tensor = next(tensor for tensor in large.graph.initializer if list(tensor.dims) == [16, 3, 3, 3])
    weights = numpy_helper.to_array(tensor).copy()
    weights[0, 0, 0, 0] = 1e5
    tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))
    with pytest.raises(ModelError, match="at most 65504"):
        halve_weights(large, smallest=256)


class Stubborn(nn.Module):
    def forward(self, image: Tensor) -> Tensor:
        return image.mean(dim=(2, 3)) if image.sum().item() > 0 else image.amax(dim=(2, 3))


def test_a_network_that_onnx_cannot_express_is_one_sentence() -> None:
    with pytest.raises(ModelError, match="expected a network that ONNX opset 20 expresses"):
        to_onnx(Stubborn(), SPEC, ("class_logits",))
