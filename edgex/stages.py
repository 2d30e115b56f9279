"""The stages of the live path: what becomes of one frame between the source and the sinks."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import TYPE_CHECKING

import numpy as np

from edgex.explain import Explainer
from edgex.flicker import Flicker
from edgex.frame_path import FramePath, open_path
from edgex.legend import draw_legend
from edgex.monitor import Faithfulness, measure
from edgex.outputs import Outputs
from edgex.record import record_of
from edgex.smoothing import Smoother
from edgex.tally import Tally
from edgex.timing import stage
from edgex.types import FloatArray, Frame, Logits, Shot, ShownClass
from edgex.view import LiveView, drawing

if TYPE_CHECKING:
    from edgex.sources import Source


@dataclass(slots=True)
class Passage:
    """One frame on its way; each stage adds what it makes of it, and the milliseconds that it took."""

    frame: Frame
    ms: dict[str, float] = field(default_factory=dict)
    path: FramePath | None = None
    tensor: FloatArray | None = None
    logits: Logits | None = None
    shot: Shot | None = None
    flicker: float | None = None
    faith: Faithfulness | None = None


class Stages:
    """What happens to every frame, in this order: preprocess, infer, compose, write. Each has threads of its own.

    Only infer may be called by several threads at once; the others keep what lasts from frame to frame.

    Parameters
    ----------
    explainer : a loaded model
    view : what is shown, and how; asked anew for each frame
    outputs : where finished frames go
    source : where frames come from; asked for how many it dropped
    tally : where finished frames are counted
    room : frames at work at once
    smooth_s : time constant of the smoothing of logits, in seconds; 0 for none
    monitor_every : every so many frames the masked frame is classified again; 0 for never
    deadline_ms : age at output beyond which a frame is late, or None
    observe : called after each frame
    """

    def __init__(
        self,
        explainer: Explainer,
        view: LiveView,
        outputs: Outputs,
        source: Source,
        tally: Tally,
        *,
        room: int,
        smooth_s: float,
        monitor_every: int,
        deadline_ms: float | None,
        observe: Callable[[Shot], object],
    ) -> None:
        self._explainer = explainer
        self._view = view
        self._outputs = outputs
        self._source = source
        self._tally = tally
        self._smoother = Smoother(smooth_s) if smooth_s else None
        self._monitor_every = monitor_every
        self._deadline_ms = deadline_ms
        self._observe = observe
        self._flicker = Flicker(explainer.manifest.input.std)
        self._composed = 0
        self._paths: SimpleQueue[FramePath] = SimpleQueue()  # those that no frame is on
        self._opened: list[FramePath] = []
        for _ in range(room):
            self._opened.append(open_path(explainer))
            self._paths.put(self._opened[-1])

    def warm_up(self) -> None:
        """Explain and draw one empty picture: backends and fonts prepare on the first call, and frames would wait."""
        spec = self._explainer.manifest.input
        image = np.zeros((spec.height, spec.width, 3), np.uint8)
        explanation = self._explainer.explain(image)
        draw_legend(explanation.compose(explanation.labels[:1]), explanation.shown(explanation.labels[:1]))

    def preprocess(self, passage: Passage) -> None:
        """Make the network's input."""
        passage.path = self._paths.get()
        with stage(passage.ms, "preprocess"):
            passage.path.upload(passage.frame.image)

    def infer(self, passage: Passage) -> None:
        """Run the network."""
        assert passage.path is not None
        with stage(passage.ms, "infer"):
            passage.logits, passage.tensor = passage.path.infer(tensor=True)

    def compose(self, passage: Passage) -> None:
        """Smooth the logits, choose what is shown, and draw it."""
        path, logits = passage.path, passage.logits
        assert path is not None
        assert logits is not None
        frame, ms, view = passage.frame, passage.ms, self._view.current
        smoothed = None
        if self._smoother is not None:
            with stage(ms, "smooth"):
                logits = self._smoother.smooth(logits, frame.time_ns)
            smoothed = logits.mask_logits[0]
        explanation = self._explainer.explanation(frame.image, logits)
        shown = explanation.shown(view.classes, view.top, view.threshold, view.hidden)
        self._judge(passage, shown, logits.mask_logits)
        picture, masks = frame.image, None
        if shown:
            with stage(ms, "compose"):
                drawn = drawing(shown, view.style, view.opacity, self._explainer.fill)
                picture = path.compose(drawn, smoothed)
            with stage(ms, "legend"):
                draw_legend(picture, shown)
        if shown and self._outputs.wants_masks:
            with stage(ms, "masks"):
                masks = explanation.masks([each.label for each in shown])
        passage.shot = Shot(frame, picture, shown, masks, scores=explanation.scores)
        passage.path = passage.tensor = passage.logits = None  # let go of what no later stage needs
        self._paths.put(path)

    def write(self, passage: Passage) -> None:
        """Hand the finished frame to the sinks, and count it."""
        assert passage.shot is not None
        shot = self._recorded(passage, passage.shot)
        with stage(passage.ms, "write"):
            self._outputs.write(shot)
        age_ms = _age_ms(shot.frame)
        self._tally.add(shot, passage.ms, age_ms, self._is_late(age_ms))
        self._observe(shot)

    def close(self) -> None:
        """Give back what frames went through."""
        for path in self._opened:
            path.close()

    def _judge(self, passage: Passage, shown: tuple[ShownClass, ...], mask_logits: FloatArray) -> None:
        """Measure the flicker, and from time to time whether the mask of the first class, as it is shown, is true."""
        assert passage.tensor is not None
        assert passage.logits is not None
        with stage(passage.ms, "flicker"):
            classes = tuple(each.index for each in shown)
            passage.flicker = self._flicker.observe(passage.tensor, mask_logits[0], classes)
        due = self._monitor_every and self._composed % self._monitor_every == 0
        self._composed += 1
        scores = passage.logits.class_logits  # of this very frame: smoothed ones are those of earlier ones, too
        if due and shown and scores is not None:
            with stage(passage.ms, "monitor"):
                logits = Logits(mask_logits, scores)
                passage.faith = measure(self._explainer, passage.tensor, logits, shown[0].index)

    def _recorded(self, passage: Passage, shot: Shot) -> Shot:
        age_ms = _age_ms(shot.frame)
        record = record_of(
            shot.frame,
            shot.shown,
            shot.masks,
            passage.ms,
            age_ms=age_ms,
            late=self._is_late(age_ms),
            dropped=self._source.state.dropped,
            flicker=passage.flicker,
            faith=passage.faith,
        )
        return dataclasses.replace(shot, record=record)

    def _is_late(self, age_ms: float) -> bool:
        return self._deadline_ms is not None and age_ms > self._deadline_ms


def _age_ms(frame: Frame) -> float:
    return (time.monotonic_ns() - frame.arrived_ns) / 1e6
