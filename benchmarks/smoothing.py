"""What temporal smoothing is worth and costs, by time constant: flicker while the picture stands still, mask IoU and F1
while something moves, delay when something appears. The default of `edgex run --smooth` follows from it by RULE.

The shipped bundle, and an INT8 engine of it, explain clips of benchmarks/smoothing_clips.py: labelled scenes seen
through a noisy camera at 30 frames/s. Scenes, and clips whose IoU is taken, are those whose unsmoothed mask finds the
object at all: where there is no mask, none can flicker or lag.

Usage: python -m benchmarks.smoothing --scenes DIR [--int8 ENGINE] [--count 10]
       python -m benchmarks.smoothing --plot      (draws the plot of the JSON, measures nothing)
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import smoothing_plot
from benchmarks.precision_scores import SEED, SPLIT
from benchmarks.rounds import describe_machine, load_average
from benchmarks.smoothing_clips import RATE, STILL, Clip, Scene, appearing, moving, panned, read_scenes, still
from benchmarks.smoothing_scores import FOUND, TIME_CONSTANTS_S, Traces, summarise, watch
from edgex.errors import EdgexError
from edgex.explain import Explainer, load
from edgex.fidelity_figures import intersection_over_union
from edgex.flicker import CHANGED
from edgex.types import FloatArray

SPEEDS = (0.1, 0.25, 0.5)  # picture widths a second
ORDINARY = 0.25  # somebody who walks past (1.4 m/s) 5 m before a camera of 60 degrees, which sees 5.8 m there
LARGEST_LOSS = 0.01
DRAWN = 5  # scenes that are looked at for one that is taken
RULE = (
    f"the largest time constant at which IoU falls by at most {100 * LARGEST_LOSS:.0f} point, for an object that "
    f"crosses the picture at {ORDINARY} widths/s and for a camera that pans as fast, in every precision"
)


def clips(dataset: Any, explainer: Explainer, count: int, frames: int) -> Iterator[Clip]:
    """Give every clip: `count` of each kind and speed, of `frames` frames, from scenes whose objects are found."""
    from training.specificity import draw_evenly

    targets = np.stack([dataset.target(index) > 0 for index in range(len(dataset))])
    drawn = read_scenes(dataset, draw_evenly(targets, min(DRAWN * count, len(dataset)), SEED))
    scenes = [scene for scene in drawn if found(explainer, scene)][: count + 1]
    for number, scene in enumerate(scenes[:count]):
        others = [*scenes[number + 1 :], *scenes[:number], *drawn]
        behind = next(other for other in others if not np.isin(other.truth, scene.classes[0] + 1).any())
        yield from (still(scene, kind, frames, number) for kind in STILL)
        for speed in SPEEDS:
            yield moving(behind, scene, speed, frames, number)
            yield panned(scene, speed, frames, number)
        yield appearing(behind, scene, frames, number)


def found(explainer: Explainer, scene: Scene) -> bool:
    """Tell whether the mask of the scene's first class, the one that moves, finds it."""
    index = scene.classes[0]
    mask = explainer.explain(scene.image).mask(explainer.labels[index]) >= 0.5
    return (intersection_over_union(mask, scene.truth == index + 1) or 0.0) >= FOUND


def measure(scenes: str, explainers: Mapping[str, Explainer], count: int, seconds: float) -> dict[str, Any]:
    """Measure every model and time constant; `count` clips of each kind, `seconds` long each."""
    from training.datasets import open_dataset

    load_before, changes = load_average(), defaultdict[str, list[FloatArray]](list)
    seen: list[tuple[Clip, Traces]] = []
    first = next(iter(explainers.values()))
    for clip in clips(open_dataset(scenes, SPLIT), first, count, round(seconds * RATE)):
        seen.append((clip, watch(clip, explainers, changes)))
        print(f"clip {len(seen)}: {clip.kind} {clip.speed or ''}", flush=True)
    models = {name: summarise(seen, name) for name in explainers}
    return {
        "machine": describe_machine(),
        "load_before": load_before,
        "load_after": load_average(),
        "clips_of_a_kind": count,
        "seconds_of_a_clip": seconds,
        "changes_of_still_cells": {kind: _percentiles(parts) for kind, parts in changes.items()},
        "limit_of_still_cells": CHANGED,
        "models": models,
        "ordinary_speed": ORDINARY,
        "rule": RULE,
        "default_s": choose(models),
    }


def _percentiles(parts: Sequence[FloatArray]) -> dict[str, float]:
    values = np.percentile(np.concatenate([part.ravel() for part in parts]), (50, 99, 99.9))
    return dict(zip(("p50", "p99", "p99.9"), (round(float(each), 5) for each in values), strict=True))


def choose(models: Mapping[str, Mapping[str, Any]]) -> float:
    """Return the default by RULE, in seconds."""
    kept = []
    for tau in TIME_CONSTANTS_S:
        pairs = [
            (rows["0"]["iou"][kind], rows[f"{tau:g}"]["iou"][kind])
            for rows in models.values()
            for kind in (f"object {ORDINARY}", f"pan {ORDINARY}")
        ]
        if all(plain is not None and plain - smoothed <= LARGEST_LOSS for plain, smoothed in pairs):
            kept.append(tau)
    return max(kept, default=0.0)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenes", help="dataset in VOC layout with ground truth for the shipped labels")
    parser.add_argument("--int8", type=Path, help="an INT8 engine of the shipped bundle, measured besides")
    parser.add_argument("--count", type=int, default=10, help="clips of each kind and speed")
    parser.add_argument("--seconds", type=float, default=1.5, help="length of a clip")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=smoothing_plot.INPUT)
    parser.add_argument("--picture", type=Path, default=smoothing_plot.PICTURE)
    parser.add_argument("--plot", action="store_true", help="draw the plot of --output and measure nothing")
    given = parser.parse_args()
    if not given.plot:
        if given.scenes is None:
            parser.error("--scenes is needed to measure")
        try:
            explainers = {"FP32": load(threads=given.threads)}
            if given.int8 is not None:
                explainers["INT8"] = load(given.int8, threads=given.threads)
            report = measure(given.scenes, explainers, given.count, given.seconds)
        except EdgexError as error:
            raise SystemExit(str(error)) from error
        given.output.parent.mkdir(parents=True, exist_ok=True)
        given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    report = json.loads(given.output.read_text(encoding="utf-8"))
    print(smoothing_plot.table(report))
    smoothing_plot.plot(report, given.picture)


if __name__ == "__main__":
    main()
