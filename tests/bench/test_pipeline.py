"""The whole path, measured: real bundles, stage by stage as fast as it goes, and paced, where frames wait or drop."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgex.bench.paced import PacedLane
from edgex.bench.paced_path import PathServer
from edgex.bench.pipeline import FILL, PipelineLane, from_memory, from_source, rate_at_will
from edgex.bench.track import Track
from edgex.compositors import open_compositor
from edgex.engines import Engine, Network, open_network
from edgex.errors import ModelError, UsageError
from edgex.explain import Explainer
from edgex.pipeline import run
from edgex.sources import open_source
from tests.bundles import patched_picture, write_bundle
from tests.clips import moving_pictures, write_clip, write_picture
from tests.test_pipeline import Keep

IMAGES = tuple(patched_picture(label=label) for label in ("red", "green", "blue"))


class Slowed:
    """A real network that takes at least so long, or fails at one of its calls."""

    def __init__(
        self,
        network: Network,
        seconds: float = 0.0,
        fails_at: int | None = None,
        stalls: Mapping[int, float] | None = None,
    ) -> None:
        self._network, self._seconds, self._fails_at, self._stalls = network, seconds, fails_at, stalls or {}
        self._pictures = itertools.count()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        number = next(self._pictures)
        if number == self._fails_at:
            raise ModelError("expected the device, got none; plug it in")
        time.sleep(self._stalls.get(number, self._seconds))
        return self._network.run(image)


@pytest.fixture
def network(bundle: Path) -> Iterator[Network]:
    opened = open_network(bundle, "onnxruntime", 1)
    yield opened
    opened.close()


def explainer_of(network: Any) -> Explainer:
    return Explainer(Engine(network), open_compositor("auto"))


def test_every_stage_of_every_frame_is_kept(network: Network) -> None:
    track = Track()
    lane = PipelineLane(explainer_of(network), from_memory(IMAGES), "memory")
    lane.measure(track, 0.0, 30)
    count = len(track.samples_ns)
    assert count == 30
    assert list(track.stages) == ["read", "preprocess", "infer", "flicker", "compose", "legend", "write"]
    assert {len(values) for values in track.stages.values()} == {count}
    totals = [sum(values) for values in zip(*track.stages.values(), strict=True)]
    assert [ns / 1e6 for ns in track.samples_ns] == pytest.approx(totals, abs=1e-5)
    assert list(track.starts_ns) == sorted(track.starts_ns)
    assert track.pictures == count  # intervals between frames, the first of them from the last untimed one
    assert lane.first_ms() > 0


def test_three_classes_are_drawn_whatever_they_score(network: Network, tmp_path: Path) -> None:
    grey = (np.full((32, 32, 3), 128, np.uint8),)
    PipelineLane(explainer_of(network), from_memory(grey), "memory").measure(track := Track(), 0.0, 3)
    assert len(track.stages["compose"]) == len(track.samples_ns)
    alone = open_network(write_bundle(tmp_path / "alone.onnx", class_head=False), "onnxruntime", 1)
    PipelineLane(explainer_of(alone), from_memory(grey), "memory").measure(track := Track(), 0.0, 3)
    assert len(track.stages["compose"]) == len(track.samples_ns)
    alone.close()


def test_a_slow_engine_is_seen_where_it_is_slow(network: Network) -> None:
    lane = PipelineLane(explainer_of(Slowed(network, 0.02)), from_memory(IMAGES), "memory")
    lane.warm(Track(), 0.0, 1)
    lane.measure(track := Track(), 0.0, 40)
    assert min(track.stages["infer"]) >= 20
    assert track.per_second <= 75  # 50, and more where a busy machine delays the first frame's drawing


def test_a_source_is_read_over_and_over_and_its_reading_counts(network: Network, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_pictures(5))
    frames = from_source(str(clip))
    lane = PipelineLane(explainer_of(network), frames, "clip")
    for _ in range(2):  # the second turn goes on where the first one ended
        lane.measure(track := Track(), 0.0, 12)
        assert len(track.stages["read"]) == 12
        assert sum(track.stages["read"]) > 0


def test_a_source_that_comes_at_its_own_pace_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="live source synthetic:64x48@100"):
        rate_at_will("synthetic:64x48@100")
    assert rate_at_will(str(write_clip(tmp_path / "clip.mp4", moving_pictures(5)))) == 10
    assert rate_at_will(str(write_picture(tmp_path / "red.png", patched_picture()))) is None


def test_frames_that_fill_the_path_or_empty_it_are_not_timed(network: Network) -> None:
    """A call takes 5 ms, those of the frames that fill the path 60, those after the last timed one 90."""
    begin, last = 1 + FILL, 1 + FILL + 20  # the path warms up with one call of its own
    calls = {**dict.fromkeys(range(begin), 0.06), **dict.fromkeys(range(last, last + 50), 0.09)}
    explainer = explainer_of(Slowed(network, 0.005, stalls=calls))
    PipelineLane(explainer, from_memory(IMAGES), "memory").measure(track := Track(), 0.0, 20)
    assert (len(track.samples_ns), track.pictures) == (20, 20)
    assert sum(each >= 60 for each in track.stages["infer"]) <= 1  # of a busy machine
    assert track.took_ns >= 19 * 5_000_000


def test_a_turn_lasts_as_long_as_it_is_asked_to_without_the_frames_that_are_not_timed(network: Network) -> None:
    PipelineLane(explainer_of(network), from_memory(IMAGES), "memory").measure(track := Track(), 0.3, 1)
    assert track.took_ns >= 300_000_000
    assert track.per_second == pytest.approx(len(track.samples_ns) * 1e9 / track.took_ns)


def test_a_video_is_smoothed_over_time_as_in_edgex_run_and_pictures_are_not(network: Network) -> None:
    explainer = explainer_of(network)
    PipelineLane(explainer, from_memory(IMAGES, 25.0), "memory", fps=25.0).measure(track := Track(), 0.0, 5)
    assert len(track.stages["smooth"]) == len(track.samples_ns)
    assert [frame.time_ns for frame in itertools.islice(from_memory(IMAGES, 25.0), 3)] == [0, 40_000_000, 80_000_000]
    PipelineLane(explainer, from_memory(IMAGES), "memory").measure(track := Track(), 0.0, 5)
    assert "smooth" not in track.stages


def test_an_engine_that_fails_leaves_the_frames_before(network: Network) -> None:
    track = Track()
    lane = PipelineLane(explainer_of(Slowed(network, fails_at=11 + FILL)), from_memory(IMAGES), "memory")
    with pytest.raises(ModelError, match="expected the device"):
        lane.measure(track, 60.0, 1)
    assert len(track.samples_ns) == 10  # the path warms up with one more
    assert track.pictures == 10


def test_a_queue_on_the_path_takes_every_frame_and_its_age_grows_by_what_waits(network: Network) -> None:
    path = PipelineLane(explainer_of(Slowed(network, 0.02)), from_memory(IMAGES), "memory")
    lane = PacedLane(PathServer(path, IMAGES), 200, "queue")
    lane.measure(track := Track(), 0.0, 40)
    paced = lane.paced(100.0)
    assert (paced.due, paced.done, paced.dropped) == (40, 40, 0)
    assert [round((b - a) / 1e6) for a, b in itertools.pairwise(track.starts_ns)] == [5] * 39  # due, not begun
    for index, age_ns in enumerate(track.samples_ns):
        assert age_ns / 1e6 >= 20 * (index + 1) - 5 * index  # it sleeps 20 ms a frame, and they are due every 5
    assert "read" not in track.stages


def test_the_newest_policy_drops_as_a_live_source_does(network: Network) -> None:
    path = PipelineLane(explainer_of(Slowed(network, 0.03)), from_memory(IMAGES), "memory")
    lane = PacedLane(PathServer(path, IMAGES), 100, "newest")
    lane.measure(Track(), 0.0, 60)
    paced = lane.paced(50.0)
    live = open_source("synthetic:64x48@100:60")
    seen = Keep()
    summary = run(live, path.explainer, [seen], path.view)
    live.close()
    assert summary.live
    assert paced.done + paced.dropped == paced.due == 60
    assert paced.dropped > 0 < summary.dropped
    for done in (paced.done, summary.frames):  # 30 ms a frame in 600 ms are 20, and what is under way at the end
        assert 2 <= done <= 24
    assert paced.age is not None
    assert paced.age.min_ms >= 30


def test_an_age_ends_where_the_sink_gets_the_frame(network: Network) -> None:
    path = PipelineLane(explainer_of(network), from_memory(IMAGES), "memory")
    lane = PacedLane(PathServer(path, IMAGES), 20, "queue")
    before_ns = time.monotonic_ns()
    lane.measure(track := Track(), 0.0, 8)
    after_ns = time.monotonic_ns()
    ends = [start + age for start, age in zip(track.starts_ns, track.samples_ns, strict=True)]
    assert before_ns < min(track.starts_ns) < max(ends) < after_ns
    assert track.per_second == pytest.approx(20, rel=0.3)
