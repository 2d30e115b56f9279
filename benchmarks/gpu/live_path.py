"""The live path whose stages can be left out, and its times: one frame at a time, and several streams of frames.

Frames come from pinned memory and pictures go to pinned memory, four of each in turn; classes are named, so that each
frame draws the same number. Left out, a stage's work is not done and the rest works on what an earlier frame left.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np

from benchmarks.gpu.engines_times import compared
from edgex import arguments
from edgex.bench.engine import EngineLane
from edgex.bench.samples import distribution
from edgex.bench.track import Effort, Track
from edgex.cuda_memory import pinned_image
from edgex.explain import Explainer
from edgex.explain_cuda import CudaPath
from edgex.types import Image
from edgex.view import View

Stage = Literal["", "upload", "preprocess", "engine", "drawing", "download"]
STAGES: tuple[Stage, ...] = ("upload", "preprocess", "engine", "drawing", "download")
PINNED = 4  # frames, and pictures, of a path


class _Engine:
    """The path's lane, which stands still while the engine is left out."""

    def __init__(self, path: StagedPath, lane: Any) -> None:
        self._path, self._lane = path, lane

    def launch(self) -> None:
        if self._path.without != "engine":
            self._lane.launch()

    def close(self) -> None:
        self._lane.close()


class StagedPath(CudaPath):
    """A path that leaves out the stage named in `without`."""

    without: Stage = ""

    def __init__(self, explainer: Explainer, gpu: Any) -> None:
        super().__init__(explainer, gpu)
        self._lane = _Engine(self, self._lane)  # type: ignore[assignment]

    def _placed(self, image: Image) -> tuple[int, int]:
        return self._source if self.without == "upload" else super()._placed(image)

    def _preprocess(self, call: arguments.Preprocess) -> None:
        if self.without != "preprocess":
            super()._preprocess(call)

    def _draw(self, call: arguments.Composite) -> None:
        if self.without != "drawing":
            super()._draw(call)

    def _fetch(self, rows: Any, address: int) -> None:
        if self.without != "download":
            super()._fetch(rows, address)


class Stream:
    """A path with pinned frames and pictures of one size.

    Parameters
    ----------
    explainer : what it explains with
    gpu : where
    image : uint8 [H, W, 3]; each frame is it, rolled
    view : what is shown
    """

    def __init__(self, explainer: Explainer, gpu: Any, image: Image, view: View) -> None:
        self.path, self.view = StagedPath(explainer, gpu), view
        self.frames = [pinned_image(gpu, *image.shape[:2]) for _ in range(PINNED)]
        self.pictures = [pinned_image(gpu, *image.shape[:2]) for _ in range(PINNED)]
        for number, frame in enumerate(self.frames):
            frame[...] = np.roll(image, 16 * number, axis=1)
        for number in range(PINNED):
            self.pass_one(number)

    def pass_one(self, number: int) -> Image:
        """Bring one frame from pinned memory to a finished picture in pinned memory."""
        return self.path.explain(self.frames[number], self.view, self.pictures[number])[0]

    def without(self, stage: Stage, number: int) -> Image:
        self.path.without = stage
        try:
            return self.pass_one(number)
        finally:
            self.path.without = ""

    def plain(self, number: int) -> Image:
        """Do so from and to memory that is not pinned: a copy on the host each way."""
        return self.path.explain(np.asarray(self.plain_frames[number]), self.view)[0]

    @property
    def plain_frames(self) -> list[Image]:
        if not hasattr(self, "_plain"):
            self._plain = [frame.copy() for frame in self.frames]
        return self._plain


def one_by_one(stream: Stream, effort: Effort) -> dict[str, Any]:
    """Time whole frames, frames without each stage, and frames that are copied on the host, all in turns."""
    calls: dict[str, Any] = {"whole": stream.pass_one}
    for stage in STAGES:
        calls[f"without {stage}"] = lambda number, stage=stage: stream.without(stage, number)
    calls["not pinned"] = stream.plain
    return compared(calls, range(PINNED), effort)


def together(streams: list[Stream], stage: Stage, seconds: float) -> dict[str, float]:
    """Return frames a second of all streams, a thread each, and how long a frame takes in ms."""
    for stream in streams:
        stream.path.without = stage
    try:
        lane = EngineLane([stream.pass_one for stream in streams], range(PINNED))
        lane.measure(Track(), seconds / 5, 1)
        track = Track()
        lane.measure(track, seconds, len(streams))
    finally:
        for stream in streams:
            stream.path.without = ""
    spread = distribution([ns / 1e6 for ns in track.samples_ns])
    assert spread is not None
    shown = {name: round(getattr(spread, f"{name}_ms"), 4) for name in ("p50", "p90", "p99", "max")}
    return {"per_second": round(track.per_second, 1), **shown, "samples": spread.count}
