"""The step on the live path of the GPU report: all of it on a stand-in for the GPU, its page and its aim."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.gpu import engines_times, live
from benchmarks.gpu.live_page import aims, bound, page
from benchmarks.gpu.live_path import STAGES, Stream
from benchmarks.gpu.steps import Context, Missing
from edgex import cuda
from edgex.compositors.cuda import CudaCompositor
from edgex.engines import Engine
from edgex.explain import Explainer
from edgex.view import View
from tests.kernels.emulated import needs_gxx
from tests.stand_in_gpu import HostNetwork, StandIn

pytestmark = needs_gxx


def context(folder: Path, dry_run: bool, seconds: float = 600.0) -> Context:
    return Context(dry_run, 2, folder, time.monotonic() + seconds, lambda line: None, lambda found: None)


@pytest.fixture
def stream(bundle: Path) -> Stream:
    gpu = StandIn()
    explainer = Explainer(Engine(HostNetwork(bundle, gpu)), CudaCompositor(gpu))  # type: ignore[arg-type]
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    made = Stream(explainer, gpu, image, View(("red",)))
    made.gpu = gpu  # type: ignore[attr-defined]
    return made


NAMES = {"upload": "upload", "preprocess": "preprocess_f32", "engine": "engine", "drawing": "composite_overlay_f32"}


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_that_is_left_out_is_the_only_one_that_lacks(stream: Stream, stage: Any) -> None:
    gpu: StandIn = stream.gpu  # type: ignore[attr-defined]
    whole = stream.pass_one(1).copy()
    gpu.calls.clear()
    stream.pass_one(1)
    expected = [name for _, name in gpu.calls]
    gpu.calls.clear()
    stream.without(stage, 1)
    if stage == "download":
        assert expected[-2:] == ["download", "wait"]
        expected.pop(-2)
    else:
        expected.remove(NAMES[stage])
    assert [name for _, name in gpu.calls] == expected
    assert np.array_equal(stream.pass_one(1), whole)
    assert np.array_equal(stream.plain(1), whole)


def test_a_dry_run_walks_everything_and_keeps_no_time(tmp_path: Path) -> None:
    found = json.loads(json.dumps(live.step(context(tmp_path, dry_run=True))))
    assert found["failures"] == []
    assert found["checked"]["largest_difference_of_mask_logits"] < 1e-3
    assert (found["walked"], found["frames"], found["streams"]) == (True, [], [])
    assert "Walked on the CPU: every stage" in page(found)


def test_a_picture_that_is_not_the_oracle_s_is_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch = CudaCompositor.launch

    def wrong(self: CudaCompositor, call: Any, stream: cuda.Stream) -> None:
        call.opacity = 0.1
        launch(self, call, stream)

    monkeypatch.setattr(CudaCompositor, "launch", wrong)
    found = live.step(context(tmp_path, dry_run=True))
    assert [each.partition(":")[0] for each in found["failures"]] == [
        "the picture of the live path, pinned",
        "the picture of the live path, not pinned",
    ]


def test_all_is_timed_and_what_no_time_was_left_for_is_told(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu = StandIn()
    monkeypatch.setattr(cuda, "reason_missing", lambda: None)
    monkeypatch.setattr(cuda, "device", lambda: gpu)

    def opened(context: Context, found: dict[str, Any]) -> HostNetwork:
        found["engine"] = {"runtime": "torch", "precision": "fp16"}
        return HostNetwork(bundle, gpu)

    monkeypatch.setattr(live, "_network", opened)
    monkeypatch.setattr(live, "shipped_bundle", lambda: bundle)
    monkeypatch.setattr(live, "SIZES", {"1080p": (27, 48)})
    monkeypatch.setattr(live, "CHECKED", (27, 48))
    monkeypatch.setattr(live, "STREAMS", (1, 3))
    monkeypatch.setattr(live, "EFFORT", engines_times.WALK)
    monkeypatch.setattr(live, "TOGETHER_S", 0.0)
    found = json.loads(json.dumps(live.step(context(tmp_path, dry_run=False))))
    assert found["failures"] == []
    assert list(found["frames"][0]["figures"]) == ["whole", *(f"without {stage}" for stage in STAGES), "not pinned"]
    assert [case["streams"] for case in found["streams"]] == [1, 3]
    assert len(found["aims"]) == 1
    text = page(found)
    assert "It stands in for TensorRT" in text
    assert "| 1080p | 3 |" in text
    monkeypatch.setattr(live, "LEAST_S", 1e9)
    late = live.step(context(tmp_path, dry_run=False))
    assert late["missing"] == {f"{count} streams at 1080p": "no time was left" for count in (1, 3)}


@pytest.mark.parametrize(("seconds", "built"), [(60.0, ["tensorrt"]), (20.0, [])])
def test_an_engine_is_built_once_without_the_gate_while_there_is_time(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, built: list[str]
) -> None:
    asked = []
    now = context(tmp_path, dry_run=False, seconds=seconds)

    def engine(given: Context, model: Any, flavour: str, *_: Any, gate: bool) -> Any:
        asked.append((flavour, gate))
        monkeypatch.setattr(Context, "left_s", lambda _: 10.0)  # it took long, and was refused
        return {"refused": "no such layer"}, None

    monkeypatch.setattr(live.building, "flavours", lambda: (["tensorrt", "tensorrt-rtx"], {}))
    monkeypatch.setattr(live.building, "engine", engine)
    monkeypatch.setattr(live.beside, "open_beside", lambda runtime, model, precision: (runtime, precision))
    found: dict[str, Any] = {"missing": {}, "failures": []}
    assert live._network(now, found) == ("torch", "fp16")
    assert asked == [(name, False) for name in built]
    late = "no time was left to build it"
    refused = "no such layer" if built else late
    assert found["missing"] == {"fp16 in tensorrt": refused, "fp16 in tensorrt-rtx": late}
    assert "It stands in for TensorRT." in page(found)


def test_a_dry_run_without_pytest_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "find_spec", lambda name: None)
    with pytest.raises(Missing, match="pytest is not installed, which emulating the kernels on the CPU takes"):
        live.step(context(tmp_path, dry_run=True))


def test_without_a_gpu_a_real_run_is_missing(tmp_path: Path) -> None:
    if cuda.reason_missing() is None:
        pytest.skip("there is a GPU")
    with pytest.raises(Missing, match="expected a GPU that CUDA can use"):
        live.step(context(tmp_path, dry_run=False))


def test_the_aim_and_what_bounds_a_frame() -> None:
    def figures(**ms: float) -> dict[str, Any]:
        return {name.replace("_", " "): {"p50": each, "p90": each, "p99": each} for name, each in ms.items()}

    def found(whole: float) -> dict[str, Any]:
        case = {"size": "1080p", "launches": "graph", "figures": figures(whole=whole)}
        other = {"size": "4K", "launches": "graph", "figures": figures(whole=0.1)}
        return {"frames": [case, other], "engine": {"runtime": "tensorrt", "precision": "fp16"}}

    assert [(each["reached"], each["met"]) for each in aims(found(0.99))] == [(0.99, True)]
    assert [(each["reached"], each["met"]) for each in aims(found(1.0))] == [(1.0, False)]
    assert "stands in" not in page(found(0.9))
    assert "engine bounds it" in bound(figures(whole=1.0, without_engine=0.3, without_upload=0.9))
    assert "the host's calls, waits" in bound(figures(whole=1.0, without_engine=0.8, without_upload=0.9))
    assert "no stage takes half; engine takes most" in bound(figures(whole=1.0, without_engine=0.6, without_upload=0.8))
    assert bound({"whole": {"error": "no"}}) == ""
