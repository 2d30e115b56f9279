"""The smoothing benchmark on a tiny bundle and tiny scenes: its clips are what they say, and its rule holds."""

from __future__ import annotations

import copy
import json
import math
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import edgex
from benchmarks import smoothing, smoothing_plot
from benchmarks.smoothing_clips import HEIGHT, RATE, WIDTH, Clip, Scene, appearing, moving, onset, panned, still
from benchmarks.smoothing_scores import TIME_CONSTANTS_S, Trace, summarise
from edgex.errors import EdgexError
from tests.benchmarks.test_precision import write_scenes
from tests.bundles import write_bundle

FRAMES = 9


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_scenes(tmp_path_factory.mktemp("scenes"))


@pytest.fixture(scope="module")
def report(scenes: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    path = write_bundle(tmp_path_factory.mktemp("model") / "tiny.onnx", size=(96, 128))
    with edgex.load(path, "onnxruntime", threads=1) as explainer:
        measured = smoothing.measure(str(scenes), {"FP32": explainer, "INT8": explainer}, 1, FRAMES / RATE)
    read: dict[str, Any] = json.loads(json.dumps(measured, allow_nan=False))
    return read


def scene(left_px: int = 200) -> Scene:
    """Return a bright bar of class 0, 100 px wide, on grey."""
    image, truth = np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8)
    image[:, left_px : left_px + 100] = 200
    truth[:, left_px : left_px + 100] = 1
    return Scene(image, truth)


def empty() -> Scene:
    return Scene(np.full((HEIGHT, WIDTH, 3), 90, np.uint8), np.zeros((HEIGHT, WIDTH), np.uint8))


def lefts(clip: Clip) -> list[float]:
    """Return the centre column of the truth in each frame, after looking that the bright pixels are the true ones."""
    found = []
    for picture, truth in clip.frames:
        assert picture.shape == (HEIGHT, WIDTH, 3)
        bright = cv2.GaussianBlur(picture[..., 1], (5, 5), 0) > 145
        assert np.mean(bright == truth) > 0.97
        found.append(float(np.flatnonzero(truth.any(axis=0)).mean()) if truth.any() else math.nan)
    return found


def test_a_still_clip_has_the_camera_s_noise_and_no_other() -> None:
    for kind, swing in (("noise", 0.0), ("noise and JPEG", 0.0), ("noise, JPEG and exposure", 1.0)):
        seen = np.stack([picture for picture, _ in still(scene(), kind, 5, 0).frames]).astype(np.float64)  # type: ignore[arg-type]
        grey = seen[:, :, :150, 1]
        assert np.std(grey.mean(axis=(1, 2))) == pytest.approx(swing, abs=0.3)
        if kind == "noise":
            assert math.sqrt(grey.var(axis=0, ddof=1).mean()) == pytest.approx(math.sqrt(4 + 0.15 * 90), rel=0.1)
            assert abs(np.corrcoef(grey[0].ravel(), grey[1].ravel())[0, 1]) < 0.05


def test_an_object_crosses_at_the_speed_that_is_said() -> None:
    found = lefts(moving(empty(), scene(), 0.25, 16, 0))
    np.testing.assert_allclose(np.diff(found), 0.25 * WIDTH / RATE, atol=1.01)
    assert found[8] == pytest.approx(WIDTH / 2, abs=3)


def test_a_camera_pans_at_the_speed_that_is_said() -> None:
    found = lefts(panned(scene(270), 0.25, 16, 0))
    np.testing.assert_allclose(np.diff(found), -0.25 * WIDTH / RATE, atol=1.01)
    with pytest.raises(ValueError, match="expected a pan within the scene"):
        panned(scene(), 1.0, 45, 0)


def test_an_object_appears_where_it_is_said() -> None:
    found = lefts(appearing(empty(), scene(), 9, 0))
    assert [math.isnan(each) for each in found] == [number < onset(9) for number in range(9)]


def test_the_report_has_a_row_for_every_time_constant(report: dict[str, Any]) -> None:
    for rows in report["models"].values():
        assert list(rows) == [f"{tau:g}" for tau in TIME_CONSTANTS_S]
        calm = [row["flicker"]["noise"]["mean"] for row in rows.values()]
        assert calm == sorted(calm, reverse=True)
        assert calm[0] > 2 * calm[-1] > 0
        assert rows["0"]["iou"]["object 0.25"] > 0.5
        assert rows["0.5"]["iou"]["object 0.5"] < rows["0"]["iou"]["object 0.5"] - 0.02
        assert rows["0"]["onset_ms"]["median"] == 0.0
    assert report["models"]["FP32"] == report["models"]["INT8"]  # the same engine twice
    assert set(report["changes_of_still_cells"]) == {"noise", "noise and JPEG", "noise, JPEG and exposure"}
    assert report["default_s"] in TIME_CONSTANTS_S


def test_the_rule_takes_the_largest_constant_that_no_model_and_no_motion_forbids(report: dict[str, Any]) -> None:
    models = copy.deepcopy(report["models"])
    for rows in models.values():
        for tau, row in rows.items():
            row["iou"] = {f"{kind} 0.25": 0.6 - 0.04 * float(tau) for kind in ("object", "pan")}
    assert smoothing.choose(models) == 0.2  # 0.8 points; 0.3 s costs 1.2
    models["INT8"]["0.15"]["iou"]["pan 0.25"] = models["INT8"]["0.2"]["iou"]["pan 0.25"] = 0.58
    assert smoothing.choose(models) == 0.1
    for row in models["FP32"].values():
        row["iou"]["object 0.25"] = None  # nothing was found, so nothing speaks for smoothing
    assert smoothing.choose(models) == 0.0


def test_delays_count_from_the_frame_with_the_object_and_only_where_unsmoothed_masks_find_it() -> None:
    frames, start = 12, onset(12)

    def traces(reached: int, iou: float, score: float) -> dict[tuple[str, float], Trace]:
        def trace(late: int) -> Trace:
            after = range(start, frames)
            there = [iou if number >= start + late else 0.0 for number in after]
            scores = [score if number >= start + late else 0.1 for number in after]
            return Trace([None] * frames, [0.0] * start + there, [0.0] * frames, [0.1] * start + scores)

        return {("FP32", tau): trace(0 if tau == 0 else reached) for tau in TIME_CONSTANTS_S}

    clip = Clip("onset", 0.0, (0,), iter(()))
    seen = [(clip, traces(2, 0.6, 0.9)), (clip, traces(3, 0.6, 0.2)), (clip, traces(99, 0.1, 0.9))]
    rows = summarise(seen, "FP32")
    assert rows["0"]["onset_ms"] == {"median": 0.0, "clips": 2}
    assert rows["0.1"]["onset_ms"] == {"median": 83.3, "clips": 2}
    assert rows["0.1"]["label_ms"] == {"median": None, "clips": 2}


def test_the_table_and_the_plot_are_made_of_the_report(report: dict[str, Any], tmp_path: Path) -> None:
    lines = smoothing_plot.table(report).splitlines()
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + 2 * len(TIME_CONSTANTS_S)
    smoothing_plot.plot(report, tmp_path / "plot.png")
    picture = cv2.imread(str(tmp_path / "plot.png"))
    assert picture is not None
    assert picture.std() > 5


def test_the_program_draws_a_file_and_asks_for_scenes_otherwise(
    report: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file, picture = tmp_path / "smoothing.json", tmp_path / "plot.png"
    file.write_text(json.dumps(report), encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["smoothing", "--plot", "--output", str(file), "--picture", str(picture)])
    smoothing.main()
    assert capsys.readouterr().out.strip() == smoothing_plot.table(report)
    assert picture.is_file()
    monkeypatch.setattr(sys, "argv", ["smoothing"])
    with pytest.raises(SystemExit):
        smoothing.main()
    assert "--scenes" in capsys.readouterr().err


def test_what_the_page_quotes_is_what_the_code_does() -> None:
    """The shipped JSON was made by this rule, and by the clips and time constants that are here now."""
    shipped = json.loads(smoothing_plot.INPUT.read_text(encoding="utf-8"))
    assert shipped["rule"] == smoothing.RULE
    assert shipped["default_s"] == smoothing.choose(shipped["models"])
    assert shipped["changes_of_still_cells"]["noise and JPEG"]["p99.9"] < shipped["limit_of_still_cells"]


def test_scenes_that_are_not_there_are_named(tmp_path: Path) -> None:
    with (
        edgex.load(write_bundle(tmp_path / "tiny.onnx"), "onnxruntime", threads=1) as explainer,
        pytest.raises(EdgexError, match="nowhere"),
    ):
        smoothing.measure(str(tmp_path / "nowhere"), {"FP32": explainer}, 1, 0.3)
