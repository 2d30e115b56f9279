"""The CUDA compositing kernels, emulated on the CPU, against the oracle."""

from __future__ import annotations

import ctypes
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex import arguments
from edgex.compositors import reference
from edgex.types import STYLES, Drawing, FloatArray, Image
from tests.compositors.parity import assert_parity
from tests.kernels import emulated

pytestmark = emulated.needs_gxx
AT_MOST_DIFFERENT = {"overlay": 0.008, "heat": 0.03, "cutout": 0.008, "outline": 0.001}  # share of bytes


def scene(shape: tuple[int, int], logits: tuple[int, int, int], seed: int = 1) -> tuple[Image, FloatArray]:
    random = np.random.default_rng(seed)
    image = random.integers(0, 256, (*shape, 3), dtype=np.uint8)
    return image, random.normal(0.0, 4.0, logits).astype(np.float32)


def drawing(count: int, style: str = "overlay", opacity: float = 0.6, channels: int | None = None) -> Drawing:
    random = np.random.default_rng(count)
    classes = random.permutation(channels or count)[:count]
    colors = random.integers(0, 256, (count, 3))
    return Drawing(tuple(classes.tolist()), tuple(map(tuple, colors.tolist())), style, opacity)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("logits", [(1, 28, 28), (4, 28, 28), (20, 56, 40), (2, 7, 300)])
def test_a_picture_is_that_of_the_oracle(style: str, logits: tuple[int, int, int]) -> None:
    image, mask_logits = scene((150, 412), logits)
    draw = drawing(logits[0], style)
    picture = emulated.compose(image, mask_logits, draw)
    assert_parity(picture, image, mask_logits, draw)
    different = picture != reference.open().compose(image, mask_logits, draw)
    assert different.mean() < AT_MOST_DIFFERENT[style]


@settings(deadline=None, max_examples=120)
@given(data=st.data(), style=st.sampled_from(STYLES), opacity=st.sampled_from([0.0, 0.37, 1.0]))
def test_any_shape(data: st.DataObject, style: str, opacity: float) -> None:
    side = st.one_of(st.integers(1, 5), st.integers(6, 70), st.sampled_from([171, 180]))
    height, width = data.draw(side, "height"), data.draw(side, "width")
    channels = data.draw(st.one_of(st.integers(1, 6), st.just(40)), "channels")
    rows, columns = data.draw(st.integers(1, 60), "rows"), data.draw(st.integers(1, 60), "columns")
    image, logits = scene((height, width), (channels, rows, columns), data.draw(st.integers(0, 99), "seed"))
    for value in data.draw(st.lists(st.sampled_from([np.nan, np.inf, -np.inf, 3e38, -3e38]), max_size=4), "odd values"):
        logits.flat[data.draw(st.integers(0, logits.size - 1))] = value
    draw = drawing(data.draw(st.integers(1, channels), "shown"), style, opacity, channels)
    if data.draw(st.booleans(), "half"):
        with np.errstate(over="ignore"):
            logits = logits.astype(np.float16)
    seed = data.draw(st.integers(1, 1000), "order of threads")
    assert_parity(emulated.compose(image, logits, draw, seed=seed), image, logits.astype(np.float32), draw)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(
    ("shape", "logits"),
    [
        ((20, 30), (2, 50, 2000)),  # the logits a tile samples do not fit the stage: it holds pixels' taps
        ((3, 700), (1, 9, 3000)),
        ((40, 200), (40, 40, 60)),  # classes in parts
        ((600, 7), (3, 1, 1)),
        ((1, 1), (1, 1, 1)),
        ((17, 171), (150, 3, 3)),
    ],
)
def test_each_way_of_staging(style: str, shape: tuple[int, int], logits: tuple[int, int, int]) -> None:
    image, mask_logits = scene(shape, logits)
    draw = drawing(logits[0], style)
    assert_parity(emulated.compose(image, mask_logits, draw), image, mask_logits, draw)


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("offset", "pad"), [(0, 16), (1, 0), (3, 5), (16, 7), (8, 8)])
def test_rows_may_lie_anywhere(style: str, offset: int, pad: int) -> None:
    """Any base and stride of image and picture; nothing beside the picture is touched."""
    image, logits = scene((21, 187), (3, 9, 11))
    draw = drawing(3, style)
    expected = emulated.compose(image, logits, draw)
    stride = 187 * 3 + pad
    places = []
    for _ in range(2):
        flat = np.full(offset + 21 * stride + 64, 99, np.uint8)
        start = offset + -flat.ctypes.data % 16
        places.append((flat, np.lib.stride_tricks.as_strided(flat[start:], (21, 187, 3), (stride, 3, 1))))
    (_, strided), (flat, picture) = places
    strided[:] = image
    assert emulated.compose(strided, logits, draw, picture) is picture
    assert np.array_equal(picture, expected)
    picture[:] = 99
    assert (flat == 99).all()
    assert np.array_equal(emulated.compose(strided, logits, draw, strided), expected)  # in place


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("half", [False, True])
def test_a_batch_is_its_pictures(style: str, half: bool) -> None:
    random = np.random.default_rng(3)
    images = random.integers(0, 256, (3, 34, 200, 3), dtype=np.uint8)
    logits = random.normal(0.0, 4.0, (3, 5, 9, 13)).astype(np.float16 if half else np.float32)
    draw = drawing(4, style, channels=5)
    pictures = emulated.compose(images, logits, draw)
    for image, mask_logits, picture in zip(images, logits, pictures, strict=True):
        assert np.array_equal(picture, emulated.compose(image, mask_logits, draw))
        assert_parity(picture, image, mask_logits.astype(np.float32), draw)


@pytest.mark.parametrize("style", STYLES)
def test_any_grid_gives_the_same(style: str) -> None:
    image, logits = scene((70, 400), (3, 14, 14))
    draw = drawing(3, style)
    expected = emulated.compose(image, logits, draw)
    for grid in [(1, 1, 1), (2, 3, 1), (9, 9, 2)]:
        assert np.array_equal(emulated.compose(image, logits, draw, grid=grid), expected)


@pytest.mark.parametrize("value", [-100.0, np.nan, -np.inf])
def test_where_nothing_is_shown_the_picture_stays(value: float) -> None:
    image, logits = scene((50, 300), (2, 8, 8))
    logits[:] = value
    for style in ("overlay", "outline"):
        assert np.array_equal(emulated.compose(image, logits, drawing(2, style)), image)


@settings(deadline=None, max_examples=50)
@given(data=st.data(), half=st.booleans())
def test_masks_of_any_shape(data: st.DataObject, half: bool) -> None:
    side = st.one_of(st.integers(1, 40), st.sampled_from([512, 600]))
    height, width = data.draw(st.integers(1, 40), "height"), data.draw(side, "width")
    channels, rows = data.draw(st.integers(1, 5), "channels"), data.draw(st.integers(1, 40), "rows")
    columns = data.draw(st.one_of(st.integers(1, 40), st.just(2000)), "columns")
    _, logits = scene((1, 1), (channels, rows, columns), data.draw(st.integers(0, 99), "seed"))
    logits.flat[data.draw(st.lists(st.integers(0, logits.size - 1), max_size=3), "not finite")] = np.nan
    logits = logits.astype(np.float16) if half else logits
    order = data.draw(st.permutations(range(channels)), "classes")
    planes = emulated.masks(logits, order, height, width)
    expected = reference.open().masks(logits.astype(np.float32), order, height, width)
    assert np.abs(planes.astype(int) - expected).max() <= 1


def test_masks_differ_in_few_bytes_and_come_in_batches() -> None:
    logits = np.random.default_rng(5).normal(0.0, 4.0, (2, 3, 28, 28)).astype(np.float32)
    planes = emulated.masks(logits, [2, 0], 135, 240)
    for found, one in zip(planes, logits, strict=True):
        assert (found != reference.open().masks(one, [2, 0], 135, 240)).mean() < 0.003
    assert np.array_equal(planes, emulated.masks(logits, [2, 0], 135, 240, grid=(1, 1, 1)))


def test_steps_and_blends_are_those_of_the_header() -> None:
    library = emulated.library(Path(__file__).with_name("steps.cpp"))
    for count, target in [
        (1, 1),
        (1, 9),
        (9, 1),
        (3, 9),
        (15, 25),
        (28, 1920),
        (7, 7),
        (100, 10),
        (10, 100),
        (33, 32),
        (32767, 32766),
    ]:
        for start in {0, 1, target // 3, target - 1}:
            assert library.wrong_steps(min(start, target - 1), count, target) == 0, (start, count, target)
    for color in (0, 1, 12_345, 16_384, 255 * 128 - 1, 255 * 128):
        assert library.wrong_blends(color) == 0, color


def test_each_barrier_is_needed() -> None:
    """Without any one of them some scene comes out wrong: the emulation finds what a GPU may not show for years."""
    whole, chunked = scene((40, 300), (3, 20, 40)), scene((40, 300), (40, 20, 40))
    for line in emulated.barriers("composite"):
        assert any(
            emulated.shows_without_barrier(
                "composite", line, lambda each=each: emulated.compose(*each, drawing(len(each[1])), grid=(1, 1, 1))
            )
            for each in (whole, chunked)
        ), f"composite.cu:{line}"
    assert not emulated.shows_without_barrier("composite", -1, lambda: emulated.compose(*whole, drawing(3)))


def test_a_barrier_that_not_all_threads_reach_is_an_error(tmp_path: Path) -> None:
    source = tmp_path / "half_barrier.cu"
    source.write_text(
        'extern "C" __global__ void half_barrier(const edgex::Composite) {\n'
        "    if (threadIdx.x % 2 == 0) __syncthreads();\n"
        "}\n"
    )
    library = emulated.library(source)
    grid = (ctypes.c_uint * 3)(1, 1, 1)
    error = library.emulate_composite(library.half_barrier, ctypes.byref(arguments.Composite()), grid, 32, 1)
    assert b"expected all threads at one barrier" in error
