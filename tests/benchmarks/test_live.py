"""The benchmark of the live path with a tiny bundle and clip: what it runs and reports. No time is asserted."""

from __future__ import annotations

import copy
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import live, live_tables
from benchmarks.live_clients import Clients
from benchmarks.live_runs import Case, calmest, run_case
from benchmarks.live_scene import Clock, Replay, Scene, open_scene, packages
from benchmarks.live_stages import STREAM, THREADS, Took, bounds_of
from edgex.compositors.palette import class_color
from edgex.explain import Explainer, load
from edgex.sinks.web import ServeOptions, WebSink
from edgex.types import SourceState
from edgex.view import LiveView, View
from tests.bundles import LABELS, write_bundle
from tests.clips import moving_pictures, write_clip

FRAMES = 12
NAME = "fp32 onnxruntime, default threads"


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    clip = write_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", moving_pictures(FRAMES))
    return open_scene(clip, most=4)


@pytest.fixture(scope="module")
def explainer(tmp_path_factory: pytest.TempPathFactory) -> Explainer:
    return load(write_bundle(tmp_path_factory.mktemp("model") / "tiny.onnx"), "onnxruntime")


@pytest.fixture(scope="module")
def report(explainer: Explainer, scene: Scene) -> dict[str, Any]:
    options = live.Options(threads=(0,), rounds=1, seconds=0.2, calm_s=0.0, tries=1)
    return live.measure({live.engine_name(explainer, 0): live.Loaded(explainer, explainer)}, scene, options)


def test_every_case_of_the_issue_is_measured(report: dict[str, Any]) -> None:
    told = {name.partition(": ")[2] for name in report["cases"]}
    assert all(name.startswith(NAME) for name in report["cases"])
    assert told >= {
        f"{source} to {sink}" for source in ("file", "camera") for sink in ("null", "1 viewer", "20 viewers")
    }
    assert told >= {"synthetic to null", "file, monitored", "file, smoothed"}


def test_a_file_is_never_dropped_and_every_frame_has_an_age(report: dict[str, Any]) -> None:
    for name, row in report["cases"].items():
        assert row["fps"] > 0
        assert row["cpu_ms"] > 0
        assert 0 <= row["others_share"] <= 1
        assert 0 < row["age_ms"]["p50"] <= row["age_ms"]["p99"] <= row["age_ms"]["max"]
        if ": file" in name:
            assert (row["frames"], row["dropped"]) == (FRAMES, 0)
        assert (row["pictures_fps"] is not None) == (name.endswith(("1 viewer", "20 viewers")))


def test_stages_alone_give_the_bounds(report: dict[str, Any]) -> None:
    (took,) = report["stages"].values()
    assert set(took) == {"infer", *(stage for stages in THREADS.values() for stage in stages)}
    assert all(times["wall_ms"] > 0 for times in took.values())
    (row,) = report["bounds"].values()
    assert row["sequential_fps"] < 1000 / took["infer"]["wall_ms"]
    assert row["slowest"] in THREADS


def test_bounds_are_those_of_the_slowest_thread_and_of_all_cores() -> None:
    took = {stage: Took(1.0, 1.0) for stages in THREADS.values() for stage in stages}
    took |= {"infer": Took(3.0, 6.0), STREAM: Took(4.0, 4.0)}
    found = bounds_of(took, cores=2)
    assert found.slowest == "infer"
    assert found.stage_fps == 250.0
    assert found.sequential_fps == pytest.approx(1000 / 8)
    assert found.cores_fps == pytest.approx(2000 / 9)
    two = bounds_of(took, streams=2, cores=2)
    assert (two.slowest, two.stage_fps, two.cores_fps) == ("compose", pytest.approx(1000 / 3), found.cores_fps)
    busy = bounds_of(took | {"compose": Took(3.5, 1.0)}, cores=2)
    assert (busy.slowest, busy.stage_fps) == ("compose", pytest.approx(1000 / 5.5))  # with flicker and legend


def test_a_camera_films_so_many_frames(scene: Scene, explainer: Explainer) -> None:
    row = run_case(Case("camera", NAME, "camera"), explainer, scene, seconds=0.3)
    assert 1 <= len(row.ages_ms) + row.dropped <= 9  # those that come before the first is asked for do not count
    given = Replay(scene.pictures, 1000.0, 5).read()
    assert given is not None
    assert given is not scene.pictures[0]
    assert np.array_equal(given, scene.pictures[0])


def test_viewers_in_a_process_of_their_own_count_what_they_get(explainer: Explainer, scene: Scene) -> None:
    pytest.importorskip("uvicorn")
    row = run_case(Case("served", NAME, "camera", viewers=2, slow=1), explainer, scene, seconds=3.0)
    assert row.pictures_fps is not None
    assert row.pictures_fps > 0
    assert row.clients_cpu_ms > 0


def test_a_slow_viewer_reads_a_byte_at_a_time_and_ends_with_the_others() -> None:
    pytest.importorskip("uvicorn")
    colors = [class_color(index) for index in range(len(LABELS))]
    sink = WebSink(ServeOptions(port=0), LiveView(View(), LABELS), SourceState, {}, colors)
    try:
        clients = Clients(sink.url, 1, 1)
        found = clients.stop()
    finally:
        sink.close()
    assert found["pictures"] == [0]
    assert len(found["slow_bytes"]) == 1
    assert found["slow_bytes"][0] <= 5


def test_viewers_that_find_nobody_say_so() -> None:
    with pytest.raises(SystemExit, match="expected 1 viewers"):
        Clients("http://127.0.0.1:9/", 1)


def test_the_pictures_in_memory_cover_the_clip(scene: Scene) -> None:
    assert len(scene.pictures) == 4
    assert len({picture.tobytes() for picture in scene.pictures}) == 4


def test_the_calmest_run_counts_whatever_it_gave() -> None:
    disturbed = iter([("quick", 0.5), ("slow", 0.3), ("quickest", 0.4), ("never", 0.0)])
    assert calmest(lambda: next(disturbed), tries=3, calm_s=0.0) == "slow"
    quiet = iter([("quick", 0.5), ("slow", 0.01), ("quickest", 0.0)])
    assert calmest(lambda: next(quiet), tries=3, calm_s=0.0) == "slow"  # none is needed after it


def test_what_others_use_is_what_is_left_over() -> None:
    before = Clock(at_s=0.0, machine_s=10.0, own_s=1.0)
    after = Clock(at_s=1.0, machine_s=10.8, own_s=1.5)
    assert after.others_since(before) == pytest.approx(0.3 / (os.cpu_count() or 1), abs=1e-3)
    assert after.others_since(before, known_s=0.4) == 0.0


def test_aims_are_judged_from_the_figures(report: dict[str, Any]) -> None:
    shaped = copy.deepcopy(report)
    cases = shaped["cases"]
    for row in (*cases.values(), *shaped["bounds"].values()):
        row["others_share"] = 0.1
    cases[f"{NAME}: file to null"]["fps"] = 101.0
    cases[f"{NAME}: file to 1 viewer"]["fps"] = 59.0
    cases[f"{NAME}: camera to null"]["age_ms"] |= {"p50": 39.0, "p99": 81.0}
    cases[f"{NAME}: file to 20 viewers"]["fps_over_base"] = 0.96
    shaped["bounds"][NAME]["reached_of_stage"] = 0.89
    found = {row["what"]: (row["reached"], row["met"]) for row in live_tables.aims(shaped)}
    assert found["file to null sink, frames/s"] == (101.0, True)
    assert found["file to one viewer, frames/s"] == (59.0, False)
    assert found["age of a 30 frames/s camera, median ms"] == (39.0, True)
    assert found["age of a 30 frames/s camera, 99th percentile ms"] == (81.0, False)
    assert found["rate over 1 / slowest stage"] == (0.89, False)
    assert found["cost of 20 viewers to a file, percent of its rate"] == (4.0, True)
    for row in (*cases.values(), *shaped["bounds"].values()):
        row["others_share"] = 0.5
    judged = {row["what"]: row["met"] for row in live_tables.aims(shaped)}
    assert judged["file to null sink, frames/s"] is True  # reached all the same
    assert judged["file to one viewer, frames/s"] is None
    assert judged["rate over 1 / slowest stage"] is None
    assert judged["cost of 20 viewers to a file, percent of its rate"] is None


def test_the_program_prints_the_tables_of_a_file(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "folder" / "live.json"
    live.save(report, file)
    assert [path.name for path in file.parent.iterdir()] == ["live.json"]
    monkeypatch.setattr(sys, "argv", ["live", "--table", "--output", str(file)])
    live.main()
    printed = capsys.readouterr().out
    assert printed.strip() == "\n\n".join(live_tables.tables(json.loads(file.read_text(encoding="utf-8"))).values())
    for text in live_tables.tables(report).values():
        assert len({line.count("|") for line in text.splitlines()}) == 1


def test_the_report_names_what_it_ran_on_and_no_place(report: dict[str, Any], scene: Scene) -> None:
    assert set(report["machine"]["packages"]) == set(packages())
    assert str(scene.clip.parent) not in json.dumps(report)
