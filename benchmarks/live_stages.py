"""Each stage of the live path alone, with nothing else running: what it takes, and what bounds follow from that."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from benchmarks.live_scene import Scene
from edgex.explain import Explainer
from edgex.flicker import Flicker
from edgex.legend import draw_legend
from edgex.types import FloatArray, Image, Logits, ShownClass
from edgex.view import View, drawing

READ, STREAM = "read", "one stream"  # the latter: infer, by one stream of the engine that reads a file
THREADS = {  # the threads of the live path, and what each of them does
    "read": ("read",),
    "preprocess": ("preprocess",),
    "infer": (STREAM,),  # as many threads as the engine has streams
    "compose": ("flicker", "compose", "legend"),
}


@dataclass(frozen=True, slots=True)
class Took:
    """What one frame took on average: wall time and CPU time of all threads, in milliseconds."""

    wall_ms: float
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class Prepared:
    """What each stage gets from the one before, for one picture."""

    image: Image
    tensor: FloatArray
    logits: Logits
    shown: tuple[ShownClass, ...]


def prepare(scene: Scene, explainer: Explainer, view: View) -> list[Prepared]:
    """Let every picture of the scene through all stages, which warms them up."""
    found = []
    for image in scene.pictures:
        tensor = explainer.preprocess(image)
        logits = explainer.infer(tensor)
        explanation = explainer.explanation(image, logits)
        shown = explanation.shown(view.classes, view.top, view.threshold, view.hidden)
        if shown:
            picture = explainer.compositor.compose(image, logits.mask_logits[0], drawing(shown))
            draw_legend(picture, shown)
        found.append(Prepared(image, tensor, logits, shown))
    return found


def read_alone(scene: Scene) -> Took:
    """Read the whole clip."""
    source = scene.file()
    try:
        return timed(lambda _: None, source)
    finally:
        source.close()


def alone(explainer: Explainer, view: View, prepared: list[Prepared]) -> dict[str, Took]:
    """Let every stage but reading work through all pictures, one stage after the other."""
    flicker = Flicker(explainer.manifest.input.std)
    opacity, style = view.opacity, view.style

    def compose(each: Prepared) -> None:
        if each.shown:
            logits = each.logits.mask_logits[0]
            explainer.compositor.compose(each.image, logits, drawing(each.shown, style, opacity))

    def observe(each: Prepared) -> None:
        classes = tuple(shown.index for shown in each.shown)
        flicker.observe(each.tensor, each.logits.mask_logits[0], classes)

    stages: dict[str, Callable[[Prepared], object]] = {
        "preprocess": lambda each: explainer.preprocess(each.image),
        "infer": lambda each: explainer.infer(each.tensor),
        "flicker": observe,
        "compose": compose,
    }
    took = {name: timed(stage, prepared) for name, stage in stages.items()}
    composed = [(each.image.copy(), each.shown) for each in prepared]  # the legend is drawn into its picture
    return {**took, "legend": timed(lambda pair: draw_legend(*pair), composed)}


def timed(stage: Callable[[Any], object], items: Iterable[Any]) -> Took:
    """Call a stage for each item; return the mean a frame, since the mean is what bounds the rate."""
    count, wall_s, cpu_s = 0, time.perf_counter(), time.process_time()
    for item in items:
        stage(item)
        count += 1
    wall_s, cpu_s = time.perf_counter() - wall_s, time.process_time() - cpu_s
    return Took(1e3 * wall_s / count, 1e3 * cpu_s / count)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What the rate cannot exceed, in frames/s.

    Attributes
    ----------
    stage_fps : 1 / the slowest thread's time for a frame, had each thread a core of its own; of the streams together
    slowest : that thread
    cores_fps : all cores / the CPU time of a frame
    sequential_fps : 1 / the sum of all stages, had nothing overlapped; inference then has the threads of a live source
    """

    stage_fps: float
    slowest: str
    cores_fps: float
    sequential_fps: float


def bounds_of(took: dict[str, Took], streams: int = 1, cores: int | None = None) -> Bounds:
    """Return the bounds that follow from the stages' times, with so many streams of the engine."""
    threads = {name: sum(took[stage].wall_ms for stage in stages) for name, stages in THREADS.items()}
    threads["infer"] /= streams
    slowest = max(threads, key=lambda name: threads[name])
    cores_ms = (cores or os.cpu_count() or 1) * 1e3
    return Bounds(
        stage_fps=1e3 / threads[slowest],
        slowest=slowest,
        cores_fps=cores_ms / sum(each.cpu_ms for name, each in took.items() if name != "infer"),
        sequential_fps=1e3 / sum(each.wall_ms for name, each in took.items() if name != STREAM),
    )
