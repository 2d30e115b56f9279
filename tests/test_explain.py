"""The library as its users call it, on a tiny real bundle."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import edgex
from edgex import explain
from edgex.compositors.palette import class_color
from edgex.errors import EdgexError, ModelError, UnknownClassError, UsageError
from edgex.types import STYLES, Logits
from tests.bundles import patched_picture, tiny_manifest, write_bundle


@pytest.fixture
def explainer(bundle: Path) -> edgex.Explainer:
    return edgex.load(bundle, threads=1)


def test_explains_a_picture(explainer: edgex.Explainer) -> None:
    picture = patched_picture(64, 96, "red")
    explanation = explainer.explain(picture)
    assert explainer.labels == ("red", "green", "blue")
    assert explanation.scores is not None
    assert explanation.scores.dtype == np.float32
    assert explanation.mask_logits.shape == (3, 4, 4)
    assert [label for label, _ in explanation.top()] == ["red"]
    assert explanation.top()[0][1] > 0.99
    mask = explanation.mask("red")
    assert (mask.shape, mask.dtype) == ((64, 96), np.float32)
    assert mask[:, :32].min() > 0.99
    assert 0 <= mask[:, 64:].max() < 0.2
    assert explanation.mask("green").max() < 0.2


def test_mask_is_the_oracles(explainer: edgex.Explainer) -> None:
    from edgex.compositors import reference

    explanation = explainer.explain(np.random.default_rng(0).integers(0, 256, (37, 51, 3), dtype=np.uint8))
    exact = reference.sigmoid(reference.sample(explanation.mask_logits[2], 37, 51))
    np.testing.assert_allclose(explanation.mask("blue"), exact, atol=1e-6)
    masks = explanation.masks(["blue", "red"])
    assert masks.shape == (2, 37, 51)
    assert np.abs(masks[0] - 255 * exact).max() <= 1


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize("compositor", ["opencv", "reference"])
def test_composes_in_every_style(bundle: Path, style: str, compositor: str) -> None:
    picture = patched_picture()
    picture[:, 48:] = 90  # not the mean color, which a cutout puts there
    explanation = edgex.load(bundle, compositor=compositor).explain(picture)
    drawn = explanation.compose(["red"], style=style)
    assert (drawn.shape, drawn.dtype) == (explanation.image.shape, np.uint8)
    assert (drawn != explanation.image).any()
    np.testing.assert_array_equal(drawn, explanation.compose("red", style=style))
    np.testing.assert_array_equal(drawn, explanation.compose(style=style))  # red alone scores 0.5 or more


def test_composing_nothing_gives_the_picture_back(explainer: edgex.Explainer) -> None:
    grey = np.full((20, 20, 3), 128, np.uint8)
    explanation = explainer.explain(grey)
    assert explanation.top() == []
    drawn = explanation.compose()
    np.testing.assert_array_equal(drawn, grey)
    assert not np.shares_memory(drawn, grey)


def test_top_ranks_and_cuts(explainer: edgex.Explainer) -> None:
    picture = np.full((64, 64, 3), 128, np.uint8)
    picture[:, :16], picture[:, 48:] = (0, 0, 255), (200, 0, 0)
    explanation = explainer.explain(picture)
    assert [label for label, _ in explanation.top(k=3)] == ["red", "blue"]
    assert [label for label, _ in explanation.top(k=1)] == ["red"]
    assert [label for label, _ in explanation.top(k=9, threshold=0.0)] == ["red", "blue", "green"]
    assert explanation.top(threshold=1.0) == []
    shown = explanation.shown(["blue", "red"])
    assert [(s.label, s.index, s.color) for s in shown] == [("red", 0, class_color(0)), ("blue", 2, class_color(2))]


def test_scores_follow_the_task(tmp_path: Path) -> None:
    picture = patched_picture()
    multi = edgex.load(write_bundle(tmp_path / "multi.onnx")).explain(picture).scores
    single = edgex.load(write_bundle(tmp_path / "single.onnx", task="single-label")).explain(picture).scores
    logits = np.array([14.0, -2.0, -2.0])  # the largest of each class, from the half that has it
    np.testing.assert_allclose(multi, 1 / (1 + np.exp(-logits)), atol=2e-2)
    np.testing.assert_allclose(single, np.exp(logits) / np.exp(logits).sum(), atol=2e-2)
    assert single.sum() == pytest.approx(1)


def test_scores_of_logits_that_are_not_finite() -> None:
    broken = np.array([np.nan, 0, np.inf, -np.inf], np.float32)
    assert explain.scores_of(broken, "multi-label").tolist() == [0, 0.5, 0, 0]
    assert explain.scores_of(broken, "single-label").tolist() == [0, 1, 0, 0]
    assert explain.scores_of(broken[2:], "single-label").tolist() == [0, 0]
    large = np.array([3e38, -3e38, 3e38], np.float32)
    assert explain.scores_of(large, "single-label").tolist() == [0.5, 0, 0.5]
    assert explain.scores_of(large, "multi-label").tolist() == [1, 0, 1]


def test_stages_give_what_explain_gives(explainer: edgex.Explainer) -> None:
    picture = patched_picture()
    tensor = explainer.preprocess(picture)
    assert (tensor.shape, tensor.dtype) == ((1, 3, 32, 32), np.float32)
    logits = explainer.infer(tensor)
    staged, whole = explainer.explanation(picture, logits), explainer.explain(picture)
    np.testing.assert_array_equal(staged.mask_logits, whole.mask_logits)
    np.testing.assert_array_equal(staged.compose(), whole.compose())
    mine = explainer.explanation(picture, Logits(logits.mask_logits, None))
    assert mine.scores is None


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (33, 5), (600, 800)])
def test_takes_any_size(explainer: edgex.Explainer, shape: tuple[int, int]) -> None:
    picture = np.zeros((*shape, 3), np.uint8)
    picture[:] = (0, 0, 255)
    explanation = explainer.explain(picture)
    assert explanation.top()[0][0] == "red"
    assert explanation.compose().shape == picture.shape
    assert explanation.mask("red").shape == shape


def test_takes_any_strides(explainer: edgex.Explainer) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for view in (picture[::-1, ::-2], picture.transpose(1, 0, 2), picture[:, :, ::-1]):
        plain = explainer.explain(np.ascontiguousarray(view)).compose(["red", "blue"])
        np.testing.assert_array_equal(explainer.explain(view).compose(["red", "blue"]), plain)


@pytest.mark.parametrize(
    "picture",
    [
        np.zeros((4, 4, 3), np.float32),
        np.zeros((4, 4, 3), np.uint16),
        np.zeros((4, 4), np.uint8),
        np.zeros((4, 4, 4), np.uint8),
        np.zeros((0, 4, 3), np.uint8),
        None,
        "picture.png",
    ],
)
def test_anything_but_a_picture_is_refused(explainer: edgex.Explainer, picture: object) -> None:
    with pytest.raises(UsageError, match=r"expected a uint8 picture of shape \[H, W, 3\] \(BGR\), got .*; convert"):
        explainer.explain(picture)  # type: ignore[arg-type]


def test_unknown_class_names_the_nearest(explainer: edgex.Explainer) -> None:
    explanation = explainer.explain(patched_picture())
    with pytest.raises(UnknownClassError, match=r"got 'gren'; did you mean green"):
        explanation.mask("gren")
    with pytest.raises(UnknownClassError, match=r"got 'zebra'; the model has: red, green, blue"):
        explanation.compose(["red", "zebra"])
    with pytest.raises(UsageError, match="at least one class name"):
        explanation.compose([])


def test_names_resolve() -> None:
    labels = ("Dog", "cat", "dog", "Tree frog")
    assert explain.resolve(["cat", "dog", "cat", "Dog"], labels) == (1, 2, 0)
    assert explain.resolve([" CAT ", "tree FROG"], labels) == (1, 3)
    assert explain.resolve("cat", labels) == (1,)
    with pytest.raises(UnknownClassError, match="did you mean Dog or dog"):
        explain.resolve(["DOG"], labels)
    with pytest.raises(UnknownClassError):
        explain.resolve([""], labels)


def test_selection_breaks_ties_by_index_and_checks_its_options() -> None:
    scores = np.array([0.5, 0.9, 0.5, 0.1], np.float32)
    assert explain.select(scores, "abcd") == (1, 0, 2)
    assert explain.select(scores, "abcd", k=2) == (1, 0)
    assert explain.select(scores, "abcd", k=9, threshold=0) == (1, 0, 2, 3)
    for options in ({"k": 0}, {"threshold": 1.1}, {"threshold": -0.1}, {"threshold": float("nan")}):
        with pytest.raises(UsageError):
            explain.select(scores, "abcd", **options)


def test_explainer_without_classifier_needs_names(tmp_path: Path) -> None:
    explanation = edgex.load(write_bundle(tmp_path / "m.onnx", class_head=False)).explain(patched_picture())
    assert explanation.scores is None
    with pytest.raises(UsageError, match="no classifier that could choose; name some of: red, green, blue"):
        explanation.compose()
    with pytest.raises(UsageError, match="no classifier"):
        explanation.top()
    assert [(s.label, s.score) for s in explanation.shown(["blue", "red"])] == [("blue", None), ("red", None)]
    assert explanation.compose(["red"]).shape == explanation.image.shape


@pytest.mark.parametrize("class_head", [True, False])
def test_model_of_fixed_batch_explains_one_picture(tmp_path: Path, class_head: bool) -> None:
    picture = patched_picture()
    fixed = edgex.load(write_bundle(tmp_path / "fixed.onnx", batch=3, class_head=class_head)).explain(picture)
    free = edgex.load(write_bundle(tmp_path / "free.onnx", class_head=class_head)).explain(picture)
    np.testing.assert_allclose(fixed.mask_logits, free.mask_logits, atol=1e-5)
    assert (fixed.scores is None) == (not class_head)


def test_model_without_manifest_says_what_it_lacks(tmp_path: Path) -> None:
    path = write_bundle(tmp_path / "m.onnx", with_manifest=False)
    with pytest.raises(
        ModelError, match=r"expected a manifest .*, got none; export .* python -m training export"
    ) as caught:
        edgex.load(path)
    assert caught.value.exit_code == 1
    assert str(path) in str(caught.value)


def test_load_takes_text_and_path_and_closes(bundle: Path) -> None:
    with edgex.load(str(bundle)) as explainer:
        assert explainer.manifest == tiny_manifest()
    with pytest.raises(ModelError, match="closed"):
        explainer.explain(patched_picture())


def test_shipped_files_are_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain, "MODELS", tmp_path)
    for shipped in (explain.shipped_bundle, explain.shipped_clip, edgex.load):
        with pytest.raises(ModelError, match=r"expected the shipped .*, got no file; name a"):
            shipped()
    write_bundle(tmp_path / "shipped.onnx", labels=("a", "b"))
    assert edgex.load().labels == ("a", "b")


def test_threads_may_share_an_explainer(explainer: edgex.Explainer) -> None:
    pictures = [patched_picture(48, 48, name) for name in ("red", "green", "blue")] * 8
    alone = [explainer.explain(picture).compose() for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda picture: explainer.explain(picture).compose(), pictures))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)


def test_every_error_is_an_edgex_error() -> None:
    assert issubclass(UnknownClassError, UsageError)
    assert (EdgexError.exit_code, UsageError.exit_code) == (1, 2)
