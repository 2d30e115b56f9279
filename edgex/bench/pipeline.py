"""Pipeline mode: the whole path from a picture to a sink, stage by stage, as fast as it goes."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgex.bench.track import MONOTONIC, Clock, Stopped, Track
from edgex.bench.way import Begin, begin
from edgex.errors import SourceError, UsageError
from edgex.explain import Explainer
from edgex.onnx_file import CLASS_LOGITS
from edgex.pipeline import run
from edgex.sources import open_source
from edgex.types import Frame, Image, Shot, SourceState
from edgex.view import View

FILL = 6  # frames that the path holds at once, with one stream: the first ones had the cores for themselves
_WINDOW_S = 0.25  # of the warm-up, as the path begins anew in each
DRAWN = 3  # classes in every frame, whatever their score, so that the work is the same for all pictures


def view_of(explainer: Explainer) -> View:
    """Return what is drawn: the three classes of the highest scores, or the first three where there are no scores."""
    names = {spec.name for spec in explainer.engine.network.outputs}
    if CLASS_LOGITS in names:
        return View(top=DRAWN, threshold=0.0)
    return View(classes=explainer.labels[:DRAWN])


class Replay:
    """A source that hands on frames without end until it is told to end; see Source.

    Parameters
    ----------
    uri : what the frames are
    frames : without end; where it stands when this source ends, the next one goes on
    more : asked before each frame; False ends it
    fps : of a video, so that the path smooths over time as it does for one; None for pictures
    """

    frame_count = None
    live = False
    files: tuple[Path, ...] = ()
    state = SourceState()

    def __init__(self, uri: str, frames: Iterator[Frame], more: Callable[[], bool], fps: float | None) -> None:
        self.uri, self.fps = uri, fps
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        self._frames, self._more = frames, more
        self._stopped = False

    def __iter__(self) -> Iterator[Frame]:
        while not self._stopped and self._more():
            yield next(self._frames)

    def stop(self) -> None:
        self._stopped = True

    def close(self) -> None:
        """Give nothing back."""


def from_memory(images: Sequence[Image], fps: float | None = None) -> Iterator[Frame]:
    """Give pictures in memory, over and over, dated as those of a video of `fps`."""
    interval_ns = 1e9 / fps if fps else 0.0
    for index in itertools.count():
        yield Frame(images[index % len(images)], index, round(index * interval_ns), f"frame-{index:06d}")


def rate_at_will(uri: str) -> float | None:
    """Return the frames per second of a video, None of pictures.

    Raises
    ------
    UsageError
        If the source comes at its own pace and not as fast as it is asked.
    """
    with contextlib.closing(open_source(uri)) as source:
        if source.live:
            raise UsageError(
                f"expected pictures or a video, which come as fast as they are asked for, got the live source "
                f"{source.uri}; measure with it in the mode paced"
            )
        return source.fps


def from_source(uri: str) -> Iterator[Frame]:
    """Read a source over and over, so that reading and decoding it are measured. Raises SourceError if it breaks."""
    while True:
        with contextlib.closing(open_source(uri)) as source:
            frame = None
            for frame in source:
                yield frame
            if frame is None:
                raise SourceError(f"expected pictures from {source.uri}, got none; name another source")


class Gauge:
    """The sink of a measured run: it keeps the times of each frame and nothing else; see Sink.

    Parameters
    ----------
    track : what it fills
    clock : the one that frames are dated by
    """

    wants_masks = False

    def __init__(self, track: Track, clock: Clock) -> None:
        self._track, self._clock = track, clock
        self._written_ns = 0

    def write(self, shot: Shot) -> None:
        self._written_ns = self._clock.now_ns()

    def note(self, shot: Shot) -> None:
        """Keep the times of a frame that was written; what `observe` of a run calls."""
        ms = {**shot.record["ms"], "write": (self._clock.now_ns() - self._written_ns) / 1e6}
        for name, value in ms.items():
            self._track.add_stage(name, value)
        self.keep(shot.frame, sum(ms.values()))

    def keep(self, frame: Frame, total_ms: float) -> None:
        """Keep the sample of a frame: the time that its stages took."""
        self._track.add(round(total_ms * 1e6), frame.arrived_ns)

    def close(self) -> None:
        """Keep what there is."""

    abort = close


class FullGauge(Gauge):
    """Keeps the times of frames that met a path at work: not of those that fill it, nor of those that empty it.

    Parameters
    ----------
    track, clock : see Gauge
    seconds, least : so long, and so many frames, are timed
    filling : frames before them
    """

    def __init__(self, track: Track, clock: Clock, seconds: float, least: int, filling: int) -> None:
        super().__init__(track, clock)
        self._seconds, self._least, self._filling = seconds, least, filling
        self._full_ns = 0
        self.full = False

    def note(self, shot: Shot) -> None:
        """Keep the times of a frame, and how fast frames come out: from the last untimed one to the last timed one."""
        track = self._track
        if self._filling:
            self._filling -= 1
            self._full_ns = self._written_ns
        elif not self.full:
            super().note(shot)
            track.pictures, track.took_ns = len(track.samples_ns), self._written_ns - self._full_ns
            self.full = track.took_ns >= self._seconds * 1e9 and track.pictures >= self._least


class PipelineLane:
    """A loaded model on the whole path. See Lane.

    Parameters
    ----------
    explainer : the model
    frames : pictures without end
    about : what the pictures are
    fps : of a video, or None for pictures; see Replay
    stopped : asked many times a second

    Attributes
    ----------
    begun : how the path began, None until `first_ms`
    """

    clock = MONOTONIC
    begun: Begin | None = None

    def __init__(
        self,
        explainer: Explainer,
        frames: Iterator[Frame],
        about: str,
        stopped: Stopped = lambda: False,
        fps: float | None = None,
    ) -> None:
        self.explainer, self.stopped = explainer, stopped
        self._frames, self._about, self._fps = frames, about, fps
        self.view = view_of(explainer)

    def measure(self, track: Track, seconds: float, least: int) -> None:
        """Run the path for at least so many seconds and frames, once it is at work. See Lane."""
        gauge = FullGauge(track, self.clock, seconds, least, FILL + self.explainer.engine.streams - 1)
        source = Replay(self._about, self._frames, lambda: not gauge.full, self._fps)
        run(source, self.explainer, [gauge], self.view, stopped=self.stopped, observe=gauge.note)

    def warm(self, track: Track, seconds: float, least: int) -> None:
        """Do the same for at least a quarter of a second, where it is for any time at all. See Lane."""
        self.measure(track, max(seconds, _WINDOW_S) if seconds else 0.0, least)

    def first_ms(self) -> float:
        """Open the path and bring the first picture as far as its logits. See Lane."""
        self.begun = begin(self.explainer, next(self._frames).image, self.clock)
        return self.begun.first_ms
