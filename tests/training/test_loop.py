"""The loop trains, stops, saves and resumes; an Explainer leaves its Explanandum as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgex.errors import EdgexError, UsageError
from edgex.manifest import InputSpec
from tests.training.shapes import LABELS, write_shapes
from training.batches import GlobalBatches
from training.checkpoint import describe, load_checkpoint, load_explanandum, save_checkpoint
from training.datasets import open_dataset
from training.explainer import ExplainerObjective, ExplainerOptions, f1_at_half, own_other, train_explainer
from training.explanandum import ClassifierObjective, ExplanandumOptions, mean_average_precision, train_explanandum
from training.loop import LoopOptions, train
from training.losses import PRESETS
from training.models import build_explainer, build_explanandum, input_mean_std
from training.objective import Progress
from training.synced_norm import synced
from training.transforms import TensorDataset

SIZE = 32


@pytest.fixture(scope="module")
def shapes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shapes(tmp_path_factory.mktemp("data") / "shapes")


@pytest.fixture(scope="module")
def classifier(shapes: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an Explanandum trained for three epochs."""
    loop = LoopOptions(tmp_path_factory.mktemp("classifier"), epochs=3, batch=8, lr=1e-2, body_lr=1e-3, workers=0)
    options = ExplanandumOptions(f"voc:{shapes}", loop, size=SIZE)
    return train_explanandum(options).last


def explainer_options(shapes: Path, classifier: Path, out: Path, **loop: Any) -> ExplainerOptions:
    chosen = {"epochs": 2, "batch": 4, "lr": 1e-3, "workers": 0, **loop}
    options = LoopOptions(out, **chosen)
    return ExplainerOptions(f"voc:{shapes}", str(classifier), options, pretrained=False, specificity_images=2)


def test_batches_are_a_shuffle_of_all_images_that_depends_on_seed_and_epoch_alone() -> None:
    batches = GlobalBatches(10, 4, seed=1, rank=0, world=1)
    batches.start(0, 0)
    first, again = list(batches), list(batches)
    batches.start(1, 0)
    second = list(batches)
    assert first == again != second
    assert len(batches) == len(first) == 2  # the incomplete batch is left out
    assert len({index for batch in first for index in batch}) == 8


def test_a_resumed_epoch_goes_on_where_it_stopped() -> None:
    batches = GlobalBatches(10, 2, seed=1, rank=0, world=1)
    batches.start(3, 0)
    whole = list(batches)
    batches.start(3, 2)
    assert list(batches) == whole[2:]
    assert len(batches) == 3


def test_processes_share_each_global_batch() -> None:
    one = GlobalBatches(9, 4, seed=5, rank=0, world=1)
    two = [GlobalBatches(9, 4, seed=5, rank=rank, world=2) for rank in (0, 1)]
    for batches in (one, *two):
        batches.start(2, 0)
    for whole, *parts in zip(one, *two, strict=True):
        assert all(len(part) == 2 for part in parts)
        assert sorted(whole) == sorted(index for part in parts for index in part)


@pytest.mark.parametrize(("count", "batch", "world"), [(0, 4, 1), (1, 4, 2), (8, 3, 2)])
def test_impossible_batches_are_refused(count: int, batch: int, world: int) -> None:
    with pytest.raises(EdgexError, match="expected"):
        GlobalBatches(count, batch, 0, 0, world)


def test_a_classifier_learns(shapes: Path, tmp_path: Path) -> None:
    loop = LoopOptions(tmp_path / "run", epochs=6, batch=8, lr=1e-2, body_lr=1e-3, workers=0)
    told: list[Progress] = []
    outcome = train_explanandum(ExplanandumOptions(f"voc:{shapes}", loop, size=SIZE), told.append)
    assert outcome.losses[-1] < 0.5 * outcome.losses[0]
    assert [report.validated for report in told] == [False, True] * 6
    assert set(told[1].figures) == {"loss", "map"}
    assert told[0].seconds_left is not None
    checkpoint = load_checkpoint(outcome.last, "explanandum")
    assert (checkpoint["step"], checkpoint["epoch"], checkpoint["labels"]) == (6, 6, list(LABELS))
    assert checkpoint["config"]["loop"]["lr"] == 1e-2
    assert outcome.best is not None


def test_a_frozen_body_keeps_its_weights_and_its_batch_norm_statistics(shapes: Path, tmp_path: Path) -> None:
    before = build_explanandum("efficientnet_lite0", 3, pretrained=True).body.state_dict()
    loop = LoopOptions(tmp_path / "run", epochs=1, batch=4, lr=1e-2, workers=0)
    outcome = train_explanandum(ExplanandumOptions(f"voc:{shapes}", loop, size=SIZE, freeze_body=True))
    after = load_checkpoint(outcome.last)["model"]
    assert all(torch.equal(value, after[f"body.{name}"]) for name, value in before.items())


def test_an_explainer_learns_and_the_explanandum_stays_bit_identical(
    shapes: Path, classifier: Path, tmp_path: Path
) -> None:
    known = load_explanandum(str(classifier))
    before = {name: value.clone() for name, value in known.module.state_dict().items()}
    objective = ExplainerObjective(known.module, PRESETS["edge"], "multi-label", False, 2)
    sets = [TensorDataset(open_dataset(f"voc:{shapes}", split), known.input) for split in ("train", "val")]
    loop = LoopOptions(tmp_path / "run", epochs=5, batch=8, lr=3e-3, workers=0)
    description = {"labels": list(LABELS), "kind": "explainer"}
    torch.manual_seed(0)
    outcome = train(build_explainer("edge", 3, pretrained=False), objective, *sets, description, loop)
    assert min(outcome.losses[2:]) < outcome.losses[0] - 0.05
    assert {"loss", "f1", "own", "other", "no_mask", "own_over_other", "target_area"} <= set(outcome.figures)
    after = known.module.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(value, after[name]) for name, value in before.items())
    assert not any(module.training for module in known.module.modules())
    assert all(parameter.grad is None for parameter in known.module.parameters())


@pytest.mark.parametrize("stop_after", [1, 2, 3])  # in the middle of epoch 1, at its end, in the middle of epoch 2
def test_a_resumed_run_has_the_losses_of_an_uninterrupted_one(
    shapes: Path, classifier: Path, tmp_path: Path, stop_after: int
) -> None:
    class Stop:
        """Presses Ctrl-C after some steps."""

        steps = 0

        def __call__(self, report: Progress) -> None:
            self.steps += not report.validated
            if self.steps == stop_after and not report.validated:
                os.kill(os.getpid(), signal.SIGINT)

    whole = train_explainer(explainer_options(shapes, classifier, tmp_path / "whole"))
    part = train_explainer(explainer_options(shapes, classifier, tmp_path / "part"), Stop())
    assert part.reason == "interrupted"
    assert len(part.losses) == stop_after
    rest = train_explainer(explainer_options(shapes, classifier, tmp_path / "part", resume=True))
    assert rest.reason == "finished"
    assert [*part.losses, *rest.losses] == pytest.approx(whole.losses, abs=1e-6)
    assert rest.figures["loss"] == pytest.approx(whole.figures["loss"], abs=1e-6)
    ends = [load_checkpoint(run.last) for run in (whole, rest)]
    for name in ("step", "epoch", "done", "stale", "best_loss"):
        assert ends[0][name] == pytest.approx(ends[1][name], abs=1e-6)
    validated = [logged(tmp_path / run)["val/loss"] for run in ("whole", "part")]
    assert validated[0] == pytest.approx(validated[1], abs=1e-6)
    for name, value in ends[0]["model"].items():
        torch.testing.assert_close(value, ends[1]["model"][name], rtol=1e-5, atol=1e-6)


def test_two_processes_have_the_losses_of_one(tmp_path: Path) -> None:
    """The Explainer's batch-norm is in train mode, so this holds only if its statistics are those of both."""
    data = write_shapes(tmp_path / "data", train=24)
    explanandum = tmp_path / "explanandum.pt"
    spec = InputSpec(SIZE, SIZE, *input_mean_std("efficientnet_lite0"))
    about = describe("explanandum", "efficientnet_lite0", LABELS, "multi-label", spec)
    weights = build_explanandum("efficientnet_lite0", 3, pretrained=True).state_dict()
    save_checkpoint(explanandum, {**about, "config": {}, "step": 0, "epoch": 0, "best_loss": 0.0, "model": weights})
    arguments = f"explainer --data voc:{data} --explanandum {explanandum} --epochs 2 --batch 8 --lr 2e-5 --workers 0"
    module = ["-m", "training", *arguments.split(), "--specificity-images", "2", "--device", "cpu", "--out"]
    rendezvous = "--rdzv-backend c10d --rdzv-endpoint localhost:0"
    torchrun = f"-m torch.distributed.run --nproc-per-node 2 {rendezvous}".split()
    for launcher, out in (([], "one"), (torchrun, "two")):
        command = [sys.executable, *launcher, *module, str(tmp_path / out)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr
        assert run.stdout.count("finished after 2 epochs, 6 steps") == 1
    one, two = logged(tmp_path / "one"), logged(tmp_path / "two")
    assert (len(one["train/loss"]), len(one["val/loss"])) == (6, 2)
    assert one.keys() == two.keys()
    for name, values in one.items():
        # Equal but for float32's rounding, which Adam makes larger step by step; without synced batch-norm the first
        # step is off by 2e-3 and later ones by 2e-2.
        assert two[name] == pytest.approx(values, rel=1e-3, abs=1e-4), name


def _synced_in_a_process(rank: int, folder: str) -> None:
    """Run batch-norm over half of a batch, in float64; leave the loss, gradients and statistics in a file."""
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    features, weights = torch.load(f"{folder}/batch.pt")
    mine = features[rank::2].clone().requires_grad_()
    norm = synced(nn.Sequential(nn.BatchNorm2d(3)).double(), torch.device("cpu"))
    (norm(mine).sigmoid() * weights[rank::2]).sum().backward()
    gradients = [parameter.grad for parameter in norm.parameters()]
    for gradient in gradients:
        torch.distributed.all_reduce(gradient)
    torch.save((mine.grad, gradients, list(norm.buffers())), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_synced_batch_norm_is_batch_norm_over_both_processes(tmp_path: Path) -> None:
    chance = torch.Generator().manual_seed(0)
    features, weights = (torch.randn(6, 3, 2, 5, dtype=torch.float64, generator=chance) for _ in range(2))
    torch.save((features, weights), tmp_path / "batch.pt")
    torch.multiprocessing.spawn(_synced_in_a_process, args=(str(tmp_path),), nprocs=2)
    whole, norm = features.clone().requires_grad_(), nn.BatchNorm2d(3).double()
    (norm(whole).sigmoid() * weights).sum().backward()
    assert whole.grad is not None
    for rank in (0, 1):
        gradient, parameters, buffers = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(gradient, whole.grad[rank::2])
        torch.testing.assert_close(parameters, [norm.weight.grad, norm.bias.grad])
        torch.testing.assert_close(buffers, list(norm.buffers()))


def logged(out: Path) -> dict[str, list[float]]:
    """Read the scalars of a TensorBoard log."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    log = EventAccumulator(str(out / "tensorboard"))
    log.Reload()
    assert log.Tags()["images"] == ["masks"]
    return {tag: [event.value for event in log.Scalars(tag)] for tag in log.Tags()["scalars"]}


def test_early_stopping_counts_epochs_without_progress(shapes: Path, tmp_path: Path) -> None:
    loop = LoopOptions(tmp_path / "run", epochs=9, batch=8, lr=1e-9, workers=0, patience=2)
    outcome = train_explanandum(ExplanandumOptions(f"voc:{shapes}", loop, size=SIZE, freeze_body=True))
    assert (outcome.reason, outcome.epochs) == ("early stop", 3)  # the first is the best, two more are waited for


def test_when_time_is_up_it_validates_and_saves(shapes: Path, tmp_path: Path) -> None:
    loop = LoopOptions(tmp_path / "run", epochs=9, batch=2, lr=1e-3, workers=0, max_minutes=1e-6)
    options = ExplanandumOptions(f"voc:{shapes}", loop, size=SIZE, freeze_body=True)
    outcome = train_explanandum(options)
    assert (outcome.reason, outcome.steps) == ("time is up", 1)
    assert "map" in outcome.figures
    assert outcome.best is not None
    rest = train_explanandum(replace(options, loop=replace(loop, resume=True, max_minutes=None, epochs=1)))
    assert (rest.reason, rest.steps) == ("finished", 4)


def test_steps_per_epoch_and_limit_make_runs_small(shapes: Path, tmp_path: Path) -> None:
    loop = LoopOptions(tmp_path / "run", epochs=1, batch=2, workers=0, limit=6, steps_per_epoch=2)
    outcome = train_explanandum(ExplanandumOptions(f"voc:{shapes}", loop, size=SIZE, freeze_body=True))
    assert outcome.steps == 2


def test_a_finished_run_is_not_overwritten_and_a_missing_one_not_resumed(shapes: Path, classifier: Path) -> None:
    loop = LoopOptions(classifier.parent, workers=0)
    options = ExplanandumOptions(f"voc:{shapes}", loop, size=SIZE)
    with pytest.raises(UsageError, match="--resume"):
        train_explanandum(options)
    with pytest.raises(UsageError, match="the input asked for"):
        train_explanandum(replace(options, size=64, loop=replace(loop, resume=True)))
    with pytest.raises(EdgexError, match="no such file"):
        train_explanandum(replace(options, loop=replace(loop, out=classifier.parent / "none", resume=True)))


def test_other_labels_than_the_explanandums_are_named(shapes: Path, classifier: Path, tmp_path: Path) -> None:
    other = write_shapes(tmp_path / "other", train=2, val=1)
    (other / "labels.txt").write_text("disc\nbox\nbar\nstar\n")
    with pytest.raises(UsageError, match="disc, box, bar, star"):
        train_explainer(explainer_options(other, classifier, tmp_path / "run"))


class Diverging(ClassifierObjective):
    """A loss that is not a number."""

    def terms(self, model: nn.Module, batch: dict[str, Tensor], draw: Tensor) -> dict[str, Tensor]:
        return {"loss": super().terms(model, batch, draw)["loss"] * torch.nan}


def test_a_loss_that_is_not_finite_stops_at_once(shapes: Path, classifier: Path, tmp_path: Path) -> None:
    spec = load_explanandum(str(classifier)).input
    images = TensorDataset(open_dataset(f"voc:{shapes}", "val"), spec)
    objective = Diverging(LABELS, "multi-label", True, False)
    model = build_explanandum("efficientnet_lite0", 3, pretrained=False)
    with pytest.raises(EdgexError, match="finite loss, got nan at step 1"):
        train(model, objective, images, images, {"labels": list(LABELS)}, LoopOptions(tmp_path, workers=0, batch=4))


@pytest.mark.parametrize(
    "bad", [{"lr": 0.0}, {"batch": 0}, {"schedule": "step"}, {"precision": "8"}, {"device": "abacus"}, {"clip": -1.0}]
)
def test_options_are_checked(tmp_path: Path, bad: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=f"expected (a )?{next(iter(bad))}"):
        LoopOptions(tmp_path, **bad)


def test_f1_at_half_leaves_void_out() -> None:
    mask = torch.tensor([[[[0.9, 0.9, 0.1, 0.9]]], [[[0.9, 0.9, 0.9, 0.9]]]])
    truth = torch.tensor([[[1, 0, 2, 255]], [[0, 0, 255, 0]]], dtype=torch.uint8)
    values = f1_at_half(mask, truth)  # shown 2 of which 1 hits, objects 2
    assert float(values[0]) == pytest.approx(0.5)
    assert values[1].isnan()


def test_own_other_by_hand() -> None:
    def explanandum(image: Tensor) -> Tensor:
        return image.mean(dim=(2, 3))

    image = torch.tensor([8.0, 4.0, 0.0])[:, None, None].expand(3, 1, 2)
    logits = torch.tensor([[1.0, -1.0], [-1.0, -1.0], [1.0, 1.0]])[:, None]  # masks: half, empty, whole
    own, other, no_mask = own_other(explanandum, image, torch.tensor([True, True, False]), logits).tolist()
    half, none, whole = (torch.tensor([8.0, 4.0, 0.0]).mul(share).softmax(0).tolist() for share in (0.5, 0, 1))
    assert own == pytest.approx((half[0] + none[1]) / 2)
    assert other == pytest.approx((none[0] + whole[0] + half[1] + whole[1]) / 4)
    assert no_mask == pytest.approx((whole[0] + whole[1]) / 2)


def test_mean_average_precision_leaves_out_classes_that_do_not_occur() -> None:
    scores = torch.tensor([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    target = torch.tensor([[1.0, 0.0], [0.0, 0.0], [1.0, 0.0]])
    assert mean_average_precision(scores, target) == pytest.approx((1 + 2 / 3) / 2)
