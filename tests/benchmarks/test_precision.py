"""The precision benchmark on a tiny bundle: engines, bare sessions, scores, limits and tables. No time is asserted."""

from __future__ import annotations

import copy
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from benchmarks import page as page_of
from benchmarks import precision, precision_tables
from benchmarks.precision_engines import bare_onnxruntime, build_engine, calibrate_model, require_same
from benchmarks.precision_models import SIDE, Model, export_untrained, open_model, untrained
from benchmarks.precision_scores import HeldBack, Scenes, score
from edgex.engines import open_engine, open_network
from edgex.errors import UsageError
from edgex.explain import shipped_bundle
from edgex.manifest import InputSpec
from tests.bundles import LABELS, patched_picture, tiny_manifest, write_bundle
from tests.training.trees import voc_object, write_segmentation

FRAMES = 32
SCENES = 6
SMALLEST = "lraspp_mobilenet_v3_large"


def write_model(path: Path) -> Path:
    """Write a tiny bundle behind two more convolutions; the second is quantised: first and last ones are not."""
    model = onnx.load(str(write_bundle(path)))
    centre = np.zeros((3, 3, 3, 3), np.float32)
    centre[range(3), range(3), 1, 1] = 1.0
    model.graph.initializer.append(numpy_helper.from_array(centre, "centre"))
    model.graph.node[0].input[0] = "seen"
    for index, (name, source, seen) in enumerate((("first", "image", "glanced"), ("second", "glanced", "seen"))):
        conv = helper.make_node("Conv", [source, "centre"], [seen], name=name, pads=[1, 1, 1, 1])
        model.graph.node.insert(index, conv)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())
    return path


def write_scenes(root: Path, labels: tuple[str, ...] = LABELS) -> Path:
    """Write a VOC tree whose every picture has one colour in its left half, and the ground truth of it."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    (root / "labels.txt").write_text("\n".join(labels), encoding="utf-8")
    names = [f"scene{number}" for number in range(SCENES)]
    (root / "ImageSets/Main/test.txt").write_text("\n".join(names), encoding="utf-8")
    for number, name in enumerate(names):
        label = number % len(LABELS)
        picture = patched_picture(label=LABELS[label])
        assert cv2.imwrite(str(root / "JPEGImages" / f"{name}.png"), picture)
        truth = np.zeros(picture.shape[:2], np.uint8)
        truth[:, : truth.shape[1] // 2] = label + 1
        write_segmentation(root / "SegmentationClass" / f"{name}.png", truth)
        annotation = f"<annotation>{voc_object(labels[label])}</annotation>"
        (root / "Annotations" / f"{name}.xml").write_text(annotation, encoding="utf-8")
    return root


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    folder = tmp_path_factory.mktemp("model")
    frames = folder / "frames"
    frames.mkdir()
    for number in range(FRAMES):
        picture = cv2.add(patched_picture(label=LABELS[number % 3]), (number % 5,) * 4)
        assert cv2.imwrite(str(frames / f"{number:03}.png"), picture)
    return Model("tiny", write_model(folder / "tiny.onnx"), frames, trained=True)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def report(model: Model, scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("engines")
    options = precision.Options(("onnxruntime", "openvino"), str(scenes), images=SCENES, rounds=1)
    output = folder / "results" / "precision.json"
    precision.measure([model], options, folder, output)
    assert [path.name for path in output.parent.iterdir()] == ["precision.json"]
    written: dict[str, Any] = json.loads(output.read_text(encoding="utf-8"))
    return written


def test_every_engine_that_was_built_is_judged_and_timed_beside_its_bare_session(report: dict[str, Any]) -> None:
    tiny = report["models"]["tiny"]
    contenders = tiny["latency"]["contenders"]
    for backend in ("onnxruntime", "openvino"):
        if report["backends"][backend] is None:
            continue
        for name in (f"{backend} fp32", f"{backend} int8"):
            row = tiny["engines"][name]
            assert row["bytes"] > 0
            assert row["seconds"] > 0
            assert row["scores"]["images"] == SCENES
            assert row["fidelity"]["frames"] == SCENES
            assert row["fidelity"]["mask_iou_mean"] > 0.9
            assert {name, f"{name} bare"} <= set(contenders)
            assert tiny["latency"]["largest_difference"][name] <= 1e-3
            assert {"percent", "edgex_ms", "bare_ms"} == set(tiny["latency"]["own_cost"][name])
        assert "int8" in tiny["engines"][f"{backend} int8"]["layers"]
    assert tiny["calibration"]["frames"] == FRAMES * 3 // 4


def test_a_precision_that_a_backend_has_not_is_refused_in_a_sentence_without_places(
    report: dict[str, Any], model: Model
) -> None:
    refused = report["models"]["tiny"]["engines"]["onnxruntime fp16"]["refused"]
    assert refused.startswith("expected ")
    assert str(model.path.parent) not in json.dumps(report)


def test_openvino_s_own_precision_is_a_contender(report: dict[str, Any]) -> None:
    pytest.importorskip("openvino")
    row = report["models"]["tiny"]["engines"][precision.DEFAULT]
    assert row["computes_in"] in ("float", "float32", "f32", "bfloat16", "bf16", "float16", "f16")
    assert precision.DEFAULT in report["models"]["tiny"]["latency"]["contenders"]


def test_masks_are_scored_against_ground_truth(model: Model, scenes: Path) -> None:
    network = open_network(model.path, "onnxruntime", 1)
    found = Scenes(str(scenes), SCENES, model.manifest().input)
    scores = score(network, found, model.manifest())
    assert len(found) == len(list(found.labelled())) == scores["images"] == SCENES
    assert scores["labels"]["F1"] > 0.85  # the mask is coarse, one value for 8 x 8 pixels
    assert scores["labels"] == scores["predictions"]  # the classifier is right about every scene

    class Blind:
        def run(self, image: Any) -> dict[str, Any]:
            given = network.run(image)
            return {**given, "mask_logits": np.full_like(given["mask_logits"], -9.0)}

    blind = score(Blind(), found, model.manifest())
    assert blind["labels"]["F1"] == 0.0
    assert blind["labels"]["c_IoU"] < 0.001


def test_scenes_of_other_labels_are_refused(model: Model, tmp_path: Path) -> None:
    other = Scenes(str(write_scenes(tmp_path / "other", ("cat", "dog", "cow"))), SCENES, model.manifest().input)
    with pytest.raises(UsageError, match="expected scenes with the labels red, green, blue, got cat, dog, cow"):
        score(open_network(model.path, "onnxruntime", 1), other, model.manifest())


def test_without_scenes_frames_are_used_that_calibration_did_not_see(model: Model) -> None:
    held = HeldBack(model.frames, 400, model.manifest().input)
    names = [name for name, _ in held]
    assert len(names) == len(held) == FRAMES // 4


def test_a_bare_session_that_gives_something_else_is_not_compared(model: Model) -> None:
    engine, bare = open_engine(model.path, "onnxruntime", 1), bare_onnxruntime(model.path, 1)
    _, tensor = next(iter(HeldBack(model.frames, 1, model.manifest().input)))
    ours = engine.network.run(tensor)
    assert require_same("x", ours, bare.run(tensor)) <= 1e-5
    with pytest.raises(SystemExit, match="x: edgex differs from the bare session"):
        require_same("x", ours, {name: values + 1 for name, values in bare.run(tensor).items()})


def test_a_model_that_cannot_be_quantised_is_a_row_with_the_reason(tmp_path: Path, model: Model) -> None:
    heads = Model("heads", write_bundle(tmp_path / "heads.onnx"), model.frames, trained=True)
    text, _ = calibrate_model(heads, 1)
    row, path = build_engine(heads, "onnxruntime", "int8", text, tmp_path, 1)
    assert path is None
    assert "expected" in row["refused"]
    assert str(tmp_path) not in row["refused"]


def test_what_the_gate_refuses_is_built_without_it_and_says_so(
    tmp_path: Path, model: Model, report: dict[str, Any]
) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for number in range(FRAMES):  # grey: there is no class in them whose mask could be judged
        assert cv2.imwrite(str(frames / f"{number:03}.png"), np.full((64, 64, 3), 100 + number, np.uint8))
    grey = Model("grey", model.path, frames, trained=True)
    text, _ = calibrate_model(grey, 1)
    row, path = build_engine(grey, "onnxruntime", "int8", text, tmp_path, 1)
    assert path is not None
    assert "masks could not be judged" in row["gate"]
    assert row["build_fidelity"] == {}
    shown = copy.deepcopy(report)
    shown["models"]["tiny"]["engines"]["onnxruntime int8"] = row
    assert "below the budget, built with --unchecked" in precision_tables.files(shown)


def test_limits_are_judged_from_the_figures(report: dict[str, Any]) -> None:
    shipped = copy.deepcopy(report["models"]["tiny"])
    shipped["latency"]["contenders"] = {
        "onnxruntime fp32": {"over_first": 1.0},
        "onnxruntime int8": {"over_first": 0.5},
    }
    shipped["latency"]["own_cost"] = {"onnxruntime int8": {"percent": 7.0}}
    row = shipped["engines"]["onnxruntime int8"]
    row["fidelity"] |= {"mask_iou_mean": 0.96, "mask_iou_p5": 0.8, "top1_agreement": None}
    shipped["reference_scores"]["labels"]["F1"], row["scores"]["labels"]["F1"] = 0.60, 0.585
    found = {each["what"]: each for each in precision_tables.judged({"models": {"shipped": shipped}})}

    def reached(what: str) -> tuple[float | None, bool | None]:
        return found[what]["reached"], found[what]["met"]

    assert reached("onnxruntime int8, times as fast as its FP32") == (2.0, True)
    assert reached("openvino int8, times as fast as OpenVINO's default precision") == (None, None)
    assert reached("onnxruntime int8, mean mask IoU with FP32") == (0.96, True)
    assert reached("onnxruntime int8, 5th percentile of it") == (0.8, False)
    assert reached("onnxruntime int8, top-1 agreement") == (None, None)
    assert reached("onnxruntime int8, loss of F1 against ground truth") == (1.5, False)
    assert reached("onnxruntime int8, edgex's own cost over the bare session") == (7.0, False)


def test_tables_show_every_engine_and_fill_the_page(report: dict[str, Any], tmp_path: Path) -> None:
    texts = precision_tables.tables(report)
    engines = report["models"]["tiny"]["engines"]
    for engine, row in engines.items():
        assert (f"| tiny | {engine} |" in texts["files"]) == (engine != precision.DEFAULT)
        assert (f"| tiny | {engine} |" in texts["fidelity"]) == ("fidelity" in row)
        assert (f"| tiny | {engine} |" in texts["scores"]) == ("scores" in row)
    widths = {
        name: {line.count("|") for line in text.splitlines()} for name, text in texts.items() if name != "machine"
    }
    assert all(len(columns) == 1 for columns in widths.values()), widths
    page = page_of.filled(precision_tables.PAGE.read_text(encoding="utf-8"), texts)
    for name, text in texts.items():
        assert f"<!-- table: {name} -->\n{text}\n<!-- end -->" in page


def test_untrained_networks_are_not_shown_with_figures_of_masks(report: dict[str, Any]) -> None:
    untrained = copy.deepcopy(report)
    untrained["models"]["tiny"]["trained"] = False
    (line,) = [each for each in precision_tables.fidelity(untrained).splitlines() if "| onnxruntime int8 |" in each]
    cells = [cell.strip() for cell in line.split("|")[3:-1]]
    assert cells[:5] == [precision_tables.NOTHING] * 5
    assert float(cells[5]) < 0.5


def test_the_program_prints_the_tables_of_a_file(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "precision.json"
    file.write_text(json.dumps(report), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["precision", "--table", "--output", str(file)])
    precision.main()
    assert capsys.readouterr().out.strip() == "\n\n".join(precision_tables.tables(report).values())


def test_the_shipped_model_is_measured_as_it_ships(tmp_path: Path) -> None:
    model = open_model("shipped", tmp_path)
    assert model.path == shipped_bundle()
    assert model.trained
    assert len(list(model.frames.glob("*.jpg"))) >= 32


@pytest.mark.slow
def test_a_network_with_random_weights_is_a_legal_explainer(tmp_path: Path) -> None:
    frames = shipped_bundle().parent / "calibration"
    path = export_untrained(SMALLEST, tmp_path / "untrained.onnx", frames, SIDE // 4)
    engine = open_engine(path, "onnxruntime", 1)
    assert engine.input_shape == (None, 3, SIDE // 4, SIDE // 4)
    assert engine.manifest is not None
    assert "random weights" in (engine.manifest.training_data or "")
    _, tensor = next(iter(HeldBack(frames, 1, engine.manifest.input)))
    assert 0.01 < engine.infer(tensor).mask_logits.std() < 100.0  # as in a trained network: see the batch-norms


def test_random_weights_are_the_same_each_time() -> None:
    frames = shipped_bundle().parent / "calibration"
    spec = InputSpec(height=SIDE // 4, width=SIDE // 4, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    one, other = (untrained(SMALLEST, 3, frames, spec).state_dict() for _ in range(2))
    assert all((one[name] == other[name]).all() for name in one)
    statistics = [name for name in one if name.endswith("running_mean")]
    assert statistics
    assert all(one[name].any() for name in statistics)


def test_the_tiny_model_is_a_bundle(model: Model) -> None:
    assert model.manifest() == tiny_manifest()
