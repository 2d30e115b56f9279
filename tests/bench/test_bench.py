"""Bench over real models: what the report says of each, how it ends early, and what is refused first."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgex.bench import BenchOptions, Effort, bench
from edgex.bench.pictures import prepared, read_pictures
from edgex.bench.samples import round_medians
from edgex.errors import ModelError, SourceError, UsageError
from edgex.image_input import ImageInput
from edgex.manifest import InputSpec
from edgex.report import BenchReport
from tests.bundles import write_bundle
from tests.clips import write_picture

QUICK = Effort(seconds=0.1, iterations=24, rounds=6, longest_warmup_s=0.3)


def write_failing(path: Path) -> Path:
    """Write a model that ONNX Runtime runs on dark pictures, and that fails on those with a bright pixel."""
    nodes = [
        helper.make_node("ReduceMax", ["x"], ["brightest"], keepdims=0),
        helper.make_node("Mul", ["brightest", "four"], ["scaled"]),
        helper.make_node("Cast", ["scaled"], ["place"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "place"], ["y"]),
    ]
    tables = {"four": np.float32(4), "table": np.zeros(2, np.float32)}
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, [])
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in tables.items()]
    graph = helper.make_graph(nodes, "failing", [x], [y], stored)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
    path.write_bytes(model.SerializeToString())
    return path


def test_a_report_says_what_was_measured_and_how(bundle: Path, pictures: str) -> None:
    told: list[tuple[str, int, int]] = []
    options = BenchOptions((bundle,), backends=("onnxruntime", "openvino"), batches=(1, 3), threads=1, source=pictures)
    report = bench(options, lambda *each: told.append(each), effort=QUICK)
    assert [run.name for run in report.runs] == [
        f"tiny.onnx · {backend} · batch {batch}" for backend in ("onnxruntime", "openvino") for batch in (1, 3)
    ]
    for run in report.runs:
        assert run.error is None
        assert run.latency is not None
        assert run.latency.count == len(run.samples_ms) >= 20
        assert len(run.rounds) == 6
        assert run.load_ms > 0 < (run.first_ms or 0)
        assert run.warmup.iterations >= 10
        assert run.engine_sha256 == hashlib.sha256(bundle.read_bytes()).hexdigest()
        assert (run.precision, run.threads, run.streams, run.cuda_graph) == ("fp32", 1, 1, None)
        assert run.achieved
        assert "4 pictures of pictures, evenly spread, 96 x 64" in run.pictures
        assert "no transfer" in run.transfers
        assert run.telemetry is not None
        assert run.telemetry.times_ms[0] <= run.starts_ms[0]
        assert (run.peak_memory_mb or 0) > 1
        assert run.per_second <= run.batch * 1000 / run.latency.mean_ms
    first = report.runs[0]
    assert [(ratio.of, ratio.to) for ratio in report.ratios] == [(run.name, first.name) for run in report.runs[1:]]
    for ratio, run in zip(report.ratios, report.runs[1:], strict=True):  # of one picture, whatever the batch
        rounds = zip(*(round_medians(each.samples_ms, each.rounds) for each in (run, first)), strict=True)
        assert ratio.ratio == pytest.approx(np.median([of / run.batch / to for of, to in rounds]))
    assert [run.load_order for run in report.runs] == [0, 1, 2, 3]
    assert all("the whole program" in run.memory_scope and "all 4 runs" in run.memory_scope for run in report.runs)
    assert not report.partial
    assert {stage for stage, _, _ in told} == {"opening", "warming up", "measuring"}
    assert told[-1] == ("measuring", 24, 24)
    assert BenchReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("mode", ["pipeline", "paced"])
def test_the_whole_path(bundle: Path, pictures: str, mode: str) -> None:
    fps = 200.0 if mode == "paced" else None
    options = BenchOptions((bundle,), mode, ("onnxruntime",), source=pictures, fps=fps)  # type: ignore[arg-type]
    (run,) = bench(options, effort=QUICK).runs
    assert run.error is None
    assert set(run.stages) >= {"preprocess", "infer", "compose", "legend", "write"}
    assert "drawing 3 classes" in run.transfers
    if mode == "pipeline":
        assert "read" in run.stages
        assert run.paced is None
    else:
        assert run.paced is not None
        assert run.paced.age == run.latency
        assert run.paced.due == run.paced.done == 24
        assert run.paced.deadline_ms == 5.0
        assert "due" in run.transfers


def test_any_image_model_is_measured_alone_and_what_is_not_known_is_told(tmp_path: Path, pictures: str) -> None:
    foreign = write_bundle(tmp_path / "foreign.onnx", with_manifest=False, mask_head=False)
    for mode in ("engine", "paced"):
        options = BenchOptions((foreign,), mode, ("onnxruntime",), source=pictures)  # type: ignore[arg-type]
        (run,) = bench(options, effort=dataclasses.replace(QUICK, iterations=5)).runs
        assert run.error is None
        assert run.samples_ms
        assert any("foreign.onnx does not say how pixels are normalised" in each for each in run.warnings)
    with pytest.raises(ModelError, match="mask_logits"):
        bench(BenchOptions((foreign,), "pipeline", ("onnxruntime",), source=pictures), effort=QUICK)


def test_a_rate_s_search_is_in_the_report(bundle: Path, pictures: str) -> None:
    options = BenchOptions((bundle,), "paced", ("onnxruntime",), source=pictures, fps=1.0, slo_ms=1e-6)
    (run,) = bench(options, effort=dataclasses.replace(QUICK, iterations=2)).runs
    assert run.paced is not None
    assert run.paced.slo is not None
    assert run.paced.slo.highest_fps is None
    assert run.paced.slo.outcome == "none"
    assert [trial.fps for trial in run.paced.slo.trials] == [1.0]
    assert (run.paced.deadline_ms, run.paced.late) == (1e-6, 2)
    assert any("no rate held the 99th percentile within 1e-06 ms" in each for each in run.warnings)


@pytest.mark.parametrize("searching", [1, 2])
def test_a_search_that_is_interrupted_says_so_and_keeps_what_was_tried(
    bundle: Path, pictures: str, searching: int
) -> None:
    told: list[str] = []
    stopped = lambda: sum(each.startswith("searching") for each in told) == searching  # noqa: E731
    options = BenchOptions((bundle,), "paced", ("onnxruntime",), source=pictures, fps=200.0, slo_ms=5000.0)
    report = bench(options, lambda stage, done, total: told.append(stage), stopped, QUICK)
    (run,) = report.runs
    assert report.partial
    assert run.paced is not None
    assert run.paced.slo is not None
    assert (run.paced.slo.outcome, run.paced.slo.highest_fps) == ("not ended", None)
    assert [trial.fps for trial in run.paced.slo.trials] == [200.0][: searching - 1]
    assert all(trial.ages is not None and trial.ages.count == trial.done for trial in run.paced.slo.trials)
    assert any("did not end" in each for each in run.warnings)
    assert BenchReport.from_json(report.to_json()) == report


def test_a_rate_that_cannot_be_met_is_told(bundle: Path, pictures: str) -> None:
    options = BenchOptions((bundle,), "paced", ("onnxruntime",), source=pictures, fps=10_000.0, policy="newest")
    (run,) = bench(options, effort=QUICK).runs
    assert run.paced is not None
    assert run.paced.dropped > 0
    assert any(each.startswith("10000 frames per second cannot be met") for each in run.warnings)


def test_a_model_that_fails_keeps_the_others_figures(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "dark").mkdir()
    write_picture(tmp_path / "dark/0.png", np.full((8, 8, 3), 40, np.uint8))
    write_picture(tmp_path / "dark/1.png", np.full((8, 8, 3), 255, np.uint8))
    failing = write_failing(tmp_path / "failing.onnx")
    options = BenchOptions((failing, bundle), backends=("onnxruntime",), source=str(tmp_path / "dark"))
    report = bench(options, effort=QUICK)
    failed, other = report.runs
    assert failed.error is not None
    assert "out of data bounds" in failed.error
    assert "failing.onnx" in failed.error
    assert str(tmp_path) not in report.to_json()
    assert (failed.samples_ms, failed.latency, failed.rounds) == ((), None, ())
    assert failed.first_ms is not None  # the first picture was dark
    assert other.error is None
    assert len(other.samples_ms) >= 20


@pytest.mark.parametrize("after", [0, 1, 500, 2000])
def test_a_stop_at_any_moment_gives_what_there_is(bundle: Path, pictures: str, after: int) -> None:
    asked = 0

    def stopped() -> bool:
        nonlocal asked
        asked += 1
        return asked > after

    options = BenchOptions((bundle, bundle), backends=("onnxruntime",), source=pictures, seconds=1000)
    report = bench(options, stopped=stopped, effort=dataclasses.replace(QUICK, seconds=1000.0))
    assert report.partial
    assert len(report.runs) == (1 if after == 0 else 2)
    assert BenchReport.from_json(report.to_json()) == report
    for run in report.runs:
        assert run.error is None
        assert (run.latency is None) == (not run.samples_ms)


def test_too_few_samples_are_told(bundle: Path, pictures: str) -> None:
    effort = Effort(seconds=0.0, iterations=8, rounds=4, longest_warmup_s=0.1)
    (run,) = bench(BenchOptions((bundle,), backends=("onnxruntime",), source=pictures), effort=effort).runs
    assert any(each.startswith("8 samples, below the 200") for each in run.warnings)
    assert any("below 3 s, which may all be slow" in each for each in run.warnings)


def test_a_fixed_batch_is_kept(tmp_path: Path, pictures: str) -> None:
    fixed = write_bundle(tmp_path / "four.onnx", batch=4)
    for mode, name in (("engine", "four.onnx · onnxruntime · batch 4"), ("paced", "four.onnx · onnxruntime")):
        options = BenchOptions((fixed,), mode, ("onnxruntime",), source=pictures)  # type: ignore[arg-type]
        (run,) = bench(options, effort=dataclasses.replace(QUICK, iterations=4)).runs
        assert (run.name, run.batch, run.error) == (name, 4, None)
    with pytest.raises(UsageError, match="expected batch 4"):
        bench(BenchOptions((fixed,), backends=("onnxruntime",), batches=(2,), source=pictures), effort=QUICK)


def test_streams_share_the_cores_out(bundle: Path, pictures: str) -> None:
    options = BenchOptions((bundle,), backends=("onnxruntime",), streams=2, source=pictures)
    (run,) = bench(options, effort=QUICK).runs
    assert (run.streams, run.error) == (2, None)
    assert run.threads is not None
    assert run.name.endswith("2 streams")
    assert "2 streams of one engine, a thread each" in run.sync


def test_inputs_are_real_and_all_different(pictures: str) -> None:
    found = read_pictures(pictures)
    image = ImageInput("x", "float32", "NCHW", None, InputSpec(32, 32, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)))
    inputs = prepared(found, image, 3)
    assert [each.shape for each in inputs] == [(3, 3, 32, 32)] * 4
    assert len({each.tobytes() for each in inputs}) == 4
    assert all(np.ptp(each) > 0 for each in inputs)
    np.testing.assert_array_equal(inputs[1][0], image.tensor(found.images[1])[0])
    np.testing.assert_array_equal(inputs[1][2], image.tensor(found.images[3])[0])


def test_pictures_come_from_any_source(tmp_path: Path) -> None:
    for uri in ("synthetic:64x48", "synthetic:64x48@500"):
        found = read_pictures(uri)
        assert len(found.images) == 16
        assert "the first, 64 x 48" in found.about
    assert "shipped.mp4" in read_pictures(None).about
    with pytest.raises(SourceError):
        read_pictures(str(tmp_path / "none"))


def test_a_missing_model_is_refused_before_anything_is_measured(tmp_path: Path, bundle: Path, pictures: str) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx"):
        bench(BenchOptions((bundle, tmp_path / "gone.onnx"), backends=("onnxruntime",), source=pictures))
    with pytest.raises(UsageError, match="live source"):
        bench(BenchOptions((bundle,), "pipeline", source="synthetic:64x48@100"))
