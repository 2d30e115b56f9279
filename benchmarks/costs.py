"""What an explained frame costs over the number of classes shown, the resolution, the batch and the threads.

Each picture holds medians over interleaved rounds, with a band from the lower to the upper quartile. A whole frame is
`explain` and `compose` of the quickest engine that is there; "drawing" is its compositor alone, on the model's own mask
logits up to its number of classes and on synthetic ones (smooth noise) beyond.

Usage: python -m benchmarks.costs [--rounds 15] [--engines FOLDER] [--plots] [--output JSON]   (--plots only draws)
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np

import edgex
from benchmarks import costs_plot
from benchmarks.peers_engines import batch_of
from benchmarks.peers_rounds import Rival, times_of
from benchmarks.peers_scene import Scene, engines_of, int8_engines, open_scene
from benchmarks.rounds import describe_machine, load_average, quartiles
from benchmarks.scenes import frame
from edgex import native
from edgex.compositors.palette import class_color
from edgex.engines import open_engine
from edgex.errors import EdgexError
from edgex.explain import Explainer
from edgex.types import Drawing, FloatArray

OUTPUT = Path(__file__).parent / "results" / "costs.json"
COUNTS, SYNTHETIC = (1, 2, 3, 4, 6, 8, 12), (12, 20, 100)  # classes shown
SIZES = {"480p": (480, 854), "720p": (720, 1280), "1080p": (1080, 1920), "1440p": (1440, 2560), "4K": (2160, 3840)}
BATCHES = (1, 2, 4, 8, 16, 32)
QUICKEST = ("openvino int8", "onnxruntime int8", "openvino fp32", "onnxruntime fp32")  # in the order they are taken
Engines = Mapping[str, tuple[Path, str]]
Figures = dict[str, dict[str, dict[str, float]]]  # line -> place on the axis -> median and quartiles


def synthetic_logits(count: int, side: int = 28) -> FloatArray:
    """Return smooth noise around 0 as mask logits, float32 [count, side, side]; every pixel is worth drawing."""
    noise = np.random.default_rng(0).normal(0.0, 4.0, (count, side, side)).astype(np.float32)
    return np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in noise]).astype(np.float32)


def drawing(count: int) -> Drawing:
    """Return what draws the first `count` classes."""
    return Drawing(tuple(range(count)), tuple(class_color(index) for index in range(count)))


def timed(rivals: Mapping[tuple[str, Any], Rival], rounds: int) -> Figures:
    """Time what stands under (line, place on the axis), all in the same rounds."""
    spent = times_of({f"{line}|{place}": rival for (line, place), rival in rivals.items()}, rounds)
    found: Figures = {}
    for line, place in rivals:
        found.setdefault(line, {})[str(place)] = quartiles(spent[f"{line}|{place}"])
    return found


def over_classes(scene: Scene, explainer: Explainer, rounds: int) -> Figures:
    """Time a whole frame, and its drawing alone, over the number of classes shown."""
    image, labels, compositor = scene.image, explainer.labels, explainer.compositor
    logits = explainer.explain(image).mask_logits
    rivals: dict[tuple[str, Any], Rival] = {}
    for count in (each for each in COUNTS if each <= len(labels)):
        shown = labels[:count]
        rivals["whole frame", count] = Rival(lambda shown=shown: explainer.explain(image).compose(shown))  # type: ignore[misc]
        rivals["drawing", count] = Rival(partial(compositor.compose, image, logits, drawing(count)))
    for count in SYNTHETIC:
        rivals["drawing, synthetic", count] = Rival(
            partial(compositor.compose, image, synthetic_logits(count), drawing(count))
        )
    return timed(rivals, rounds)


def over_resolution(scene: Scene, explainer: Explainer, rounds: int) -> Figures:
    """Time a whole frame with three classes, and its parts, over the size of the picture."""
    rivals: dict[tuple[str, Any], Rival] = {}
    for name, size in SIZES.items():
        image = frame(*size)
        tensor = explainer.preprocess(image)
        logits = explainer.infer(tensor).mask_logits[0]
        whole = lambda image=image: explainer.explain(image).compose(scene.labels)  # noqa: E731
        rivals["whole frame", name] = Rival(whole)
        rivals["preprocess", name] = Rival(partial(explainer.preprocess, image))
        rivals["network", name] = Rival(partial(explainer.infer, tensor))
        rivals["drawing", name] = Rival(partial(explainer.compositor.compose, image, logits, scene.drawing))
    return timed(rivals, rounds)


def over_batch(scene: Scene, engines: Engines, rounds: int) -> Figures:
    """Time each engine over the batch, for one picture of it."""
    with ExitStack() as stack:
        rivals: dict[tuple[str, Any], Rival] = {}
        for name, (path, backend) in engines.items():
            engine = open_engine(path, backend, scene.threads)
            stack.callback(engine.close)
            for batch in BATCHES if engine.input_shape[0] is None else (engine.input_shape[0],):
                rivals[name, batch] = Rival(partial(engine.infer, batch_of(scene, batch)), batch)
        return timed(rivals, rounds)


def over_threads(scene: Scene, engines: Engines, rounds: int) -> Figures:
    """Time a whole frame with three classes over the threads that engine and kernels get."""
    with ExitStack() as stack:
        rivals: dict[tuple[str, Any], Rival] = {}
        for name, (path, backend) in engines.items():
            for threads in range(1, (os.cpu_count() or 1) + 1):
                explainer = stack.enter_context(edgex.load(path, backend, threads))
                whole = lambda explainer=explainer: explainer.explain(scene.image).compose(scene.labels)  # noqa: E731
                before = partial(native.set_threads, threads) if native.available() else None
                rivals[name, threads] = Rival(whole, before=before)
        try:
            return timed(rivals, rounds)
        finally:
            scene.set_threads()


def measure(scene: Scene, engines: Engines, rounds: int) -> dict[str, Any]:
    """Measure all four."""
    scene.set_threads()
    began, quickest = time.perf_counter(), next(name for name in QUICKEST if name in engines)
    report: dict[str, Any] = {
        "machine": describe_machine(),
        "load_before": load_average(),
        "threads": scene.threads,
        "rounds": rounds,
        "frame": [scene.image.shape[1], scene.image.shape[0]],
        "engine": quickest,
    }
    with edgex.load(engines[quickest][0], engines[quickest][1], scene.threads) as explainer:
        report["compositor"] = explainer.compositor.name
        report["classes"] = over_classes(scene, explainer, rounds)
        report["resolution"] = over_resolution(scene, explainer, rounds)
    report["pixels"] = {name: height * width for name, (height, width) in SIZES.items()}
    report["batch"] = over_batch(scene, engines, max(1, rounds // 2))
    report["over_threads"] = over_threads(scene, engines, rounds)
    return {**report, "load_after": load_average(), "seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--engines", type=Path, help="folder of INT8 engines NAME.BACKEND.onnx; else they are built")
    parser.add_argument("--plots", action="store_true", help="draw the plots of --output and measure nothing")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    if not given.plots:
        try:
            scene = open_scene(threads=given.threads)
            int8, kept = int8_engines(scene, given.engines)
            report = measure(scene, engines_of(scene, int8), given.rounds)
        except EdgexError as error:
            print(error, file=sys.stderr)
            raise SystemExit(error.exit_code) from error
        if kept is not None:
            kept.cleanup()
        given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        print(f"{given.output.name} written after {report['seconds']:.0f} s")
    costs_plot.draw(json.loads(given.output.read_text(encoding="utf-8")), costs_plot.PICTURES)


if __name__ == "__main__":
    main()
