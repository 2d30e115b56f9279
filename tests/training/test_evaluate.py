"""An evaluation from checkpoints and pictures to report, tables, heat map and pictures; real networks, untrained."""

from __future__ import annotations

import dataclasses
import io
import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from edgex.errors import DataError, EdgexError, UsageError
from tests.training.pairs import LABELS, SPEC, write_pair, write_scenes
from training.checkpoint import load_checkpoint, save_checkpoint
from training.datasets import open_dataset
from training.evaluate import EvaluateOptions, evaluate
from training.methods import merge
from training.metrics import mask_metrics
from training.pair import load_pair
from training.report import ROWS, tables
from training.scoring import predicted_classes, score
from training.shortcuts import shortcuts
from training.transforms import TensorDataset

CPU = torch.device("cpu")


@dataclasses.dataclass(frozen=True)
class Evaluation:
    options: EvaluateOptions
    report: dict[str, Any]
    stages: list[tuple[str, int, int]]


@pytest.fixture(scope="module")
def evaluation(tmp_path_factory: pytest.TempPathFactory) -> Evaluation:
    folder = tmp_path_factory.mktemp("evaluation")
    _, explainer = write_pair(folder)
    out = {"output": folder / "out" / "r.json", "heat_map": folder / "h.png", "pictures": folder / "pictures"}
    options = EvaluateOptions(f"voc:{write_scenes(folder / 'scenes')}", explainer, **out, batch=3)
    stages: list[tuple[str, int, int]] = []
    report = evaluate(options, lambda *stage: stages.append(stage))
    return Evaluation(options, report, stages)


def test_images_that_cannot_be_judged_are_counted(evaluation: Evaluation) -> None:
    counts = {name: evaluation.report["images"][name] for name in ("total", "judged", "without_ground_truth")}
    assert counts == {"total": 4, "judged": 2, "without_ground_truth": 1}
    assert evaluation.report["images"]["without_object"] == 1
    assert evaluation.report["images"]["without_label"] == 0


@pytest.mark.parametrize("protocol", ["labels", "predictions"])
def test_every_method_and_baseline_is_scored_on_the_same_images(evaluation: Evaluation, protocol: str) -> None:
    methods = evaluation.report["protocols"][protocol]
    assert list(methods) == ["explainer", "Grad-CAM", "all 0", "all 0.5", "all 1", "perfect"]
    assert {entry["images"] for entry in methods.values()} == {2}
    assert {frozenset(entry["scores"]) for entry in methods.values()} == {frozenset(methods["explainer"]["scores"])}
    assert {score for score, _ in ROWS.values()} <= set(methods["explainer"]["scores"])
    assert methods["perfect"]["scores"]["c_IoU"] == methods["perfect"]["scores"]["d_F1@mean"] == 1.0
    assert methods["all 1"]["scores"]["mask_coverage"] == 1.0
    assert methods["all 0"]["scores"]["c_F1"] == 0.0


def test_the_explainer_s_scores_are_those_of_its_merged_masks(evaluation: Evaluation) -> None:
    """The same, written plainly for one score: upsample, maximum over the labels, sigmoid."""
    explainer = load_pair(evaluation.options.explainer).explainer
    tensors = TensorDataset(open_dataset(evaluation.options.data, "test"), SPEC)
    expected = []
    for index in (0, 1):
        sample = tensors[index]
        with torch.no_grad():
            logits = explainer.module(sample["image"][None])
        logits = nn.functional.interpolate(logits, size=(32, 32), mode="bilinear", align_corners=False)[0]
        mask = logits[sample["target"] > 0].amax(dim=0).sigmoid().numpy()
        expected.append(mask_metrics(mask, sample["segmentation"].numpy())["c_IoU"])
    found = evaluation.report["protocols"]["labels"]["explainer"]["scores"]["c_IoU"]
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def test_the_report_says_what_was_done(evaluation: Evaluation) -> None:
    report = evaluation.report
    assert report["scored_at"] == {"height": 32, "width": 32}
    assert report["labels"] == list(LABELS)
    assert report["explainer"]["architecture"] == "edge"
    assert len(report["explanandum"]["sha256"]) == 64
    assert report["images"]["drawn_for_specificity"] == 4
    assert set(report["specificity"]) == set(report["shortcuts"]) == {"explainer", "Grad-CAM"}
    assert report["specificity"]["explainer"]["images_per_class"] == {"blue": 1, "green": 1, "red": 3}
    assert set(report["classifier"]["average_precision"]) == set(LABELS)


def test_the_json_holds_the_report(evaluation: Evaluation) -> None:
    output = evaluation.options.output
    assert output is not None
    assert json.loads(output.read_text()) == evaluation.report
    assert [path.name for path in output.parent.iterdir()] == [output.name]  # no temporary file stays


def test_the_pictures_are_drawn(evaluation: Evaluation) -> None:
    heat_map, folder = evaluation.options.heat_map, evaluation.options.pictures
    assert heat_map is not None
    assert folder is not None
    drawn = cv2.imread(str(heat_map))
    assert drawn is not None
    assert len(np.unique(drawn.reshape(-1, 3), axis=0)) > 10
    for name in ("best.png", "worst.png"):
        gallery = cv2.imread(str(folder / name))
        assert gallery is not None
        assert gallery.shape == (2 * (32 + 22 + 2), 4 * (32 + 2), 3)  # two images, four columns, captions and frames
    best, worst = (cv2.imread(str(folder / name)) for name in ("best.png", "worst.png"))
    assert best is not None
    assert worst is not None
    np.testing.assert_array_equal(best[:56], worst[56:])  # the best of two is the worst one's other


def test_progress_reaches_the_end_of_every_stage(evaluation: Evaluation) -> None:
    ends = {stage: (done, total) for stage, done, total in evaluation.stages}
    assert ends["scores"] == (4, 4)
    assert {stage for stage in ends if stage != "scores"} == {
        f"{what} of {method}" for what in ("specificity", "shortcuts") for method in ("explainer", "Grad-CAM")
    }
    assert all(done == total for done, total in ends.values())


def test_the_tables_show_every_row(evaluation: Evaluation) -> None:
    shown = io.StringIO()
    console = Console(file=shown, width=120)
    for table in tables(evaluation.report):
        console.print(table)
    text = shown.getvalue()
    assert all(row in text for row in ROWS)
    assert "2 images judged, 2 left out" in text
    assert "own / other" in text
    assert "shape on noise" in text


def test_data_without_ground_truth_still_gets_specificity(tmp_path: Path) -> None:
    _, explainer = write_pair(tmp_path)
    scenes = write_scenes(tmp_path / "scenes")
    for file in (scenes / "SegmentationClass").iterdir():
        file.unlink()
    options = EvaluateOptions(str(scenes), explainer, gradcam=False, specificity_images=2, limit=3)
    report = evaluate(options)
    assert report["images"]["judged"] == 0
    assert report["images"]["without_ground_truth"] == report["images"]["total"] == 3
    assert report["protocols"] == {"labels": {}, "predictions": {}}
    assert report["specificity"]["explainer"]["images"] == 2
    assert all(table.row_count for table in tables(report) if "Masks of" not in str(table.title))


def test_a_pair_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    explanandum, explainer = write_pair(tmp_path)
    (tmp_path / "other").mkdir()
    larger, _ = write_pair(tmp_path / "other", dataclasses.replace(SPEC, height=64))
    with pytest.raises(UsageError, match="of one input"):
        load_pair(explainer, str(larger))
    single, _ = write_pair(tmp_path / "other", task="single-label")
    with pytest.raises(UsageError, match="of one task"):
        load_pair(explainer, str(single))
    orphan = load_checkpoint(explainer)
    del orphan["explanandum"]
    save_checkpoint(explainer, orphan)
    with pytest.raises(UsageError, match="give --explanandum"):
        load_pair(explainer)
    assert load_pair(explainer, str(explanandum)).explanandum.architecture == "efficientnet_lite0"


def test_data_of_other_classes_is_refused(tmp_path: Path) -> None:
    _, explainer = write_pair(tmp_path)
    scenes = write_scenes(tmp_path / "scenes")
    (scenes / "labels.txt").write_text("blue\ngreen\nred\nyellow\n")
    with pytest.raises(UsageError, match=r"got blue, green, red, yellow"):
        evaluate(EvaluateOptions(str(scenes), explainer))


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path: Path) -> None:
    _, explainer = write_pair(tmp_path)
    (tmp_path / "file").touch()
    options = EvaluateOptions(
        str(write_scenes(tmp_path / "scenes")), explainer, output=tmp_path / "file" / "r.json", gradcam=False
    )
    with pytest.raises(EdgexError, match="expected to write"):
        evaluate(options)


@pytest.mark.parametrize("wrong", [{"batch": 0}, {"limit": 0}, {"specificity_images": -1}, {"picture_count": 0}])
def test_options_are_checked(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        EvaluateOptions("voc:x", Path("e.pt"), **wrong)  # type: ignore[arg-type]


def test_an_unknown_device_is_refused(tmp_path: Path) -> None:
    _, explainer = write_pair(tmp_path)
    options = EvaluateOptions(str(write_scenes(tmp_path / "scenes")), explainer, device="tpu")
    with pytest.raises(UsageError, match="got 'tpu'"):
        evaluate(options)


def test_a_split_that_is_not_there_is_named(tmp_path: Path) -> None:
    _, explainer = write_pair(tmp_path)
    with pytest.raises(DataError, match="val"):
        evaluate(EvaluateOptions(str(write_scenes(tmp_path / "scenes")), explainer, split="val"))


def test_predictions_are_from_a_half_up_and_always_one() -> None:
    logits = torch.tensor([[0.0, -1.0, 3.0], [-5.0, -4.0, -6.0]])
    probabilities, chosen = predicted_classes(logits, "multi-label")
    torch.testing.assert_close(probabilities, logits.sigmoid())
    assert chosen.tolist() == [[True, False, True], [False, True, False]]
    probabilities, chosen = predicted_classes(logits, "single-label")
    torch.testing.assert_close(probabilities.sum(dim=1), torch.ones(2))
    assert chosen.tolist() == [[False, False, True], [False, True, False]]


class MeanColor(nn.Module):
    """Class logit c is ten times the mean of channel c: it sees colours, so the pictures' own classes."""

    def forward(self, image: Tensor) -> Tensor:
        return 10.0 * image.mean(dim=(2, 3)).flip(1)  # labels are blue, green, red; channels are red first


class BrightPixels:
    """Masks of a perfect method for these pictures: class c where channel c is bright and the others are dark."""

    name = "bright"

    def masks(self, image: Tensor, wanted: Tensor) -> Tensor:
        bright = (image.flip(1) > 0).float()
        return (bright * (bright.sum(dim=1, keepdim=True) == 1)).nan_to_num()


@pytest.fixture
def scenes(tmp_path: Path) -> TensorDataset:
    return TensorDataset(open_dataset(str(write_scenes(tmp_path / "scenes")), "test"), SPEC)


def test_a_good_method_scores_well_under_both_protocols(scenes: TensorDataset) -> None:
    scores = score(MeanColor(), [BrightPixels()], scenes, [0, 1, 2, 3], "multi-label", CPU, batch=4)
    for protocol in ("labels", "predictions"):
        found = scores.means[protocol]["bright"].means()
        assert found["auc"] is not None
        assert found["auc"] > (0.9 if protocol == "labels" else 0.6)
    assert scores.targets.tolist() == [
        [True, False, False],
        [False, True, True],
        [False, False, True],
        [False, False, True],
    ]
    top = scores.classifier(LABELS)
    assert top["mean_average_precision"] == pytest.approx(1.0)
    assert set(scores.c_iou) == {0, 1}
    assert scores.c_iou[0]["perfect"] == 1.0


def test_shortcut_checks_by_hand(scenes: TensorDataset) -> None:
    found = shortcuts(MeanColor(), BrightPixels(), scenes, [0, 3], CPU, seed=1)
    shares = []
    for index in (0, 3):
        sample = scenes[index]
        image, target = sample["image"][None], sample["target"][None] > 0
        mask = merge(BrightPixels().masks(image, target), target)
        shares.append(float(MeanColor()(image * mask).softmax(1)[target].sum()))
    assert found["target_probability"]["masked, grey fill"] == pytest.approx(np.mean(shares))
    assert found["target_probability"]["grey alone"] == pytest.approx(1 / 3)
    assert found["target_probability"]["shape on white"] == pytest.approx(1 / 3)  # white has no colour to see
    assert found["chance"] == pytest.approx(1 / 3)
    assert found["images"] == 2
    assert found["foreign_images"] == 2  # blue and red: neither holds the other's class
    assert found["area"]["absent"] == pytest.approx(0.0, abs=0.02)
    assert found["area"]["present"] > 0.1
    assert found == shortcuts(MeanColor(), BrightPixels(), scenes, [0, 3], CPU, seed=1)


def test_foreign_content_never_holds_the_class(scenes: TensorDataset) -> None:
    found = shortcuts(MeanColor(), BrightPixels(), scenes, [2, 3], CPU)  # both red
    assert found["foreign_images"] == 0
    assert "foreign alone" not in found["target_probability"]
