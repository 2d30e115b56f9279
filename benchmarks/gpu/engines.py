"""Engines on a GPU: every flavour of TensorRT that is there, in FP32, FP16 and INT8, of two models.

Build time, achieved precision, fidelity against FP32 ONNX Runtime; latency at batch 1, 8 and 32 with the transfers, and
on memory of the GPU with and without a CUDA graph; throughput of streams that overlap. Where there is no TensorRT, ONNX
Runtime's CUDA provider or torch takes its place, and the report says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from benchmarks.gpu import engines_beside as beside
from benchmarks.gpu import engines_build as building
from benchmarks.gpu import engines_times as times
from benchmarks.gpu.engines_page import aims, page
from benchmarks.gpu.steps import Context, Missing
from benchmarks.precision_models import Model
from edgex import cuda
from edgex.engines import open_network
from edgex.errors import EdgexError

__all__ = ["aims", "page", "step"]
SAME = {"fp32": 0.05, "fp16": 0.3}  # largest difference of logits of a stand-in, without TF32, to FP32 ONNX Runtime
LEAST_S, BUILD_S = 6.0, 25.0  # without which no case is begun, and nothing is built: its times take as long


def step(context: Context) -> dict[str, Any]:
    """Build, check and time everything that is there."""
    found: dict[str, Any] = {"failures": [], "missing": {}, "rows": [], "calls": [], "on_gpu": [], "streams": []}
    found["aims"] = []
    models, lacking = building.models(context)
    found["missing"] |= lacking
    names, absent = building.flavours(runs=not context.dry_run)
    found["missing"] |= absent
    no_gpu = "a dry run takes no figure" if context.dry_run else cuda.reason_missing()
    runtimes = [*names]
    if not names and no_gpu is None:
        runtimes = [beside.ONNXRUNTIME, beside.TORCH]
    found["runtimes"] = runtimes
    for model in models:
        for runtime in runtimes:
            with contextlib.ExitStack() as stack:
                networks = _networks(context, stack, found, model, runtime)
                if no_gpu is None and networks:
                    _timed(context, found, model, runtime, networks)
        if context.dry_run:
            _walked(found, model)
    if no_gpu is not None:
        found["missing"]["times on the GPU"] = no_gpu
    return found


def _networks(
    context: Context, stack: contextlib.ExitStack, found: dict[str, Any], model: Model, runtime: str
) -> dict[str, Any]:
    """Return the networks of a model by precision, built and open; what they are is kept in rows."""
    networks: dict[str, Any] = {}
    spent_s = 0.0
    for precision in beside.PRECISIONS.get(runtime, building.PRECISIONS):
        name = f"{model.name}, {precision}, {runtime}"
        if context.left_s() < max(BUILD_S, 1.2 * spent_s):
            found["missing"][name] = "no time was left to build it"
            continue
        began = context.left_s()
        try:
            if runtime in beside.PRECISIONS:
                network: Any = beside.open_beside(runtime, model, precision)
                row: dict[str, Any] = {"runtime": runtime, "model": model.name, "precision": precision}
                row["difference"] = difference = _difference(model, network)
                if model.trained and not difference <= SAME[precision]:  # random weights are held to nothing
                    found["failures"].append(f"{name}: logits differ from FP32 ONNX Runtime's by {difference:.3g}")
            else:
                row, path = building.engine(context, model, runtime, precision)  # type: ignore[arg-type]
                network = None if path is None or context.dry_run else open_network(path, runtime)
        except (Missing, EdgexError) as error:
            found["missing"][name] = str(error)
            continue
        except Exception as error:  # of one runtime; the others may still be measured
            found["missing"][name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            continue
        spent_s = began - context.left_s()
        found["rows"].append(row)
        if failure := row.get("failure"):
            found["failures"].append(f"{name}: {failure}")
        if "refused" in row:
            found["missing"][name] = row["refused"]
        if network is not None:
            stack.callback(network.close)
            networks[precision] = network
        context.save(found)
        context.say(f"{name}: {row.get('build_s', 0)} s to build")
    return networks


def _difference(model: Model, network: Any, count: int = 4) -> float:
    """Return the largest difference of outputs from FP32 ONNX Runtime's, over real pictures and without TF32."""
    pictures = times.inputs_of(model, count)
    reference = open_network(model.path, "onnxruntime")
    try:
        largest = [0.0]
        with beside.without_tf32(network) as run:
            for picture in pictures:
                ours, theirs = run(picture[None]), reference.run(picture[None])
                largest += [float(np.abs(ours[name] - theirs[name]).max()) for name in theirs]
        return round(float(np.max(largest)), 5)  # NaN where one is, which is no small difference
    finally:
        reference.close()


def _timed(context: Context, found: dict[str, Any], model: Model, runtime: str, networks: Mapping[str, Any]) -> None:
    """Time the networks of one model in one runtime, what the aims are about first."""
    pictures, gpu, about = times.inputs_of(model), cuda.device(), {"model": model.name, "runtime": runtime}
    cases: list[tuple[str, int]] = [("on_gpu", 1), ("calls", 1), ("on_gpu", 32), ("streams", 1), ("streams", 8)]
    cases += [("calls", 8), ("calls", 32), ("on_gpu", 8)]
    for kind, batch in cases:
        name = f"{kind.replace('_', ' ')} of {model.name} in {runtime}, batch {batch}"
        if context.left_s() < LEAST_S:
            found["missing"][name] = "no time was left"
            continue
        try:
            inputs = times.batched(pictures, batch)
            if kind == "calls":
                runs = {each: network.run for each, network in networks.items()}
                figures: Any = times.compared(runs, inputs, times.EFFORT)
            elif kind == "on_gpu":
                figures = times.on_gpu(gpu, networks, inputs[0], (True, False), times.EFFORT)
            else:
                figures = {
                    f"{each} {count}": times.together(gpu, network, inputs[0], count, 3)
                    for each, network in networks.items()
                    for count in times.STREAMS
                }
        except Exception as error:  # of one case, such as a batch that the stand-in cannot
            found["missing"][name] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
            continue
        found[kind].append({**about, "batch": batch, "figures": figures})
        found["aims"] = aims(found)
        context.save(found)
        context.say(f"{name}: done")


def _walked(found: dict[str, Any], model: Model) -> None:
    """Go through the timing of calls on the CPU, and keep no time."""
    network = open_network(model.path, "onnxruntime")
    try:
        figures = times.compared(
            {"fp32": network.run, "again": network.run}, times.batched(times.inputs_of(model, 2), 1), times.WALK
        )
    finally:
        network.close()
    if errors := [each["error"] for each in figures.values() if "error" in each]:
        found["failures"].append(f"{model.name} on the CPU: {errors[0]}")
    found["walked"] = f"calls of {model.name} on the CPU, whose times say nothing here"
