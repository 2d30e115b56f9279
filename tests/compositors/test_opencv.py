"""The OpenCV compositor against the oracle, over shapes, strides, classes, styles and broken logits."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.compositors import opencv, reference
from edgex.compositors.palette import class_color
from edgex.types import STYLES, Drawing, FloatArray, Style
from tests.compositors.parity import assert_parity
from tests.compositors.scenes import BROKEN, NUMBERS, scenes


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_parity_on_finite_logits(scene: tuple[Any, FloatArray, Drawing]) -> None:
    image, logits, drawing = scene
    assert_parity(opencv.open().compose(image, logits, drawing), image, logits, drawing)


@settings(max_examples=200, deadline=None)
@given(scenes(st.one_of(NUMBERS, NUMBERS, BROKEN)))
def test_parity_on_logits_that_are_not_finite(scene: tuple[Any, FloatArray, Drawing]) -> None:
    image, logits, drawing = scene
    assert_parity(opencv.open().compose(image, logits, drawing), image, logits, drawing)


@settings(max_examples=100, deadline=None)
@given(scenes(st.one_of(NUMBERS, BROKEN)))
def test_masks_agree(scene: tuple[Any, FloatArray, Drawing]) -> None:
    image, logits, drawing = scene
    ours = opencv.open().masks(logits, drawing.classes, *image.shape[:2])
    exact = reference.open().masks(logits, drawing.classes, *image.shape[:2])
    assert ours.dtype == np.uint8
    assert np.abs(ours.astype(int) - exact.astype(int)).max() <= 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("shape", [(721, 1279), (541, 5), (1, 1)])
def test_parity_at_sizes_of_video(shape: tuple[int, int], style: Style) -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (5, 28, 28)).astype(np.float32)
    drawing = Drawing((4, 0, 2), tuple(class_color(i) for i in (4, 0, 2)), style)
    assert_parity(opencv.open().compose(image, logits, drawing), image, logits, drawing)


@pytest.mark.parametrize("count", [256, 257, 300])
def test_more_classes_than_a_byte_counts(count: int) -> None:
    random = np.random.default_rng(4)
    image = random.integers(0, 256, (17, 23, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (count, 6, 7)).astype(np.float32)
    drawing = Drawing(tuple(range(count)), tuple(class_color(i) for i in range(count)), "overlay", 1.0)
    assert_parity(opencv.open().compose(image, logits, drawing), image, logits, drawing)


def test_parity_fails_a_wrong_picture() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    logits = np.full((1, 2, 2), 3.0, np.float32)
    for style in STYLES:
        drawing = Drawing((0,), ((255, 255, 255),), style)
        wrong = reference.open().compose(image, logits, drawing) + np.uint8(2)
        with pytest.raises(AssertionError):
            assert_parity(wrong, image, logits, drawing)


def test_inputs_are_left_as_they_are() -> None:
    random = np.random.default_rng(5)
    image = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (2, 6, 6)).astype(np.float32)  # of the picture's own size: nothing needs a resize
    before = image.copy(), logits.copy()
    for style in STYLES:
        opencv.open().compose(image, logits, Drawing((0, 1), (class_color(0), class_color(1)), style))
    opencv.open().masks(logits, [0, 1], 6, 6)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(logits, before[1])


def test_extreme_logits_stay_masks() -> None:
    logits = np.array([[3.4e38, -3.4e38], [1e30, -1e30]], np.float32)
    mask = opencv.mask(logits, 9, 9)
    assert mask.dtype == np.float32
    assert np.isfinite(mask).all()
    assert (mask.min(), mask.max()) == (pytest.approx(0.0, abs=1e-30), 1.0)


@pytest.mark.parametrize("style", STYLES)
def test_strips_of_rows_meet_without_a_seam(style: Style, monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (37, 29, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (3, 5, 7)).astype(np.float32)
    drawing = Drawing((2, 0), (class_color(2), class_color(0)), style, 0.7)
    monkeypatch.setattr(opencv, "STRIP_PX", 4 * 29)  # 37 rows: ten strips, the last of one row
    assert_parity(opencv.open().compose(image, logits, drawing), image, logits, drawing)
