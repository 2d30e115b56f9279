"""The step on engines of the GPU report, as far as that goes without a GPU: builds, times on a stand-in, page, aims."""

from __future__ import annotations

import importlib.util
import json
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import engines, engines_times
from benchmarks.gpu import engines_beside as beside
from benchmarks.gpu import engines_build as building
from benchmarks.gpu.engines_page import aims, page
from benchmarks.gpu.steps import Context, Missing
from benchmarks.precision_models import SHIPPED, Model, open_model
from edgex import cuda
from edgex.engines import open_network
from edgex.engines.tensorrt_api import reason_missing_build
from edgex.errors import FidelityError
from edgex.explain import shipped_bundle
from tests.stand_in_gpu import HostNetwork, StandIn

FRAMES = shipped_bundle().parent / "calibration"


def context(folder: Path, dry_run: bool, seconds: float = 600.0) -> Context:
    saved: list[str] = []
    return Context(
        dry_run, 2, folder, time.monotonic() + seconds, lambda line: None, lambda found: saved.append(json.dumps(found))
    )


@pytest.fixture
def tiny(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> Model:
    """A tiny model in the place of the shipped one."""
    model = Model(SHIPPED, bundle, FRAMES, trained=True)

    def opened(name: str, folder: Path) -> Model:
        if name != SHIPPED:
            raise ImportError("No module named 'torch'")
        return model

    monkeypatch.setattr(building, "open_model", opened)
    return model


def test_a_dry_run_builds_real_plans_and_takes_no_figure(tiny: Model, tmp_path: Path) -> None:
    if reason := reason_missing_build("tensorrt-rtx"):
        pytest.skip(reason)
    found = engines.step(context(tmp_path, dry_run=True))
    assert found["failures"] == []
    built = [row for row in found["rows"] if row["runtime"] == "tensorrt-rtx"]
    assert [row["precision"] for row in built] == ["fp32", "fp16"]
    assert all(row["bytes"] > 1000 and row["achieved"]["convolution"] for row in built)
    assert (found["calls"], found["on_gpu"], found["streams"], found["aims"]) == ([], [], [], [])
    assert found["missing"]["times on the GPU"] == "a dry run takes no figure"
    text = page(json.loads(json.dumps(found)))
    assert "| shipped bundle | tensorrt-rtx | fp16 |" in text
    assert "Walked: calls of shipped on the CPU" in text


@pytest.fixture
def on_stand_in(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A GPU that is none, without TensorRT, and ONNX Runtime on the CPU in the place of torch."""
    gpu = StandIn()
    monkeypatch.setattr(cuda, "reason_missing", lambda: None)
    monkeypatch.setattr(cuda, "device", lambda: gpu)
    monkeypatch.setattr(building, "flavours", lambda runs=True: ([], {"tensorrt": "expected it, got none"}))
    monkeypatch.setattr(engines_times, "EFFORT", engines_times.WALK)
    monkeypatch.setattr(engines_times, "BURST_S", 0.003)

    def opened(runtime: str, model: Model, precision: str) -> HostNetwork:
        if runtime == beside.ONNXRUNTIME:
            raise Missing("no CUDA provider")
        return HostNetwork(model.path, gpu)

    monkeypatch.setattr(beside, "open_beside", opened)
    return gpu


def test_everything_is_timed_where_a_stand_in_takes_the_engine_s_place(on_stand_in: StandIn, tmp_path: Path) -> None:
    found = engines.step(context(tmp_path, dry_run=False))
    assert found["failures"] == []
    assert [row["difference"] for row in found["rows"]] == [0.0, 0.0]
    assert sorted(case["batch"] for case in found["on_gpu"]) == [1, 8, 32]
    assert sorted(case["batch"] for case in found["calls"]) == [1, 8, 32]
    assert set(found["on_gpu"][0]["figures"]) == {"fp32 graph", "fp32 plain", "fp16 graph", "fp16 plain"}
    assert set(found["streams"][0]["figures"]) == {f"{each} {n}" for each in ("fp32", "fp16") for n in (1, 2, 4)}
    assert all(each["per_second"] > 0 for case in found["streams"] for each in case["figures"].values())
    text = page(json.loads(json.dumps(found)))
    assert "deeplabv3_resnet50: it is exported by torch and torchvision: No module named 'torch'." in text
    assert "There is no TensorRT on this machine: onnxruntime-cuda and torch took its place." in text
    assert "Not measured: shipped, fp32, onnxruntime-cuda: no CUDA provider." in text
    assert on_stand_in.live == 0


def test_without_time_nothing_is_begun(on_stand_in: StandIn, tmp_path: Path) -> None:
    found = engines.step(context(tmp_path, dry_run=False, seconds=0.0))
    assert found["rows"] == []
    assert found["missing"]["shipped, fp32, torch"] == "no time was left to build it"


def test_wrong_logits_and_refusals_are_failures(
    on_stand_in: StandIn, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def spoilt(runtime: str, model: Model, precision: str) -> HostNetwork:
        network = HostNetwork(model.path, on_stand_in)
        run = network._network.run
        network.run = lambda image: {name: each + 1 for name, each in run(image).items()}  # type: ignore[attr-defined]
        return network

    monkeypatch.setattr(beside, "open_beside", spoilt)
    found = engines.step(context(tmp_path, dry_run=False, seconds=30.0))
    assert found["failures"][0] == ("shipped, fp32, onnxruntime-cuda: logits differ from FP32 ONNX Runtime's by 1")


def test_random_weights_are_held_to_nothing_and_their_difference_is_told(
    on_stand_in: StandIn, tiny: Model, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    random = Model(tiny.name, tiny.path, tiny.frames, trained=False)
    monkeypatch.setattr(building, "open_model", lambda name, folder: random)
    monkeypatch.setattr(engines, "_difference", lambda model, network: 7.0)
    found = engines.step(context(tmp_path, dry_run=False, seconds=30.0))
    assert found["failures"] == []
    assert {row["difference"] for row in found["rows"]} == {7.0}


def test_torch_is_judged_without_tf32_and_timed_as_it_comes() -> None:
    torch = pytest.importorskip("torch")
    network = beside.TorchNetwork.__new__(beside.TorchNetwork)
    network._torch = torch
    switches = torch.backends.cudnn, torch.backends.cuda.matmul
    before = [each.allow_tf32 for each in switches]
    try:
        for switch in switches:
            switch.allow_tf32 = True
        with beside.without_tf32(network):
            assert not any(each.allow_tf32 for each in switches)
        assert all(each.allow_tf32 for each in switches)
    finally:
        for switch, allowed in zip(switches, before, strict=True):
            switch.allow_tf32 = allowed


def test_the_cuda_provider_is_judged_by_a_session_without_tf32() -> None:
    network = beside.OnnxRuntimeCuda.__new__(beside.OnnxRuntimeCuda)
    network.outputs, network.input = (), SimpleNamespace(name="image")  # type: ignore[assignment]
    asked: list[dict[str, str]] = []

    def opened(options: dict[str, str], providers: list[str]) -> Any:
        asked.append(options)
        return SimpleNamespace(get_providers=lambda: providers, run=lambda names, inputs: [])

    network._opened = lambda options: opened(options, ["CUDAExecutionProvider"])  # type: ignore[method-assign]
    with beside.without_tf32(network) as run:
        assert run(np.zeros((1, 3, 2, 2), np.float32)) == {}
    network._opened = lambda options: opened(options, ["CPUExecutionProvider"])  # type: ignore[method-assign]
    with pytest.raises(Missing, match="cannot leave TF32"), beside.without_tf32(network):
        pass
    assert asked == [{"use_tf32": "0"}] * 2


def test_what_the_gate_refuses_is_built_without_it_and_told(
    tiny: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = building.build

    def refusing(options: Any) -> Any:
        asked.append(options.unchecked)
        if not options.unchecked:
            raise FidelityError("expected a mean mask IoU of at least 0.95, got 0.5")
        return real(options)

    if reason := reason_missing_build("tensorrt-rtx"):
        pytest.skip(reason)
    monkeypatch.setattr(building, "build", refusing)
    monkeypatch.setattr(building, "_compare", lambda row, model, path: None)  # takes a GPU
    row, path = building.engine(context(tmp_path, False), tiny, "tensorrt-rtx", "fp32")
    assert asked == [False, True]
    assert (row["failure"], path is not None) == ("expected a mean mask IoU of at least 0.95, got 0.5", True)


def test_aims_are_judged_on_the_graphs_of_batch_1_and_32() -> None:
    def case(batch: int, fp16: float, int8: float) -> dict[str, Any]:
        figures = {
            "fp32 graph": {"p50": 1.0, "p90": 1.0, "p99": 1.0, "times_the_first": None, "launches": "graph"},
            "fp32 plain": {"p50": 2.0, "p90": 1.0, "p99": 1.0, "times_the_first": [0.5, 0.5, 0.5]},
            "fp16 graph": {"p50": 0.5, "p90": 1.0, "p99": 1.0, "times_the_first": [1.0, fp16, 3.0]},
            "int8 graph": {"p50": 0.4, "p90": 1.0, "p99": 1.0, "times_the_first": [1.0, int8, 3.0]},
            "int8 plain": {"error": "no sample"},
        }
        return {"model": SHIPPED, "runtime": "tensorrt", "batch": batch, "figures": figures}

    found = {"on_gpu": [case(1, 1.7, 1.9), case(8, 3.0, 3.0), case(32, 1.79, 1.2)]}
    judged = aims(found)
    assert [(each["reached"], each["met"]) for each in judged] == [(1.9, True), (1.79, False)]
    assert judged[0]["bound"] == "1.8 x FP32"
    assert "(int8)" in judged[0]["aim"]
    text = page(found)
    assert "| shipped bundle | tensorrt | 1 | fp32 graph (graph) | 1.000 | 1.000 | 1.000 |  |" in text
    assert "| int8 plain | no sample |" in text


def test_inputs_of_every_batch_are_real_pictures(tiny: Model) -> None:
    pictures = engines_times.inputs_of(tiny)
    assert pictures.shape == (32, 3, 32, 32)
    assert [len(engines_times.batched(pictures, batch)) for batch in (1, 8, 32)] == [4, 4, 1]
    assert len(np.unique(pictures[:, 0, 0, 0])) > 4


def test_the_shipped_bundle_in_torch_gives_its_own_logits(tmp_path: Path) -> None:
    for module in ("torch", "onnx2torch"):  # not imported here: torchvision has to be mended before
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    model = open_model(SHIPPED, tmp_path)
    network, reference = beside.TorchNetwork(model, device="cpu"), open_network(model.path, "onnxruntime")
    pictures = engines_times.inputs_of(model, 2)
    found, expected = network.run(pictures), reference.run(pictures)
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, atol=1e-3)


def test_stand_ins_that_are_not_here_are_missing(tmp_path: Path) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(Missing, match="this ONNX Runtime has no CUDA provider"):
            beside.open_beside(beside.ONNXRUNTIME, open_model(SHIPPED, tmp_path), "fp32")
