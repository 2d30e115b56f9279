"""The benchmark of the CUDA kernels: what it counts, what its table says, and one short run where there is a GPU."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import kernels_gpu
from benchmarks.kernels_gpu import CASES, Case
from edgex import cuda
from edgex.types import STYLES
from tests.gpus import ROOT, STUB, require_gpu


def test_every_style_size_and_count_is_a_case() -> None:
    rows = {(case.work, case.count, case.height) for case in CASES}
    expected = {
        (work, count, height) for work in (*STYLES, "masks") for count in (1, 3, 20) for height in (720, 1080, 2160)
    }
    assert rows == expected | {("preprocess", 0, 1080), ("preprocess", 0, 2160)}
    assert len(CASES) == len(rows)
    assert [case for case in CASES if case.width % 16] == []


@pytest.mark.parametrize("case", [Case("overlay", 3, 32, 48), Case("masks", 3, 32, 48), Case("preprocess", 0, 32, 48)])
def test_bytes_are_those_of_the_arrays(case: Case) -> None:
    image, logits = np.zeros((32, 48, 3), np.uint8), np.zeros((3, 28, 28), np.float32)
    planes, tensor = np.zeros((3, 32, 48), np.uint8), np.zeros((1, 3, 224, 224), np.float32)
    moved = {
        "overlay": (image.nbytes + logits.nbytes, image.nbytes),
        "masks": (logits.nbytes, planes.nbytes),
        "preprocess": (image.nbytes, tensor.nbytes),
    }
    assert case.sizes() == moved[case.work]


@pytest.mark.parametrize(
    ("size", "cache", "slots"), [(100, 1000, 30), (99, 1000, 31), (5000, 1000, 2), (1500, 1000, 2)]
)
def test_sets_are_three_times_the_cache_and_at_least_two(size: int, cache: int, slots: int) -> None:
    assert kernels_gpu.rotated(size, cache) == slots


def row(share: float) -> dict[str, Any]:
    return {
        "case": "overlay 3",
        "picture": [720, 1280],
        "bytes_read": 3_000_000,
        "bytes_written": 2_000_000,
        "kernel_us_quartiles": [9.0, 10.0, 11.5],
        "copy_us_quartiles": [7.0, 8.25, 9.0],
        "share_of_copy_quartiles": [0.1, share, 0.99],
        "met": share >= 0.8,
    }


def test_the_table_says_which_cases_miss_the_aim() -> None:
    lines = kernels_gpu.markdown({"aim": 0.8, "cases": [row(0.83), row(0.61)]}).splitlines()
    assert "aim 0.8" in lines[0]
    assert lines[2] == "| overlay 3 | 1280 x 720 | 5,000,000 | 10.00 (9.00 to 11.50) | 8.25 | 0.83 | met |"
    assert lines[3].endswith("| 0.61 | missed |")


def test_without_a_gpu_one_sentence_says_why(tmp_path: Path) -> None:
    if (reason := cuda.reason_missing()) is None:
        pytest.skip("there is a GPU")
    output = tmp_path / "x.json"
    command = [sys.executable, "-m", "benchmarks.kernels_gpu", "--output", str(output)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr.strip()) == (1, "", reason)
    assert not output.exists()


@pytest.mark.gpu
def test_a_short_run() -> None:
    gpu = require_gpu()
    if STUB in os.environ:
        pytest.skip("a driver without a GPU has no times")
    cases = [Case("overlay", 3, 96, 160), Case("masks", 3, 96, 160), Case("preprocess", 0, 240, 320)]
    report = json.loads(json.dumps(kernels_gpu.measure(gpu, cases, 1)))
    assert [each["case"] for each in report["cases"]] == ["overlay 3", "masks 3", "preprocess"]
    for each in report["cases"]:
        assert each["slots"] * (each["bytes_read"] + each["bytes_written"]) >= 3 * report["gpu"]["l2_bytes"]
        assert each["kernel_us_quartiles"][0] > 0
        assert each["met"] == (each["share_of_copy_quartiles"][1] >= report["aim"])
    assert gpu.name in json.dumps(report["gpu"])
    assert str(ROOT) not in json.dumps(report)
