"""Evaluation of an Explainer: the paper's scores under both protocols, class specificity, shortcut checks, pictures."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from edgex.errors import DataError, UsageError
from training.datasets import open_dataset
from training.figures import save_gallery, save_heat_map
from training.methods import Method
from training.methods.explainer import ExplainerMethod
from training.methods.gradcam import GradCamMethod
from training.models.frozen import ForeignInput
from training.pair import Pair, load_pair
from training.scoring import PREDICTED, PROTOCOLS, Scores, score
from training.shortcuts import shortcuts
from training.specificity import Specificity, draw_evenly, specificity
from training.staged import staged
from training.transforms import TensorDataset

REPORT_SCHEMA = 1
Progress = Callable[[str, int, int], None]  # stage, images done, images in all


@dataclass(frozen=True, slots=True)
class EvaluateOptions:
    """What to evaluate, on what, and where the outcome goes.

    Attributes
    ----------
    data : a dataset as `open_dataset` takes it
    explainer : checkpoint of an Explainer
    explanandum : checkpoint or onnx:FILE; None for the one that the Explainer was trained against
    split : "train", "val" or "test"
    output : JSON report, or None
    heat_map : PNG of the specificity matrices, or None
    pictures : folder for pictures of good and bad cases, or None
    picture_count : how many of each
    limit : use only so many images, evenly drawn over the classes; None for all
    specificity_images : images for class specificity and the shortcut checks, evenly drawn; 0 for all
    gradcam : score Grad-CAM beside the Explainer (a classifier of this project only)
    batch, workers : of the loader
    seed : of what is drawn, and of the noise of the shortcut checks
    device : "auto", "cpu", "cuda" or "mps"
    foreign : labels and normalisation of an ONNX classifier without a manifest
    """

    data: str
    explainer: Path
    explanandum: str | None = None
    split: str = "test"
    output: Path | None = None
    heat_map: Path | None = None
    pictures: Path | None = None
    picture_count: int = 6
    limit: int | None = None
    specificity_images: int = 200
    gradcam: bool = True
    batch: int = 16
    workers: int = 0
    seed: int = 0
    device: str = "auto"
    foreign: ForeignInput = field(default_factory=ForeignInput)

    def __post_init__(self) -> None:
        least = {"picture_count": 1, "specificity_images": 0, "batch": 1, "workers": 0, "limit": 1}
        for name, lowest in least.items():
            value = getattr(self, name)
            if value is not None and value < lowest:
                raise UsageError(f"expected {name} of {lowest} or more, got {value}; correct it")


def evaluate(options: EvaluateOptions, on_progress: Progress | None = None) -> dict[str, Any]:
    """Evaluate an Explainer and return the report, JSON types only; probabilities and scores are 0 to 1.

    Raises
    ------
    ModelError
        If a network cannot be loaded.
    UsageError
        If the two networks, or they and the data, do not fit together.
    """
    pair = load_pair(options.explainer, options.explanandum, options.foreign)
    explainer, explanandum = pair.explainer, pair.explanandum
    images = open_dataset(options.data, options.split)
    if images.labels != explainer.labels:
        raise UsageError(
            f"expected data with the labels {', '.join(explainer.labels)}, got {', '.join(images.labels)}; "
            "evaluate on data of the classes that the Explainer was trained on"
        )
    device = choose_device(options.device)
    classifier, masker = explanandum.module.to(device), explainer.module.to(device)
    methods: list[Method] = [ExplainerMethod(masker)]
    if options.gradcam:
        methods.append(GradCamMethod(classifier))
    tensors = TensorDataset(images, explainer.input)

    all_targets = np.stack([images.target(index) for index in range(len(images))]) > 0  # [M, C]
    used = list(range(len(images)))
    if options.limit is not None and options.limit < len(images):
        used = draw_evenly(all_targets, options.limit, options.seed)
    drawn = [used[i] for i in draw_evenly(all_targets[used], options.specificity_images or None, options.seed)]
    if not drawn:
        raise DataError(f"expected labelled images in {options.data}, got none in {options.split}; check the labels")

    def progress(stage: str) -> Callable[[int, int], None]:
        return lambda done, total: on_progress(stage, done, total) if on_progress else None

    scores = score(
        classifier, methods, tensors, used, explainer.task, device, options.batch, options.workers, progress("scores")
    )
    matrices = [
        specificity(
            *(classifier, method, tensors, drawn, explainer.labels, device, 2 * options.batch),
            on_progress=progress(f"specificity of {method.name}"),
        )
        for method in methods
    ]
    checks = {
        method.name: shortcuts(
            *(classifier, method, tensors, drawn, device, options.seed), progress(f"shortcuts of {method.name}")
        )
        for method in methods
    }
    report = {
        **_about(options, pair),
        "images": {**scores.counts, "drawn_for_specificity": len(drawn), "seed": options.seed},
        **_results(scores, matrices, checks, explainer.labels),
    }
    if options.heat_map is not None:
        save_heat_map(options.heat_map, matrices)
    if options.pictures is not None:
        save_gallery(options.pictures, methods, tensors, scores.c_iou, device, options.picture_count)
    if options.output is not None:
        with staged(options.output) as part:
            part.write_text(json.dumps(report, indent=1, allow_nan=False) + "\n", encoding="utf-8")
    return report


def choose_device(name: str) -> torch.device:
    """Return the device of that name; "auto" is CUDA where there is one, else the CPU."""
    if name not in ("auto", "cpu", "cuda", "mps"):
        raise UsageError(f"expected a device of auto, cpu, cuda, mps, got {name!r}; choose one")
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if (name == "cuda" and not torch.cuda.is_available()) or (name == "mps" and not torch.backends.mps.is_available()):
        raise UsageError(f"expected the device {name} on this machine, got none; choose --device cpu")
    return torch.device(name)


def _about(options: EvaluateOptions, pair: Pair) -> dict[str, Any]:
    spec = pair.explainer.input
    return {
        "schema": REPORT_SCHEMA,
        "data": options.data,
        "split": options.split,
        **{kind: {"architecture": getattr(pair, kind).architecture, **about} for kind, about in pair.files().items()},
        "labels": list(pair.explainer.labels),
        "task": pair.explainer.task,
        "scored_at": {"height": spec.height, "width": spec.width},
        "rules": {
            "over_images": "mean of the images' own scores",
            "binary": "a pixel is on where mask >= threshold",
            "void": "left out of every count",
            "predictions": f"probability >= {PREDICTED}, and always the top class",
            "Grad-CAM": "scaled to 0..1 per image and class, then the maximum over the chosen classes",
        },
    }


def _results(
    scores: Scores, matrices: list[Specificity], checks: dict[str, Any], labels: tuple[str, ...]
) -> dict[str, Any]:
    return {
        "classifier": scores.classifier(labels),
        "protocols": {
            protocol: {
                method: {"images": means.images, "scores": means.means(), "undefined": means.undefined()}
                for method, means in scores.means[protocol].items()
            }
            for protocol in PROTOCOLS
        },
        "specificity": {matrix.method: matrix.summary() for matrix in matrices},
        "shortcuts": checks,
    }
