"""What is said of samples: percentiles by hand, spread, ratios of interleaved rounds, when times have settled."""

from __future__ import annotations

import itertools
import random
import statistics

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.bench.samples import PERCENTS, Settling, distribution, drift, percentile, ratio, round_medians, settle


def by_hand(samples: list[float], percent: float) -> float:
    """Hyndman and Fan's definition 7, from the paper: h = (n - 1) p + 1."""
    ordered = sorted(samples)
    rank = (len(ordered) - 1) * percent / 100
    below = int(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (rank - below) * (ordered[above] - ordered[below])


@settings(deadline=None)
@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=50))
def test_percentiles_are_those_of_the_formula_that_is_named(samples: list[float]) -> None:
    found = distribution(samples)
    assert found is not None
    figures = (found.p50_ms, found.p90_ms, found.p95_ms, found.p99_ms)
    for percent, figure in zip(PERCENTS, figures, strict=True):
        assert figure == pytest.approx(by_hand(samples, percent), rel=1e-9, abs=1e-9)
        assert percentile(samples, percent) == figure
    assert (found.count, found.min_ms, found.max_ms) == (len(samples), min(samples), max(samples))


def test_no_sample_is_left_out() -> None:
    found = distribution([1.0] * 999 + [10_000.0])
    assert found is not None
    assert found.max_ms == 10_000.0
    assert found.mean_ms == pytest.approx(10.999)


def test_the_coefficient_of_variation_is_deviation_over_mean() -> None:
    samples = [4.0, 5.0, 6.0, 9.0]
    found = distribution(samples)
    assert found is not None
    assert found.cv == pytest.approx(statistics.stdev(samples) / statistics.fmean(samples))


def test_one_sample_none_and_zeros() -> None:
    assert distribution([]) is None
    one = distribution([7.0])
    assert one is not None
    assert (one.p50_ms, one.p99_ms, one.cv) == (7.0, 7.0, 0.0)
    zeros = distribution([0.0, 0.0])
    assert zeros is not None
    assert zeros.cv == 0.0


def test_medians_of_rounds() -> None:
    assert round_medians([1.0, 3.0, 2.0, 10.0, 20.0], [0, 3]) == [2.0, 15.0]
    assert round_medians([], []) == []


def test_a_ratio_is_taken_within_rounds_so_that_drift_hits_both() -> None:
    drift = [1.0, 5.0, 2.0, 8.0, 3.0, 1.5]
    found = ratio("b", [2.0 * each for each in drift], "a", drift)
    assert found is not None
    assert (found.of, found.to, found.ratio, found.low, found.high) == ("b", "a", 2.0, 2.0, 2.0)


def test_the_interval_of_a_ratio_holds_the_truth_about_as_often_as_it_says() -> None:
    draw = random.Random(1)
    held = 0
    for _ in range(200):
        a = [draw.gauss(10, 0.5) for _ in range(10)]
        b = [1.3 * draw.gauss(10, 0.5) for _ in range(10)]
        found = ratio("b", b, "a", a)
        assert found is not None
        held += found.low <= 1.3 <= found.high
    assert 170 <= held <= 200  # 95 % of 200 are 190; the bootstrap of ten rounds is a little narrow


def test_a_ratio_needs_six_rounds_of_both() -> None:
    assert ratio("b", [1.0] * 5, "a", [1.0] * 9) is None
    assert ratio("b", [1.0] * 6, "a", [0.0, *[1.0] * 5]) is None
    assert ratio("b", [*[2.0] * 6, 9.0], "a", [1.0] * 6) is not None


def test_a_drift_is_told_where_it_is_more_than_noise() -> None:
    """The thirds of nine rounds: 10.0, 10.1, 10.2 and 10.6, 10.7, 10.8 lie apart, and by 6 %."""
    rising = [10.0, 10.1, 10.2, 10.3, 10.4, 10.5, 10.6, 10.7, 10.8]
    assert drift(rising) == pytest.approx(10.7 / 10.1 - 1)
    assert drift(rising[::-1]) == pytest.approx(10.1 / 10.7 - 1)
    assert drift([0.5 * (each + 10.4) for each in rising]) is None  # 3 %
    assert drift([9.0, 10.1, 11.2, 10.3, 10.4, 10.5, 9.6, 10.8, 11.8]) is None  # 7 %, and rounds differ by more
    assert drift([10.0, 20.0, 10.0, 10.0, 10.0, 10.0]) is None  # one slow round
    assert drift(rising[:5]) is None


def test_noise_alone_is_hardly_ever_a_drift() -> None:
    draw = random.Random(2)
    told = sum(drift([draw.gauss(10, 0.5) for _ in range(10)]) is not None for _ in range(1000))
    assert told < 50


def test_times_that_fall_have_not_settled() -> None:
    settling = Settling()
    assert not any(settling.add(100 * 0.9**step) for step in range(30))


def test_warming_up_ends_when_the_times_have_settled() -> None:
    windows = iter([[90], [50], [30], [30], [31], [30]])
    clock = itertools.count(0, 10**9)  # each question takes a second
    found = settle(lambda seconds, least: next(windows), lambda: next(clock), 100.0, lambda: False)
    assert (found.iterations, found.stable) == (6, True)


def test_warming_up_takes_a_second_though_the_times_seem_to_have_settled() -> None:
    now = itertools.count(0, 10**8)
    found = settle(lambda seconds, least: [30], lambda: next(now), 100.0, lambda: False)
    assert (found.iterations, found.stable) == (10, True)
    now = itertools.count(0, 10**8)
    short = settle(lambda seconds, least: [30], lambda: next(now), 0.5, lambda: False)
    assert (short.iterations, short.stable) == (6, False)


def test_warming_up_ends_also_when_they_never_do() -> None:
    times = itertools.cycle([[1], [2]])
    now = itertools.count(0, 10**9)
    found = settle(lambda seconds, least: next(times), lambda: next(now), 5.0, lambda: False)
    assert not found.stable
    assert found.iterations == 6


def test_warming_up_ends_when_it_is_to_stop() -> None:
    asked = itertools.count()
    found = settle(lambda seconds, least: [1], lambda: 0, 5.0, lambda: next(asked) >= 2)
    assert (found.iterations, found.stable) == (2, False)
