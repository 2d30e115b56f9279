"""What engines are judged on in benchmarks/precision.py: labelled scenes, and the project's own scores of masks.

The images, the classes that are merged and the arithmetic are those of `python -m training evaluate`, so that FP32
gives the scores of the model card.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from edgex.errors import UsageError
from edgex.fidelity_figures import merged, upsampled
from edgex.frames import read_frames
from edgex.manifest import InputSpec, Manifest
from edgex.onnx_file import CLASS_LOGITS, MASK_LOGITS
from edgex.preprocess import preprocess
from edgex.selection import scores_of
from edgex.types import FloatArray

SPLIT = "test"
SEED = 0
PREDICTED = 0.5  # probability from which a class counts as predicted, besides the top one
SCORES = {"F1": "d_F1@0.5", "IoU": "d_IoU@0.5", "c_IoU": "c_IoU"}
PROTOCOLS = ("labels", "predictions")  # who names the classes whose masks are merged


class Runs(Protocol):
    """Whatever infers: an edgex Network, or a bare session."""

    def run(self, image: NDArray[Any]) -> dict[str, NDArray[Any]]: ...


class Scenes:
    """Some labelled pictures of a dataset, drawn evenly over the classes; read anew each time.

    Parameters
    ----------
    uri : a dataset as `training.datasets.open_dataset` takes it
    count : how many pictures of the split "test"
    spec : how a picture becomes the network's input
    """

    def __init__(self, uri: str, count: int, spec: InputSpec) -> None:
        from training.datasets import open_dataset
        from training.specificity import draw_evenly

        self._dataset, self._spec = open_dataset(uri, SPLIT), spec
        targets = np.stack([self._dataset.target(index) > 0 for index in range(len(self._dataset))])
        self.labels = self._dataset.labels
        self.indices = draw_evenly(targets, count, SEED)

    def __len__(self) -> int:
        return len(self.indices)

    def __iter__(self) -> Iterator[tuple[str, FloatArray]]:
        """Give name and network input of each, as the fidelity of an engine is measured on."""
        for index in self.indices:
            sample = self._dataset.load(index)
            yield sample.path.stem, preprocess(sample.image, self._spec)

    def labelled(self) -> Iterator[tuple[FloatArray, NDArray[np.bool_], NDArray[np.uint8]]]:
        """Give network input, bool [C] and ground truth uint8 [H, W] of each that has one with an object in it."""
        from training.metrics import has_foreground
        from training.transforms import resize_nearest

        for index in self.indices:
            sample = self._dataset.load(index)
            if sample.segmentation is None:
                continue
            truth = resize_nearest(sample.segmentation, self._spec.height, self._spec.width)
            if has_foreground(truth):
                yield preprocess(sample.image, self._spec), sample.target > 0, truth


class HeldBack:
    """Frames that calibration did not see, where there are no scenes: good for fidelity, not for scores."""

    def __init__(self, folder: Any, count: int, spec: InputSpec) -> None:
        self._frames, self._spec = read_frames(folder, count, 0, "held-back"), spec

    def __len__(self) -> int:
        return self._frames.expected

    def __iter__(self) -> Iterator[tuple[str, FloatArray]]:
        for frame in self._frames:
            yield frame.name, preprocess(frame.image, self._spec)


def score(network: Runs, scenes: Scenes, manifest: Manifest) -> dict[str, Any]:
    """Score the merged masks of a bundle against ground truth.

    Returns
    -------
    "images" that were judged, and for each protocol the means F1 and IoU at 0.5, and c_IoU

    Raises
    ------
    UsageError
        If the scenes have other labels than the bundle.
    """
    from training.metrics import Means, mask_metrics

    if scenes.labels != manifest.labels:
        raise UsageError(
            f"expected scenes with the labels {', '.join(manifest.labels)}, got {', '.join(scenes.labels)}"
        )
    means = {protocol: Means() for protocol in PROTOCOLS}
    for tensor, target, truth in scenes.labelled():
        given = network.run(tensor)
        probabilities = scores_of(given[CLASS_LOGITS][0], manifest.task)
        predicted = probabilities >= PREDICTED
        predicted[probabilities.argmax()] = True
        for protocol, chosen in zip(PROTOCOLS, (target, predicted), strict=True):
            mask = merged(upsampled(given[MASK_LOGITS][0, chosen], *truth.shape))
            found = mask_metrics(mask, truth)
            means[protocol].add({name: found[key] for name, key in SCORES.items()})
    rounded = {
        protocol: {name: None if value is None else round(value, 5) for name, value in each.means().items()}
        for protocol, each in means.items()
    }
    return {"images": means["labels"].images, **rounded}
