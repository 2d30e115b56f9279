"""The main pass of an evaluation: every method's merged mask on every judged image, under both protocols."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.utils.data import DataLoader, Subset

from edgex.manifest import Task
from training.datasets import VOID
from training.methods import Method, merge
from training.methods.constant import baseline_masks
from training.metrics import Means, average_precision, has_foreground, mask_metrics, saliency
from training.transforms import TensorDataset

PROTOCOLS = ("labels", "predictions")  # who chooses the classes whose masks are merged
PREDICTED = 0.5  # probability from which a class counts as predicted


@dataclass(slots=True)
class Scores:
    """What the main pass found.

    Attributes
    ----------
    means : [protocol][method] to the mean scores
    counts : why images were or were not judged
    targets : bool [M, C], of all images
    probabilities : float32 [M, C], the classifier's
    c_iou : dataset index to the c_IoU of each method, protocol "labels"
    """

    means: dict[str, dict[str, Means]]
    counts: dict[str, int]
    targets: NDArray[np.bool_]
    probabilities: NDArray[np.float32]
    c_iou: dict[int, dict[str, float]] = field(default_factory=dict)

    def classifier(self, labels: Sequence[str]) -> dict[str, Any]:
        """Return average precision per class and its mean, and top-1 accuracy; None where undefined."""
        values = [average_precision(self.probabilities[:, c], self.targets[:, c]) for c in range(len(labels))]
        defined = [value for value in values if not np.isnan(value)]
        labelled = self.targets.any(axis=1)
        top = self.probabilities.argmax(axis=1)
        hits = self.targets[np.arange(len(top)), top][labelled]
        return {
            "images": len(self.targets),
            "mean_average_precision": float(np.mean(defined)) if defined else None,
            "top1_is_a_true_class": float(hits.mean()) if hits.size else None,
            "classes_without_positive": len(values) - len(defined),
            "average_precision": {
                label: None if np.isnan(value) else value for label, value in zip(labels, values, strict=True)
            },
        }


def predicted_classes(class_logits: Tensor, task: Task) -> tuple[Tensor, Tensor]:
    """Return probabilities float [N, C] and the classes predicted, bool [N, C]: from 0.5 up, and always the top one."""
    probabilities = class_logits.sigmoid() if task == "multi-label" else class_logits.softmax(dim=1)
    top = probabilities.argmax(dim=1, keepdim=True)
    return probabilities, (probabilities >= PREDICTED).scatter(1, top, True)


@torch.no_grad()
def score(
    explanandum: nn.Module,
    methods: Sequence[Method],
    tensors: TensorDataset,
    indices: Sequence[int],
    task: Task,
    device: torch.device,
    batch: int = 16,
    workers: int = 0,
    on_progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score the methods and the baselines.

    An image is judged when its ground truth shows at least one object and it has at least one label; the same images
    are judged for every method and protocol. `Scores.counts` says how many were not, and why.

    Parameters
    ----------
    explanandum : [N, 3, H, W] -> class logits [N, C], in eval mode, on `device`
    methods : whose masks, besides the baselines'
    tensors, indices : the images to use
    task : how probabilities come from the class logits
    device : where to compute
    batch, workers : of the loader
    on_progress : called with (images done, images in all)
    """
    means: dict[str, dict[str, Means]] = {protocol: {} for protocol in PROTOCOLS}
    counts = {"total": 0, "judged": 0, "without_ground_truth": 0, "without_object": 0, "without_label": 0}
    targets, probabilities = [], []
    scores = Scores(means, counts, np.empty(0, bool), np.empty(0, np.float32))
    for loaded in DataLoader(Subset(tensors, list(indices)), batch, num_workers=workers):
        image, target = loaded["image"].to(device), loaded["target"] > 0
        probability, predicted = predicted_classes(explanandum(image), task)
        targets.append(target.numpy())
        probabilities.append(probability.float().cpu().numpy())
        judged = [
            n for n in range(len(image)) if _judged(loaded["segmentation"][n].numpy(), bool(target[n].any()), counts)
        ]
        if judged:
            chosen = {"labels": target[judged].to(device), "predictions": predicted[judged]}
            truth = loaded["segmentation"][judged]
            for protocol, method, n, found in _judge(explanandum, methods, image[judged], truth, chosen):
                means[protocol].setdefault(method, Means()).add(found)
                if protocol == "labels":
                    scores.c_iou.setdefault(int(loaded["index"][judged[n]]), {})[method] = found["c_IoU"]
        if on_progress:
            on_progress(counts["total"], len(indices))
    scores.targets, scores.probabilities = np.concatenate(targets), np.concatenate(probabilities)
    return scores


def _judged(truth: NDArray[np.uint8], labelled: bool, counts: dict[str, int]) -> bool:
    counts["total"] += 1
    if (truth == VOID).all():
        reason = "without_ground_truth"  # the data has none, or nothing but void
    elif not has_foreground(truth):
        reason = "without_object"
    else:
        reason = "judged" if labelled else "without_label"
    counts[reason] += 1
    return reason == "judged"


def _judge(
    explanandum: nn.Module, methods: Sequence[Method], image: Tensor, truth: Tensor, chosen: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, int, dict[str, float]]]:
    """Yield protocol, method, position in the batch and scores; truth uint8 [N, H, W], chosen bool [N, C] each."""
    everything = torch.stack(list(chosen.values())).any(dim=0)
    for method in methods:
        masks = method.masks(image, everything)
        for protocol, classes in chosen.items():
            yield from _scores(explanandum, method.name, image, truth, merge(masks, classes), {protocol: classes})
    for name, mask in baseline_masks(truth.to(image.device)).items():
        # The classes chosen do not change a baseline's mask, only whose probability its saliency counts.
        yield from _scores(explanandum, name, image, truth, mask, chosen)


def _scores(
    explanandum: nn.Module, name: str, image: Tensor, truth: Tensor, mask: Tensor, chosen: Mapping[str, Tensor]
) -> Iterator[tuple[str, str, int, dict[str, float]]]:
    shares = explanandum(image * mask[:, None]).softmax(dim=1)  # [N, C]; over classes, whatever the task
    masks, truths = mask.float().cpu().numpy(), truth.numpy()
    for n in range(len(image)):
        found = mask_metrics(masks[n], truths[n])
        area = float(masks[n][truths[n] != VOID].mean())
        for protocol, classes in chosen.items():
            target_share = float(shares[n][classes[n]].sum())
            yield protocol, name, n, {**found, "saliency": saliency(area, target_share), "mask_area": area}
