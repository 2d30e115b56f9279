"""The monitor's benchmark on a tiny bundle: masks are of the kind they are called, figures are those of the monitor."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

import edgex
from benchmarks import monitor
from tests.benchmarks.test_precision import SCENES, write_scenes
from tests.bundles import write_bundle


def test_each_kind_of_mask_is_what_it_is_called() -> None:
    own = np.random.default_rng(0).normal(0, 2, (1, 3, 4, 6)).astype(np.float32)
    truth = np.zeros((40, 60), bool)
    truth[10:20, 30:60] = True
    found = dict(monitor.masks(own, truth, 1))
    np.testing.assert_array_equal(found["own"], own)
    np.testing.assert_array_equal(found["inverted"][0, 1], -own[0, 1])
    np.testing.assert_array_equal(found["another class"][0, 1], own[0, 0])
    inside = np.zeros((4, 6), bool)
    inside[1, 3:] = True
    np.testing.assert_array_equal(found["ground truth"][0, 1], np.where(inside, 20.0, -20.0))


def test_true_masks_keep_and_false_ones_do_not(tmp_path: Path) -> None:
    with edgex.load(write_bundle(tmp_path / "tiny.onnx"), "onnxruntime", threads=1) as explainer:
        found = monitor.judge(explainer, str(write_scenes(tmp_path / "scenes")), SCENES)
    assert all(row["masks"] == SCENES for row in found.values())
    for kind in ("own", "ground truth"):
        assert found[kind]["kept"] > 0.99
        assert found[kind]["lost"] > 0.8
    assert found["inverted"]["kept"] == pytest.approx(1 - found["own"]["lost"], abs=1e-3)
    assert found["another class"]["kept"] < 0.9


def test_the_shipped_figures_tell_true_masks_from_false_ones() -> None:
    for rows in json.loads(monitor.OUTPUT.read_text(encoding="utf-8"))["models"].values():
        assert rows["own"]["kept"] > rows["inverted"]["kept"] + 0.1 > rows["another class"]["kept"] + 0.2
        assert rows["own"]["lost"] > rows["inverted"]["lost"] + 0.1
