"""Pictures of the web viewer for docs/live.md: the shipped model explains the shipped clip, and Chromium looks at it.

Usage: python -m scripts.screenshots          writes docs/pictures/live-{desktop,phone}-{light,dark}.png
Needs the extras "serve" and "dev", and Chromium: CHROMIUM=path/to/chromium takes another than /usr/bin/chromium.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
import threading
import time
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import edgex
from edgex.compositors.palette import class_color
from edgex.explain import shipped_clip
from edgex.pipeline import RunOptions, run
from edgex.sinks.web import ServeOptions, WebSink
from edgex.sources import Source, open_source
from edgex.types import Frame
from edgex.view import LiveView, View

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
FOLDER = Path(__file__).resolve().parent.parent / "docs" / "pictures"
SIZES = {"desktop": (1120, 900), "phone": (390, 844)}
THEMES = ("light", "dark")
PLOT_S = 12.0  # until the running plots have something to show
LARGEST_BYTES = 250_000
TELLING = """async () => {  // a moment at which a class is seen for sure
    const state = await (await fetch("/api/state")).json();
    return state.record.classes.some(each => each.score > 0.97);
}"""


class Looped:
    """A clip that begins again when it ends, at its own frame rate, as a camera gives its pictures."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._stopped = threading.Event()
        self.uri = "camera 0"
        self.fps = source.fps
        self.frame_count = None
        self.files: tuple[Path, ...] = ()
        self.skipped = self.warnings = list[str]()
        self.live = True
        self.state = source.state

    def __iter__(self) -> Iterator[Frame]:
        interval_s, due_s, index = 1 / (self.fps or 25), time.monotonic(), 0
        while True:
            for frame in open_source(self._source.uri):
                if self._stopped.wait(max(0.0, due_s - time.monotonic())):
                    return
                due_s = max(due_s + interval_s, time.monotonic())
                stamps = {"time_ns": round(index * interval_s * 1e9), "arrived_ns": time.monotonic_ns()}
                yield dataclasses.replace(frame, index=index, name=f"frame-{index:06d}", **stamps)
                index += 1

    def stop(self) -> None:
        self._stopped.set()

    def close(self) -> None:
        self.stop()


@contextlib.contextmanager
def served() -> Iterator[str]:
    """Run the pipeline behind a viewer; gives the viewer's address."""
    source = Looped(open_source(shipped_clip()))
    with edgex.load() as explainer:
        view = LiveView(View(), explainer.labels)
        about = {"model": explainer.engine.path.name, "backend": explainer.engine.backend, "source": source.uri}
        colors = [class_color(index) for index in range(len(explainer.labels))]
        sink = WebSink(ServeOptions(port=0), view, lambda: source.state, about, colors)
        running = threading.Thread(target=run, args=(source, explainer, [sink], view, RunOptions(monitor_every=10)))
        running.start()
        try:
            yield sink.url
        finally:
            source.stop()
            running.join()


def small_png(png: bytes, path: Path) -> None:
    """Write a PNG with a palette of 256 colours, which is a third of the size."""
    import av
    import cv2
    import numpy as np

    image = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_COLOR)
    graph: Any = av.filter.Graph()
    frame = av.VideoFrame.from_ndarray(image, format="bgr24")
    tick, size = Fraction(1, 25), {"width": frame.width, "height": frame.height}
    source, split = graph.add_buffer(**size, format="bgr24", time_base=tick), graph.add("split")
    colors, use = graph.add("palettegen", "stats_mode=full"), graph.add("paletteuse", "dither=none")
    sink = graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(colors, 1, 0)
    colors.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    source.push(frame)
    source.push(None)
    painted = sink.pull()
    encoder: Any = av.CodecContext.create("png", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = frame.width, frame.height, "pal8", tick
    encoder.options = {"compression_level": "9"}
    path.write_bytes(b"".join(bytes(packet) for packet in [*encoder.encode(painted), *encoder.encode(None)]))


def main() -> None:
    """Write every picture."""
    from playwright.sync_api import sync_playwright

    with served() as url, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for name, theme in itertools.product(SIZES, THEMES):  # one page at a time: each takes its share of the cores
            width, height = SIZES[name]
            page = browser.new_page(viewport={"width": width, "height": height}, color_scheme=theme)
            page.goto(url)
            time.sleep(PLOT_S)
            page.locator("#faith-figures").wait_for(timeout=60_000)
            page.wait_for_function(TELLING, timeout=60_000)
            path = FOLDER / f"live-{name}-{theme}.png"
            small_png(page.screenshot(full_page=True), path)
            page.close()
            size = path.stat().st_size
            print(f"{path.name}: {size} bytes" + ", too many" * (size > LARGEST_BYTES))
        browser.close()


if __name__ == "__main__":
    main()
