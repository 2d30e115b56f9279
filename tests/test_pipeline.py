"""The live path: what is shown, what is recorded, when it stops, and what happens when something breaks."""

from __future__ import annotations

import contextlib
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgex
from edgex.errors import ModelError, SinkError, SourceError, UnknownClassError, UsageError
from edgex.explain import Explainer
from edgex.pipeline import RunOptions, run
from edgex.sinks import open_sinks
from edgex.sinks.null import NullSink
from edgex.sources import open_source
from edgex.tally import Summary
from edgex.types import Shot
from edgex.view import LiveView, View
from tests.bundles import patched_picture, write_bundle
from tests.clips import moving_pictures, read_clip, write_clip, write_picture
from tests.sinks.shots import listing


@pytest.fixture
def explainer(bundle: Path) -> Iterator[Explainer]:
    with edgex.load(bundle, threads=1) as loaded:
        yield loaded


class Keep(NullSink):
    """Keeps the shots, so that a test can look at them."""

    def __init__(self, wants_masks: bool = False) -> None:
        self.wants_masks = wants_masks  # type: ignore[misc]
        self.shots: list[Shot] = []
        self.ended: list[str] = []

    def write(self, shot: Shot) -> None:
        self.shots.append(shot)

    def close(self) -> None:
        self.ended.append("closed")

    def abort(self) -> None:
        self.ended.append("aborted")


def explain(explainer: Explainer, uri: Path, sink: Keep | None = None, **options) -> tuple[Summary, list[Shot]]:
    sink = sink or Keep()
    limit = options.pop("limit", None)
    summary = run(open_source(uri), explainer, [sink], View(**options), RunOptions(limit))
    assert sink.ended == ["closed"]
    return summary, sink.shots


def test_the_predicted_classes_are_shown(tmp_path: Path, explainer: Explainer) -> None:
    summary, (shot,) = explain(explainer, write_picture(tmp_path / "a.png", patched_picture(label="green")))
    assert [shown.label for shown in shot.shown] == ["green"]
    assert shot.shown[0].score > 0.99
    assert summary.classes == {"green": 1}
    assert (summary.frames, summary.skipped, summary.interrupted, summary.warnings) == (1, 0, False, ())
    assert list(summary.stages) == ["read", "preprocess", "infer", "flicker", "compose", "legend", "write"]


def test_the_picture_is_what_the_library_composes_with_a_legend(tmp_path: Path, explainer: Explainer) -> None:
    picture = patched_picture(240, 320)
    _, (shot,) = explain(explainer, write_picture(tmp_path / "a.png", picture), style="heat", opacity=0.4)
    composed = explainer.explain(picture).compose(["red"], style="heat", opacity=0.4)
    np.testing.assert_array_equal(shot.picture[120:], composed[120:])
    assert (shot.picture[:60, :120] != composed[:60, :120]).any()
    np.testing.assert_array_equal(shot.frame.image, picture)


def test_a_frame_in_which_nothing_is_seen_passes_unmarked(tmp_path: Path, explainer: Explainer) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    summary, (shot,) = explain(explainer, write_picture(tmp_path / "a.png", grey), sink=Keep(wants_masks=True))
    np.testing.assert_array_equal(shot.picture, grey)
    assert (shot.shown, shot.masks, shot.record["classes"]) == ((), None, [])
    assert summary.classes == {}


@pytest.mark.parametrize(
    ("options", "labels"), [({"top": 1}, 1), ({"top": 3, "threshold": 0.0}, 3), ({"top": 9, "threshold": 0.0}, 3)]
)
def test_top_and_threshold_choose(tmp_path: Path, explainer: Explainer, options: dict, labels: int) -> None:
    _, (shot,) = explain(explainer, write_picture(tmp_path / "a.png"), **options)
    assert len(shot.shown) == labels
    scores = [shown.score for shown in shot.shown]
    assert scores == sorted(scores, reverse=True)


def test_named_classes_are_shown_whatever_is_seen(tmp_path: Path, explainer: Explainer) -> None:
    _, (shot,) = explain(explainer, write_picture(tmp_path / "a.png"), classes=("blue", "red"))
    assert {shown.label for shown in shot.shown} == {"red", "blue"}


def test_a_model_without_a_classifier_needs_names(tmp_path: Path) -> None:
    picture = write_picture(tmp_path / "a.png")
    with edgex.load(write_bundle(tmp_path / "masks.onnx", class_head=False), threads=1) as explainer:
        with pytest.raises(UsageError, match="name some of: red, green, blue"):
            run(open_source(picture), explainer, [])
        _, (shot,) = explain(explainer, picture, classes=("red",))
    assert shot.shown[0].score is None
    assert shot.record["classes"][0]["score"] is None


def test_a_record_holds_area_and_box_of_each_mask(tmp_path: Path, explainer: Explainer) -> None:
    picture = write_picture(tmp_path / "a.png", patched_picture(64, 96))
    _, (shot,) = explain(explainer, picture, sink=Keep(wants_masks=True), classes=("red", "blue"))
    record = shot.record
    assert (record["index"], record["time_s"], record["name"], record["width"], record["height"]) == (
        0,
        0.0,
        "a",
        96,
        64,
    )
    red, blue = record["classes"]
    inside = shot.masks[0] >= 128
    columns = np.flatnonzero(inside.any(axis=0))
    assert red["label"] == "red"
    assert red["box"] == [0, 0, columns[-1] + 1, 64]
    assert 40 <= red["box"][2] <= 60
    assert red["area"] == pytest.approx(inside.mean(), abs=1e-6)
    assert blue == {"label": "blue", "score": pytest.approx(0.119, abs=0.01), "area": 0.0, "box": None}
    assert set(record["ms"]) == {"read", "preprocess", "infer", "flicker", "compose", "legend", "masks"}


def test_masks_are_those_of_the_library(tmp_path: Path, explainer: Explainer) -> None:
    picture = patched_picture()
    _, (shot,) = explain(
        explainer, write_picture(tmp_path / "a.png", picture), sink=Keep(True), classes=("red", "blue")
    )
    labels = [shown.label for shown in shot.shown]
    np.testing.assert_array_equal(shot.masks, explainer.explain(picture).masks(labels))


def test_a_video_becomes_a_video(tmp_path: Path, explainer: Explainer) -> None:
    source = open_source(write_clip(tmp_path / "a.mp4"))
    sinks = open_sinks(tmp_path / "b.mp4", fps=source.fps, frame_count=source.frame_count)
    summary = run(source, explainer, sinks)
    assert summary.frames == 12 == len(read_clip(tmp_path / "b.mp4"))
    assert summary.frames_per_second > 0


def test_an_engine_of_several_streams_gives_the_same_frames_in_the_same_order(bundle: Path) -> None:
    seen = []
    for streams in (1, 3):
        with (
            edgex.load(bundle, threads=1, streams=streams) as explainer,
            contextlib.closing(open_source("synthetic:96x64")) as source,
        ):
            sink = Keep()
            run(source, explainer, [sink], View(top=2, threshold=0.0), RunOptions(40, smooth_s=0.2))
            seen.append([(s.frame.index, s.shown, s.record["flicker"], s.picture.tobytes()) for s in sink.shots])
    assert [index for index, *_ in seen[0]] == list(range(40))
    assert seen[0] == seen[1]


def test_the_limit_ends_the_run(tmp_path: Path, explainer: Explainer) -> None:
    summary, shots = explain(explainer, write_clip(tmp_path / "a.mp4"), limit=5)
    assert (summary.frames, len(shots), summary.interrupted) == (5, 5, False)


def test_being_stopped_keeps_what_is_done(explainer: Explainer) -> None:
    sink = Keep()
    summary = run(open_source("synthetic:64x48"), explainer, [sink], stopped=lambda: len(sink.shots) >= 3)
    assert summary.interrupted
    assert summary.frames == len(sink.shots) >= 3
    assert [shot.frame.index for shot in sink.shots] == list(range(summary.frames))
    assert sink.ended == ["closed"]


def test_skipped_pictures_are_counted_and_told(tmp_path: Path, explainer: Explainer) -> None:
    (tmp_path / "pictures").mkdir()
    write_picture(tmp_path / "pictures/a.png")
    (tmp_path / "pictures/b.png").write_bytes(b"nothing")
    summary, _ = explain(explainer, tmp_path / "pictures")
    assert (summary.frames, summary.skipped) == (1, 1)
    assert "b.png" in summary.warnings[0]


def test_each_frame_is_observed(tmp_path: Path, explainer: Explainer) -> None:
    seen: list[int] = []
    run(open_source(write_clip(tmp_path / "a.mp4")), explainer, [], observe=lambda shot: seen.append(shot.frame.index))
    assert seen == list(range(12))


class Broken(Keep):
    """Fails at the given moment."""

    def __init__(self, when: str) -> None:
        super().__init__()
        self.when = when

    def write(self, shot: Shot) -> None:
        if self.when == "write":
            raise SinkError("expected to write, got a full disk; free some space")

    def close(self) -> None:
        raise SinkError("expected to close, got a full disk; free some space")


def open_all(folder: Path, fps: float | None) -> list:
    return open_sinks(folder / "b.mp4", folder / "m", folder / "r.jsonl", folder / "c.png", fps=fps)


def test_when_one_sink_breaks_the_others_keep_what_they_have(tmp_path: Path, explainer: Explainer) -> None:
    source = open_source(write_clip(tmp_path / "a.mp4"))
    broken = Broken("close")
    with pytest.raises(SinkError, match="full disk"):
        run(source, explainer, [broken, *open_all(tmp_path, source.fps)])
    assert broken.ended == ["aborted"]
    assert len(read_clip(tmp_path / "b.mp4")) == 12 == len((tmp_path / "r.jsonl").read_text().splitlines())


def test_when_a_sink_breaks_before_the_first_frame_is_done_nothing_is_left(
    tmp_path: Path, explainer: Explainer
) -> None:
    source = open_source(write_clip(tmp_path / "a.mp4"))
    before = listing(tmp_path)
    with pytest.raises(SinkError, match="full disk"):
        run(source, explainer, [Broken("write"), *open_all(tmp_path, source.fps)])
    assert listing(tmp_path) == before


def test_an_interruption_that_cannot_wait_leaves_whole_records_alone(tmp_path: Path, explainer: Explainer) -> None:
    def interrupt(shot: Shot) -> None:
        if shot.frame.index == 5:
            raise KeyboardInterrupt

    source = open_source(write_clip(tmp_path / "a.mp4"))
    with pytest.raises(KeyboardInterrupt):
        run(source, explainer, open_all(tmp_path, source.fps), observe=interrupt)
    assert listing(tmp_path) == ["a.mp4", "r.jsonl", "tiny.onnx"]
    assert [json.loads(line)["index"] for line in (tmp_path / "r.jsonl").read_text().splitlines()] == list(range(6))


@pytest.mark.parametrize("stage", ["preprocess", "infer", "explanation"])
def test_what_a_stage_raises_ends_the_run_and_keeps_what_is_done(
    tmp_path: Path, explainer: Explainer, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    calls = itertools.count()  # the first one warms up
    whole = getattr(explainer, stage)

    def fail_at_the_fifth(*arguments):
        if next(calls) == 5:
            raise ModelError("expected an engine that infers, got a lost device; plug it in")
        return whole(*arguments)

    monkeypatch.setattr(explainer, stage, fail_at_the_fifth)
    source = open_source(write_clip(tmp_path / "a.mp4"))
    with pytest.raises(ModelError, match="lost device"):
        run(source, explainer, open_all(tmp_path, source.fps))
    indices = [json.loads(line)["index"] for line in (tmp_path / "r.jsonl").read_text().splitlines()]
    assert indices == [0, 1, 2, 3]
    assert len(read_clip(tmp_path / "b.mp4")) == 4


def test_a_view_may_change_while_frames_pass(explainer: Explainer) -> None:
    view, sink = LiveView(View(classes=("red", "green")), explainer.labels), Keep()

    def hide(shot: Shot) -> None:
        if shot.frame.index == 3:
            view.change(hidden=frozenset({"red"}))

    run(open_source("synthetic:64x48"), explainer, [sink], view, RunOptions(limit=40), observe=hide)
    shown = [[each.label for each in shot.shown] for shot in sink.shots]
    assert sorted(shown[0]) == ["green", "red"]
    assert shown[-1] == ["green"]


def test_the_monitor_looks_at_every_nth_frame(explainer: Explainer) -> None:
    sink = Keep()
    options = RunOptions(limit=7, monitor_every=3)
    summary = run(open_source("synthetic:64x48"), explainer, [sink], View(classes=("red",)), options)
    looked = [shot.frame.index for shot in sink.shots if shot.record["monitor"] is not None]
    assert looked == [0, 3, 6]
    assert set(sink.shots[0].record["monitor"]) == {"label", "score", "kept", "lost"}
    assert summary.faith is not None
    assert summary.faith.frames == 3


def test_a_late_frame_is_counted_and_marked(explainer: Explainer) -> None:
    sink = Keep()
    summary = run(open_source("synthetic:64x48"), explainer, [sink], options=RunOptions(limit=5, deadline_ms=1e-6))
    assert (summary.late, summary.deadline_ms) == (5, 1e-6)
    assert all(shot.record["late"] for shot in sink.shots)
    on_time = run(open_source("synthetic:64x48"), explainer, [], options=RunOptions(limit=5, deadline_ms=1e9))
    assert on_time.late == 0


def test_a_live_source_brings_the_newest_frame_and_counts_the_rest(explainer: Explainer) -> None:
    sink = Keep()
    source = open_source("synthetic:64x48@200")
    try:
        summary = run(source, explainer, [sink], options=RunOptions(limit=10, max_fps=20))
    finally:
        source.close()
    assert (summary.frames, summary.live, summary.deadline_ms) == (10, True, 50.0)
    assert summary.dropped > 10  # nine of ten are replaced; the clock of a busy machine is not to be trusted
    times = [shot.frame.time_ns for shot in sink.shots]
    assert times == sorted(set(times))
    assert "wait" in summary.stages


def test_a_source_that_breaks_leaves_nothing(tmp_path: Path, explainer: Explainer) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    before = listing(tmp_path)
    with pytest.raises(SourceError):
        run(open_source(tmp_path / "a.png"), explainer, open_sinks(tmp_path / "b.png", frame_count=1))
    assert listing(tmp_path) == before


def test_an_unknown_class_is_told_before_a_frame_is_read(tmp_path: Path, explainer: Explainer) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UnknownClassError, match="did you mean green"):
        run(open_source(tmp_path / "a.png"), explainer, [], View(classes=("gren",)))


def test_pictures_from_one_pixel_to_a_panorama(tmp_path: Path, explainer: Explainer) -> None:
    for index, size in enumerate(((1, 1), (1, 500), (500, 1), (3, 5), (300, 700))):
        picture = np.full((*size, 3), (0, 0, 255), np.uint8)
        _, (shot,) = explain(explainer, write_picture(tmp_path / f"{index}.png", picture), sink=Keep(True))
        assert shot.picture.shape == picture.shape
        assert shot.masks.shape == (1, *size)


@pytest.mark.parametrize(
    "options",
    [
        {"limit": 0},
        {"max_fps": 0.0},
        {"max_fps": float("nan")},
        {"smooth_s": -1.0},
        {"smooth_s": float("nan")},
        {"monitor_every": -1},
        {"deadline_ms": 0.0},
        {"deadline_ms": float("nan")},
    ],
)
def test_options_are_checked(options: dict) -> None:
    with pytest.raises(UsageError, match="expected"):
        RunOptions(**options)


def test_the_overlay_follows_the_square(tmp_path: Path, explainer: Explainer) -> None:
    _, shots = explain(explainer, write_clip(tmp_path / "a.mp4", moving_pictures(6)), sink=Keep(True), classes=("red",))
    lefts = [shot.record["classes"][0]["box"][0] for shot in shots]
    assert lefts == sorted(lefts)
    assert lefts[-1] - lefts[0] > 30
    assert cv2.countNonZero(shots[0].masks[0]) > 0
