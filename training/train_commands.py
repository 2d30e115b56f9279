"""The subcommands that train: they turn options into an options dataclass, call one function, say the outcome."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer import Option

if TYPE_CHECKING:
    from training.loop import LoopOptions
    from training.objective import Outcome
    from training.transforms import Augmentation

Data = Annotated[
    str, Option(help="voc:DIR, coco:DIR, folder:DIR or csv:FILE; a bare path is recognised by its layout.")
]
Out = Annotated[Path, Option(help="Folder of last.pt, best.pt and the TensorBoard log.")]
Epochs = Annotated[int, Option(help="Epochs in all, resumed ones included.")]
Batch = Annotated[int, Option(help="Images a step, over all processes.")]
Rate = Annotated[float, Option(help="Learning rate of what is new.")]
BodyRate = Annotated[float | None, Option(help="Learning rate of the pre-trained body [default: that of --lr].")]
Decay = Annotated[float, Option(help="Weight decay; above 0 trains with AdamW.")]
Schedule = Annotated[str, Option(help="constant, or cosine down to 1 % of the rate.")]
Warmup = Annotated[int, Option(help="Steps of linear rise of the rate.")]
Patience = Annotated[int, Option(help="Stop after so many epochs without a lower validation loss; 0 never.")]
MinDelta = Annotated[float, Option(help="What counts as lower.")]
Clip = Annotated[float, Option(help="Largest norm of the gradient; 0 leaves it.")]
Seed = Annotated[int, Option(help="Of everything random.")]
StepsPerEpoch = Annotated[int | None, Option(help="Cut each epoch short.")]
Limit = Annotated[int | None, Option(help="Use only the first images of each split.")]
MaxMinutes = Annotated[float | None, Option(help="Validate, save and stop after so many minutes.")]
Resume = Annotated[bool, Option("--resume", help="Go on from last.pt in --out.")]
Workers = Annotated[int | None, Option(help="Processes that read images [default: one a core, four at most].")]
Device = Annotated[str, Option(help="auto, cpu, cuda or mps.")]
Precision = Annotated[str, Option(help="32-true, bf16-mixed or 16-mixed.")]
Pretrained = Annotated[bool, Option(help="Start the body from ImageNet weights.")]
FreezeNorm = Annotated[bool, Option("--freeze-norm", help="Keep the body's batch-norm statistics.")]
Augment = Annotated[bool, Option("--augment", help="Vary training pictures, moderately; the options below override.")]
Flip = Annotated[float | None, Option(help="Probability of a left-right flip.")]
Crop = Annotated[float | None, Option(help="Largest share of the area that a random crop cuts away.")]
Jitter = Annotated[float | None, Option(help="Strength of brightness, contrast and saturation.")]
Hue = Annotated[float | None, Option(help="Largest turn of the hue, as a share of the circle.")]
Grey = Annotated[float | None, Option(help="Probability of a picture without colour.")]
Erase = Annotated[float | None, Option(help="Probability that a box is filled with the mean colour.")]
Labels = Annotated[Path | None, Option(help="For an ONNX classifier without manifest: class names, one a line.")]
Task = Annotated[str, Option(help="For an ONNX classifier without manifest: single-label or multi-label.")]
Mean = Annotated[tuple[float, float, float], Option(help="For an ONNX classifier without manifest.")]
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
Size = Annotated[int, Option(help="Height and width of the input in pixels.")]
TrainSize = Annotated[int | None, Option(help="Train at this height and width [default: the Explanandum's].")]
Weight = Annotated[float | None, Option(help="Overrides the preset.")]


def explanandum(
    data: Data,
    out: Out,
    architecture: Annotated[
        str, Option(help="efficientnet_lite0, vgg16, resnet50 or mobilenet_v2.")
    ] = "efficientnet_lite0",
    size: Size = 224,
    pretrained: Pretrained = True,
    init_from: Annotated[Path | None, Option(help="Start from this Explanandum's checkpoint.")] = None,
    freeze_body: Annotated[bool, Option("--freeze-body", help="Train the head only.")] = False,
    freeze_norm: FreezeNorm = False,
    epochs: Epochs = 20,
    batch: Batch = 16,
    lr: Rate = 1e-3,
    body_lr: BodyRate = None,
    weight_decay: Decay = 0.0,
    schedule: Schedule = "constant",
    warmup_steps: Warmup = 0,
    patience: Patience = 5,
    min_delta: MinDelta = 1e-3,
    clip: Clip = 0.0,
    augment: Augment = False,
    flip: Flip = None,
    crop: Crop = None,
    jitter: Jitter = None,
    hue: Hue = None,
    grey: Grey = None,
    erase: Erase = None,
    seed: Seed = 42,
    steps_per_epoch: StepsPerEpoch = None,
    limit: Limit = None,
    max_minutes: MaxMinutes = None,
    resume: Resume = False,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "32-true",
) -> None:
    """Train a classifier.

    Example: python -m training explanandum --data voc:scenes --out runs/classifier --freeze-body --augment
    """
    given = dict(locals())
    from training.explanandum import ExplanandumOptions, train_explanandum

    options = ExplanandumOptions(
        data=data,
        loop=_loop(given),
        architecture=architecture,
        size=size,
        pretrained=pretrained,
        init_from=init_from,
        freeze_body=freeze_body,
        freeze_norm=freeze_norm,
        augmentation=_augmentation(given),
    )
    _show(train_explanandum, options)


def explainer(
    data: Data,
    explanandum: Annotated[str, Option(help="Checkpoint of an Explanandum, or onnx:FILE for any ONNX classifier.")],
    out: Out,
    architecture: Annotated[str, Option(help="edge, deeplabv3_resnet50 or lraspp_mobilenet_v3_large.")] = "edge",
    preset: Annotated[str, Option(help="edge, voc-vgg16, voc-resnet50, coco-vgg16 or coco-resnet50.")] = "edge",
    entropy: Weight = None,
    tv: Weight = None,
    bound: Weight = None,
    target_area: Weight = None,
    nontarget_area: Weight = None,
    min_area: Weight = None,
    max_area: Weight = None,
    absent: Weight = None,
    single: Weight = None,
    size: TrainSize = None,
    pretrained: Pretrained = True,
    init_from: Annotated[Path | None, Option(help="Start from this Explainer's checkpoint.")] = None,
    init_from_explanandum: Annotated[
        bool, Option("--init-from-explanandum", help="Start from its body and head.")
    ] = False,
    freeze_norm: FreezeNorm = False,
    labels: Labels = None,
    task: Task = "single-label",
    mean: Mean = IMAGENET_MEAN,
    std: Mean = IMAGENET_STD,
    specificity_images: Annotated[int, Option(help="Validation images on which own/other is measured.")] = 32,
    epochs: Epochs = 20,
    batch: Batch = 16,
    lr: Rate = 1e-4,
    body_lr: BodyRate = None,
    weight_decay: Decay = 0.0,
    schedule: Schedule = "constant",
    warmup_steps: Warmup = 0,
    patience: Patience = 5,
    min_delta: MinDelta = 1e-3,
    clip: Clip = 0.0,
    augment: Augment = False,
    flip: Flip = None,
    crop: Crop = None,
    jitter: Jitter = None,
    hue: Hue = None,
    grey: Grey = None,
    erase: Erase = None,
    seed: Seed = 42,
    steps_per_epoch: StepsPerEpoch = None,
    limit: Limit = None,
    max_minutes: MaxMinutes = None,
    resume: Resume = False,
    workers: Workers = None,
    device: Device = "auto",
    precision: Precision = "32-true",
) -> None:
    """Train an Explainer against a frozen classifier.

    Example: python -m training explainer --data voc:scenes --explanandum runs/classifier/best.pt --out runs/explainer
    """
    given = dict(locals())
    from dataclasses import fields, replace

    from edgex.errors import UsageError
    from training.explainer import ExplainerOptions, train_explainer
    from training.losses import PRESETS, LossWeights
    from training.models.frozen import ForeignInput

    if preset not in PRESETS:
        raise UsageError(f"expected a preset of {', '.join(PRESETS)}, got {preset!r}; choose one")
    overrides = {f.name: given[f.name] for f in fields(LossWeights) if given[f.name] is not None}
    options = ExplainerOptions(
        data=data,
        explanandum=explanandum,
        loop=_loop(given),
        architecture=architecture,
        weights=replace(PRESETS[preset], **overrides),
        pretrained=pretrained,
        init_from=init_from,
        init_from_explanandum=init_from_explanandum,
        freeze_norm=freeze_norm,
        size=size,
        foreign=ForeignInput(labels, task, mean, std, size),  # type: ignore[arg-type]  # checked by ForeignInput
        augmentation=_augmentation(given),
        specificity_images=specificity_images,
    )
    _show(train_explainer, options)


def _loop(given: dict[str, Any]) -> LoopOptions:
    from dataclasses import fields

    from training.loop import LoopOptions

    return LoopOptions(**{f.name: given[f.name] for f in fields(LoopOptions)})


def _augmentation(given: dict[str, Any]) -> Augmentation:
    from dataclasses import fields, replace

    from training.transforms import Augmentation

    moderate = Augmentation(flip=0.5, crop=0.4, jitter=0.3, hue=0.03, grey=0.05)
    overrides = {f.name: given[f.name] for f in fields(Augmentation) if given[f.name] is not None}
    return replace(moderate if given["augment"] else Augmentation(), **overrides)


def _show(function: Any, options: Any) -> None:
    """Run a training with a progress display and print where it ended."""
    from rich.console import Console

    from training.progress import TrainingDisplay

    with TrainingDisplay(Console(stderr=True)) as display:
        outcome: Outcome = function(options, display)
    if os.environ.get("RANK", "0") == "0":
        typer.echo(f"{outcome.reason} after {outcome.epochs} epochs, {outcome.steps} steps")
        typer.echo(f"best: {outcome.best}   last: {outcome.last}")
    if outcome.reason == "interrupted":
        raise typer.Exit(130)
