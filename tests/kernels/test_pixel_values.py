"""One table of values for the arithmetic of kernels/pixel.h, which host and device both have to give."""

from __future__ import annotations

import ctypes
import json
import shutil
import subprocess
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from edgex.compositors import reference

HERE = Path(__file__).parent
KERNELS = HERE.parents[1] / "kernels"
FUNCTIONS = (  # in the order of pixel_values.cu
    *("tap", "taken", "sigmoid", "weight_of", "blend", "span", "level", "normalised"),
    *("from_half", "to_half", "byte_of", "heat_entry"),
)
Table = NDArray[np.float64]
Evaluate = Callable[[str, NDArray[np.generic]], NDArray[np.int32]]
MISSING, STEEPEST, FULL = -3e37, 1e20, 32767


def gpu_present() -> bool:
    try:
        return ctypes.CDLL("libcuda.so.1").cuInit(0) == 0
    except OSError:
        return False


HOST = pytest.param("host", marks=pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"))
DEVICE_MARKS = (
    pytest.mark.gpu,
    pytest.mark.skipif(shutil.which("nvcc") is None or not gpu_present(), reason="needs nvcc and an NVIDIA GPU"),
)


@pytest.fixture(scope="module", params=[HOST, pytest.param("device", marks=DEVICE_MARKS)])
def evaluate(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Evaluate:
    """Function that evaluates one of FUNCTIONS over rows of inputs [N, 1 to 3] and returns 32-bit words [N, 5]."""
    program = tmp_path_factory.mktemp("pixel_values") / "program"
    source = str(HERE / "pixel_values.cu")
    host = ("g++", "-O2", "-std=c++17", "-Wall", "-Wextra", "-Werror", "-x", "c++", source)
    device = ("nvcc", "-O3", "-std=c++17", "-arch=native", source)
    command = (*(host if request.param == "host" else device), f"-I{KERNELS}", "-o", str(program))
    subprocess.run(command, check=True)

    def call(function: str, inputs: NDArray[np.generic]) -> NDArray[np.int32]:
        words = np.zeros((len(inputs), 3), np.int32)
        words[:, : inputs.shape[1]] = inputs.view(np.int32)
        header = np.array([FUNCTIONS.index(function), len(inputs)], np.int32)
        done = subprocess.run([str(program)], input=header.tobytes() + words.tobytes(), check=True, capture_output=True)
        return np.frombuffer(done.stdout, np.int32).reshape(-1, 5)

    return call


def floats(words: NDArray[np.int32]) -> Table:
    with np.errstate(invalid="ignore"):  # NaN
        return np.ascontiguousarray(words).view(np.float32).astype(np.float64)


def column(values: object) -> NDArray[np.float32]:
    return np.asarray(values, np.float32).reshape(-1, 1)


AXES = [(1, 1), (1, 5), (5, 1), (7, 7), (28, 1920), (9, 4), (4, 9), (2000, 50), (32767, 32767), (40000, 26000)]


def places() -> NDArray[np.int32]:
    """Rows of pixel, count, target: all pixels of short axes, and some of long ones with both ends."""
    rows = []
    for count, target in AXES:
        pixels = np.unique(np.linspace(0, target - 1, min(target, 300)).round().astype(int))
        rows += [(pixel, count, target) for pixel in pixels.tolist()]
    return np.array(rows, np.int32)


def test_tap(evaluate: Evaluate) -> None:
    table = places()
    found = evaluate("tap", table)
    for row, (pixel, count, target) in zip(found, table.tolist(), strict=True):
        exact = Fraction(2 * pixel + 1, 2 * target) * count - Fraction(1, 2)
        exact = min(max(exact, Fraction(0)), Fraction(count - 1))
        lower = exact.numerator // exact.denominator
        assert tuple(row[:2]) == (lower, lower + (exact != lower))
        assert floats(row[2:3])[0] == pytest.approx(float(exact - lower), abs=1e-7)
        assert (floats(row[2:3])[0] == 0.0) == (exact == lower)


def test_span(evaluate: Evaluate) -> None:
    table = places()
    found = evaluate("span", table)
    weights = floats(found[:, 2:])
    for row, (head, body, tail), (index, source, target) in zip(found, weights, table.tolist(), strict=True):
        first, last = row[:2]
        assert head + body * (last - first - 1) * (last > first) + tail == pytest.approx(1.0, abs=1e-5)
        if target < source:
            begin, end = Fraction(index * source, target), Fraction((index + 1) * source, target)
            length = end - begin
            assert (first, last) == (int(begin), -int(-end // 1) - 1)
            assert head == pytest.approx(float((first + 1 - begin) / length), abs=1e-7)
            assert body == pytest.approx(float(1 / length), abs=1e-7)
            assert tail == pytest.approx(float((end - int(last)) / length), abs=1e-7)
        else:
            exact = Fraction(2 * index + 1, 2 * target) * source - Fraction(1, 2)
            exact = min(max(exact, Fraction(0)), Fraction(source - 1))
            assert head * first + tail * last == pytest.approx(float(exact), rel=1e-6)
            assert body == 0.0


def test_taken(evaluate: Evaluate) -> None:
    given = [0.0, -0.0, 1.5, -90.0, 1e20, 1e21, -1e30, 3.4e38, 1e-40, np.inf, -np.inf, np.nan, -np.nan]
    expected = [0.0, 0.0, 1.5, -90.0, 1e20, STEEPEST, -STEEPEST, STEEPEST, 1e-40, *[MISSING] * 4]
    np.testing.assert_allclose(floats(evaluate("taken", column(given))[:, 0]), expected, rtol=1e-7, atol=1e-44)


def test_sigmoid(evaluate: Evaluate) -> None:
    given = np.concatenate([np.linspace(-30.0, 30.0, 6001), [MISSING, -STEEPEST, STEEPEST, -88.0, 88.0]])
    found = floats(evaluate("sigmoid", column(given))[:, 0])
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(found, 1.0 / (1.0 + np.exp(-given.astype(np.float32).astype(np.float64))), atol=3e-5)
    assert found[-5] < 1e-17  # a missing logit leaves no trace
    assert found.min() >= 0.0
    assert np.all(np.diff(found[:6001]) > -3e-5)


def test_a_logit_below_nothing_has_no_weight(evaluate: Evaluate) -> None:
    mask = evaluate("sigmoid", column([-11.1, -11.2, -1000.0]))[:, :1].view(np.float32)
    strength = np.full_like(mask, FULL)
    assert evaluate("weight_of", np.hstack([mask, strength]))[:, 0].tolist() == [0, 0, 0]


def test_weight_of(evaluate: Evaluate) -> None:
    given = np.array([(0, FULL), (1, FULL), (1, 0), (0.5, FULL), (0.25, 100), (0.25, 102), (1, 16383.5)], np.float32)
    assert evaluate("weight_of", given)[:, 0].tolist() == [0, FULL, 0, 16384, 25, 26, 16384]


def test_blend(evaluate: Evaluate) -> None:
    random = np.random.default_rng(1)
    pixel, level = (each.ravel() for each in np.meshgrid(np.arange(256), [0, 1, 127, 128, 254, 255]))
    ends = [np.stack([pixel, level * 128, np.full_like(pixel, weight)], 1) for weight in (0, 1, 16384, FULL)]
    drawn = np.stack([random.integers(0, top, 20_000) for top in (256, 255 * 128 + 1, FULL + 1)], 1)
    table = np.concatenate([*ends, drawn]).astype(np.int32)
    found = evaluate("blend", table)[:, 0]
    exact = table[:, 0] + table[:, 2] / FULL * (table[:, 1] / 128 - table[:, 0])
    assert np.abs(found - exact).max() < 0.5 + 0.01
    assert np.array_equal(found[table[:, 2] == 0], table[table[:, 2] == 0, 0])
    assert np.array_equal(found[: len(pixel) * 4][-len(pixel) :], level)  # full weight is the colour itself
    assert found.min() >= 0
    assert found.max() <= 255


def test_levels_and_entries(evaluate: Evaluate) -> None:
    given = [0.0, 0.4, 0.49, 0.5, 1.5, 2.5, 254.4, 254.5, 255.0]
    assert floats(evaluate("level", column(given))[:, 0]).tolist() == [0, 0, 0, 1, 2, 3, 254, 255, 255]
    assert evaluate("byte_of", column(np.arange(256) / 255))[:, 0].tolist() == list(range(256))
    assert evaluate("byte_of", column([1e-18, 0.49 / 255, 0.51 / 255]))[:, 0].tolist() == [0, 0, 1]
    assert evaluate("heat_entry", column(np.arange(4096) / 4095))[:, 0].tolist() == list(range(4096))


def test_normalised(evaluate: Evaluate) -> None:
    given = np.array([(level, 0.0171, -2.118) for level in range(256)], np.float32)
    exact = given.astype(np.float64)
    np.testing.assert_allclose(
        floats(evaluate("normalised", given)[:, 0]), exact[:, 0] * exact[:, 1] + exact[:, 2], atol=1e-6
    )


def test_every_half(evaluate: Evaluate) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16)
    found = floats(evaluate("from_half", np.arange(65536, dtype=np.int32)[:, None])[:, 0])
    np.testing.assert_array_equal(found, halves.astype(np.float64))  # NaN where NumPy has NaN


def test_to_half(evaluate: Evaluate) -> None:
    halves = np.arange(65536, dtype=np.uint16).view(np.float16).astype(np.float32)
    finite = halves[np.isfinite(halves)]
    between = (finite[:-1].astype(np.float64) + finite[1:]) / 2  # ties, but for where the sign turns
    beyond = [65519.9, 65520.0, 1e6, -1e6, 3e38, 1e-45, 2.9e-8, 2.99e-8, -3e-8]
    nudged = np.nextafter(between.astype(np.float32), np.float32(np.inf))
    with np.errstate(over="ignore", invalid="ignore"):
        given = np.concatenate([halves, between, nudged, beyond]).astype(np.float32)
        expected = given.astype(np.float16)
    found = evaluate("to_half", column(given))[:, 0].astype(np.uint16).view(np.float16)
    np.testing.assert_array_equal(found, expected)
    assert np.array_equal(np.signbit(found), np.signbit(expected))


def test_bilinear_is_that_of_torch(evaluate: Evaluate) -> None:
    """bilinear.json holds torch.nn.functional.interpolate(mode="bilinear", align_corners=False) of small planes."""
    for case in json.loads((HERE / "bilinear.json").read_text())["cases"]:
        plane, anchor = (np.array(case[key], np.float32) for key in ("plane", "interpolated"))
        for axis, target in enumerate(anchor.shape):
            count = np.array(case["plane"]).shape[axis]
            found = evaluate("tap", np.array([(pixel, count, target) for pixel in range(target)], np.int32))
            weight = floats(found[:, 2:3]) if axis == 0 else floats(found[:, 2:3]).T
            plane = plane.take(found[:, 0], axis) * (1 - weight) + plane.take(found[:, 1], axis) * weight
        np.testing.assert_allclose(plane, anchor, atol=2e-6)
        sampled = reference.sample(np.array(case["plane"], np.float32), *anchor.shape)
        np.testing.assert_allclose(sampled, anchor, atol=2e-6)
