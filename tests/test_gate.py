"""The gate: what quantises well passes as it is, one bad place is found and kept, what cannot pass is refused."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from edgex.build_int8 import Calibrated, Tensors, checked_frames, passed
from edgex.calibrate import CalibrateOptions, calibrate
from edgex.calibration import read_calibration
from edgex.engines import Network, open_network
from edgex.errors import FidelityError
from edgex.fidelity import Budget, shortfalls
from edgex.gate import Passed
from edgex.graph import prepare
from edgex.image_input import image_input
from edgex.onnx_file import read_onnx
from edgex.precision import CPU, RECIPES, TENSORRT
from edgex.restore import blocks
from tests.small_networks import write_pictures, write_small

LOUD = 3000.0  # times the other channels: one scale for all leaves nothing of them
IMPOSSIBLE = Budget(mask_iou_mean=1.0, mask_iou_p5=1.0, mask_difference_mean=0.0)
EITHER = pytest.mark.parametrize("backend", ["onnxruntime", "tensorrt-rtx"])


class Case:
    """A model, its calibration as a file, and the frames of the check."""

    def __init__(self, folder: Path, loud: float) -> None:
        self.path = write_small(folder / "small.onnx", loud=loud, pairs=4)
        self.data = str(write_pictures(folder / "frames"))
        self.file = folder / "small.calib.json"
        self.calibration, _ = calibrate(CalibrateOptions(self.path, self.data, threads=1))
        self.model = prepare(self.path)
        self.tensors: Tensors = checked_frames(self.data, 12, image_input(read_onnx(self.path)), self.observe)
        self.stages: list[tuple[str, int, int]] = []
        self.forget()

    def forget(self) -> None:
        """Write the calibration anew, without what earlier builds measured."""
        self.file.write_text(self.calibration.to_json(), encoding="utf-8")

    def observe(self, stage: str, done: int, total: int) -> None:
        if stage != "reading frames":
            self.stages.append((stage, done, total))

    def passed(self, backend: str, budget: Budget | None = None) -> Passed:
        self.stages.clear()
        found = Calibrated(read_calibration(self.file), self.file, self.data)
        reference: Network = open_network(self.path, "onnxruntime", 1)
        try:
            return passed(self.model, found, backend, reference, self.tensors, budget or Budget(), 1, self.observe)
        finally:
            reference.close()


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("good"), 1.0)


@pytest.fixture(scope="module")
def loud(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return Case(tmp_path_factory.mktemp("bad"), LOUD)


@pytest.fixture
def bad(loud: Case) -> Case:
    loud.forget()
    return loud


@EITHER
def test_what_quantises_well_keeps_nothing(good: Case, backend: str) -> None:
    found = good.passed(backend)
    assert found.kept == ()
    assert found.effects == {}
    assert not shortfalls(found.fidelity)
    assert found.fidelity.frames_with_mask == len(good.tensors) == 12
    assert good.stages == [("checking", done, 12) for done in range(1, 13)]


@EITHER
def test_the_one_bad_place_is_kept_and_little_else(bad: Case, backend: str) -> None:
    found = bad.passed(backend)
    every = blocks(bad.model, read_calibration(bad.file), RECIPES[backend])
    (first,) = [block for block in every if "up" in block]
    assert "down" in first, "the bad place lies within one block: else this test shows less"
    assert tuple(node.name for node in found.kept) == first
    assert {node.kind for node in found.kept} <= {"Conv", "Add", "Relu", "Clip"}
    assert not shortfalls(found.fidelity)
    assert all(node.effect > 0.5 for node in found.kept)
    assert {stage for stage, _, _ in bad.stages} == {
        "checking",
        "measuring blocks",
        f"checking with 1 of {len(every)} blocks kept",
    }


def test_a_kept_convolution_has_its_own_weights(bad: Case) -> None:
    graph = bad.passed("onnxruntime").graph
    inputs = {node.name: list(node.input) for node in graph.graph.node}
    assert inputs["up"][1:] == ["up.w", "up.b"]
    assert "grow3.w" not in inputs["grow3"]


def test_what_was_measured_is_kept_in_the_calibration_s_file(bad: Case) -> None:
    before = read_calibration(bad.file)
    first = bad.passed("onnxruntime")
    after = read_calibration(bad.file)
    assert after == dataclasses.replace(before, sensitivity=after.sensitivity)
    assert after.digest() == before.digest()
    assert {key.rpartition(": ")[2] for key in after.sensitivity} == {"mask_logits", "class_logits"}
    assert any(stage == "measuring blocks" for stage, _, _ in bad.stages)
    second = bad.passed("onnxruntime")
    assert not any(stage == "measuring blocks" for stage, _, _ in bad.stages)
    assert second.kept == first.kept
    assert second.graph.SerializeToString(deterministic=True) == first.graph.SerializeToString(deterministic=True)


def test_effects_of_one_recipe_are_not_taken_for_another_s(bad: Case) -> None:
    bad.passed("onnxruntime")
    bad.passed("tensorrt-rtx")
    assert any(stage == "measuring blocks" for stage, _, _ in bad.stages)
    keys = {key.split()[0] for key in read_calibration(bad.file).sensitivity}
    assert keys == {CPU.name, TENSORRT.name}


def test_effects_of_other_blocks_are_measured_again(bad: Case) -> None:
    bad.passed("onnxruntime")
    tree = json.loads(bad.file.read_text(encoding="utf-8"))
    for effects in tree["sensitivity"].values():
        effects["no such node"] = effects.pop(next(iter(effects)))
    bad.file.write_text(json.dumps(tree), encoding="utf-8")
    found = bad.passed("onnxruntime")
    assert any(stage == "measuring blocks" for stage, _, _ in bad.stages)
    assert found.kept


def test_a_budget_out_of_reach_is_refused_in_one_sentence(bad: Case) -> None:
    every = blocks(bad.model, read_calibration(bad.file), CPU)
    with pytest.raises(FidelityError) as refused:
        bad.passed("onnxruntime", IMPOSSIBLE)
    sentence = str(refused.value)
    assert sentence.startswith("expected a mean")
    assert f"up to {len(every)} blocks kept" in sentence
    assert "--fp16" in sentence
    assert (f"checking with {len(every)} of {len(every)} blocks kept", 12, 12) in bad.stages


def test_frames_that_show_nothing_are_refused_before_blocks_are_measured(good: Case) -> None:
    with pytest.raises(FidelityError, match="give pictures of what the model knows"):
        good.passed("onnxruntime", Budget(frames_with_mask=1000))
    assert not any(stage == "measuring blocks" for stage, _, _ in good.stages), "no block can mend that"
