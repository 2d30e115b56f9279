"""What the kernel benchmarks work on: frames, two kinds of mask logits, and the implementation that is measured.

`random` logits are smooth noise around 0 over the whole picture, so that no pixel can be left out: the worst case.
`real` logits are the shipped bundle's for two frames of the shipped clip, its highest scores first.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import cv2
import numpy as np
from numpy.typing import NDArray

import edgex
import edgex.preprocess
from edgex.compositors import open_compositor
from edgex.compositors.palette import class_color
from edgex.errors import EdgexError
from edgex.explain import shipped_clip
from edgex.manifest import InputSpec
from edgex.sources import open_source
from edgex.types import Drawing, FloatArray, Image, Style

LogitsKind = Literal["random", "real"]
MOST_CLASSES, SIDE = 20, 28
FULL_HD = (1080, 1920)  # rows, columns
NETWORK = InputSpec(224, 224, (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
REAL_FRAMES = (60, 150)  # of the shipped clip: twice 12 classes make 20


def frame(height: int, width: int) -> Image:
    """Return a frame of the shipped clip, uint8 [height, width, 3], scaled."""
    return np.asarray(cv2.resize(_clip()[0], (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


@cache
def mask_logits(kind: LogitsKind) -> FloatArray:
    """Return float32 [20, 28, 28]."""
    if kind == "random":
        noise = np.random.default_rng(0).normal(0.0, 4.0, (MOST_CLASSES, SIDE, SIDE)).astype(np.float32)
        return np.stack([cv2.GaussianBlur(plane, (0, 0), 1.0) for plane in noise]).astype(np.float32)
    with edgex.load(compositor="opencv") as explainer:
        ranked = []
        for image in _clip():
            explanation = explainer.explain(image)
            scores = explanation.scores
            order = np.arange(len(explainer.labels)) if scores is None else np.argsort(-scores, kind="stable")
            ranked.append(explanation.mask_logits[order])
    return np.ascontiguousarray(np.concatenate(ranked)[:MOST_CLASSES])


def drawing(style: Style, count: int) -> Drawing:
    """Return what draws the first `count` classes in their own colors at the default opacity."""
    return Drawing(tuple(range(count)), tuple(class_color(index) for index in range(count)), style)


@cache
def _clip() -> list[Image]:
    source = open_source(shipped_clip())
    try:
        return [shot.image for shot in source if shot.index in REAL_FRAMES]
    finally:
        source.close()


@dataclass(frozen=True, slots=True)
class Subject:
    """The implementation that is measured: "native", or "opencv" where no native one was built.

    Attributes
    ----------
    compose : (image, mask logits, drawing, out) -> uint8 [H, W, 3]
    masks : (mask logits, classes, height, width) -> uint8 [K, H, W]
    preprocess : (image, spec, out) -> float32 [1, 3, h, w]
    set_threads : takes the number of threads
    use : chooses one of `instruction_sets`
    instruction_sets : names, the fastest first; empty where there is no choice
    with_out : which of compose, masks and preprocess can write into `out`
    """

    name: str
    compose: Callable[..., Image]
    masks: Callable[..., NDArray[np.uint8]]
    preprocess: Callable[..., FloatArray]
    set_threads: Callable[[int], None]
    use: Callable[[str], None]
    instruction_sets: tuple[str, ...]
    with_out: frozenset[str]


def open_subject(name: str) -> Subject:
    """Open "native" or "opencv"."""
    compositor: Any = open_compositor(name)
    own = {"compose": compositor.compose, "masks": compositor.masks}
    if name != "native":
        own["preprocess"] = getattr(edgex.preprocess, "preprocess_opencv", edgex.preprocess.preprocess)
        works = {work: _with_out(function) for work, function in own.items()}
        return Subject(name, **works, set_threads=cv2.setNumThreads, use=print, instruction_sets=(), with_out=_out(own))
    from edgex import native

    own["preprocess"] = native.preprocess
    works = {work: _with_out(function) for work, function in own.items()}
    sets, use = _instruction_sets(native), native.set_instruction_set
    return Subject(name, **works, set_threads=native.set_threads, use=use, instruction_sets=sets, with_out=_out(own))


def _instruction_sets(native: Any) -> tuple[str, ...]:
    """Return what this processor has, the one in use first."""
    fastest, found = native.instruction_set(), []
    for each in ("avx512", "avx2", "neon", "baseline"):
        try:
            native.set_instruction_set(each)
        except EdgexError:
            continue
        found.append(each)
    native.set_instruction_set(fastest)
    return (fastest, *(each for each in found if each != fastest))


def _out(functions: dict[str, Callable[..., Any]]) -> frozenset[str]:
    return frozenset(name for name, each in functions.items() if "out" in inspect.signature(each).parameters)


def _with_out(function: Callable[..., Any]) -> Callable[..., Any]:
    """Let a function that cannot write into `out` take it all the same."""
    if "out" in inspect.signature(function).parameters:
        return function
    return lambda *arguments, out=None: function(*arguments)
