"""The live path: read, preprocess, infer, compose, write, one frame after the other."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgex.errors import UsageError
from edgex.explain import OPACITY, THRESHOLD, TOP_K, Explainer, drawing, resolve
from edgex.legend import draw_legend
from edgex.timing import StageTimes, Stopwatch
from edgex.types import STYLES, Frame, Shot, ShownClass, Style

if TYPE_CHECKING:
    from edgex.sinks import Sink
    from edgex.sources import Source

_HALF = 128  # round(255 * mask) reaches it where the mask reaches 0.5


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What is shown, and how.

    Attributes
    ----------
    classes : names of the classes to show in every frame, or None for those that the classifier predicts
    top, threshold : at most `top` predicted classes that score at least `threshold`
    style, opacity : how masks are drawn
    limit : stop after so many frames, or None
    """

    classes: tuple[str, ...] | None = None
    top: int = TOP_K
    threshold: float = THRESHOLD
    style: Style = "overlay"
    opacity: float = OPACITY
    limit: int | None = None

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise UsageError(f"expected a style of {', '.join(STYLES)}, got {self.style!r}; choose one")
        if not 0.0 <= self.opacity <= 1.0:
            raise UsageError(f"expected an opacity of 0 to 1, got {self.opacity}; choose one in between")
        if not 0.0 <= self.threshold <= 1.0:
            raise UsageError(f"expected a threshold of 0 to 1, got {self.threshold}; choose one in between")
        if self.top < 1:
            raise UsageError(f"expected at least 1 class to show, got {self.top}; ask for 1 or more")
        if self.limit is not None and self.limit < 1:
            raise UsageError(f"expected a limit of at least 1 frame, got {self.limit}; leave it out for all frames")


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    Attributes
    ----------
    frames : frames explained
    skipped : pictures that could not be read
    seconds : from the first frame's reading to the last product's closing
    frames_per_second : frames / seconds
    stages : stage to its times
    classes : label to the number of frames in which it was shown, most frequent first
    warnings : one sentence each
    interrupted : whether the run was stopped before the source ended
    """

    frames: int
    skipped: int
    seconds: float
    frames_per_second: float
    stages: Mapping[str, StageTimes]
    classes: Mapping[str, int]
    warnings: tuple[str, ...] = ()
    interrupted: bool = False


@dataclass(slots=True)
class _Tally:
    frames: int = 0
    interrupted: bool = False
    classes: dict[str, int] = field(default_factory=dict)


def run(
    source: Source,
    explainer: Explainer,
    sinks: Sequence[Sink],
    options: RunOptions | None = None,
    *,
    stopped: Callable[[], bool] = lambda: False,
    observe: Callable[[Shot], object] = lambda shot: None,
) -> Summary:
    """Explain every frame of a source and hand it to the sinks.

    The sinks are closed at the end, also when `stopped` ends the run, and aborted when anything raises.

    Parameters
    ----------
    source : where frames come from; it stays open
    explainer : a loaded model
    sinks : where finished frames go, each of them in order
    options : what is shown, and how
    stopped : asked before each frame; True ends the run
    observe : called after each frame, for a progress bar

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
    watch = Stopwatch()
    tally = _Tally()
    start = time.perf_counter()
    try:
        if options.classes is not None:
            resolve(options.classes, explainer.labels)
        for shot in _shots(source, explainer, options, any(sink.wants_masks for sink in sinks), watch, stopped, tally):
            with watch.stage("write"):
                for sink in sinks:
                    sink.write(shot)
            tally.frames += 1
            for shown in shot.shown:
                tally.classes[shown.label] = tally.classes.get(shown.label, 0) + 1
            observe(shot)
        for sink in sinks:
            sink.close()
    except BaseException:
        for sink in sinks:
            sink.abort()
        raise
    seconds = time.perf_counter() - start
    return Summary(
        frames=tally.frames,
        skipped=len(source.skipped),
        seconds=round(seconds, 3),
        frames_per_second=round(tally.frames / seconds, 2),
        stages=watch.summary(),
        classes=dict(sorted(tally.classes.items(), key=lambda item: -item[1])),
        warnings=(*source.skipped, *source.warnings),
        interrupted=tally.interrupted,
    )


def _shots(
    source: Source,
    explainer: Explainer,
    options: RunOptions,
    wants_masks: bool,
    watch: Stopwatch,
    stopped: Callable[[], bool],
    tally: _Tally,
) -> Iterator[Shot]:
    frames = iter(source)
    while tally.frames != options.limit:
        if stopped():
            tally.interrupted = True
            return
        watch.lap()
        with watch.stage("read"):
            frame = next(frames, None)
        if frame is None:
            return
        yield _shot(frame, explainer, options, wants_masks, watch)


def _shot(frame: Frame, explainer: Explainer, options: RunOptions, wants_masks: bool, watch: Stopwatch) -> Shot:
    """Explain one frame."""
    with watch.stage("preprocess"):
        tensor = explainer.preprocess(frame.image)
    with watch.stage("infer"):
        logits = explainer.infer(tensor)
    explanation = explainer.explanation(frame.image, logits)
    shown = explanation.shown(options.classes, options.top, options.threshold)
    picture, masks = frame.image, None
    if shown:
        with watch.stage("compose"):
            drawn = drawing(shown, options.style, options.opacity)
            picture = explainer.compositor.compose(frame.image, explanation.mask_logits, drawn)
        with watch.stage("legend"):
            draw_legend(picture, shown)
    if shown and wants_masks:
        with watch.stage("masks"):
            masks = explanation.masks([each.label for each in shown])
    return Shot(frame, picture, shown, masks, _record(frame, shown, masks, watch.lap()))


def _record(
    frame: Frame, shown: Sequence[ShownClass], masks: NDArray[np.uint8] | None, ms: Mapping[str, float]
) -> dict[str, Any]:
    """Return one line of the records.

    index, time_s, name : of the frame
    width, height : of the frame, in pixels
    classes : one entry per shown class, highest score first: label; score, 0 to 1 or null; and, where masks were
        asked for, area (fraction of the frame where the mask is at least 0.5) and box ([left, top, right, bottom] of
        that area in pixels, right and bottom exclusive, or null where there is none)
    ms : milliseconds per stage; writing is not among them, for it is not over yet
    """
    height, width = frame.image.shape[:2]
    classes: list[dict[str, Any]] = []
    for position, each in enumerate(shown):
        entry: dict[str, Any] = {"label": each.label, "score": None if each.score is None else round(each.score, 4)}
        if masks is not None:
            entry |= _extent(masks[position])
        classes.append(entry)
    return {
        "index": frame.index,
        "time_s": round(frame.time_ns / 1e9, 6),
        "name": frame.name,
        "width": width,
        "height": height,
        "classes": classes,
        "ms": dict(ms),
    }


def _extent(mask: NDArray[np.uint8]) -> dict[str, Any]:
    inside = mask >= _HALF
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return {"area": 0.0, "box": None}
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    return {"area": round(float(np.count_nonzero(inside)) / inside.size, 6), "box": box}
