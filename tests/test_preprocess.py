"""From a frame to the network's input, against plain arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex import native
from edgex.errors import UsageError
from edgex.manifest import ColorOrder, InputSpec
from edgex.preprocess import preprocess, preprocess_opencv, resize_area
from edgex.types import Image

# What this CPU can run, as the library itself says; empty where there is none.
SETS = native.instruction_sets() if native.available() else ()
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def along(line: np.ndarray, target: int) -> np.ndarray:
    """Resize float64 [n, ...] to [target, ...] by the rule "area", written out pixel by pixel."""
    count = len(line)
    out = []
    for pixel in range(target):
        if target <= count:  # mean of the source interval, parts of pixels by their share
            first, last = pixel * count / target, (pixel + 1) * count / target
            shares = [max(0.0, min(last, i + 1) - max(first, i)) for i in range(count)]
            out.append(sum(share * value for share, value in zip(shares, line, strict=True)) / (last - first))
        else:
            place = min(max((pixel + 0.5) * count / target - 0.5, 0.0), count - 1.0)
            low = int(place)
            high = min(low + 1, count - 1)
            out.append(line[low] * (1 - (place - low)) + line[high] * (place - low))
    return np.array(out)


def exactly(image: Image, height: int, width: int) -> np.ndarray:
    return along(along(image.astype(np.float64), height).swapaxes(0, 1), width).swapaxes(0, 1)


SIDE = st.integers(1, 24)


@settings(max_examples=150, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 99))
def test_resize_follows_the_rule_on_either_axis(rows: int, columns: int, height: int, width: int, seed: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    resized = resize_area(image, height, width)
    assert resized.shape == (height, width, 3)
    # Shrinking one axis and growing the other rounds to whole levels in between.
    assert np.abs(resized - exactly(image, height, width)).max() <= 1.5


def test_shrinking_does_not_alias() -> None:
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_area(stripes, 8, 8).astype(int) - 128).max() <= 1


def test_channels_are_ordered_and_normalised() -> None:
    image = np.zeros((4, 4, 3), np.uint8)
    image[:] = (10, 20, 30)  # blue, green, red
    tensor = preprocess(image, InputSpec(2, 3, MEAN, STD))
    assert (tensor.shape, tensor.dtype) == ((1, 3, 2, 3), np.float32)
    assert tensor.flags.c_contiguous
    for channel, level in enumerate((30, 20, 10)):
        np.testing.assert_allclose(
            tensor[0, channel], (level / 255 - MEAN[channel]) / STD[channel], rtol=1e-6, atol=1e-6
        )
    flipped = preprocess(image, InputSpec(2, 3, MEAN, STD, color="BGR"))
    for channel, level in enumerate((10, 20, 30)):
        np.testing.assert_allclose(
            flipped[0, channel], (level / 255 - MEAN[channel]) / STD[channel], rtol=1e-6, atol=1e-6
        )


@pytest.mark.parametrize("color", ["RGB", "BGR"])
def test_values_equal_scale_and_offset_over_the_whole_picture(color: ColorOrder) -> None:
    image = np.random.default_rng(1).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    small = resize_area(image, 9, 11)[:, :, :: -1 if color == "RGB" else 1]
    scale = (1.0 / (255.0 * np.asarray(STD))).astype(np.float32)
    offset = (-np.asarray(MEAN) / np.asarray(STD)).astype(np.float32)
    expected = (small * scale + offset).transpose(2, 0, 1)[None]
    np.testing.assert_array_equal(preprocess_opencv(image, InputSpec(9, 11, MEAN, STD, color=color)), expected)


def levels(image: Image, height: int, width: int) -> np.ndarray:
    """Return what `preprocess` makes of a picture, as levels [height, width, 3]."""
    tensor = preprocess(image, InputSpec(height, width, (0, 0, 0), (1, 1, 1), color="BGR"))
    return tensor[0].transpose(1, 2, 0) * 255


@settings(max_examples=200, deadline=None)
@given(SIDE, SIDE, SIDE, SIDE, st.integers(0, 99))
def test_every_value_is_a_level_beside_the_exact_mean(
    rows: int, columns: int, height: int, width: int, seed: int
) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (rows, columns, 3), dtype=np.uint8)
    found = levels(image, height, width)
    np.testing.assert_allclose(found, np.round(found), atol=1e-3)
    limit = 0.501 if native.available() else 1.5  # OpenCV rounds between the axes
    assert np.abs(found - exactly(image, height, width)).max() <= limit


@pytest.mark.parametrize("instructions", SETS)
@pytest.mark.parametrize(("shape", "target"), [((211, 377), (48, 64)), ((30, 41), (96, 80)), ((300, 20), (64, 64))])
def test_few_values_differ_from_the_exact_mean_rounded_half_up(
    shape: tuple[int, int], target: tuple[int, int], instructions: str
) -> None:
    image = np.random.default_rng(2).integers(0, 256, (*shape, 3), dtype=np.uint8)
    before = native.instruction_set()
    native.set_instruction_set(instructions)
    try:
        found = np.round(levels(image, *target))
    finally:
        native.set_instruction_set(before)
    assert (found != np.floor(exactly(image, *target) + 0.5)).mean() <= 0.001  # means that lie halfway to 7 digits


@pytest.mark.parametrize("spec", [InputSpec(5, 7, MEAN, STD), InputSpec(9, 14, MEAN, STD, color="BGR")])
def test_strides_do_not_matter_and_the_picture_stays(spec: InputSpec) -> None:
    image = np.random.default_rng(0).integers(0, 256, (14, 18, 3), dtype=np.uint8)
    before = image.copy()
    for view in (image, image[::-1], image[:, ::-2], image.transpose(1, 0, 2), image[:, :, ::-1], image[2:11, 1:15]):
        np.testing.assert_array_equal(preprocess(view, spec), preprocess(np.ascontiguousarray(view), spec))
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize("shape", [(1, 1), (4, 1), (1, 4), (3000, 2), (2, 4000)])
def test_extreme_shapes(shape: tuple[int, int]) -> None:
    tensor = preprocess(np.full((*shape, 3), 255, np.uint8), InputSpec(32, 32, (0, 0, 0), (1, 1, 1)))
    np.testing.assert_allclose(tensor, 1.0, atol=1e-6)


def test_anything_but_a_picture_is_refused() -> None:
    with pytest.raises(UsageError, match=r"got uint16 \[4, 4, 3\]"):
        preprocess(np.zeros((4, 4, 3), np.uint16), InputSpec(2, 2, MEAN, STD))  # type: ignore[arg-type]
