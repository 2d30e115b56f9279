"""Smoothing goes by time and not by frame, starts anew where it must, and no broken logit lasts."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.errors import UsageError
from edgex.smoothing import RESTART, Smoother
from edgex.types import FloatArray, Logits

MS = 1_000_000
TAU_S = 0.1


def logits(value: float, shape: tuple[int, ...] = (1, 3, 4, 5)) -> Logits:
    return Logits(np.full(shape, value, np.float32), np.full(shape[:2], -value, np.float32))


def random_logits(seed: int) -> Logits:
    rng = np.random.default_rng(seed)
    masks, classes = rng.normal(0, 5, (1, 3, 4, 5)), rng.normal(0, 5, (1, 3))
    return Logits(masks.astype(np.float32), classes.astype(np.float32))


def classes_of(found: Logits) -> FloatArray:
    assert found.class_logits is not None
    return found.class_logits


def test_the_first_frame_passes() -> None:
    first = random_logits(0)
    found = Smoother(TAU_S).smooth(first, 123)
    np.testing.assert_array_equal(found.mask_logits, first.mask_logits)
    np.testing.assert_array_equal(classes_of(found), first.class_logits)


def test_a_step_has_reached_63_percent_after_one_time_constant_at_any_rate() -> None:
    for frames in (1, 3, 10, 100):
        smoother = Smoother(TAU_S)
        found = smoother.smooth(logits(0.0), 0)
        for number in range(1, frames + 1):
            found = smoother.smooth(logits(8.0), round(number * 100 * MS / frames))
        reached = 8.0 * (1 - math.exp(-1))
        np.testing.assert_allclose(found.mask_logits, reached, rtol=1e-5)
        np.testing.assert_allclose(classes_of(found), -reached, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.floats(0.01, 2.0))
def test_frames_at_any_times_follow_the_formula(gaps_ms: list[int], tau_s: float) -> None:
    smoother, time_ns = Smoother(tau_s), 0
    expected = random_logits(0).mask_logits.astype(np.float64)
    smoother.smooth(random_logits(0), time_ns)
    for seed, gap_ms in enumerate(gaps_ms, start=1):
        new, time_ns = random_logits(seed), time_ns + gap_ms * MS
        past = gap_ms / 1000 / tau_s
        weight = 1.0 if past > RESTART else 1 - math.exp(-past)
        expected = (1 - weight) * expected + weight * new.mask_logits
        found = smoother.smooth(new, time_ns).mask_logits
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_noise_of_still_frames_falls() -> None:
    smoother = Smoother(TAU_S)
    found = [smoother.smooth(random_logits(number), number * 33 * MS).mask_logits for number in range(200)]
    plain = [random_logits(number).mask_logits for number in range(200)]
    weight = 1 - math.exp(-0.33)
    assert np.std(found[20:]) / np.std(plain) == pytest.approx(math.sqrt(weight / (2 - weight)), rel=0.1)


def test_zero_is_off() -> None:
    smoother, new = Smoother(0), logits(8.0)
    smoother.smooth(logits(0.0), 0)
    assert smoother.smooth(new, MS) is new


@pytest.mark.parametrize("later_ms", [-1, -10_000, 0, 501, 60_000], ids=str)
def test_a_gap_and_time_that_does_not_run_forward_start_anew(later_ms: int) -> None:
    smoother = Smoother(TAU_S)
    smoother.smooth(logits(0.0), 100_000 * MS)
    np.testing.assert_array_equal(smoother.smooth(logits(8.0), (100_000 + later_ms) * MS).mask_logits, 8.0)
    after = smoother.smooth(logits(0.0), (100_000 + later_ms + 100) * MS)  # and smoothing goes on from there
    np.testing.assert_allclose(after.mask_logits, 8.0 * math.exp(-1), rtol=1e-5)


def test_other_shapes_start_anew() -> None:
    smoother = Smoother(TAU_S)
    smoother.smooth(logits(0.0), 0)
    found = smoother.smooth(logits(8.0, (1, 2, 7, 7)), 10 * MS)
    assert found.mask_logits.shape == (1, 2, 7, 7)
    np.testing.assert_array_equal(found.mask_logits, 8.0)
    np.testing.assert_array_equal(classes_of(found), -8.0)


def test_an_explainer_without_a_classifier_is_smoothed_too() -> None:
    smoother = Smoother(TAU_S)
    smoother.smooth(Logits(logits(0.0).mask_logits, None), 0)
    found = smoother.smooth(Logits(logits(8.0).mask_logits, None), 100 * MS)
    assert found.class_logits is None
    np.testing.assert_allclose(found.mask_logits, 8.0 * (1 - math.exp(-1)), rtol=1e-5)


@pytest.mark.parametrize("broken", [math.nan, math.inf, -math.inf, 3e38])
@pytest.mark.parametrize("at", [0, 1])
def test_a_broken_logit_does_not_last_and_touches_no_other(broken: float, at: int) -> None:
    smoother, sound = Smoother(TAU_S), Smoother(TAU_S)
    for number in range(4):
        new = random_logits(number)
        wanted = sound.smooth(new, number * 33 * MS)
        masks, classes = new.mask_logits.copy(), classes_of(new).copy()
        if number == at:
            masks[0, 1, 2, 3] = classes[0, 2] = broken
        found = smoother.smooth(Logits(masks, classes), number * 33 * MS)
        elsewhere = np.ones(masks.shape, bool)
        elsewhere[0, 1, 2, 3] = False
        np.testing.assert_array_equal(found.mask_logits[elsewhere], wanted.mask_logits[elsewhere])
        np.testing.assert_array_equal(classes_of(found)[0, :2], classes_of(wanted)[0, :2])
        if number == at and not (broken == 3e38 and at):  # two finite numbers have a mean
            np.testing.assert_array_equal(found.mask_logits[0, 1, 2, 3], np.float32(broken))
        if number == at + 1 and broken != 3e38:
            assert found.mask_logits[0, 1, 2, 3] == masks[0, 1, 2, 3]
            assert classes_of(found)[0, 2] == classes[0, 2]


def test_numbers_too_far_apart_for_float32_start_anew() -> None:
    smoother = Smoother(TAU_S)
    smoother.smooth(logits(3e38), 0)
    np.testing.assert_array_equal(smoother.smooth(logits(-3e38), 10 * MS).mask_logits, np.float32(-3e38))


def test_what_came_in_stays_and_what_went_out_is_the_caller_s_own() -> None:
    smoother, new = Smoother(TAU_S), random_logits(1)
    first = smoother.smooth(random_logits(0), 0)
    first.mask_logits[:] = 1e6
    kept = new.mask_logits.copy()
    second = smoother.smooth(new, 33 * MS)
    copied = second.mask_logits.copy()
    smoother.smooth(random_logits(2), 66 * MS)
    np.testing.assert_array_equal(new.mask_logits, kept)
    np.testing.assert_array_equal(second.mask_logits, copied)
    assert np.abs(second.mask_logits).max() < 100


@pytest.mark.parametrize("wrong", [-0.1, math.nan, math.inf, "0.1", None, True])
def test_other_time_constants_are_refused(wrong: Any) -> None:
    with pytest.raises(UsageError, match="expected a time constant of 0 seconds or more"):
        Smoother(wrong)
