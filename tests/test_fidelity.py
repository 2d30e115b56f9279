"""Fidelity figures: held against float64 sums by hand, over real tiny models in a real backend."""

from __future__ import annotations

import gc
import importlib.util
import json
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from onnx import TensorProto, helper, numpy_helper

from edgex.compositors import reference as oracle
from edgex.engines import Network, open_network
from edgex.errors import ModelError, UsageError
from edgex.fidelity import Budget, Fidelity, FrameFidelity, OutputFidelity, Reference, compare, shortfalls
from edgex.fidelity_figures import OutputSums, intersection_over_union
from tests.bundles import write_bundle

SIDE = 32
Named = list[tuple[str, np.ndarray]]


def blotches(count: int = 24, seed: int = 0) -> Named:
    """Return inputs of smooth colour blotches, in which masks of every size lie."""
    rng = np.random.default_rng(seed)
    coarse = rng.uniform(-1, 1, (count, 3, 4, 4)).astype(np.float32)
    fine = np.repeat(np.repeat(coarse, SIDE // 4, axis=2), SIDE // 4, axis=3)
    return [(f"picture {i}", fine[i : i + 1]) for i in range(count)]


GREY: Named = [("grey", np.zeros((1, 3, SIDE, SIDE), np.float32))]


def changed(source: Path, path: Path, bias: Any = 0.0, tilt: float = 0.0) -> Path:
    """Write a copy whose logits are shifted by `bias`; `tilt` scales how much a class dislikes other colours."""
    model = onnx.load(source)
    for tensor in model.graph.initializer:
        values = numpy_helper.to_array(tensor).copy()
        values = values + np.asarray(bias, np.float32) if tensor.name == "bias" else values
        values = np.where(values < 0, values * (1 + tilt), values) if tensor.name == "weight" else values
        tensor.CopyFrom(numpy_helper.from_array(values.astype(np.float32), tensor.name))
    onnx.save(model, path)
    return path


def opened(path: Path) -> Network:
    return open_network(path, "onnxruntime", threads=1)


class Counting:
    """A real network that counts how often it is asked."""

    def __init__(self, network: Network) -> None:
        self.backend, self.path, self.manifest = network.backend, network.path, network.manifest
        self.input, self.outputs, self.count, self._network = network.input, network.outputs, 0, network

    def run(self, image: np.ndarray) -> dict[str, np.ndarray]:
        self.count += 1
        return self._network.run(image)

    def close(self) -> None:
        self._network.close()


def by_hand(a: Network, b: Network, tensors: Named, task: str | None) -> dict[str, Any]:
    """Return the figures, in float64 and plain loops; nothing of edgex.fidelity is used."""

    def scores(outputs: dict[str, np.ndarray]) -> np.ndarray:
        logits = outputs["class_logits"][0].astype(np.float64)
        powers = np.exp(logits - logits.max())
        return powers / powers.sum() if task == "single-label" else 1 / (1 + np.exp(-logits))

    found: dict[str, Any] = {key: [] for key in ("iou", "difference", "agrees", "scores", "drop", "none")}
    for _, tensor in tensors:
        one, other = a.run(tensor), b.run(tensor)
        classes = list(range(one["mask_logits"].shape[1]))
        if task:
            p, q = scores(one), scores(other)
            top = [sorted(classes, key=lambda i, s=s: (-s[i], i))[:3] for s in (p, q)]
            shown, shown_b = ([i for i in t if s[i] >= 0.5] for t, s in zip(top, (p, q), strict=True))
            if shown or task == "single-label":
                found["agrees"].append(top[0][0] == top[1][0])
            found["scores"].append(np.mean([abs(p[i] - q[i]) for i in {*shown, *shown_b, top[0][0]}]))
        else:
            shown = classes
        if not shown:
            found["none"].append(1)
            continue
        planes = [[oracle.sample(o["mask_logits"][0, i], SIDE, SIDE) for i in shown] for o in (one, other)]
        found["difference"].append(
            np.mean([np.abs(oracle.sigmoid(x) - oracle.sigmoid(y)) for x, y in zip(*planes, strict=True)])
        )
        merged = [np.max(each, axis=0) for each in planes]
        union, both = ((merged[0] >= 0) | (merged[1] >= 0)).sum(), ((merged[0] >= 0) & (merged[1] >= 0)).sum()
        if union:
            found["iou"].append(both / union)
        if task:
            under = [scores(a.run((tensor * oracle.sigmoid(m)).astype(np.float32)))[shown] for m in merged]
            found["drop"].append(np.maximum(under[0] - under[1], 0).mean())
    return found


def assert_is(fidelity: Fidelity, hand: dict[str, Any]) -> None:
    assert fidelity.frames_with_mask == len(hand["iou"]) > 5
    assert fidelity.frames_without_class == len(hand["none"])
    assert fidelity.mask_iou_mean == pytest.approx(np.mean(hand["iou"]), abs=1e-9)
    assert fidelity.mask_iou_p5 == pytest.approx(np.percentile(hand["iou"], 5), abs=1e-9)
    assert fidelity.mask_difference_mean == pytest.approx(np.mean(hand["difference"]), abs=1e-6)


@pytest.mark.parametrize("task", ["multi-label", "single-label"])
@pytest.mark.parametrize(("bias", "tilt"), [(1.5, 0.0), (-2.0, 0.0), ((3.0, -1.0, 0.5), 0.3)])
def test_figures_are_those_worked_out_by_hand(tmp_path: Path, task: Any, bias: Any, tilt: float) -> None:
    source = changed(write_bundle(tmp_path / "a.onnx", task=task), tmp_path / "a.onnx", -1.0)
    a, b = opened(source), opened(changed(source, tmp_path / "b.onnx", bias, tilt))
    tensors = [*blotches(), *GREY]  # grey shows no class
    fidelity = compare(a, b, tensors)
    hand = by_hand(a, b, tensors, task)
    assert_is(fidelity, hand)
    assert len(hand["none"]) > 0
    assert 0 < np.mean(hand["iou"]) < 1
    assert fidelity.top1_agreement == pytest.approx(np.mean(hand["agrees"]))
    assert fidelity.score_difference_mean == pytest.approx(np.mean(hand["scores"]), abs=1e-6)
    assert fidelity.score_drop_mean == pytest.approx(np.mean(hand["drop"]), abs=1e-6)


def test_a_model_without_classifier_is_judged_by_all_its_masks(tmp_path: Path) -> None:
    source = write_bundle(tmp_path / "a.onnx", class_head=False)
    a, b = opened(source), opened(changed(source, tmp_path / "b.onnx", -3.0))
    fidelity = compare(a, b, blotches())
    assert_is(fidelity, by_hand(a, b, blotches(), None))
    assert (fidelity.top1_agreement, fidelity.score_difference_mean, fidelity.score_drop_mean) == (None, None, None)
    assert fidelity.worst[0].classes == ("red", "green", "blue")
    assert [line.partition(" of ")[0] for line in shortfalls(fidelity)] == [
        "expected a mean mask IoU",
        "expected a 5th percentile",
        "expected a mean difference",
    ]


def test_a_model_beside_itself_is_the_same(bundle: Path) -> None:
    fidelity = compare(opened(bundle), opened(bundle), blotches())
    assert fidelity.mask_iou_mean == fidelity.mask_iou_p5 == fidelity.top1_agreement == 1.0
    assert fidelity.mask_difference_mean == fidelity.score_difference_mean == fidelity.score_drop_mean == 0.0
    assert fidelity.outputs["mask_logits"].relative_error == 0.0
    assert fidelity.outputs["mask_logits"].cosine == pytest.approx(1.0)
    assert fidelity.frames == 24
    assert shortfalls(fidelity) == ()


def test_the_worst_frames_are_the_worst(bundle: Path, tmp_path: Path) -> None:
    a, b = opened(bundle), opened(changed(bundle, tmp_path / "b.onnx", (2.0, -1.0, 0.0)))
    single = [compare(a, b, [named]) for named in blotches(40)]
    ious = {one.worst[0].name: one.mask_iou_mean for one in single if one.mask_iou_mean is not None}
    fidelity = compare(a, b, blotches(40))
    assert [frame.name for frame in fidelity.worst] == sorted(ious, key=lambda name: ious[name])[:5]
    assert [frame.iou for frame in fidelity.worst] == sorted(ious.values())[:5]
    assert all(blotches(40)[frame.index][0] == frame.name for frame in fidelity.worst)


def test_a_mask_that_is_gone_counts_as_no_overlap_and_two_that_are_not_there_as_nothing(tmp_path: Path) -> None:
    source = write_bundle(tmp_path / "a.onnx", class_head=False)
    empty = changed(source, tmp_path / "empty.onnx", -100.0)
    gone = compare(opened(source), opened(empty), blotches())
    assert gone.mask_iou_mean == 0.0
    nothing = compare(opened(empty), opened(empty), blotches())
    assert (nothing.frames_with_mask, nothing.frames_without_mask, nothing.mask_iou_mean) == (0, 24, None)
    assert nothing.mask_difference_mean == 0.0
    (sentence,) = shortfalls(nothing)
    assert sentence.startswith("expected at least 1 frame in which the model shows a class and its mask, got 0 of 24")


def test_without_a_class_or_a_frame_nothing_passes(bundle: Path) -> None:
    grey = compare(opened(bundle), opened(bundle), GREY)
    assert (grey.frames, grey.frames_without_class, grey.frames_with_mask, grey.frames_without_mask) == (1, 1, 0, 0)
    assert (grey.mask_iou_mean, grey.mask_difference_mean, grey.score_drop_mean) == (None, None, None)
    assert grey.top1_agreement is None
    assert "could not be judged" in " ".join(shortfalls(grey))
    none = compare(opened(bundle), opened(bundle), [])
    assert none.frames == 0
    assert none.outputs["mask_logits"] == OutputFidelity()
    assert shortfalls(none) == ("expected at least 1 frame to compare, got none; give pictures or a video",)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["reference", "candidate"])
def test_what_is_not_finite_is_refused(bundle: Path, tmp_path: Path, value: float, which: str) -> None:
    broken = changed(bundle, tmp_path / "broken.onnx", (0.0, value, 0.0))
    pair = (broken, bundle) if which == "reference" else (bundle, broken)
    with pytest.raises(ModelError, match=r"finite (mask|class)_logits of .*broken.onnx for picture 0, got NaN or inf"):
        compare(*(opened(path) for path in pair), blotches())


def test_a_model_of_another_kind_is_refused(bundle: Path, tmp_path: Path) -> None:
    masks = opened(write_bundle(tmp_path / "masks.onnx", class_head=False))
    with pytest.raises(ModelError, match=r"expected outputs class_logits of .*masks.onnx"):
        compare(opened(bundle), masks, blotches(1))
    more = opened(write_bundle(tmp_path / "more.onnx", labels=("a", "b", "c", "d")))
    with pytest.raises(ModelError, match=r"expected mask_logits \[1, 3, 4, 4\] of .*more.onnx, got \[1, 4, 4, 4\]"):
        compare(opened(bundle), more, blotches(1))


def test_a_model_of_another_input_is_named(bundle: Path, tmp_path: Path) -> None:
    larger = opened(write_bundle(tmp_path / "larger.onnx", size=(40, 40)))
    with pytest.raises(ModelError, match=r"larger.onnx to take the same input as the other model: .*\[N, 3, 40, 40\]"):
        compare(opened(bundle), larger, blotches(1))


def test_a_fixed_batch_is_filled(bundle: Path, tmp_path: Path) -> None:
    four = opened(write_bundle(tmp_path / "four.onnx", batch=4))
    filled = compare(opened(bundle), four, blotches(6))
    assert filled.mask_iou_mean == 1.0
    assert filled.outputs["mask_logits"].relative_error == pytest.approx(0.0, abs=1e-5)
    assert filled.outputs["mask_logits"].frames_of_another_shape == 0
    assert compare(four, opened(bundle), blotches(6)).mask_difference_mean == pytest.approx(0.0, abs=1e-6)


@pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="OpenVINO is not installed")
def test_two_backends_are_compared(bundle: Path) -> None:
    fidelity = compare(opened(bundle), open_network(bundle, "openvino"), blotches())
    assert fidelity.top1_agreement is not None
    assert fidelity.top1_agreement > 0.9
    assert fidelity.mask_iou_mean == pytest.approx(1.0, abs=0.05)


def test_the_reference_runs_once_a_frame_for_many_candidates(bundle: Path, tmp_path: Path) -> None:
    network, other = Counting(opened(bundle)), opened(changed(bundle, tmp_path / "b.onnx", 1.0))
    reference = Reference(network, blotches(), score_drop=False)
    first, observed = reference.compare(other), []
    assert network.count == 24
    assert reference.compare(other, observed.append) == first
    assert reference.compare(opened(bundle)).mask_iou_mean == 1.0
    assert (network.count, observed) == (24, list(range(1, 25)))
    poor = Reference(network, blotches(), score_drop=False, kept_bytes=5 * 4 * (3 * 4 * 4 + 3))
    assert poor.compare(other) == poor.compare(other) == first
    assert network.count == 24 + 24 + 19  # five frames fit
    full = Reference(network, blotches()).compare(other)
    assert full == compare(opened(bundle), other, blotches())
    assert first.score_drop_mean is None
    assert full.score_drop_mean is not None


def test_frames_are_not_kept(bundle: Path) -> None:
    alive: list[weakref.ref[np.ndarray]] = []

    def passing() -> Iterator[tuple[str, np.ndarray]]:
        for name, tensor in blotches(9):
            own = tensor.copy()
            alive.append(weakref.ref(own))
            yield name, own
            del own
            gc.collect()
            assert sum(each() is not None for each in alive) <= 1

    assert compare(opened(bundle), opened(bundle), passing()).frames == 9


def foreign(path: Path, gain: float = 1.0, turned: bool = False, pool: int = 8) -> Path:
    """Write a model without manifest: scores [1, 3] (a class for each colour) and a map [1, 3, h, w]."""
    weight = (np.roll(np.eye(3), int(turned), axis=0) * gain).astype(np.float32)[:, :, None, None]
    nodes = [
        helper.make_node("Conv", ["x", "weight"], ["mixed"]),
        helper.make_node("AveragePool", ["mixed"], ["map"], kernel_shape=[pool] * 2, strides=[pool] * 2),
        helper.make_node("GlobalAveragePool", ["mixed"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["scores"]),
    ]
    outputs = [
        helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3]),
        helper.make_tensor_value_info("map", TensorProto.FLOAT, [1, 3, None, None]),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, SIDE, SIDE])]
    graph = helper.make_graph(nodes, "foreign", inputs, outputs, [numpy_helper.from_array(weight, "weight")])
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )
    return path


def test_a_foreign_model_is_compared_output_by_output(tmp_path: Path) -> None:
    a, b = opened(foreign(tmp_path / "a.onnx")), opened(foreign(tmp_path / "b.onnx", 1.25))
    fidelity = compare(a, b, blotches())
    runs = [a.run(tensor) for _, tensor in blotches()]
    for name in ("scores", "map"):
        values = np.stack([run[name] for run in runs]).astype(np.float64)
        error = 0.25 * np.sqrt(np.mean(values**2)) / values.std()
        assert fidelity.outputs[name].relative_error == pytest.approx(error, rel=1e-5)
        assert fidelity.outputs[name].cosine == pytest.approx(1.0)
    assert fidelity.outputs["map"].top1_agreement is None
    assert fidelity.top1_agreement == fidelity.outputs["scores"].top1_agreement == 1.0
    assert (fidelity.mask_iou_mean, fidelity.score_drop_mean, fidelity.frames_without_class) == (None, None, 0)
    (sentence,) = shortfalls(fidelity)  # the scores name the same class, the map has nothing to excuse it
    assert sentence.startswith("expected output map with a relative error of at most 0.1, got 0.25")
    turned = compare(a, opened(foreign(tmp_path / "t.onnx", turned=True)), blotches())
    assert turned.top1_agreement == 0.0
    assert any("output scores" in line and "top-1 agreement of 0" in line for line in shortfalls(turned))


def test_an_output_of_another_shape_is_said_and_never_passes(tmp_path: Path) -> None:
    a, b = opened(foreign(tmp_path / "a.onnx")), opened(foreign(tmp_path / "b.onnx", pool=4))
    fidelity = compare(a, b, blotches(3))
    assert fidelity.outputs["map"] == OutputFidelity(frames_of_another_shape=3)
    assert fidelity.to_dict()["worst"][0]["error"] is None
    (sentence,) = shortfalls(fidelity)
    assert sentence == "expected output map of the reference's shape in every frame, got another one in 3 of 3"


def test_figures_are_json(bundle: Path, tmp_path: Path) -> None:
    fidelity = compare(opened(bundle), opened(changed(bundle, tmp_path / "b.onnx", 1.0)), [*blotches(8), *GREY])
    tree = json.loads(json.dumps(fidelity.to_dict(), allow_nan=False))
    assert tree["mask_iou_mean"] == fidelity.mask_iou_mean
    assert len(tree["worst"]) == 5
    assert set(tree["worst"][0]["classes"]) <= {"red", "green", "blue"}
    assert tree["outputs"]["class_logits"]["relative_error"] > 0


def test_each_bound_is_a_sentence() -> None:
    poor = Fidelity(
        9, 0, 9, 0, 0.5, 0.1, 0.3, 0.6, 0.2, 0.4, {"mask_logits": OutputFidelity(), "class_logits": OutputFidelity()}
    )
    assert shortfalls(poor) == (
        "expected a mean mask IoU of at least 0.95, got 0.5",
        "expected a 5th percentile of the mask IoU of at least 0.85, got 0.1",
        "expected a top-1 agreement of at least 0.98, got 0.6",
        "expected a mean difference of masks of at most 0.02, got 0.3",
        "expected a mean score drop of at most 0.05, got 0.4",
    )
    assert shortfalls(poor, Budget(0.5, 0.1, 0.6, 0.3, 0.4)) == ()
    assert "at least 10 frames" in shortfalls(poor, Budget(0.5, 0.1, 0.6, 0.3, 0.4, frames_with_mask=10))[0]


@pytest.mark.parametrize("bound", [{"mask_iou_mean": 1.5}, {"score_drop": -0.1}, {"top1_agreement": float("nan")}])
def test_a_budget_that_is_none_is_refused(bound: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"expected a budget of {next(iter(bound))} of 0 to 1"):
        Budget(**bound)
    with pytest.raises(UsageError, match="frames_with_mask of 1 or more"):
        Budget(frames_with_mask=0)


MASKS = arrays.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


@given(st.data())
def test_iou_is_symmetric_and_between_0_and_1(data: st.DataObject) -> None:
    one = data.draw(MASKS)
    other = data.draw(arrays.arrays(np.bool_, one.shape))
    iou = intersection_over_union(one, other)
    assert iou == intersection_over_union(other, one)
    assert (iou is None) == (not one.any() and not other.any())
    if iou is not None:
        assert 0.0 <= iou <= 1.0
        assert (iou == 1.0) == np.array_equal(one, other)
        assert (iou == 0.0) == (not (one & other).any())


FLOATS = st.floats(-1e3, 1e3, width=32)


@given(arrays.arrays(np.float32, (3, 1, 5), elements=FLOATS), arrays.arrays(np.float32, (3, 1, 5), elements=FLOATS))
def test_sums_over_frames_give_what_numpy_gives_of_all_at_once(ours: np.ndarray, theirs: np.ndarray) -> None:
    sums = OutputSums()
    for pair in zip(ours, theirs, strict=True):
        sums.add(*pair)
    found, a, b = sums.fidelity(), ours.astype(np.float64), theirs.astype(np.float64)
    assert found.top1_agreement == pytest.approx(np.mean(a.argmax(2) == b.argmax(2)))
    if a.std() > 1e-3 * np.abs(a).max() > 1e-9:
        assert found.relative_error == pytest.approx(np.sqrt(np.mean((a - b) ** 2)) / a.std(), rel=1e-6)
    assert found.cosine is not None
    assert -1.0 <= found.cosine <= 1.0


def test_the_rank_puts_the_worst_first() -> None:
    frames = [
        FrameFidelity(0, "no mask"),
        FrameFidelity(1, "half", iou=0.5),
        FrameFidelity(2, "half, another class", iou=0.5, agrees=False),
        FrameFidelity(3, "whole", iou=1.0),
        FrameFidelity(4, "no mask, further off", error=2.0),
    ]
    assert [frame.index for frame in sorted(frames, key=lambda each: each.rank)] == [2, 1, 3, 4, 0]
