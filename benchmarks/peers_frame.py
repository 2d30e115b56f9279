"""edgex's own contenders of benchmarks/peers.py: the library path and the pipeline, with each engine of a bundle."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import edgex
from benchmarks.peers_rounds import Rival
from benchmarks.peers_scene import Scene, require_composite
from edgex.explain import Explainer
from edgex.pipeline import run
from edgex.sinks.null import NullSink
from edgex.types import Frame, Image, Shot, SourceState
from edgex.view import View

PICTURES = 200  # of one run of the pipeline, as many as a short clip has: its threads start and fill anew each time


@dataclass(slots=True)
class Replay:
    """A Source that gives the same picture from memory again and again."""

    image: Image
    count: int
    uri: str = "memory"
    fps: float | None = None
    files: tuple[Path, ...] = ()
    skipped: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    live: bool = False
    state: SourceState = field(default_factory=SourceState)
    stopped: bool = False

    @property
    def frame_count(self) -> int:
        """Number of frames."""
        return self.count

    def __iter__(self) -> Iterator[Frame]:
        for index in range(self.count):
            if self.stopped:
                return
            yield Frame(self.image, index, index * 33_000_000, f"frame-{index:06}")

    def stop(self) -> None:
        self.stopped = True

    def close(self) -> None:
        """There is nothing to give back."""


def edgex_rivals(
    scene: Scene, engines: Mapping[str, tuple[Path, str]], stack: ExitStack
) -> tuple[dict[str, Rival], dict[str, Any]]:
    """Return edgex's contenders, and what was found when each one's picture was held against the oracle.

    Parameters
    ----------
    scene : the work
    engines : name -> (file, backend)
    stack : closes the engines
    """
    rivals, checks = {}, {}
    for name, (path, backend) in engines.items():
        explainer = stack.enter_context(edgex.load(path, backend, scene.threads))
        explanation = explainer.explain(scene.image)
        checks[f"edgex, {name}"] = require_composite(
            name, scene, explanation.compose(scene.labels), explanation.mask_logits
        )
        rivals[f"edgex, {name}"] = _library(explainer, scene)
        streamed = stack.enter_context(edgex.load(path, backend, threads=1, streams=scene.threads))
        rivals[f"edgex pipeline, {name}"] = _pipeline(streamed, scene, PICTURES)
    return rivals, checks


def _library(explainer: Explainer, scene: Scene) -> Rival:
    labels = scene.labels
    note = "explain(frame).compose(labels), one frame after the other"
    return Rival(lambda: explainer.explain(scene.image).compose(labels), note=note)


def _pipeline(explainer: Explainer, scene: Scene, count: int) -> Rival:
    view = View(classes=scene.labels)

    def call() -> list[Shot]:
        last: list[Shot] = []
        summary = run(
            Replay(scene.image, count),
            explainer,
            [NullSink()],
            view,
            observe=lambda s: last.__setitem__(slice(None), [s]),
        )
        if summary.frames != count:
            raise SystemExit(f"expected the pipeline to finish {count} frames, got {summary.frames}")
        return last

    note = f"pipeline.run over {count} frames from memory, one stream of the engine a core, legend and flicker included"
    return Rival(call, count, note)
