"""Checkpoints of a real, untrained Explanandum and Explainer, and pictures of three colours with ground truth."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import torch
from torch import nn

from edgex.manifest import InputSpec, Task
from tests.training.trees import voc_object, write_segmentation
from training.checkpoint import describe, save_checkpoint
from training.models import build_explainer, build_explanandum

LABELS = ("blue", "green", "red")
SPEC = InputSpec(32, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
SIDE = 48  # pixels of a picture
VOID, EMPTY = 255, 0


def write_pair(folder: Path, spec: InputSpec = SPEC, task: Task = "multi-label", seed: int = 0) -> tuple[Path, Path]:
    """Write checkpoints of an efficientnet_lite0 and an edge network and return (explanandum, explainer)."""
    torch.manual_seed(seed)
    common = {"config": {}, "step": 0, "epoch": 0, "best_loss": 0.0}
    explanandum, explainer = folder / "explanandum.pt", folder / "explainer.pt"
    network = _alive(build_explanandum("efficientnet_lite0", len(LABELS), pretrained=False))
    about = describe("explanandum", "efficientnet_lite0", LABELS, task, spec)
    save_checkpoint(explanandum, {**about, **common, "model": network.state_dict()})
    masks = _alive(build_explainer("edge", len(LABELS), pretrained=False))
    about = describe("explainer", "edge", LABELS, task, spec)
    save_checkpoint(explainer, {**about, **common, "model": masks.state_dict(), "explanandum": str(explanandum)})
    return explanandum, explainer


def _alive(network: nn.Module) -> nn.Module:
    """Set the batch-norm statistics from noise; without, activations die out in so deep a network."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the plain mean over batches
    with torch.no_grad():
        network.train()(torch.randn(16, 3, SPEC.height, SPEC.width))
    return network.eval()


def write_scenes(root: Path, split: str = "test") -> Path:
    """Write a VOC tree of one split: four pictures with a box of a colour, of which the last two cannot be judged.

    Picture 0 is blue, 1 green and red, 2 red with nothing but void, 3 red with nothing but background.
    """
    boxes = {"0": ("blue",), "1": ("green", "red"), "2": ("red",), "3": ("red",)}
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main", "ImageSets/Segmentation"):
        (root / folder).mkdir(parents=True)
    for name, colors in boxes.items():
        image = np.full((SIDE, SIDE, 3), 90, np.uint8)
        truth = np.zeros((SIDE, SIDE), np.uint8)
        for place, color in enumerate(colors):
            box = np.s_[8:32, 4 + 22 * place : 22 + 22 * place]
            image[box] = 0
            image[(*box, LABELS.index(color))] = 230
            truth[box] = 1 + LABELS.index(color)
        truth = {"2": np.full_like(truth, VOID), "3": np.full_like(truth, EMPTY)}.get(name, truth)
        assert cv2.imwrite(str(root / "JPEGImages" / f"{name}.jpg"), image)
        write_segmentation(root / "SegmentationClass" / f"{name}.png", truth)
        (root / "Annotations" / f"{name}.xml").write_text(
            f"<annotation>{''.join(voc_object(color) for color in colors)}</annotation>"
        )
    for kind in ("Main", "Segmentation"):
        (root / "ImageSets" / kind / f"{split}.txt").write_text("".join(f"{name}\n" for name in boxes))
    (root / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS))
    return root
