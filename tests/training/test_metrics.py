"""The scores, against numbers counted by hand and against scikit-learn."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import average_precision_score, roc_auc_score

from edgex.errors import UsageError
from training.metrics import THRESHOLDS, Means, average_precision, mask_metrics, roc_auc, saliency

# Three pixels count, the fourth is void: m = 1, .5, 0 and g = 1, 0, 1.
# Soft counts: tp = 1, fp = .5, fn = 1, tn = .5.
MASK = np.array([[1.0, 0.5], [0.0, 0.25]], np.float32)
TRUTH = np.array([[1, 0], [2, 255]], np.uint8)
BY_HAND = {
    "d_F1@0.25": 2 / 4,  # on at 1 and .5: 1 hit, 1 false, 1 missed
    "d_F1@0.5": 2 / 4,
    "d_F1@0.75": 2 / 3,  # on at 1: 1 hit, 1 missed
    "d_F1@0.1": 2 / 4,
    "d_F1@0.9": 2 / 3,
    "d_F1@mean": (5 * 2 / 4 + 4 * 2 / 3) / 9,
    "d_IoU@0.25": 1 / 3,
    "d_IoU@0.5": 1 / 3,
    "d_IoU@0.75": 1 / 2,
    "d_IoU@mean": (5 / 3 + 4 / 2) / 9,
    "c_F1": 2 / 3.5,
    "c_IoU": 1 / 2.5,
    "accuracy": 1.5 / 3,
    "mask_coverage": 1 - (1 / 3) / (2 / 3),
    "background_coverage": (0.5 / 3) / (1 / 3),
    "sim_ratio": 1 / (1 + 0.25 + 1),
    "auc": 1 / 2,  # of the two pairs, 1 > .5 is right and 0 < .5 is wrong
    "pointing": 1.0,
    "energy": 1 / 1.5,
}

masks = arrays.arrays(np.float32, (5, 7), elements=st.floats(0, 1, width=32))
truths = arrays.arrays(np.uint8, (5, 7), elements=st.sampled_from([0, 1, 20, 255])).map(
    lambda truth: np.where(np.arange(35).reshape(5, 7) == 17, np.uint8(3), truth)  # one object pixel at least
)


@pytest.mark.parametrize(("name", "expected"), BY_HAND.items())
def test_a_score_is_what_was_counted_by_hand(name: str, expected: float) -> None:
    assert mask_metrics(MASK, TRUTH)[name] == pytest.approx(expected)


def test_every_threshold_is_reported() -> None:
    scores = mask_metrics(MASK, TRUTH)
    assert {f"d_F1@{t}" for t in (*THRESHOLDS, 0.25, 0.75)} <= set(scores)
    assert {f"d_IoU@{t}" for t in (*THRESHOLDS, 0.25, 0.75)} <= set(scores)


@pytest.mark.parametrize("threshold", THRESHOLDS)
def test_a_mask_equal_to_the_threshold_is_on(threshold: float) -> None:
    mask = np.full((2, 2), threshold, np.float32)
    assert mask_metrics(mask, np.ones((2, 2), np.uint8))[f"d_F1@{threshold}"] == 1.0


@settings(max_examples=50, deadline=None)
@given(masks, truths, st.floats(0, 1, width=32))
def test_void_pixels_take_part_in_no_count(mask: np.ndarray, truth: np.ndarray, other: float) -> None:
    changed = np.where(truth == 255, np.float32(other), mask)
    assert mask_metrics(mask, truth) == pytest.approx(mask_metrics(changed, truth), nan_ok=True)


@settings(max_examples=50, deadline=None)
@given(truths)
def test_the_ground_truth_itself_scores_best(truth: np.ndarray) -> None:
    scores = mask_metrics(((truth != 0) & (truth != 255)).astype(np.float32), truth)
    if (truth == 0).any():
        assert scores.pop("background_coverage") == 0.0
    else:
        assert math.isnan(scores.pop("background_coverage"))
        assert math.isnan(scores.pop("auc"))
    assert set(scores.values()) == {1.0}


@settings(max_examples=50, deadline=None)
@given(masks, truths)
def test_scores_stay_in_their_range(mask: np.ndarray, truth: np.ndarray) -> None:
    assert all(math.isnan(score) or 0.0 <= score <= 1.0 for score in mask_metrics(mask, truth).values())


def test_an_empty_mask_hits_nothing_and_points_by_chance() -> None:
    scores = mask_metrics(np.zeros((2, 2), np.float32), np.array([[1, 0], [0, 0]], np.uint8))
    assert {scores[name] for name in ("d_F1@0.5", "c_F1", "c_IoU", "sim_ratio", "energy", "mask_coverage")} == {0.0}
    assert scores["pointing"] == 0.25
    assert scores["auc"] == 0.5
    assert scores["accuracy"] == 0.75


def test_what_cannot_be_judged_is_refused() -> None:
    with pytest.raises(UsageError, match="at least one object pixel"):
        mask_metrics(MASK, np.array([[0, 0], [255, 255]], np.uint8))
    with pytest.raises(UsageError, match="one shape"):
        mask_metrics(MASK, np.ones((2, 3), np.uint8))


@pytest.mark.parametrize("value", [-0.5, 1.5, math.nan])
def test_logits_and_nan_are_no_masks(value: float) -> None:
    mask = MASK.copy()
    mask[0, 0] = value
    with pytest.raises(UsageError, match="a mask of 0 to 1"):
        mask_metrics(mask, TRUTH)


def test_saliency_by_hand() -> None:
    assert saliency(0.2, 0.5) == pytest.approx(math.log(0.2 / 0.5))
    assert saliency(0.01, 0.5) == pytest.approx(math.log(0.05 / 0.5))  # a smaller mask earns nothing more
    assert math.isfinite(saliency(0.2, 0.0))


@settings(max_examples=50, deadline=None)
@given(arrays.arrays(np.float32, 30, elements=st.sampled_from([0.0, 0.25, 0.5, 0.75])), st.integers(1, 2**30 - 2))
def test_ranking_scores_agree_with_scikit_learn_on_ties(scores: np.ndarray, bits: int) -> None:
    positive = np.array([bool(bits >> i & 1) for i in range(30)])
    assert roc_auc(scores, positive) == pytest.approx(roc_auc_score(positive, scores))
    assert average_precision(scores, positive) == pytest.approx(average_precision_score(positive, scores))


def test_ranking_scores_without_a_positive_are_undefined() -> None:
    nothing = np.zeros(3, bool)
    assert math.isnan(roc_auc(np.ones(3, np.float32), nothing))
    assert math.isnan(average_precision(np.ones(3, np.float32), nothing))


def test_means_count_what_is_undefined() -> None:
    means = Means()
    for first, second in ((1.0, math.nan), (0.5, 0.25), (0.0, math.nan)):
        means.add({"a": first, "b": second, "c": math.nan})
    assert means.images == 3
    assert means.means() == {"a": 0.5, "b": 0.25, "c": None}
    assert means.undefined() == {"b": 2, "c": 3}


def test_means_refuse_an_image_with_other_scores() -> None:
    means = Means()
    means.add({"a": 1.0})
    with pytest.raises(UsageError, match="alike"):
        means.add({"b": 1.0})
