"""One run of the live path in benchmarks/live.py, and many of them in interleaved rounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import numpy as np

from benchmarks.live_clients import Clients
from benchmarks.live_scene import CALM_SHARE, Clock, Scene, wait_for_calm
from edgex.compositors.palette import class_color
from edgex.explain import Explainer
from edgex.pipeline import RunOptions, run
from edgex.sinks.null import NullSink
from edgex.sinks.web import ServeOptions, WebSink
from edgex.sources import Source
from edgex.types import Shot, SourceState
from edgex.view import LiveView, View

Found = TypeVar("Found")
Kind = Literal["file", "camera", "synthetic"]
SETTLE_S = 0.2  # for the threads of the run before to stop spinning


@dataclass(frozen=True, slots=True)
class Case:
    """One way to run.

    Attributes
    ----------
    name : what it is called
    engine : key into the explainers
    source : the clip as a file or as a camera, or the synthetic camera
    viewers : None is the null sink; else the web viewer, with so many of them
    slow : how many more read one byte a second
    options : of the run
    base : name of the case that it is compared with in the same round
    """

    name: str
    engine: str
    source: Kind = "file"
    viewers: int | None = None
    slow: int = 0
    options: RunOptions = field(default_factory=RunOptions)
    base: str | None = None


@dataclass(frozen=True, slots=True)
class Row:
    """What one run gave.

    Attributes
    ----------
    fps : frames a second
    cpu_ms : CPU time a frame of this process, all threads
    others : share of the machine that others used meanwhile, or its host withheld, 0 to 1
    ages_ms : age at output of each frame
    stages_ms : stage to its median
    dropped, late : frames
    pictures_fps : pictures a second that one fast viewer got, the median over them; None without viewers
    clients_cpu_ms : CPU time a frame of the viewers' own process
    """

    fps: float
    cpu_ms: float
    others: float
    ages_ms: tuple[float, ...]
    stages_ms: Mapping[str, float]
    dropped: int
    late: int
    pictures_fps: float | None
    clients_cpu_ms: float


def run_case(case: Case, explainer: Explainer, scene: Scene, seconds: float) -> Row:
    """Run once; `seconds` is how long a camera films."""
    opened: list[Source] = []
    view = LiveView(View(), explainer.labels)
    ages: list[float] = []

    def observe(shot: Shot) -> None:
        ages.append(shot.record["age_ms"])

    if case.viewers is None:
        clients, sink = None, None
    else:
        colors = [class_color(index) for index in range(len(explainer.labels))]
        sink = WebSink(ServeOptions(port=0), view, lambda: opened[0].state if opened else SourceState(), {}, colors)
        clients = Clients(sink.url, case.viewers, case.slow) if case.viewers + case.slow else None
    before = Clock.now()
    source = _source(case, scene, seconds)  # last: a camera films from here on
    opened.append(source)
    try:
        summary = run(source, explainer, [sink or NullSink()], view, case.options, observe=observe)
        after = Clock.now()
    finally:
        watched = clients.stop() if clients is not None else None
        source.close()
    own_ms = 1e3 * (after.own_s - before.own_s)
    watched_s = 0.0 if watched is None else float(watched["cpu_s"])
    pictures = [] if watched is None else watched["pictures"]
    return Row(
        fps=summary.frames_per_second,
        cpu_ms=own_ms / summary.frames,
        others=after.others_since(before, watched_s),
        ages_ms=tuple(ages),
        stages_ms={name: spread.p50_ms for name, spread in summary.stages.items()},
        dropped=summary.dropped,
        late=summary.late,
        pictures_fps=float(np.median(pictures)) / summary.seconds if pictures else None,
        clients_cpu_ms=1e3 * watched_s / summary.frames,
    )


def _source(case: Case, scene: Scene, seconds: float) -> Source:
    if case.source == "file":
        return scene.file()
    return scene.camera(seconds) if case.source == "camera" else scene.synthetic(seconds)


def summed_up(rows: list[Row], base: list[Row] | None) -> dict[str, Any]:
    """Return JSON of all rounds of a case: medians and quartiles over rounds, ages over all frames of all rounds.

    Parameters
    ----------
    rows : one a round
    base : those of the case that it is compared with, of the same rounds
    """
    rates = np.array([row.fps for row in rows])
    lower, median, upper = np.percentile(rates, (25, 50, 75))
    p50, p95, p99 = np.percentile(np.concatenate([row.ages_ms for row in rows]), (50, 95, 99))
    names = list(rows[0].stages_ms)
    pictures = [row.pictures_fps for row in rows if row.pictures_fps is not None]
    ratios = [row.fps / other.fps for row, other in zip(rows, base or rows, strict=True)]
    return {
        "fps": round(float(median), 2),
        "fps_lower": round(float(lower), 2),
        "fps_upper": round(float(upper), 2),
        "rounds": len(rows),
        "cpu_ms": _median([row.cpu_ms for row in rows]),
        "others_share": _median([row.others for row in rows]),
        "age_ms": {
            "p50": round(float(p50), 2),
            "p95": round(float(p95), 2),
            "p99": round(float(p99), 2),
            "max": round(max(max(row.ages_ms) for row in rows), 2),
        },
        "p99_by_round_ms": sorted(round(float(np.percentile(row.ages_ms, 99)), 1) for row in rows),
        "frames": sum(len(row.ages_ms) for row in rows),
        "dropped": sum(row.dropped for row in rows),
        "late": sum(row.late for row in rows),
        "stages_ms": {name: _median([row.stages_ms.get(name, 0.0) for row in rows]) for name in names},
        "pictures_fps": _median(pictures) if pictures else None,
        "clients_cpu_ms": _median([row.clients_cpu_ms for row in rows]),
        "fps_over_base": None if base is None else round(float(np.median(ratios)), 4),
    }


def calmest(work: Callable[[], tuple[Found, float]], tries: int, calm_s: float) -> Found:
    """Do a thing until others leave the machine alone meanwhile; chosen by what they used, never by what it gave.

    Parameters
    ----------
    work : returns what it found, and the share of the machine that others used
    tries : at most so many
    calm_s : how long others are waited for, at most, before each
    """
    found: list[tuple[float, Found]] = []
    while len(found) < tries and not (found and found[-1][0] < CALM_SHARE):
        time.sleep(SETTLE_S)
        wait_for_calm(calm_s)
        given, others = work()
        found.append((others, given))
    return min(found, key=lambda pair: pair[0])[1]


def _median(values: list[float]) -> float:
    return round(float(np.median(values)), 3)
