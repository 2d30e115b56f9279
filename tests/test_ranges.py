"""Ranges: each method against NumPy, and a histogram that grows without losing what it counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.ranges import BINS, LEVELS, MOST_VALUES, STEP, TensorRange, entropy_threshold


def seen(*frames: np.ndarray, channels: bool = False) -> TensorRange:
    found = TensorRange(channels=channels)
    for values in frames:
        found.add(np.asarray(values, np.float32))
    return found


def normal(seed: int, size: int = 5000, spread: float = 1.0, mean: float = 0.3) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, spread, size).astype(np.float32)


def limit_of(values: np.ndarray) -> float:
    return float(2.0 ** np.ceil(np.log2(np.abs(values).max())))


def counted(values: np.ndarray, limit: float) -> np.ndarray:
    return np.histogram(values.astype(np.float64), bins=2 * BINS, range=(-limit, limit))[0]


def test_minmax_takes_every_value() -> None:
    frames = [normal(seed, spread=seed + 1) for seed in range(5)]
    whole = np.concatenate(frames)
    assert seen(*frames).range("minmax", 99.0) == (float(whole.min()), float(whole.max()))


def test_minmax_is_exact_where_a_tensor_is_counted_in_part() -> None:
    values = np.zeros(3 * MOST_VALUES + 1, np.float32)
    values[1], values[-2] = -7.25, 9.5
    found = seen(values)
    assert found.range("minmax", 99.0) == (-7.25, 9.5)
    assert found.counts.sum() <= MOST_VALUES


@pytest.mark.parametrize(("values", "pair"), [([2.0, 3.0], (0.0, 3.0)), ([-2.0, -3.0], (-3.0, 0.0))])
@pytest.mark.parametrize("method", ["minmax", "percentile"])
def test_zero_is_always_in_the_range(method: str, values: list[float], pair: tuple[float, float]) -> None:
    assert seen(np.array(values)).range(method, 99.999) == pair  # type: ignore[arg-type]


def test_counts_are_those_of_numpy() -> None:
    values = normal(3)
    assert np.array_equal(seen(values).counts, counted(values, limit_of(values)))


@pytest.mark.parametrize("percentile", [90.0, 99.0, 99.9, 99.999, 100.0])
@pytest.mark.parametrize("seed", range(3))
def test_percentiles_are_those_of_numpy_to_one_bin(percentile: float, seed: int) -> None:
    frames = [normal(10 * seed + part, spread=1.0 + part) for part in range(4)]
    whole = np.concatenate(frames).astype(np.float64)
    low, high = seen(*frames).range("percentile", percentile)
    share = (100.0 - percentile) / 2.0
    width = limit_of(whole) / BINS
    assert abs(low - np.percentile(whole, share, method="inverted_cdf")) <= width
    assert abs(high - np.percentile(whole, 100.0 - share, method="inverted_cdf")) <= width
    inside = ((whole >= low) & (whole <= high)).mean()
    assert inside >= percentile / 100.0 - 1e-9


def test_percentiles_are_read_off_the_same_histogram_exactly() -> None:
    values = normal(7, size=20000)
    limit = limit_of(values)
    below = np.cumsum(counted(values, limit)) / len(values)
    edges = np.linspace(-limit, limit, 2 * BINS + 1)
    low, high = edges[np.argmax(below > 0.005)], edges[np.argmax(below >= 0.995) + 1]
    assert seen(values).range("percentile", 99.0) == (low, high)


def naive_threshold(counts: np.ndarray) -> float:
    """The entropy method in plain loops, as the slides of GTC 2017 tell it."""
    bins = counts.astype(float)
    bins[0] = bins[1]
    used = max(index for index, count in enumerate(bins) if count > 0) + 1
    best, found = np.inf, used
    for end in [*range(LEVELS, used, STEP), used]:
        wanted = list(bins[:end])
        wanted[-1] += bins[end:].sum()
        coarse = [0.0] * end
        for level in range(LEVELS):
            members = [index for index in range(end) if index * LEVELS // end == level and bins[index] > 0]
            for index in members:
                coarse[index] = sum(bins[other] for other in members) / len(members)
        ones, others = np.array(wanted) / sum(wanted), np.array(coarse) / sum(coarse)
        loss = sum(p * np.log(p / max(q, 1e-12)) for p, q in zip(ones, others, strict=True) if p > 0)
        if loss < best - 1e-12:
            best, found = loss, end
    return found / len(counts)


@pytest.mark.parametrize("tail", [0, 1, 40])
def test_entropy_is_that_of_plain_loops(tail: int) -> None:
    chance = np.random.default_rng(tail)
    values = np.abs(np.concatenate([chance.laplace(0, 0.05, 3000), chance.uniform(0.5, 1.0, tail)]))
    counts = np.histogram(values, bins=512, range=(0.0, 1.0))[0]
    assert entropy_threshold(counts) == naive_threshold(counts)


def test_entropy_leaves_a_far_value_out_and_keeps_an_even_spread() -> None:
    far = np.append(normal(1, size=60000, mean=0.0), np.float32(60.0))
    low, high = seen(far).range("entropy", 99.0)
    assert 2.0 < high < 20.0
    assert low >= float(far.min())
    even = np.linspace(-1.0, 1.0, 50001, dtype=np.float32)
    assert seen(even).range("entropy", 99.0) == (-1.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 999), st.integers(-20, 20)), min_size=1, max_size=6))
def test_growing_loses_nothing(parts: list[tuple[int, int]]) -> None:
    frames = [normal(seed, size=300, spread=2.0**power) for seed, power in parts]
    grown, whole = seen(*frames), np.concatenate(frames)
    assert grown.limit == limit_of(whole)
    assert grown.counts.sum() == len(whole)
    assert np.array_equal(grown.counts, seen(whole).counts)
    assert np.array_equal(grown.counts, counted(whole, grown.limit))


def test_a_value_at_the_very_end_moves_by_one_bin_at_most() -> None:
    grown, whole = seen(np.array([1.0, -1.0]), np.array([4.0])), seen(np.array([1.0, -1.0, 4.0]))
    assert grown.counts.sum() == whole.counts.sum() == 3
    assert np.abs(np.flatnonzero(grown.counts) - np.flatnonzero(whole.counts)).max() <= 1


def test_what_is_not_finite_is_left_out() -> None:
    found = seen(np.array([1.0, np.nan, np.inf, -np.inf, -0.5]))
    assert found.range("minmax", 99.0) == (-0.5, 1.0)
    assert found.range("percentile", 100.0) == (-0.5, 1.0)


@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("values", [np.zeros(10), np.zeros(0), np.float32(0.0)])
def test_a_tensor_that_is_all_zero_has_an_empty_range(method: str, values: np.ndarray) -> None:
    assert seen(values).range(method, 99.0) == (0.0, 0.0)  # type: ignore[arg-type]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("method", ["minmax", "percentile", "entropy"])
@pytest.mark.parametrize("scale", [1e-44, 1e-37, 1e-30, 1e30, 3e38])
def test_extreme_magnitudes_have_a_range(method: str, scale: float) -> None:
    values = (np.linspace(-1.0, 1.0, 999) * scale).astype(np.float32)
    low, high = seen(values).range(method, 99.999)  # type: ignore[arg-type]
    assert -float(np.float32(scale)) <= low < 0.0 < high <= float(np.float32(scale))
    assert high > 0.9 * scale


def test_means_of_channels_are_those_of_numpy() -> None:
    frames = [normal(seed, size=2 * 5 * 7).reshape(1, 2, 5, 7) for seed in range(4)]
    means = seen(*frames, channels=True).means()
    assert means is not None
    assert np.allclose(means, np.concatenate(frames).mean(axis=(0, 2, 3), dtype=np.float64), rtol=0, atol=1e-7)
    assert seen(*frames).means() is None
