"""The whole path where frames stay on the GPU, by a stand-in: what the report says of stages, graph and first time."""

from __future__ import annotations

import dataclasses
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from edgex import cuda
from edgex.bench import BenchOptions, Effort, bench
from edgex.bench.subject import Subject, open_subjects
from edgex.bench.way import Begin, launches_of, stays_on_gpu
from edgex.compositors.cuda import CudaCompositor
from edgex.engines import Engine
from edgex.explain import Explainer
from edgex.report import Mode, Run
from tests.kernels.emulated import needs_gxx
from tests.stand_in_gpu import HostLane, HostNetwork, StandIn

QUICK = Effort(seconds=0.1, iterations=12, rounds=6, longest_warmup_s=0.3)
BENCH = importlib.import_module("edgex.bench")


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """A GPU on which every model that bench opens runs."""
    gpu = StandIn()
    monkeypatch.setattr(cuda, "device", lambda: gpu)

    def on_gpu(stack: Any, options: BenchOptions) -> Iterator[Subject]:
        for subject in open_subjects(stack, options):
            explainer = Explainer(Engine(HostNetwork(subject.path, gpu)), CudaCompositor(gpu))  # type: ignore[arg-type]
            yield dataclasses.replace(subject, explainer=explainer)

    monkeypatch.setattr(BENCH, "open_subjects", on_gpu)
    return gpu


def measured(bundle: Path, pictures: str, mode: Mode) -> Run:
    fps = 100.0 if mode == "paced" else None
    (run,) = bench(BenchOptions((bundle,), mode, ("onnxruntime",), source=pictures, fps=fps), effort=QUICK).runs
    assert run.error is None
    return run


@needs_gxx
@pytest.mark.parametrize("mode", ["pipeline", "paced"])
def test_the_stages_are_told_as_they_are_on_the_gpu(bundle: Path, pictures: str, gpu: StandIn, mode: Mode) -> None:
    run = measured(bundle, pictures, mode)
    assert "engine" in {name for _, name in gpu.calls}
    told = run.transfers
    assert "preprocessing, which begins with the upload of the frame and returns before the GPU is done" in told
    assert "inference, which waits for the GPU and brings the logits and the network's input down" in told
    assert "draws 3 classes on the GPU and brings the picture down" in told
    assert "from host memory" not in told
    assert ("a sink that keeps nothing" in told) == (mode == "pipeline")
    assert run.sync.startswith("infer waits for the GPU until the logits are in host memory")
    assert run.cuda_graph is False  # the lane of the stand-in launches plainly


@needs_gxx
@pytest.mark.parametrize(("launches", "graph"), [("graph", True), ("runtime", True), ("plain", False)])
def test_the_graph_is_that_of_the_path_s_own_lane(
    bundle: Path, pictures: str, gpu: StandIn, monkeypatch: pytest.MonkeyPatch, launches: str, graph: bool
) -> None:
    monkeypatch.setattr(HostLane, "launches", launches)
    monkeypatch.setattr(HostLane, "plain_because", "" if graph else "the engine cannot be captured")
    run = measured(bundle, pictures, "pipeline")
    assert run.cuda_graph is graph
    assert run.sync.endswith("no CUDA graph: the engine cannot be captured") != graph


@needs_gxx
def test_the_first_time_is_that_of_the_way_that_is_measured(bundle: Path, pictures: str, gpu: StandIn) -> None:
    seen: list[int] = []
    options = BenchOptions((bundle,), "pipeline", ("onnxruntime",), source=pictures)
    stopped = lambda: bool(seen)  # noqa: E731

    def observe(stage: str, done: int, total: int) -> None:
        if stage == "measuring":
            seen.append(done)

    (run,) = bench(options, observe, stopped, QUICK).runs
    names = [name for _, name in gpu.calls]
    assert names[: names.index("engine")][-2:] == ["upload", "preprocess_f32"]
    assert (run.first_ms or 0) > 0


def test_on_the_host_nothing_is_said_of_a_gpu(bundle: Path, pictures: str) -> None:
    run = measured(bundle, pictures, "pipeline")
    assert run.cuda_graph is None
    assert "infer waits for the GPU" not in run.sync
    assert "preprocessing; inference from host memory into new arrays of host memory" in run.transfers
    assert (run.first_ms or 0) > 0


def test_what_is_not_known_of_the_graph_is_said() -> None:
    sync, graph = launches_of(None)
    assert graph is None
    assert sync.endswith("whether a CUDA graph was replayed is not known, as it came to no first inference")
    sync, graph = launches_of(Begin(1.0, "plain", "the driver said no"))
    assert graph is False
    assert sync.endswith("; no CUDA graph: the driver said no")


@needs_gxx
def test_a_path_is_the_gpu_s_only_with_all_of_its_parts(bundle: Path) -> None:
    gpu: Any = StandIn()
    explainer = Explainer(Engine(HostNetwork(bundle, gpu)), CudaCompositor(gpu))  # type: ignore[arg-type]
    assert stays_on_gpu(explainer)
    explainer.engine.network.smallest = (4, 3, 32, 32)  # type: ignore[attr-defined]
    assert not stays_on_gpu(explainer)
