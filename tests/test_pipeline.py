"""The live path: what is shown, what is recorded, when it stops, and what happens when something breaks."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgex
from edgex.errors import SinkError, SourceError, UnknownClassError, UsageError
from edgex.explain import Explainer
from edgex.pipeline import RunOptions, Summary, run
from edgex.sinks import open_sinks
from edgex.sinks.null import NullSink
from edgex.sources import open_source
from edgex.types import Shot
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
    summary = run(open_source(uri), explainer, [sink], RunOptions(**options))
    assert sink.ended == ["closed"]
    return summary, sink.shots


def test_the_predicted_classes_are_shown(tmp_path: Path, explainer: Explainer) -> None:
    summary, (shot,) = explain(explainer, write_picture(tmp_path / "a.png", patched_picture(label="green")))
    assert [shown.label for shown in shot.shown] == ["green"]
    assert shot.shown[0].score > 0.99
    assert summary.classes == {"green": 1}
    assert (summary.frames, summary.skipped, summary.interrupted, summary.warnings) == (1, 0, False, ())
    assert list(summary.stages) == ["read", "preprocess", "infer", "compose", "legend", "write"]


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
    assert set(record["ms"]) == {"read", "preprocess", "infer", "compose", "legend", "masks"}


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


def test_the_limit_ends_the_run(tmp_path: Path, explainer: Explainer) -> None:
    summary, shots = explain(explainer, write_clip(tmp_path / "a.mp4"), limit=5)
    assert (summary.frames, len(shots), summary.interrupted) == (5, 5, False)


def test_being_stopped_keeps_what_is_done(tmp_path: Path, explainer: Explainer) -> None:
    asked = itertools.count()
    sink = Keep()
    source = open_source(write_clip(tmp_path / "a.mp4"))
    summary = run(source, explainer, [sink], stopped=lambda: next(asked) >= 3)
    assert (summary.frames, summary.interrupted, sink.ended) == (3, True, ["closed"])


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


@pytest.mark.parametrize("when", ["write", "close"])
def test_when_one_sink_breaks_all_are_given_up(tmp_path: Path, explainer: Explainer, when: str) -> None:
    source = open_source(write_clip(tmp_path / "a.mp4"))
    before = listing(tmp_path)
    broken = Broken(when)
    sinks = open_sinks(tmp_path / "b.mp4", tmp_path / "m", tmp_path / "r.jsonl", tmp_path / "c.png", fps=source.fps)
    with pytest.raises(SinkError, match="full disk"):
        run(source, explainer, [broken, *sinks])
    assert broken.ended == ["aborted"]
    assert listing(tmp_path) == before


def test_an_interruption_that_cannot_wait_leaves_nothing(tmp_path: Path, explainer: Explainer) -> None:
    def interrupt(shot: Shot) -> None:
        if shot.frame.index == 5:
            raise KeyboardInterrupt

    source = open_source(write_clip(tmp_path / "a.mp4"))
    before = listing(tmp_path)
    sinks = open_sinks(tmp_path / "b.mp4", tmp_path / "m", tmp_path / "r.jsonl", tmp_path / "c.png", fps=source.fps)
    with pytest.raises(KeyboardInterrupt):
        run(source, explainer, sinks, observe=interrupt)
    assert listing(tmp_path) == before


def test_a_source_that_breaks_leaves_nothing(tmp_path: Path, explainer: Explainer) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    before = listing(tmp_path)
    with pytest.raises(SourceError):
        run(open_source(tmp_path / "a.png"), explainer, open_sinks(tmp_path / "b.png", frame_count=1))
    assert listing(tmp_path) == before


def test_an_unknown_class_is_told_before_a_frame_is_read(tmp_path: Path, explainer: Explainer) -> None:
    (tmp_path / "a.png").write_bytes(b"nothing")
    with pytest.raises(UnknownClassError, match="did you mean green"):
        run(open_source(tmp_path / "a.png"), explainer, [], RunOptions(classes=("gren",)))


def test_pictures_from_one_pixel_to_a_panorama(tmp_path: Path, explainer: Explainer) -> None:
    for index, size in enumerate(((1, 1), (1, 500), (500, 1), (3, 5), (300, 700))):
        picture = np.full((*size, 3), (0, 0, 255), np.uint8)
        _, (shot,) = explain(explainer, write_picture(tmp_path / f"{index}.png", picture), sink=Keep(True))
        assert shot.picture.shape == picture.shape
        assert shot.masks.shape == (1, *size)


@pytest.mark.parametrize(
    "options",
    [{"style": "neon"}, {"opacity": 1.5}, {"threshold": -0.1}, {"top": 0}, {"limit": 0}, {"opacity": float("nan")}],
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
