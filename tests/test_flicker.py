"""The flicker figure: what counts is what stands still, and what masks do there."""

from __future__ import annotations

import numpy as np
import pytest

from edgex.flicker import CHANGED, Flicker, cells
from edgex.types import FloatArray

SIDE, CELLS = 224, 28
STD = 0.5
ALL = (0, 1, 2)


def picture(seed: int = 0, side: int = SIDE) -> FloatArray:
    """Return a network input of large patches, float32 [1, 3, side, side], -1 to 1."""
    patches = np.random.default_rng(seed).uniform(-1, 1, (1, 3, 7, 7)).astype(np.float32)
    return patches.repeat(side // 7, axis=2).repeat(side // 7, axis=3)


def masks(seed: int = 0, side: int = CELLS) -> FloatArray:
    return np.random.default_rng(seed).normal(0, 3, (4, side, side)).astype(np.float32)


def sigmoid(logits: FloatArray) -> np.ndarray:
    return 1 / (1 + np.exp(-logits.astype(np.float64)))


def test_it_is_the_mean_difference_of_merged_masks() -> None:
    flicker = Flicker()
    assert flicker.observe(picture(), masks(0), ALL) is None
    found = flicker.observe(picture(), masks(1), ALL)
    expected = np.abs(sigmoid(masks(1)[:3].max(axis=0)) - sigmoid(masks(0)[:3].max(axis=0))).mean()
    assert found == pytest.approx(expected, rel=1e-5)
    assert flicker.observe(picture(), masks(1), ALL) == 0.0


def test_the_order_of_classes_does_not_matter_but_their_set_does() -> None:
    flicker = Flicker()
    flicker.observe(picture(), masks(0), (0, 1))
    assert flicker.observe(picture(), masks(0), (1, 0)) == 0.0
    assert flicker.observe(picture(), masks(0), (0, 2)) is None
    assert flicker.observe(picture(), masks(0), (0, 2)) == 0.0
    assert flicker.observe(picture(), masks(0), ()) is None
    assert flicker.observe(picture(), masks(0), (0, 2)) is None  # what came before showed nothing


def test_noise_of_a_sensor_passes() -> None:
    rng, flicker = np.random.default_rng(0), Flicker()
    flicker.observe(picture(), masks(0), ALL)
    noisy = picture() + rng.normal(0, 2.0 / 255 / STD, (1, 3, SIDE, SIDE)).astype(np.float32)
    assert flicker.observe(noisy, masks(0), ALL) == 0.0


def test_what_moves_and_its_neighbours_do_not_count() -> None:
    flicker = Flicker()
    moved, changed = picture(), masks(0)
    moved[0, 1, 80:88, 96:104] += 1.5 * CHANGED / STD  # one channel of the cell in row 10, column 12
    changed[:, 9:12, 11:14] = 20.0
    flicker.observe(picture(), masks(0), ALL)
    assert flicker.observe(moved, changed, ALL) == 0.0
    changed[:, 8, 11] = -20.0  # two cells away
    expected = sigmoid(masks(0)[:3, 8, 11].max()) / (CELLS * CELLS - 9)
    flicker.observe(picture(), masks(0), ALL)
    assert flicker.observe(moved, changed, ALL) == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize(("rows", "found"), [(13, 0.0), (14, None)])  # one more row than changed is left out
def test_there_is_no_figure_where_most_cells_change(rows: int, found: float | None) -> None:
    flicker, moved = Flicker(), picture()
    moved[:, :, : rows * 8] += 0.5
    flicker.observe(picture(), masks(), ALL)
    assert flicker.observe(moved, masks(), ALL) == found


def test_a_picture_that_slides_by_a_pixel_gives_no_figure() -> None:
    flicker = Flicker()
    fine = np.random.default_rng(0).uniform(-1, 1, (1, 3, 56, 56)).astype(np.float32)
    fine = fine.repeat(4, axis=2).repeat(4, axis=3)
    flicker.observe(fine, masks(0), ALL)
    assert flicker.observe(np.roll(fine, 1, axis=3), masks(1), ALL) is None


def test_the_limit_is_a_share_of_full_scale_whatever_the_input_is_divided_by() -> None:
    moved = picture() + np.float32(1.5 * CHANGED / 0.5)
    for std, found in (((0.5, 0.5, 0.5), None), ((0.25, 0.25, 0.25), 0.0), ((0.25, 0.25, 0.5), None)):
        flicker = Flicker(std)
        flicker.observe(picture(), masks(), ALL)
        assert flicker.observe(moved, masks(), ALL) == found


def test_other_sizes_start_anew() -> None:
    flicker = Flicker()
    flicker.observe(picture(), masks(), ALL)
    assert flicker.observe(picture(), masks(0, 14), ALL) is None
    assert flicker.observe(picture(), masks(0, 14), ALL) == 0.0


def test_logits_that_are_not_finite_count_as_minus_infinity() -> None:
    flicker, broken, low = Flicker(), masks(0), masks(0)
    broken[0, 3, 4], broken[1, 5, 6], broken[:, 7, 8] = np.nan, np.inf, -np.inf
    kept = broken.copy()
    low[0, 3, 4], low[1, 5, 6], low[:, 7, 8] = -99.0, -99.0, -99.0
    flicker.observe(picture(), broken, ALL)
    assert flicker.observe(picture(), low, ALL) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_array_equal(broken, kept)


def test_it_keeps_copies_so_that_buffers_may_be_used_again() -> None:
    flicker, tensor, logits = Flicker(), picture(), masks(0)
    flicker.observe(tensor, logits, (0,))
    logits[:] = -40.0
    assert flicker.observe(tensor, logits, (0,)) == pytest.approx(sigmoid(masks(0)[0]).mean(), rel=1e-5)
    tensor += 1.0
    assert flicker.observe(tensor, logits, (0,)) is None


@pytest.mark.parametrize(("side", "grid"), [(224, 28), (200, 25), (224, 224), (96, 7), (33, 5)])
def test_a_cell_is_the_mean_of_what_it_covers(side: int, grid: int) -> None:
    tensor = np.random.default_rng(0).uniform(-1, 1, (1, 3, side, side)).astype(np.float32)
    edges = np.linspace(0, side, grid + 1)
    places = np.arange(side)
    weights = np.clip(np.minimum(edges[1:, None], places + 1) - np.maximum(edges[:-1, None], places), 0, None)
    weights /= weights.sum(axis=1, keepdims=True)
    expected = weights @ tensor[0] @ weights.T
    np.testing.assert_allclose(cells(tensor, grid, grid), expected, atol=1e-5)
