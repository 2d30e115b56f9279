"""The CUDA preprocessing kernels, emulated on the CPU, against an oracle in float64."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.manifest import InputSpec
from edgex.types import Image
from tests.kernels import emulated
from tests.kernels.area import levels, levels_of

pytestmark = emulated.needs_gxx
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def picture(*shape: int, seed: int = 1) -> Image:
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


def share_of_other_levels(image: Image, spec: InputSpec, half: bool = False, seed: int = 1) -> float:
    """Assert that every level is one of those next to the exact one, and return how many are not its rounding."""
    tensor = emulated.preprocess(image, spec, half, seed=seed)
    assert tensor.shape == (1, 3, spec.height, spec.width)
    assert tensor.dtype == (np.float16 if half else np.float32)
    found, exact = levels_of(tensor[0], spec), levels(image, spec)
    whole = np.floor(found + 0.5)
    assert np.abs(found - whole).max() < (0.3 if half else 0.001)  # rounded to a level before it was normalised
    assert np.abs(whole - exact).max() < 0.501
    return float((whole != np.floor(exact + 0.5)).mean())


@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize(
    ("shape", "target"),
    [
        ((135, 240), (28, 28)),
        ((270, 480), (56, 224)),
        ((64, 3000), (9, 4)),  # a target of more columns than a window holds
        ((20, 2100), (7, 1100)),  # more targets than a block takes
        ((33, 47), (80, 190)),  # both axes grow
        ((150, 20), (31, 90)),  # one shrinks, one grows
        ((31, 700), (77, 31)),
        ((7, 7), (7, 7)),
        ((1, 1), (5, 3)),
        ((1, 2000), (1, 1)),
        ((300, 2), (1, 1)),
    ],
)
def test_levels_are_those_of_the_oracle(shape: tuple[int, int], target: tuple[int, int], half: bool) -> None:
    share = share_of_other_levels(picture(*shape), InputSpec(*target, MEAN, STD), half)
    assert share < 0.002 or target[0] * target[1] < 200  # exact ties apart, rounding errors decide next to none


@settings(deadline=None, max_examples=60)
@given(data=st.data(), color=st.sampled_from(["RGB", "BGR"]), half=st.booleans())
def test_any_shape(data: st.DataObject, color: str, half: bool) -> None:
    side = st.one_of(st.integers(1, 90), st.sampled_from([255, 672, 673, 1345]))
    target = st.integers(1, 100)
    image = picture(data.draw(side, "height"), data.draw(side, "width"), seed=data.draw(st.integers(0, 99), "seed"))
    spec = InputSpec(data.draw(target, "rows"), data.draw(target, "columns"), MEAN, STD, color)
    share_of_other_levels(image, spec, half, data.draw(st.integers(1, 1000), "order of threads"))


@pytest.mark.parametrize(("offset", "pad"), [(0, 16), (1, 0), (5, 3), (8, 8)])
def test_rows_may_lie_anywhere(offset: int, pad: int) -> None:
    image, spec = picture(40, 187), InputSpec(16, 30, MEAN, STD)
    stride = 187 * 3 + pad
    flat = np.full(offset + 40 * stride + 64, 255, np.uint8)
    start = offset + -flat.ctypes.data % 16
    strided = np.lib.stride_tricks.as_strided(flat[start:], image.shape, (stride, 3, 1))
    strided[:] = image
    assert np.array_equal(emulated.preprocess(strided, spec), emulated.preprocess(image, spec))


def test_a_batch_is_its_pictures_on_any_grid() -> None:
    images, spec = picture(3, 50, 400), InputSpec(13, 200, MEAN, STD)
    tensor = emulated.preprocess(images, spec)
    for image, one in zip(images, tensor, strict=True):
        assert np.array_equal(emulated.preprocess(image, spec)[0], one)
    for grid in [(1, 1, 1), (2, 5, 2), (9, 20, 4)]:
        assert np.array_equal(emulated.preprocess(images, spec, grid=grid), tensor)


def test_each_barrier_is_needed() -> None:
    wide, spec = picture(20, 3000), InputSpec(5, 7, MEAN, STD)
    for line in emulated.barriers("preprocess"):
        assert emulated.shows_without_barrier("preprocess", line, lambda: emulated.preprocess(wide, spec)), line
