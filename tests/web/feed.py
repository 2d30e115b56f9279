"""A real viewer on a free port of loopback, fed with pictures that a tiny real bundle explains as the view says."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import edgex
from edgex.compositors.palette import class_color
from edgex.explain import Explainer, drawing
from edgex.sinks.web import ServeOptions, WebSink
from edgex.types import Frame, Shot, SourceState
from edgex.view import LiveView, View
from tests.bundles import LABELS

COLORS = [class_color(index) for index in range(len(LABELS))]
ABOUT = {"model": "tiny.onnx", "backend": "onnxruntime", "source": "patches"}
MONITOR = {"label": "red", "score": 0.99, "kept": 0.91, "lost": 0.82}


def record(index: int, **fields: Any) -> dict[str, Any]:
    """Return a record as the pipeline makes it."""
    ms = {"read": 1.0, "preprocess": 2.0, "infer": 4.0, "compose": 1.5, "legend": 0.5}
    made = {"index": index, "time_s": index / 25, "name": f"frame-{index:06d}", "width": 96, "height": 64}
    made |= {"classes": [{"label": "red", "score": 0.99}], "ms": ms, "age_ms": 12.5, "late": False, "dropped": 0}
    return made | {"flicker": None, "monitor": None} | fields


def plain_shot(index: int = 0, picture: np.ndarray | None = None, **fields: Any) -> Shot:
    """Return a finished frame, grey if no picture is given; `fields` go into its record."""
    picture = np.full((48, 64, 3), 100, np.uint8) if picture is None else picture
    frame = Frame(picture, index, index * 40_000_000, f"frame-{index:06d}")
    return Shot(frame, picture, (), None, record(index, **fields), np.array([0.99, 0.01, 0.5], np.float32))


def both_colors(height: int = 180, width: int = 320) -> np.ndarray:
    """Return a grey picture with a red left and a green right third."""
    picture = np.full((height, width, 3), 128, np.uint8)
    picture[:, : width // 3] = (0, 0, 255)
    picture[:, -(width // 3) :] = (0, 255, 0)
    return picture


@dataclass
class Viewer:
    """A running viewer."""

    sink: WebSink
    view: LiveView
    state: list[SourceState] = field(default_factory=lambda: [SourceState()])

    @property
    def base(self) -> str:
        """The address, without a slash at its end."""
        scheme, _, rest = self.sink.url.partition("://")
        return f"{scheme}://{rest.partition('/')[0]}"

    @property
    def port(self) -> int:
        return int(self.base.rpartition(":")[2])


@contextlib.contextmanager
def viewer(view: View | None = None, **options: Any) -> Iterator[Viewer]:
    """Open a viewer on a free port, and close it."""
    live, state = LiveView(view or View(), LABELS), [SourceState()]
    sink = WebSink(ServeOptions(**({"port": 0} | options)), live, lambda: state[0], ABOUT, COLORS)
    try:
        yield Viewer(sink, live, state)
    finally:
        sink.close()


@contextlib.contextmanager
def feeding(sink: WebSink, make: Any, fps: float = 30.0) -> Iterator[list[float]]:
    """Write `make(index)` into the sink from a thread; gives the seconds that each write took."""
    stopped, took = threading.Event(), list[float]()

    def feed() -> None:
        index = 0
        while not stopped.wait(1 / fps):
            shot = make(index)
            start = time.perf_counter()
            sink.write(shot)
            took.append(time.perf_counter() - start)
            index += 1

    thread = threading.Thread(target=feed, name="feed")
    thread.start()
    try:
        yield took
    finally:
        stopped.set()
        thread.join()


def explained(explainer: Explainer, view: LiveView, picture: np.ndarray, index: int) -> Shot:
    """Explain a picture as the view says."""
    found, now = explainer.explain(picture), view.current
    shown = tuple(each for each in found.shown(now.classes, now.top, now.threshold) if each.label not in now.hidden)
    composed = picture
    if shown:
        composed = explainer.compositor.compose(picture, found.mask_logits, drawing(shown, now.style, now.opacity))
    frame = Frame(picture, index, index * 40_000_000, f"frame-{index:06d}")
    monitor = MONITOR if index % 10 == 0 else None
    return Shot(frame, composed, shown, None, record(index, monitor=monitor), found.scores)


@contextlib.contextmanager
def live(bundle: Path, port: int = 0) -> Iterator[Viewer]:
    """A viewer fed by a real model, 25 frames a second."""
    with edgex.load(bundle, threads=1) as explainer, viewer(port=port) as opened:
        picture = both_colors()
        with feeding(opened.sink, lambda index: explained(explainer, opened.view, picture, index), 25):
            yield opened


def until(holds: Any, seconds: float = 20.0) -> None:
    """Wait until `holds()` is true."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "expected it to hold by now"
        time.sleep(0.02)
