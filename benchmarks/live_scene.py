"""What benchmarks/live.py runs: the clip as a file and as a camera, the engines, and how busy others are meanwhile."""

from __future__ import annotations

import os
import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.rounds import describe_machine
from edgex.build import BuildOptions, build
from edgex.explain import shipped_bundle, shipped_clip
from edgex.sources import Source, open_source
from edgex.sources.capture import LiveOptions
from edgex.sources.live import LiveSource
from edgex.types import Image

PACKAGES = ("edgex", "numpy", "opencv-python-headless", "av", "onnxruntime", "openvino", "uvicorn")
FPS = 30.0  # of the live source
CALM_SHARE = 0.10  # of the machine that others may use, for a run to begin
LOOK_S = 0.5
_PROC_STAT = Path("/proc/stat")


@dataclass(frozen=True, slots=True)
class Scene:
    """What is looked at.

    Attributes
    ----------
    clip : video file
    pictures : frames of it in memory, uint8 [H, W, 3] each
    """

    clip: Path
    pictures: tuple[Image, ...]

    def file(self) -> Source:
        """Return the clip as a file, as fast as it is read."""
        return open_source(self.clip)

    def camera(self, seconds: float) -> Source:
        """Return the clip as a camera of FPS frames a second that ends after `seconds`."""
        count = max(1, round(seconds * FPS))
        return LiveSource(lambda: Replay(self.pictures, FPS, count), "replay", LiveOptions(), "camera")

    def synthetic(self, seconds: float) -> Source:
        """Return edgex's synthetic camera of the clip's size."""
        height, width = self.pictures[0].shape[:2]
        return open_source(f"synthetic:{width}x{height}@{FPS:g}:{max(1, round(seconds * FPS))}")


class Replay:
    """A camera that shows pictures from memory, again and again, at a steady pace; each a new copy, as cameras do."""

    def __init__(self, pictures: Sequence[Image], fps: float, count: int) -> None:
        self.fps = fps
        self._pictures = pictures
        self._count = count
        self._index = 0
        self._start_s = time.monotonic()

    def read(self) -> Image | None:
        if self._index >= self._count:
            return None
        picture = self._pictures[self._index % len(self._pictures)].copy()
        time.sleep(max(0.0, self._start_s + self._index / self.fps - time.monotonic()))
        self._index += 1
        return picture

    def close(self) -> None:
        """Give nothing back."""


def open_scene(clip: Path | None = None, most: int = 64) -> Scene:
    """Read every nth picture of a clip, so that at most `most` of them cover all of it; None is the shipped clip."""
    clip = clip or shipped_clip()
    source = open_source(clip)
    try:
        step = max(1, -(-(source.frame_count or 1) // most))
        pictures = tuple(frame.image for frame in source if frame.index % step == 0)
    finally:
        source.close()
    return Scene(clip, pictures)


def packages() -> dict[str, str | None]:
    """Return the versions of what a run goes through; None for what is not installed."""
    found = describe_machine(PACKAGES)["packages"]
    return {name: found.get(name) for name in PACKAGES}


def build_int8(folder: Path, backend: str = "auto") -> Path:
    """Build the shipped bundle in INT8 from the frames that come with it; return the engine."""
    name = folder / f"int8.{backend}.onnx"
    return build(BuildOptions(shipped_bundle(), "int8", backend, output=name)).path


@dataclass(frozen=True, slots=True)
class Clock:
    """CPU time at one moment, in seconds: of the whole machine, and of this process."""

    at_s: float
    machine_s: float
    own_s: float

    @classmethod
    def now(cls) -> Clock:
        used = resource.getrusage(resource.RUSAGE_SELF)
        return cls(time.monotonic(), _machine_s(), used.ru_utime + used.ru_stime)

    def others_since(self, before: Clock, known_s: float = 0.0) -> float:
        """Return the share of all cores that others used, 0 to 1; `known_s` was used by processes that belong here."""
        others_s = self.machine_s - before.machine_s - (self.own_s - before.own_s) - known_s
        cores_s = (self.at_s - before.at_s) * (os.cpu_count() or 1)
        return max(0.0, round(others_s / cores_s, 4)) if cores_s > 0 else 0.0


def wait_for_calm(longest_s: float) -> None:
    """Wait until others leave the machine alone, or until `longest_s` have gone by."""
    until_s = time.monotonic() + longest_s
    while time.monotonic() < until_s:
        before = Clock.now()
        time.sleep(LOOK_S)
        if Clock.now().others_since(before) < CALM_SHARE:
            return


def _machine_s() -> float:
    """Return the CPU time that everybody together has used; 0 where the system does not tell."""
    if not _PROC_STAT.exists():
        return 0.0
    spent = [int(word) for word in _PROC_STAT.read_text(encoding="ascii").splitlines()[0].split()[1:9]]
    idle, waiting = spent[3], spent[4]
    return (sum(spent) - idle - waiting) / os.sysconf("SC_CLK_TCK")
