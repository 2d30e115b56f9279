"""The faithfulness monitor: against a slow second implementation, and on the shipped bundle."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

import edgex
from edgex.errors import UsageError
from edgex.explain import Explainer, shipped_clip
from edgex.manifest import Task
from edgex.monitor import FAINTEST, measure
from edgex.types import FloatArray, Image, Logits
from tests.bundles import patched_picture, write_bundle


def load(path: Path) -> Explainer:
    return edgex.load(path, "onnxruntime", threads=1)


def slow_mask(logits: FloatArray, height: int, width: int) -> np.ndarray:
    """Sample bilinearly at pixel centres, edges clamped, one pixel after the other; then the sigmoid: float64."""
    rows, columns = logits.shape
    mask = np.empty((height, width))
    for y in range(height):
        for x in range(width):
            v = min(max((y + 0.5) * rows / height - 0.5, 0.0), rows - 1.0)
            u = min(max((x + 0.5) * columns / width - 0.5, 0.0), columns - 1.0)
            top, left = math.floor(v), math.floor(u)
            below, right = min(top + 1, rows - 1), min(left + 1, columns - 1)
            a, b = v - top, u - left
            upper = (1 - b) * float(logits[top, left]) + b * float(logits[top, right])
            lower = (1 - b) * float(logits[below, left]) + b * float(logits[below, right])
            mask[y, x] = 1 / (1 + math.exp(-((1 - a) * upper + a * lower)))
    return mask


def slow_score(explainer: Explainer, tensor: np.ndarray, index: int) -> float:
    given = explainer.infer(tensor.astype(np.float32)).class_logits
    assert given is not None
    exact = given[0].astype(np.float64)
    if explainer.manifest.task == "multi-label":
        return float(1 / (1 + math.exp(-exact[index])))
    return float(np.exp(exact[index]) / np.exp(exact).sum())


def slow(explainer: Explainer, tensor: FloatArray, logits: Logits, index: int) -> tuple[float, float, float]:
    mask = slow_mask(logits.mask_logits[0, index], *tensor.shape[2:])
    mean = np.array(explainer.manifest.input.mean).reshape(3, 1, 1)
    std = np.array(explainer.manifest.input.std).reshape(3, 1, 1)
    colors = tensor[0] * std + mean  # 0 to 1: hidden pixels become the mean color there
    under, beside = (((share * colors + (1 - share) * mean) - mean) / std for share in (mask, 1 - mask))
    score = slow_score(explainer, tensor, index)
    kept = slow_score(explainer, under[None], index) / score
    return score, min(1.0, kept), max(0.0, 1 - slow_score(explainer, beside[None], index) / score)


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
@pytest.mark.parametrize("batch", ["N", 1, 2, 4])
def test_it_agrees_with_a_slow_second_implementation(tmp_path: Path, task: Task, batch: int | str) -> None:
    with load(write_bundle(tmp_path / "tiny.onnx", size=(32, 48), task=task, batch=batch)) as explainer:
        noise = np.random.default_rng(0).integers(0, 60, (64, 96, 3), np.uint8)
        tensor = explainer.preprocess(patched_picture() // 2 + noise)
        logits = explainer.infer(tensor)
        assert logits.class_logits is not None
        lower = Logits(logits.mask_logits / 8 - 0.3, logits.class_logits)  # a soft mask, so that its values matter
        compared = 0
        for index in range(3):
            for given in (logits, lower):
                found = measure(explainer, tensor, given, index)
                score, kept, lost = slow(explainer, tensor, given, index)
                if score < FAINTEST:
                    assert found is None
                    continue
                assert found is not None
                assert found.label == explainer.labels[index]
                assert (found.score, found.kept, found.lost) == pytest.approx((score, kept, lost), rel=1e-3, abs=1e-4)
                compared += 1
        assert compared


def test_a_true_mask_keeps_the_score_and_its_complement_loses_it(tmp_path: Path) -> None:
    with load(write_bundle(tmp_path / "tiny.onnx")) as explainer:
        tensor = explainer.preprocess(patched_picture(label="green"))
        logits = explainer.infer(tensor)
        true = measure(explainer, tensor, logits, 1)
        assert true is not None
        assert true.kept > 0.99
        assert true.lost > 0.8
        false = measure(explainer, tensor, Logits(-logits.mask_logits, logits.class_logits), 1)
        assert false is not None
        assert (false.kept, false.lost) == pytest.approx((1 - true.lost, 1 - true.kept), abs=1e-4)


def test_a_class_that_is_not_there_has_nothing_to_keep(tmp_path: Path) -> None:
    with load(write_bundle(tmp_path / "tiny.onnx", task="single-label")) as explainer:
        tensor = explainer.preprocess(np.full((32, 32, 3), (0, 0, 255), np.uint8))
        logits = explainer.infer(tensor)
        assert measure(explainer, tensor, logits, 0) is not None
        assert measure(explainer, tensor, logits, 1) is None


def test_broken_logits_hide_and_score_nothing(tmp_path: Path) -> None:
    with load(write_bundle(tmp_path / "tiny.onnx")) as explainer:
        tensor = explainer.preprocess(patched_picture())
        logits = explainer.infer(tensor)
        assert logits.class_logits is not None
        found = measure(explainer, tensor, Logits(np.full_like(logits.mask_logits, np.nan), logits.class_logits), 0)
        assert found is not None
        grey = slow_score(explainer, np.zeros_like(tensor), 0)
        assert (found.kept, found.lost) == pytest.approx((grey / found.score, 0.0), abs=1e-5)
        scoreless = Logits(logits.mask_logits, np.full_like(logits.class_logits, np.nan))
        assert measure(explainer, tensor, scoreless, 0) is None


def test_what_it_cannot_measure_is_refused(tmp_path: Path) -> None:
    with load(write_bundle(tmp_path / "masks.onnx", class_head=False)) as explainer:
        tensor = explainer.preprocess(patched_picture())
        with pytest.raises(UsageError, match="expected a model with a classifier"):
            measure(explainer, tensor, explainer.infer(tensor), 0)
    with load(write_bundle(tmp_path / "tiny.onnx")) as explainer:
        tensor = explainer.preprocess(patched_picture())
        for index in (-1, 3, True):
            with pytest.raises(UsageError, match="expected a class index of 0 to 2"):
                measure(explainer, tensor, explainer.infer(tensor), index)


def every_20th(clip: Path) -> Iterator[Image]:
    capture = cv2.VideoCapture(str(clip))
    number = 0
    while (read := capture.read())[0]:
        if number % 20 == 10:
            yield np.asarray(read[1], np.uint8)
        number += 1
    capture.release()


def test_the_shipped_masks_are_truer_than_inverted_and_foreign_ones() -> None:
    """For the top class of each frame: its own mask, the inverted one, and another class's."""
    rows = []
    with edgex.load(backend="onnxruntime", threads=2) as explainer:
        for image in every_20th(shipped_clip()):
            tensor = explainer.preprocess(image)
            logits = explainer.infer(tensor)
            scores = logits.class_logits
            assert scores is not None
            index = int(scores[0].argmax())
            if scores[0, index] < 2.0:
                continue
            given = [logits.mask_logits, -logits.mask_logits, np.roll(logits.mask_logits, 1, axis=1)]
            found = [measure(explainer, tensor, Logits(each, scores), index) for each in given]
            rows.append([(each.kept, each.lost) for each in found if each is not None])
    assert len(rows) >= 8
    figures = np.array(rows)
    assert ((figures >= 0) & (figures <= 1)).all()
    own, inverted, foreign = figures.mean(axis=0)
    assert own[0] > 0.8
    assert own[1] > 0.5
    assert own[0] > inverted[0] + 0.3
    assert own[1] > inverted[1] + 0.3
    assert own[0] > foreign[0] + 0.6
    np.testing.assert_allclose(inverted, 1.0 - own[::-1], atol=0.05)  # the two masks are each other's complement
