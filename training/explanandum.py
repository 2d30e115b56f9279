"""Trains an Explanandum: an ImageNet body with a new head, multi-label or single-label."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from edgex.errors import UsageError
from edgex.manifest import InputSpec, Task
from training.checkpoint import describe, load_checkpoint
from training.datasets import ImageDataset, open_dataset
from training.loop import LoopOptions, train
from training.losses import classification
from training.metrics import average_precision
from training.models import build_explanandum, input_mean_std
from training.objective import Batch, Outcome, Progress
from training.transforms import Augmentation, TensorDataset


@dataclass(frozen=True, slots=True)
class ExplanandumOptions:
    """What to train.

    Attributes
    ----------
    data : dataset URI, see `training.datasets.open_dataset`
    loop : how long and how fast
    architecture : one of `training.models.EXPLANANDA`
    size : height and width of the input in pixels
    pretrained : start from ImageNet weights
    init_from : start from an Explanandum's checkpoint instead (its head too), say to fine-tune the body
    freeze_body : train the head only; the body's batch-norm statistics do not move either
    freeze_norm : keep all batch-norm statistics as they are while the weights are fine-tuned
    augmentation : how training pictures are varied
    """

    data: str
    loop: LoopOptions
    architecture: str = "efficientnet_lite0"
    size: int = 224
    pretrained: bool = True
    init_from: Path | None = None
    freeze_body: bool = False
    freeze_norm: bool = False
    augmentation: Augmentation = field(default_factory=Augmentation)


class ClassifierObjective:
    """Cross-entropy, and mean average precision or accuracy."""

    def __init__(self, labels: tuple[str, ...], task: Task, freeze_body: bool, freeze_norm: bool) -> None:
        self.labels, self.task = labels, task
        self.freeze_body, self.freeze_norm = freeze_body, freeze_norm
        self.columns = ("loss", *(f"logit {x}" for x in labels), *(f"target {x}" for x in labels))

    def prepare(self, device: torch.device) -> None:
        """Nothing but the model is needed."""

    def train_mode(self, model: nn.Module) -> None:
        model.train()
        for name, module in model.named_modules():
            frozen = self.freeze_body and ("body" in name.split(".") or "neck" in name.split("."))
            if frozen or (self.freeze_norm and isinstance(module, nn.modules.batchnorm._BatchNorm)):
                module.eval()

    def terms(self, model: nn.Module, batch: Batch, draw: Tensor) -> dict[str, Tensor]:
        return {"loss": classification(model(batch["image"]).float(), batch["target"], self.task)}

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        logits = model(batch["image"]).float()
        loss = classification(logits, batch["target"], self.task)
        return torch.cat([loss[:, None], logits, batch["target"]], dim=1)

    def summarise(self, table: Tensor) -> dict[str, float]:
        loss, logits, target = table.split([1, len(self.labels), len(self.labels)], dim=1)
        if self.task == "single-label":
            hits = (logits.argmax(dim=1) == target.argmax(dim=1)).double()
            return {"loss": float(loss.mean()), "accuracy": float(hits.mean())}
        return {"loss": float(loss.mean()), "map": mean_average_precision(logits, target)}

    def pictures(self, model: nn.Module, batch: Batch) -> Tensor | None:
        return None


def train_explanandum(options: ExplanandumOptions, on_progress: Callable[[Progress], None] | None = None) -> Outcome:
    """Train a classifier and write its checkpoints to `options.loop.out`.

    Raises
    ------
    EdgexError
        If the data, the name or a checkpoint is wrong, or a checkpoint cannot be written.
    """
    train_images, val_images = open_dataset(options.data, "train"), open_dataset(options.data, "val")
    labels, task = same_labels(train_images, val_images), train_images.task
    mean, std = input_mean_std(options.architecture)
    spec = InputSpec(options.size, options.size, mean, std)
    torch.manual_seed(options.loop.seed)  # the new head's first weights
    fresh = options.init_from is None and not options.loop.resume
    model = build_explanandum(options.architecture, len(labels), options.pretrained and fresh)
    if options.init_from is not None:
        fill_from(model, options.init_from, "explanandum", options.architecture, labels)
    if options.freeze_body:
        model.body.requires_grad_(False)
        model.neck.requires_grad_(False)
    description = {
        **describe("explanandum", options.architecture, labels, task, spec),
        "config": plain(options),
    }
    return train(
        model,
        ClassifierObjective(labels, task, options.freeze_body, options.freeze_norm),
        TensorDataset(train_images, spec, options.augmentation, options.loop.seed),
        TensorDataset(val_images, spec),
        description,
        options.loop,
        on_progress,
    )


def fill_from(model: nn.Module, path: Path, kind: str, architecture: str, labels: tuple[str, ...]) -> None:
    """Fill a network with the weights of a checkpoint. Raises UsageError when that is of another network or labels."""
    start = load_checkpoint(path, kind)
    if start["architecture"] != architecture or tuple(start["labels"]) != labels:
        raise UsageError(
            f"expected {path} to hold {architecture} for {', '.join(labels)[:120]}, got "
            f"{start['architecture']} for {', '.join(start['labels'])[:120]}; choose the checkpoint that fits"
        )
    model.load_state_dict(start["model"])


def mean_average_precision(scores: Tensor, target: Tensor) -> float:
    """Mean over the classes that occur of the average precision: [V, C], [V, C]; NaN when none occurs."""
    present = [c for c in range(target.shape[1]) if target[:, c].any()]
    values = [float(average_precision(scores[:, c].numpy(), target[:, c].numpy() > 0.5)) for c in present]
    return sum(values) / len(values) if values else float("nan")


def same_labels(one: ImageDataset, other: ImageDataset) -> tuple[str, ...]:
    """Return the labels of two splits. Raises UsageError when they differ."""
    if one.labels != other.labels:
        raise UsageError(
            f"expected the same labels in train and val, got {len(one.labels)} and {len(other.labels)} that differ; "
            "give the data one list of labels"
        )
    return one.labels


def plain(options: object) -> dict[str, object]:
    """Return an options dataclass as plain types, paths as text, for a checkpoint."""

    def simple(value: object) -> object:
        if isinstance(value, dict):
            return {key: simple(inner) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [simple(inner) for inner in value]
        return str(value) if isinstance(value, Path) else value

    tree = simple(dataclasses.asdict(options))  # type: ignore[call-overload]
    assert isinstance(tree, dict)
    return tree
