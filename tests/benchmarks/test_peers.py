"""The peers' benchmark: what is compared is the same work, aims follow from the figures. No time is asserted."""

from __future__ import annotations

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from benchmarks import costs, costs_plot, peers, peers_attribution, peers_engines, peers_rounds, peers_torch, rounds
from benchmarks.drawing_peers import opencv_input
from benchmarks.peers_aims import judged
from benchmarks.peers_frame import Replay, edgex_rivals
from benchmarks.peers_overhead import measure_overhead
from benchmarks.peers_rounds import Rival, ratio, table_of, times_of
from benchmarks.peers_scene import (
    Scene,
    attempted,
    correlation,
    engines_of,
    numpy_composite,
    open_scene,
    require_composite,
    require_picture,
)
from edgex.manifest import InputSpec
from tests.bundles import write_bundle

SIZE = (72, 128)  # rows, columns
LABELS = ("red", "green", "blue", "more red")


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rounds, "WARM_NS", 0)
    for name in ("PAUSE_S", "TIMED_NS"):
        monkeypatch.setattr(peers_rounds, name, 0)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    path = write_bundle(tmp_path_factory.mktemp("peers") / "tiny.onnx", LABELS, half_weights=True)
    model = onnx.load(path)
    for node in model.graph.node:  # onnx2torch knows no GlobalMaxPool
        node.op_type = node.op_type.replace("GlobalMaxPool", "GlobalAveragePool")
    onnx.save(model, path)
    return open_scene(path, SIZE, threads=1)


@pytest.fixture(scope="module")
def logits(scene: Scene) -> np.ndarray:
    return np.random.default_rng(0).normal(0.0, 3.0, (len(LABELS), 4, 4)).astype(np.float32)


def test_each_round_runs_each_rival_and_one_round_is_thrown_away() -> None:
    seen: list[str] = []
    rivals = {name: Rival(lambda: None, before=lambda name=name: seen.append(name)) for name in "ab"}
    spent = times_of(rivals, 3)
    assert {name: len(times) for name, times in spent.items()} == {"a": 3, "b": 3}
    assert [{*seen[2 * turn : 2 * turn + 2]} for turn in range(4)] == [{"a", "b"}] * 4


def test_ratios_are_taken_within_a_round_and_times_for_one_picture() -> None:
    assert ratio([2.0, 40.0, 6.0], [1.0, 10.0, 2.0]) == {"median": 3.0, "lower": 2.5, "upper": 3.5}
    table = table_of({"a": Rival(len, note="x"), "b": Rival(len)}, {"a": [1.0, 2.0], "b": [4.0, 8.0]}, "a")
    assert table["b"]["over_base"]["median"] == 4.0
    assert table["a"] == {"median_ms": 1.5, "lower_ms": 1.25, "upper_ms": 1.75, "rounds": 2, "note": "x"} | {
        "over_base": {"median": 1.0, "lower": 1.0, "upper": 1.0}
    }
    with pytest.raises(ValueError, match="at least 1 picture"):
        Rival(len, pictures=0)


def test_numpy_draws_what_the_oracle_draws(scene: Scene, logits: np.ndarray) -> None:
    picture = numpy_composite(scene.image, logits, scene.drawing)
    assert require_composite("NumPy", scene, picture, logits)["apart"] <= 1e-3
    with pytest.raises(SystemExit, match="more than a level"):
        require_composite("NumPy", scene, picture[::-1].copy(), logits)
    with pytest.raises(SystemExit, match="expected a uint8 picture"):
        require_picture("NumPy", picture[:-1], picture)


def test_the_three_classes_drawn_are_the_highest_of_the_frame(scene: Scene) -> None:
    assert len(scene.classes) == len(set(scene.labels)) == 3
    assert len(scene.drawing.colors) == 3
    assert scene.image.shape == (*SIZE, 3)


@pytest.fixture(scope="module")
def everyone(scene: Scene) -> dict[str, tuple[Rival, dict[str, Any]]]:
    """Return all peers that can run here, with a small network in place of the paper's."""
    patch = pytest.MonkeyPatch()
    patch.setattr(peers_torch, "PAPER", "lraspp_mobilenet_v3_large")
    patch.setattr(peers_torch, "PAPER_INPUT", InputSpec(64, 64, (0.5,) * 3, (0.5,) * 3))
    try:
        made, missing = attempted(peers._peers(scene, compiled=False))
    finally:
        patch.undo()
    assert set(missing) <= {"captum"}, missing
    return made


def test_every_peer_gives_a_picture_of_the_frame_s_size(everyone: dict[str, Any], scene: Scene) -> None:
    for name, (rival, found) in everyone.items():
        picture = rival.call()
        assert picture.shape == scene.image.shape, name
        assert picture.dtype == np.uint8
        assert found, name


def test_both_packages_explain_the_same(scene: Scene) -> None:
    pytest.importorskip("captum")
    network, layer, prepare = peers_attribution._prepared(scene)
    from captum.attr import LayerGradCam

    theirs = LayerGradCam(network, layer).attribute(prepare(), target=list(scene.classes), relu_attributions=True)
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.model_targets import ClassifierOutputTarget

    cam = GradCAM(model=network, target_layers=[layer])
    ours = cam(input_tensor=prepare(), targets=[ClassifierOutputTarget(index) for index in scene.classes])
    large = torch.nn.functional.interpolate(theirs, ours.shape[1:], mode="bilinear").detach().numpy()[:, 0]
    for one, other in zip(ours, large, strict=True):
        assert correlation(one, other) in (None, pytest.approx(1.0, abs=0.1))


def test_gradients_may_end_early_without_changing_the_maps(everyone: dict[str, Any]) -> None:
    full, thrifty = (everyone[f"pytorch-grad-cam{end}"][0].call() for end in ("", ", thrifty"))
    assert np.array_equal(full, thrifty)


def test_a_classifier_that_gives_other_logits_is_refused(scene: Scene) -> None:
    with pytest.raises(SystemExit, match="others"):
        peers_torch._require_same(scene, lambda image: (torch.zeros(1, len(LABELS)), None))


def test_the_last_maps_are_those_before_the_pooling(scene: Scene) -> None:
    network = peers_torch.classifier_of(scene)
    image = torch.from_numpy(opencv_input(scene.image, scene.manifest.input)())
    layer = peers_attribution.last_maps(network, image)
    assert isinstance(layer, torch.nn.Conv2d)
    with pytest.raises(SystemExit, match="feature maps"):
        peers_attribution.last_maps(torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()), image)


def test_edgex_is_held_against_the_oracle_on_both_paths(scene: Scene) -> None:
    with ExitStack() as stack:
        rivals, checks = edgex_rivals(scene, {"onnxruntime fp32": (scene.bundle, "onnxruntime")}, stack)
        assert set(rivals) == {"edgex, onnxruntime fp32", "edgex pipeline, onnxruntime fp32"}
        (shot,) = rivals["edgex pipeline, onnxruntime fp32"].call()
        assert [each.label for each in shot.shown] == list(scene.labels)
        assert checks["edgex, onnxruntime fp32"]["apart"] <= 1e-3


def test_replayed_frames_end_when_they_are_stopped() -> None:
    replay = Replay(np.zeros((4, 4, 3), np.uint8), 5)
    frames = iter(replay)
    assert next(frames).index == 0
    replay.stop()
    assert next(frames, None) is None


def test_a_peer_that_cannot_run_is_named_and_the_others_go_on() -> None:
    def absent() -> Any:
        raise ModuleNotFoundError("No module named 'absent'")

    made, missing = attempted({"absent": absent, "there": lambda: 1})
    assert made == {"there": 1}
    assert missing == {"absent": "not measured: ModuleNotFoundError: No module named 'absent'"}


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_bare_sessions_give_what_edgex_gives(scene: Scene, backend: str, batch: int) -> None:
    pytest.importorskip(backend)
    image = peers_engines.batch_of(scene, batch)
    found = peers_engines.raw_session(scene.bundle, backend, batch, 1)(image)
    assert [list(each.shape) for each in found] == [[batch, 4], [batch, 4, 4, 4]]


def test_benchmark_app_gives_its_throughput_and_streams(scene: Scene) -> None:
    pytest.importorskip("openvino")
    (row,) = peers_engines.measure_throughput(scene, engines_of(scene, {}), seconds=1, turns=1)
    assert row["engine"] == "openvino fp32"
    assert row["streams"] >= 1
    assert min(row["per_second"].values()) > 0


def test_bench_s_own_time_is_that_of_a_call_that_does_nothing() -> None:
    found = measure_overhead(turns=3, turn_s=0.05)
    assert found["samples"] > 100
    assert 0.0 < found["us_a_sample"]["lower"] <= found["us_a_sample"]["median"] <= found["us_a_sample"]["upper"]


def test_aims_are_judged_from_the_figures() -> None:
    def over(median: float) -> dict[str, Any]:
        ratio = {"median": median, "lower": median / 2, "upper": median * 2}
        return {"over_base": ratio, "over_pipeline": {name: 1.2 * each for name, each in ratio.items()}}

    contenders = {"pytorch-grad-cam": over(21.0), "paper's model, torch eager": over(59.0)}
    engine = {"engine": "e", "batch": 8, "contenders": {"edgex": over(1.06)}}
    sections = {
        "frame": {"base": "edgex, e", "pipeline": "edgex pipeline, e", "contenders": contenders},
        "engines": [engine],
        "throughput": [{"engine": "e", "ratio": over(1.0)["over_base"]}],
        "overhead": {"us_a_sample": {"median": 10.1, "lower": 0.4, "upper": 11.0}},
    }
    found = judged({"sections": sections})
    assert [(each["kind"], each["bound"], each["met"]) for each in found] == [
        ("at least", 20.0, True),
        ("at least", 60.0, True),
        ("at least", 20.0, True),
        ("at least", 60.0, False),
        ("at most", 1.05, False),
        ("at least", 1.0, True),
        ("at most", 10.0, False),
    ]
    assert judged({"sections": {}}) == []


def test_a_report_is_json_and_names_nothing_of_the_machine(scene: Scene) -> None:
    report = json.loads(
        json.dumps(peers.measure(scene, engines_of(scene, {}), 1, ("engines", "drawing"), compiled=False))
    )
    assert {(row["engine"], row["batch"]) for row in report["sections"]["engines"]} >= {("onnxruntime fp32", 8)}
    assert set(report["sections"]["drawing"]["missing"]) <= {"supervision"}
    assert len(report["aims"]) == len(report["sections"]["engines"])
    assert str(scene.bundle.parent) not in json.dumps(report)


def test_costs_become_four_plots(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(costs, "SIZES", {"small": (45, 80), "large": (90, 160)})
    monkeypatch.setattr(costs, "BATCHES", (1, 2))
    monkeypatch.setattr(costs, "SYNTHETIC", (20,))
    report = json.loads(json.dumps(costs.measure(scene, engines_of(scene, {}), 1)))
    assert set(report["classes"]["whole frame"]) == {"1", "2", "3", "4"}
    assert set(report["classes"]["drawing, synthetic"]) == {"20"}
    assert set(report["resolution"]) == {"whole frame", "preprocess", "network", "drawing"}
    assert all(set(line) == {"1", "2"} for line in report["batch"].values())
    paths = costs_plot.draw(report, tmp_path)
    assert [path.name for path in paths] == [f"cost-{n}.png" for n in ("classes", "resolution", "batch", "threads")]
    assert all(1000 < path.stat().st_size <= costs_plot.LARGEST_BYTES for path in paths)


def test_the_program_says_what_it_takes(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for module in (peers, costs):
        monkeypatch.setattr(sys, "argv", [module.__name__, "--help"])
        with pytest.raises(SystemExit) as ended:
            module.main()
        assert ended.value.code == 0
        assert "--engines" in capsys.readouterr().out
