"""Trains an Explainer against a frozen Explanandum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from edgex.errors import UsageError
from edgex.manifest import Task
from training.checkpoint import describe, load_explanandum
from training.datasets import foreground, open_dataset
from training.explanandum import fill_from, plain, same_labels
from training.loop import LoopOptions, train
from training.losses import PRESETS, LossWeights, explainer_loss, merged_mask, upsample
from training.models import build_explainer, start_from_explanandum
from training.models.frozen import ForeignInput
from training.objective import Batch, Outcome, Progress
from training.transforms import Augmentation, TensorDataset


@dataclass(frozen=True, slots=True)
class ExplainerOptions:
    """What to train, and against which Explanandum.

    Attributes
    ----------
    data : dataset URI, see `training.datasets.open_dataset`
    explanandum : checkpoint, or "onnx:FILE"
    loop : how long and how fast
    architecture : one of `training.models.EXPLAINERS`
    weights : weights and bounds of the loss
    pretrained : start the body from ImageNet weights
    init_from : start from an Explainer's checkpoint instead (a second stage with other weights, say)
    init_from_explanandum : start the body (for `edge` also the class evidence) from the Explanandum instead
    freeze_norm : keep the batch-norm statistics of the body as they are
    size : train at this height and width (None: the Explanandum's own); the checkpoint keeps the Explanandum's, since
        both networks are convolutional and are used together
    foreign : what an ONNX without a manifest does not say
    augmentation : how training pictures are varied
    specificity_images : validation images on which own/other is measured after each epoch (C + 1 passes each)
    """

    data: str
    explanandum: str
    loop: LoopOptions
    architecture: str = "edge"
    weights: LossWeights = field(default_factory=lambda: PRESETS["edge"])
    pretrained: bool = True
    init_from: Path | None = None
    init_from_explanandum: bool = False
    freeze_norm: bool = False
    size: int | None = None
    foreign: ForeignInput = field(default_factory=ForeignInput)
    augmentation: Augmentation = field(default_factory=Augmentation)
    specificity_images: int = 32


class ExplainerObjective:
    """The Explainer's loss; in validation also F1 of the merged mask, and own-class against other-class probability."""

    def __init__(
        self, explanandum: nn.Module, weights: LossWeights, task: Task, freeze_norm: bool, specificity_images: int
    ) -> None:
        self.explanandum, self.weights, self.task = explanandum, weights, task
        self.freeze_norm, self.specificity_images = freeze_norm, specificity_images
        self.losses: tuple[str, ...] = (
            "loss",
            "classification",
            "entropy",
            "bound",
            "target_area",
            "nontarget_area",
            "tv",
        )
        self.losses += tuple(name for name in ("single", "absent") if getattr(weights, name) > 0)
        self.columns = (*self.losses, "f1", "own", "other", "no_mask")

    def prepare(self, device: torch.device) -> None:
        """Move the Explanandum to the device. It is not wrapped: nothing of it is trained."""
        self.explanandum.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def train_mode(self, model: nn.Module) -> None:
        model.train()
        self.explanandum.eval()
        for name, module in model.named_modules():
            inside = "body" in name.split(".")
            if self.freeze_norm and inside and isinstance(module, nn.modules.batchnorm._BatchNorm):
                module.eval()

    def terms(self, model: nn.Module, batch: Batch, draw: Tensor) -> dict[str, Tensor]:
        mask_logits = model(batch["image"])
        return explainer_loss(
            self.explanandum, batch["image"], batch["target"], mask_logits, self.weights, self.task, draw
        )

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        image, target = batch["image"], batch["target"]
        mask_logits = model(image).float()
        # Validation draws the same classes in every epoch, whatever the batches are: each image by its own number.
        draw = torch.stack([_draw(int(index), target.shape[1]) for index in batch["index"]]).to(target)
        terms = explainer_loss(self.explanandum, image, target, mask_logits, self.weights, self.task, draw)
        columns = [terms[name] for name in self.losses]
        logits = upsample(mask_logits, *image.shape[-2:])
        columns.append(f1_at_half(merged_mask(logits, target > 0.5), batch["segmentation"]))
        specificity = image.new_full((len(image), 3), float("nan"))
        for row in (batch["index"] < self.specificity_images).nonzero().flatten().tolist():
            specificity[row] = own_other(self.explanandum, image[row], target[row] > 0.5, logits[row])
        return torch.cat([torch.stack(columns, dim=1), specificity], dim=1)

    def summarise(self, table: Tensor) -> dict[str, float]:
        means = dict(zip(self.columns, table.nanmean(dim=0).tolist(), strict=True))
        means["own_over_other"] = means["own"] / max(means["other"], 1e-9)
        return means

    def pictures(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """Return the first 8 images over their merged masks."""
        image, target = batch["image"][:8], batch["target"][:8]
        mask = merged_mask(upsample(model(image).float(), *image.shape[-2:]), target > 0.5)
        low, high = image.amin(dim=(1, 2, 3), keepdim=True), image.amax(dim=(1, 2, 3), keepdim=True)
        plain_image = (image - low) / (high - low).clamp(min=1e-6)
        rows = torch.cat([plain_image, mask.expand_as(image)], dim=2)  # [8, 3, 2H, W]
        return torch.cat(list(rows), dim=2).cpu()  # [3, 2H, 8W]


def train_explainer(options: ExplainerOptions, on_progress: Callable[[Progress], None] | None = None) -> Outcome:
    """Train an Explainer and write its checkpoints to `options.loop.out`.

    Raises
    ------
    EdgexError
        If the data, a name, the Explanandum or a checkpoint is wrong, or a checkpoint cannot be written.
    """
    known = load_explanandum(options.explanandum, options.foreign)
    train_images, val_images = open_dataset(options.data, "train"), open_dataset(options.data, "val")
    if same_labels(train_images, val_images) != known.labels:
        raise UsageError(
            f"expected data with the labels of {options.explanandum} ({', '.join(known.labels)[:120]}), "
            f"got {', '.join(train_images.labels)[:120]}; train the Explainer on data with the classifier's labels"
        )
    spec = known.input
    if options.size is not None:
        spec = replace(spec, height=options.size, width=options.size)
    if options.init_from is not None and options.init_from_explanandum:
        raise UsageError("expected one of --init-from and --init-from-explanandum, got both; leave one out")
    torch.manual_seed(options.loop.seed)  # the decoder's first weights
    started = options.init_from is not None or options.init_from_explanandum or options.loop.resume
    model = build_explainer(options.architecture, len(known.labels), options.pretrained and not started)
    if options.init_from_explanandum:
        start_from_explanandum(model, known.module)
    if options.init_from is not None:
        fill_from(model, options.init_from, "explainer", options.architecture, known.labels)
    description = {
        **describe("explainer", options.architecture, known.labels, known.task, known.input),
        "explanandum": options.explanandum,
        "config": plain(options),
    }
    objective = ExplainerObjective(
        known.module, options.weights, known.task, options.freeze_norm, options.specificity_images
    )
    return train(
        model,
        objective,
        TensorDataset(train_images, spec, options.augmentation, options.loop.seed),
        TensorDataset(val_images, spec),
        description,
        options.loop,
        on_progress,
    )


def f1_at_half(mask: Tensor, segmentation: Tensor) -> Tensor:
    """F1 of a mask above 0.5 against any object, void left out: [N, 1, H, W], [N, H, W] to [N]; NaN without truth."""
    truth, valid = foreground(segmentation)
    shown = (mask[:, 0] > 0.5) & valid
    hits = (shown & truth).sum(dim=(1, 2)).float()
    return torch.where(
        truth.any(dim=2).any(dim=1), 2 * hits / (shown.sum(dim=(1, 2)) + truth.sum(dim=(1, 2))), torch.nan
    )


def own_other(explanandum: nn.Module, image: Tensor, present: Tensor, logits: Tensor) -> Tensor:
    """Softmax probability of the image's classes under their own masks, under the others', and without a mask.

    Parameters
    ----------
    image : float [3, H, W]
    present : bool [C]
    logits : float [C, H, W], upsampled; masks are cut at 0.5

    Returns
    -------
    float [3] : own, other, no mask, averaged over the classes present; NaN when none is
    """
    masked = image * (logits > 0)[:, None]  # [C, 3, H, W]
    p = explanandum(torch.cat([masked, image[None]])).float().softmax(dim=1)[:, present]  # [C + 1, R]
    own = p[:-1][present].diagonal().mean()
    others = len(present) - 1
    other = ((p[:-1].sum(dim=0) - p[:-1][present].diagonal()) / others).mean() if others else own.new_tensor(torch.nan)
    return torch.stack([own, other, p[-1].mean()])


def _draw(index: int, classes: int) -> Tensor:
    return torch.rand(classes, generator=torch.Generator().manual_seed(index))
