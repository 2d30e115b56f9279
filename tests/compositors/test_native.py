"""The CPU kernels against the oracle: shapes, strides, classes, styles, broken logits, on every set of instructions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex import native
from edgex.compositors import open_compositor, reference
from edgex.compositors.palette import class_color
from edgex.errors import UsageError
from edgex.types import STYLES, Drawing, FloatArray, Style
from tests.compositors.parity import assert_parity
from tests.compositors.scenes import BROKEN, NUMBERS, scenes

pytestmark = pytest.mark.skipif(not native.available(), reason=f"no CPU kernels: {native.reason_missing()}")
Scene = tuple[Any, FloatArray, Drawing]
SETS = native.instruction_sets() if native.available() else ()
# Shares of bytes that may differ from the oracle by one level: measured 0.004, and 0.02 for heat, whose colours are
# taken from a table of 4096.
SHARES = {"overlay": 0.01, "cutout": 0.01, "outline": 0.0, "heat": 0.03}


@pytest.fixture(params=SETS)
def instructions(request: pytest.FixtureRequest) -> Iterator[str]:
    before = native.instruction_set()
    native.set_instruction_set(request.param)
    yield request.param
    native.set_instruction_set(before)


def drawing_of(count: int, style: Style, opacity: float = 0.6) -> Drawing:
    return Drawing(tuple(range(count)), tuple(class_color(i) for i in range(count)), style, opacity)


@settings(max_examples=300, deadline=None)
@given(scenes())
def test_parity_on_finite_logits(scene: Scene) -> None:
    image, logits, drawing = scene
    assert_parity(open_compositor("native").compose(image, logits, drawing), image, logits, drawing)


@settings(max_examples=200, deadline=None)
@given(scenes(st.one_of(NUMBERS, NUMBERS, BROKEN)))
def test_parity_on_logits_that_are_not_finite(scene: Scene) -> None:
    image, logits, drawing = scene
    assert_parity(open_compositor("native").compose(image, logits, drawing), image, logits, drawing)


@settings(max_examples=100, deadline=None)
@given(scenes(st.one_of(NUMBERS, BROKEN)))
def test_parity_in_half_precision(scene: Scene) -> None:
    image, logits, drawing = scene
    half = logits.astype(np.float16)
    composed = open_compositor("native").compose(image, half, drawing)
    assert_parity(composed, image, half.astype(np.float32), drawing)


@settings(max_examples=100, deadline=None)
@given(scenes(st.one_of(NUMBERS, BROKEN)), st.booleans())
def test_masks_agree(scene: Scene, half: bool) -> None:
    image, logits, drawing = scene
    logits = logits.astype(np.float16) if half else logits
    ours = open_compositor("native").masks(logits, drawing.classes, *image.shape[:2])
    exact = reference.open().masks(logits.astype(np.float32), drawing.classes, *image.shape[:2])
    assert ours.dtype == np.uint8
    assert ours.shape == exact.shape
    assert np.abs(ours.astype(int) - exact.astype(int)).max() <= 1


@settings(max_examples=100, deadline=None)
@given(scenes(st.one_of(NUMBERS, BROKEN)))
def test_in_place_gives_the_same_bytes(scene: Scene) -> None:
    image, logits, drawing = scene
    compositor = open_compositor("native")
    composed = compositor.compose(image, logits, drawing)
    padded = np.zeros((image.shape[0], image.shape[1] + 3, 3), np.uint8)
    own = padded[:, 1:-2]
    own[...] = image
    assert compositor.compose(own, logits, drawing, out=own) is own
    np.testing.assert_array_equal(own, composed)
    assert not padded[:, 0].any()  # what lies between the rows is not written
    assert not padded[:, -2:].any()


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("shape", "taps"), [((721, 1279), (28, 28)), ((97, 2050), (56, 56)), ((130, 513), (7, 600))])
def test_few_bytes_differ_and_by_one_level(
    shape: tuple[int, int], taps: tuple[int, int], style: Style, instructions: str
) -> None:
    random = np.random.default_rng(3)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (5, *taps)).astype(np.float32)
    drawing = Drawing((4, 0, 2), tuple(class_color(i) for i in (4, 0, 2)), style)
    composed = open_compositor("native").compose(image, logits, drawing)
    assert_parity(composed, image, logits, drawing)
    assert (composed != reference.open().compose(image, logits, drawing)).mean() <= SHARES[style]


@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (3, 511), (2, 513), (33, 97)])
def test_sizes_that_are_no_multiple_of_a_chunk(shape: tuple[int, int], instructions: str) -> None:
    random = np.random.default_rng(4)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (3, 5, 6)).astype(np.float32)
    for style in STYLES:
        drawing = drawing_of(3, style)
        assert_parity(open_compositor("native").compose(image, logits, drawing), image, logits, drawing)


@pytest.mark.parametrize("scale", [1.0, 30.0, 3e3, 3e4, 1e18])
def test_gentle_and_steep_logits_agree_with_the_oracle(scale: float, instructions: str) -> None:
    random = np.random.default_rng(9)
    image = random.integers(0, 256, (60, 700, 3), dtype=np.uint8)
    logits = (random.normal(0, 1, (4, 8, 8)) * scale).astype(np.float32)
    logits[1, 3:5, 2:4] = np.nan
    for style in STYLES:
        drawing = drawing_of(4, style)
        assert_parity(open_compositor("native").compose(image, logits, drawing), image, logits, drawing)


@pytest.mark.parametrize("style", STYLES)
def test_a_class_that_nowhere_shows_is_passed_over(style: Style, instructions: str) -> None:
    image = np.random.default_rng(10).integers(0, 256, (9, 600, 3), dtype=np.uint8)
    logits = np.full((2, 1, 2), -12.0, np.float32)
    drawing = drawing_of(2, style, 1.0)
    assert_parity(open_compositor("native").compose(image, logits, drawing), image, logits, drawing)
    logits[1] = [[-100.0, 5.0]]  # where it lies below the first, neither shows
    assert_parity(open_compositor("native").compose(image, logits, drawing), image, logits, drawing)


@pytest.mark.parametrize("count", [40, 257, 1000])
def test_many_classes(count: int, instructions: str) -> None:
    random = np.random.default_rng(5)
    image = random.integers(0, 256, (17, 45, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (count, 6, 7)).astype(np.float32)
    drawing = drawing_of(count, "overlay", 1.0)
    assert_parity(open_compositor("native").compose(image, logits, drawing), image, logits, drawing)


@pytest.mark.parametrize("style", STYLES)
def test_the_number_of_threads_changes_nothing(style: Style) -> None:
    random = np.random.default_rng(6)
    image = random.integers(0, 256, (301, 640, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (3, 9, 9)).astype(np.float32)
    before = native.threads()
    try:
        composed = []
        for threads in (1, 2, 5):
            native.set_threads(threads)
            composed.append(open_compositor("native").compose(image, logits, drawing_of(3, style)))
    finally:
        native.set_threads(before)
    np.testing.assert_array_equal(composed[0], composed[1])
    np.testing.assert_array_equal(composed[0], composed[2])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_logit_that_is_not_finite_outweighs_the_steepest_that_is(bad: float) -> None:
    logits = np.array([[[bad, 3.4e38]]], np.float32)
    masks = open_compositor("native").masks(logits, [0], 1, 1000)
    assert masks[0, 0].tolist() == [0] * 750 + [255] * 250  # from the right logit's centre on, the left has no weight


def test_a_drawing_below_sight_leaves_the_picture_as_it_is() -> None:
    image = np.random.default_rng(7).integers(0, 256, (40, 700, 3), dtype=np.uint8)
    compositor = open_compositor("native")
    low, high = np.full((2, 4, 4), -30, np.float32), np.full((2, 4, 4), 30, np.float32)
    for style, logits in (("overlay", low), ("outline", low), ("outline", high), ("cutout", high)):
        composed = compositor.compose(image, logits, drawing_of(2, style, 1.0))
        np.testing.assert_array_equal(composed, image)
        assert not np.shares_memory(composed, image)


def test_inputs_are_left_as_they_are() -> None:
    random = np.random.default_rng(8)
    image = random.integers(0, 256, (6, 6, 3), dtype=np.uint8)
    logits = random.normal(0, 4, (2, 6, 6)).astype(np.float32)
    before = image.copy(), logits.copy()
    for style in STYLES:
        open_compositor("native").compose(image, logits, drawing_of(2, style))
    open_compositor("native").masks(logits, [0, 1], 6, 6)
    np.testing.assert_array_equal(image, before[0])
    np.testing.assert_array_equal(logits, before[1])


IMAGE = np.zeros((4, 6, 3), np.uint8)
WIDE = np.zeros((4, 13, 3), np.uint8)
LOGITS = np.zeros((2, 3, 3), np.float32)


@pytest.mark.parametrize(
    ("out", "message"),
    [
        (np.zeros((4, 6, 3), np.float32), r"expected out as writable uint8 \[4, 6, 3\].*got float32 \[4, 6, 3\]"),
        (np.zeros((4, 5, 3), np.uint8), r"got uint8 \[4, 5, 3\]"),
        (np.zeros((4, 6), np.uint8), r"got uint8 \[4, 6\]"),
        (np.zeros((4, 12, 3), np.uint8)[:, ::2], r"with whole rows"),
        (np.broadcast_to(np.zeros((1, 6, 3), np.uint8), (4, 6, 3)), r"with whole rows"),
        ([[0]], r"got list"),
    ],
)
def test_out_of_another_kind_is_refused(out: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        open_compositor("native").compose(IMAGE, LOGITS, drawing_of(1, "overlay"), out=out)


def test_out_that_overlaps_an_input_is_refused() -> None:
    compositor = open_compositor("native")
    with pytest.raises(UsageError, match="got an overlap"):
        compositor.compose(WIDE[:, :6], LOGITS, drawing_of(1, "overlay"), out=WIDE[:, 3:9])
    memory = np.zeros(4 * 6 * 3, np.uint8)
    logits = memory[:72].view(np.float32).reshape(2, 3, 3)
    with pytest.raises(UsageError, match="got an overlap"):
        compositor.compose(IMAGE, logits, drawing_of(1, "overlay"), out=memory.reshape(4, 6, 3))


def test_logits_of_another_type_are_refused() -> None:
    with pytest.raises(UsageError, match="mask logits in float32 or float16, got float64"):
        open_compositor("native").compose(IMAGE, LOGITS.astype(np.float64), drawing_of(1, "overlay"))
    for kind in (np.int32, np.uint8, np.bool_):
        with pytest.raises(UsageError, match="mask logits as an array of float32, got"):
            open_compositor("native").compose(IMAGE, LOGITS.astype(kind), drawing_of(1, "overlay"))


def test_axes_beyond_the_kernels_are_refused() -> None:
    tall = np.broadcast_to(np.zeros((1, 1, 3), np.uint8), (1 << 20, 1, 3))
    logits = np.broadcast_to(np.zeros((1, 1, 1), np.float32), (1, 1 << 10, 1))
    with pytest.raises(UsageError, match=r"less than 2\^30, got 1048576 and 1024"):
        open_compositor("native").compose(tall, logits, drawing_of(1, "overlay"))
