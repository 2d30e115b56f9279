"""Whether the faithfulness monitor tells true masks from false ones: kept and lost of the Explainer's own mask, of
ground truth, of the own mask inverted, and of another class's mask, over labelled scenes.

Usage: python -m benchmarks.monitor --scenes DIR [--int8 ENGINE] [--images 100]
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from benchmarks.precision_scores import SEED, SPLIT
from benchmarks.rounds import describe_machine
from edgex.errors import EdgexError
from edgex.explain import Explainer, load
from edgex.monitor import Faithfulness, measure
from edgex.types import FloatArray, Logits

OUTPUT = Path(__file__).resolve().parent / "results/monitor.json"
SHOWN = 0.5  # score from which `run` shows a class
CERTAIN = 20.0  # a logit whose mask is 0 or 1


def masks(own: FloatArray, truth: NDArray[np.bool_], index: int) -> Iterator[tuple[str, FloatArray]]:
    """Give mask logits [1, C, h, w] of each kind for one class; `truth` is bool [H, W]."""
    yield "own", own
    share = cv2.resize(truth.astype(np.float32), own.shape[:1:-1], interpolation=cv2.INTER_AREA)
    exact = own.copy()
    exact[0, index] = np.where(share >= 0.5, CERTAIN, -CERTAIN)
    yield "ground truth", exact
    yield "inverted", -own
    yield "another class", np.roll(own, 1, axis=1)


def judge(explainer: Explainer, scenes: str, images: int) -> dict[str, Any]:
    """Return, for each kind of mask, means and medians of kept and lost over the classes that are there and shown."""
    from training.datasets import open_dataset
    from training.specificity import draw_evenly

    dataset = open_dataset(scenes, SPLIT)
    targets = np.stack([dataset.target(index) > 0 for index in range(len(dataset))])
    seen = defaultdict[str, list[Faithfulness]](list)
    for number in draw_evenly(targets, min(images, len(dataset)), SEED):
        sample = dataset.load(number)
        if sample.segmentation is None:
            continue
        tensor = explainer.preprocess(sample.image)
        logits = explainer.infer(tensor)
        for index in map(int, np.flatnonzero(sample.target)):
            for kind, given in masks(logits.mask_logits, sample.segmentation == index + 1, index):
                found = measure(explainer, tensor, Logits(given, logits.class_logits), index)
                if found is not None and found.score >= SHOWN:
                    seen[kind].append(found)
    return {kind: _figures(found) for kind, found in seen.items()}


def _figures(found: list[Faithfulness]) -> dict[str, Any]:
    values = np.array([(each.kept, each.lost) for each in found])
    middle, median = values.mean(axis=0), np.median(values, axis=0)
    named = {"kept": middle[0], "lost": middle[1], "kept_median": median[0], "lost_median": median[1]}
    return {"masks": len(found), **{name: round(float(value), 4) for name, value in named.items()}}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", required=True, help="dataset in VOC layout, of the shipped labels")
    parser.add_argument("--int8", type=Path, help="an INT8 engine of the shipped bundle, judged besides")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    report: dict[str, Any] = {"machine": describe_machine(), "images": given.images, "models": {}}
    try:
        for name, path in {"FP32": None, **({"INT8": given.int8} if given.int8 else {})}.items():
            with load(path) as explainer:
                report["models"][name] = judge(explainer, given.scenes, given.images)
    except EdgexError as error:
        raise SystemExit(str(error)) from error
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(report["models"], indent=1))


if __name__ == "__main__":
    main()
