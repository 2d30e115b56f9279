"""The whole path of `edgex run`, served with frames that are due at a rate."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from edgex.bench.paced import Abandon
from edgex.bench.pipeline import Gauge, PipelineLane
from edgex.bench.schedule import Pacer
from edgex.bench.track import Clock, Lane, Track
from edgex.pipeline import run
from edgex.types import Frame, Image, Shot, SourceState

_PACE = ("read", "wait")  # stages of the path that are the pace of the schedule here


class PathServer:
    """The whole path of `edgex run`, its threads and its room for frames included.

    Parameters
    ----------
    lane : the same path as pipeline mode measures it
    images : pictures in memory
    """

    def __init__(self, lane: PipelineLane, images: Sequence[Image]) -> None:
        self.unpaced: Lane = lane
        self._path, self._images = lane, images

    def serve(self, pacer: Pacer, track: Track, abandon: Abandon) -> None:
        """Serve. See Server."""
        path = self._path

        def tell(age_ns: int) -> None:
            if abandon(age_ns):
                pacer.end()

        gauge = AgeGauge(track, path.clock, tell)
        run(
            PacedSource(pacer, self._images),
            path.explainer,
            [gauge],
            path.view,
            stopped=path.stopped,
            observe=gauge.note,
        )


class AgeGauge(Gauge):
    """Keeps of each frame the time from when it was due until the sink had it."""

    def __init__(self, track: Track, clock: Clock, tell: Callable[[int], object]) -> None:
        super().__init__(track, clock)
        self._tell = tell

    def note(self, shot: Shot) -> None:
        super().note(shot)
        for name in _PACE:
            self._track.stages.pop(name, None)

    def keep(self, frame: Frame, total_ms: float) -> None:
        age_ns = self._written_ns - frame.arrived_ns
        self._track.add(age_ns, frame.arrived_ns)
        self._tell(age_ns)


class PacedSource:
    """Pictures in memory that arrive at the pace of a schedule; see Source.

    With the policy "newest" it is a live source, and the path treats it as one: it takes the newest frame whenever it
    has room. Else every frame comes, and waits where there is no room.
    """

    frame_count = None
    uri = "paced"
    files: tuple[Path, ...] = ()

    def __init__(self, pacer: Pacer, images: Sequence[Image]) -> None:
        self.fps = pacer.fps
        self.live = pacer.policy == "newest"
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        self._pacer, self._images = pacer, images

    @property
    def state(self) -> SourceState:
        """How it stands; the pacer drops."""
        return SourceState(dropped=self._pacer.dropped)

    def __iter__(self) -> Iterator[Frame]:
        for index, due_ns in self._pacer:
            image = self._images[index % len(self._images)]
            yield Frame(image, index, due_ns, f"frame-{index:06d}", arrived_ns=due_ns)

    def stop(self) -> None:
        self._pacer.end()

    def close(self) -> None:
        """Give nothing back."""
