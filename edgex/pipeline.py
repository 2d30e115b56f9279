"""The live path: read, preprocess, infer, compose, write, each stage in threads of its own, frames in order."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from threading import Event
from typing import TYPE_CHECKING

from edgex.conveyor import Conveyor, Step
from edgex.errors import UsageError
from edgex.explain import Explainer
from edgex.outputs import Outputs
from edgex.smoothing import SMOOTH_S
from edgex.stages import Passage, Stages
from edgex.tally import Summary, Tally
from edgex.timing import stage
from edgex.types import Shot
from edgex.view import LiveView, View

if TYPE_CHECKING:
    from edgex.sinks import Sink
    from edgex.sources import Source

_ROOM = 6  # frames at work at once: one a stage and one to spare; one more for each further stream of the engine
_ROOM_LIVE = 2  # one before and one behind the network: more would wait, and grow old
_PIXELS_A_PLACE = 16_000_000  # a larger picture takes the place of several, so that memory stays bounded


@dataclass(frozen=True, slots=True)
class RunOptions:
    """How a run goes on.

    Attributes
    ----------
    limit : stop after so many frames, or None
    max_fps : frames per second at most, or None
    smooth_s : time constant of the smoothing of logits, in seconds; 0 for none; pictures without a frame rate have none
    monitor_every : every so many frames the masked frame is classified again; 0 for never
    deadline_ms : age at output beyond which a frame is late; None for one frame interval of a live source
    """

    limit: int | None = None
    max_fps: float | None = None
    smooth_s: float = SMOOTH_S
    monitor_every: int = 0
    deadline_ms: float | None = None

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"expected a limit of at least 1 frame, got {self.limit}; leave it out for all frames")
        if self.max_fps is not None and not 0.01 <= self.max_fps <= 1000:
            raise UsageError(f"expected 0.01 to 1000 frames per second, got {self.max_fps}; choose a rate in between")
        if not 0.0 <= self.smooth_s <= 60.0:
            raise UsageError(f"expected to smooth over 0 to 60 seconds, got {self.smooth_s}; choose a time in between")
        if self.monitor_every < 0:
            raise UsageError(f"expected to monitor every Nth frame, got {self.monitor_every}; give 1 or more, 0 is off")
        if self.deadline_ms is not None and not 0 < self.deadline_ms < float("inf"):
            raise UsageError(f"expected a deadline of more than 0 ms, got {self.deadline_ms}; choose one")


def run(
    source: Source,
    explainer: Explainer,
    sinks: Sequence[Sink],
    view: View | LiveView | None = None,
    options: RunOptions | None = None,
    *,
    stopped: Callable[[], bool] = lambda: False,
    observe: Callable[[Shot], object] = lambda shot: None,
) -> Summary:
    """Explain every frame of a source and hand it to the sinks.

    At the end the sinks are closed, also when `stopped` ends the run. When anything else ends it, a sink that failed is
    aborted and the others keep what they have, whole; without a finished frame all are aborted.

    Parameters
    ----------
    source : where frames come from; it stays open
    explainer : a loaded model
    sinks : where finished frames go, each of them in order
    view : what is shown, and how; a LiveView may be changed meanwhile
    options : how the run goes on
    stopped : asked many times a second; True ends the run after the frames at hand
    observe : called after each frame, in a thread of the run's own, for a progress bar

    Raises
    ------
    SourceError
        If no frame can be read.
    UsageError
        If a class is unknown, or the model has no classifier and no class is named.
    SinkError
        If a product cannot be written.
    """
    options = options or RunOptions()
    deadline_ms = options.deadline_ms or _frame_interval_ms(source, options)
    streams = 1 if source.live else explainer.engine.streams
    room = _ROOM_LIVE if source.live else _ROOM + streams - 1
    outputs, tally = Outputs(sinks), Tally()
    try:
        with contextlib.closing(
            Stages(
                explainer,
                view if isinstance(view, LiveView) else LiveView(view or View(), explainer.labels),
                outputs,
                source,
                tally,
                room=room,
                smooth_s=options.smooth_s if source.live or source.fps else 0.0,
                monitor_every=options.monitor_every,
                deadline_ms=deadline_ms,
                observe=observe,
            )
        ) as stages:
            stages.warm_up()
            start = time.perf_counter()
            belt: Conveyor[Passage] = Conveyor(room, source.stop, _places)
            steps = (Step(stages.preprocess), Step(stages.infer, streams), Step(stages.compose), Step(stages.write))
            interrupted = belt.run(_passages(source, options, belt.ending), steps, stopped)
        outputs.close()
    except BaseException as error:
        outputs.end(keep=tally.frames > 0 and isinstance(error, Exception))
        raise
    seconds = time.perf_counter() - start
    return Summary(
        frames=tally.frames,
        skipped=len(source.skipped),
        seconds=round(seconds, 3),
        frames_per_second=round(tally.frames / seconds, 2),
        stages=tally.stages(),
        classes=dict(sorted(tally.classes.items(), key=lambda item: -item[1])),
        live=source.live,
        age=tally.age(),
        deadline_ms=deadline_ms,
        late=tally.late,
        dropped=source.state.dropped,
        reconnects=source.state.reconnects,
        flicker=tally.flicker(),
        faith=tally.faith(),
        warnings=(*source.skipped, *source.warnings),
        interrupted=interrupted,
    )


def _passages(source: Source, options: RunOptions, ending: Event) -> Iterator[Passage]:
    """Read frames, no faster than asked, until the source or the run ends."""
    frames = iter(source)
    waiting = "wait" if source.live else "read"  # a live source reads in a thread of its own
    due_s, count = time.monotonic(), 0
    while count != options.limit:
        if options.max_fps is not None:
            ending.wait(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s + 1 / options.max_fps, time.monotonic())  # what was missed is not caught up with
        if ending.is_set():
            return
        ms: dict[str, float] = {}
        with stage(ms, waiting):
            frame = next(frames, None)
        if frame is None:
            return
        count += 1
        yield Passage(frame, ms)


def _places(passage: Passage) -> int:
    """Return how much room a frame takes on the conveyor."""
    height, width, _ = passage.frame.image.shape
    return 1 + int(height * width) // _PIXELS_A_PLACE


def _frame_interval_ms(source: Source, options: RunOptions) -> float | None:
    rates = [rate for rate in (source.fps, options.max_fps) if rate]
    return round(1000 / min(rates), 3) if source.live and rates else None
