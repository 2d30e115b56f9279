"""The live path on a GPU: from a frame in pinned memory to a finished picture in pinned memory, in one CUDA stream.

At 1080p and 4K; percentiles of one frame's time, frames a second of 1, 4 and 16 streams that share an engine (a thread,
a path, a stream and an execution context each), and all of it with each stage left out, to say what bounds it.
"""

from __future__ import annotations

import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.gpu import engines_beside as beside
from benchmarks.gpu import engines_build as building
from benchmarks.gpu.engines_times import WALK
from benchmarks.gpu.live_page import aims, page
from benchmarks.gpu.live_path import STAGES, Stage, Stream, one_by_one, together
from benchmarks.gpu.steps import Context, Missing
from benchmarks.precision_models import SHIPPED, Model
from benchmarks.scenes import frame
from edgex import cuda
from edgex.bench.track import Effort
from edgex.compositors.cuda import CudaCompositor
from edgex.engines import Engine, open_network
from edgex.errors import EdgexError
from edgex.explain import Explainer, shipped_bundle
from edgex.view import View, drawing
from tests.compositors.parity import assert_parity

__all__ = ["aims", "page", "step"]
SIZES = {"1080p": (1080, 1920), "4K": (2160, 3840)}
DRY_SIZES = {"tiny": (36, 64)}
CHECKED, DRY_CHECKED = (270, 480), (27, 48)  # rows, columns of the picture that the oracle is asked for
STREAMS, DRY_STREAMS = (1, 4, 16), (1, 2)
SHOWN = 3  # classes
EFFORT = Effort(seconds=1.0, iterations=200, rounds=10, longest_warmup_s=0.4)
TOGETHER_S, LEAST_S = 0.4, 4.0
BUILD_S = 32.0  # without which no engine is built: a build of about 15 s, and the times


def step(context: Context) -> dict[str, Any]:
    """Open an engine, hold a picture against the oracle, and time everything."""
    found: dict[str, Any] = {"failures": [], "missing": {}, "frames": [], "streams": [], "aims": []}
    if context.dry_run:
        gpu, network, model = _stand_in(context, found)
    elif (reason := cuda.reason_missing()) is not None:
        raise Missing(reason)
    else:
        gpu = cuda.device()
        network, model = _network(context, found), shipped_bundle()
    explainer = Explainer(Engine(network), CudaCompositor(gpu))
    view = View(explainer.labels[:SHOWN])
    try:
        _check(found, explainer, gpu, view, model, DRY_CHECKED if context.dry_run else CHECKED)
        context.save(found)
        for name, size in (DRY_SIZES if context.dry_run else SIZES).items():
            _measure(context, found, explainer, gpu, view, name, size)
        if context.dry_run:
            found |= {"walked": True, "frames": [], "streams": [], "aims": []}
    finally:
        explainer.close()
    return found


def _network(context: Context, found: dict[str, Any]) -> Any:
    """Return the shipped model on the GPU: FP16 in TensorRT, or what takes its place; raises Missing."""
    model = building.models(context, (SHIPPED,))[0][0]
    names, lacking = building.flavours()
    found["missing"] |= lacking
    for flavour in names:
        if context.left_s() < BUILD_S:
            found["missing"][f"fp16 in {flavour}"] = "no time was left to build it"
            continue
        try:  # one build: the step on engines passes its engine through the gate, and this one is compared all the same
            row, path = building.engine(context, model, flavour, "fp16", (1, 1, 1), gate=False)
            network = None if path is None else open_network(path, flavour)
        except Exception as error:  # of one runtime; the next may do
            found["missing"][f"fp16 in {flavour}"] = f"{type(error).__name__}: {error}"
            continue
        if network is not None:
            found["engine"] = {"runtime": flavour, "precision": "fp16", "build_s": row["build_s"]}
            found["failures"] += [f"{flavour}: {row['failure']}"] if "failure" in row else []
            return network
        found["missing"][f"fp16 in {flavour}"] = row["refused"]
    context.save(found)
    return _beside(found, model)


def _beside(found: dict[str, Any], model: Model) -> Any:
    for runtime, precision in ((beside.TORCH, "fp16"), (beside.TORCH, "fp32"), (beside.ONNXRUNTIME, "fp32")):
        try:
            network = beside.open_beside(runtime, model, precision)
        except Exception as error:  # of one runtime; the next may do
            found["missing"][f"{precision} in {runtime}"] = f"{type(error).__name__}: {error}"
            continue
        found["engine"] = {"runtime": runtime, "precision": precision}
        return network
    raise Missing(
        "no engine runs on the GPU: neither TensorRT, in the time left, nor torch, nor ONNX Runtime's CUDA provider"
    )


def _stand_in(context: Context, found: dict[str, Any]) -> tuple[Any, Any, Path]:
    """Return a GPU that is none, a tiny model on it, and its file. Raises Missing without what emulates kernels."""
    for name, there in {"g++": shutil.which("g++"), "pytest": find_spec("pytest")}.items():
        if there is None:
            raise Missing(f"{name} is not installed, which emulating the kernels on the CPU takes")
    from tests.bundles import write_bundle
    from tests.stand_in_gpu import HostNetwork, StandIn

    gpu, model = StandIn(), write_bundle(context.folder / "tiny.onnx")
    found["engine"] = {"model": "a tiny model", "runtime": "onnxruntime on the CPU", "precision": "fp32"}
    return gpu, HostNetwork(model, gpu), model


def _check(
    found: dict[str, Any], explainer: Explainer, gpu: Any, view: View, model: Path, size: tuple[int, int]
) -> None:
    """Keep a failure unless the path's picture is the oracle's, and its logits are FP32 ONNX Runtime's."""
    stream = Stream(explainer, gpu, frame(*size), view)
    image = stream.frames[0].copy()
    for name, explain in {"pinned": stream.pass_one, "not pinned": stream.plain}.items():
        picture = explain(0)
        explanation = stream.path.explain(image, view)[1]
        what = drawing(explanation.shown(view.classes), view.style, view.opacity, explainer.fill)
        try:
            assert_parity(picture, image, explanation.mask_logits, what)
        except AssertionError as error:
            found["failures"].append(f"the picture of the live path, {name}: {' '.join(str(error).split())[:200]}")
    reference = open_network(model, "onnxruntime")
    try:
        theirs = Explainer(Engine(reference), explainer.compositor).explain(image).mask_logits
    finally:
        reference.close()
    found["checked"] = {"largest_difference_of_mask_logits": float(np.abs(theirs - explanation.mask_logits).max())}
    stream.path.close()


def _measure(
    context: Context, found: dict[str, Any], explainer: Explainer, gpu: Any, view: View, name: str, size: Any
) -> None:
    """Time one size of frame: one path, then 1, 4 and 16 of them."""
    image, streams = frame(*size), list[Stream]()
    about = {"size": name, "picture": list(size)}
    try:
        for count in DRY_STREAMS if context.dry_run else STREAMS:
            label = f"{count} streams at {name}"
            if context.left_s() < LEAST_S:
                found["missing"][label] = "no time was left"
                continue
            while len(streams) < count:
                streams.append(Stream(explainer, gpu, image, view))
            if count == 1:
                lane: Any = getattr(streams[0].path._lane, "_lane", None)
                launches = getattr(lane, "launches", "plain")
                figures = one_by_one(streams[0], WALK if context.dry_run else EFFORT)
                found["frames"].append({**about, "launches": launches, "figures": figures})
                for each, values in figures.items():
                    if "error" in values:
                        found["failures"].append(f"{each} at {name}: {values['error']}")
                found["aims"] = aims(found)
                context.save(found)
            stages: tuple[Stage, ...] = ("", *STAGES)
            seconds = 0.0 if context.dry_run else TOGETHER_S
            row = {stage or "whole": together(streams, stage, seconds) for stage in stages}
            found["streams"].append({**about, "streams": count, "figures": row})
            context.save(found)
            context.say(f"{label}: done")
    except (EdgexError, MemoryError) as error:
        found["missing"][f"the rest at {name}"] = f"{type(error).__name__}: {error}"
    finally:
        for stream in streams:
            stream.path.close()
