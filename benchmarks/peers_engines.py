"""edgex's engine mode beside the backends' own sessions on the same file, and beside OpenVINO's benchmark_app.

The sessions get the same threads and arithmetic, and are called as the backends' documentation calls them. All get
pictures of the shipped clip, but for benchmark_app, which makes up its own input.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.peers_rounds import Rival, ratio, table_of, times_of
from benchmarks.peers_scene import Scene, clip_frames
from benchmarks.precision_engines import bare_onnxruntime
from benchmarks.rounds import quartiles
from edgex.engines import open_engine
from edgex.preprocess import preprocess
from edgex.report import read_report

BATCHES = (1, 8)
SAME = 1e-3  # largest difference of logits between edgex and the bare session of the same file
APP_SECONDS, APP_TURNS = 3, 6
ANSWERS = {"per_second": r"Throughput:\s*([\d.]+) FPS", "streams": r"NUM_STREAMS:\s*(\d+)"}


def batch_of(scene: Scene, count: int) -> NDArray[np.float32]:
    """Return `count` pictures of the shipped clip as one input, float32 [N, 3, H, W]."""
    images = clip_frames()
    return np.concatenate([preprocess(images[i % len(images)], scene.manifest.input) for i in range(count)])


def raw_session(path: Path, backend: str, batch: int, threads: int) -> Callable[[NDArray[Any]], list[NDArray[Any]]]:
    """Return one inference by a backend's own session, for one size of batch: input to outputs in the graph's order."""
    if backend == "onnxruntime":
        return bare_onnxruntime(path, threads).call
    import openvino

    core = openvino.Core()
    model = core.read_model(str(path))
    model.reshape([batch, *list(model.inputs[0].partial_shape)[1:]])
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    request = core.compile_model(model, "CPU", settings).create_infer_request()

    def call(image: NDArray[Any]) -> list[NDArray[Any]]:
        found = request.infer([image], share_inputs=True, share_outputs=True)
        return [found[position] for position in range(len(found))]

    return call


def measure_engines(scene: Scene, engines: Mapping[str, tuple[Path, str]], rounds: int) -> list[dict[str, Any]]:
    """Time each engine and the bare session of its file in rounds of their own, at batch 1 and 8."""
    rows = []
    for batch in BATCHES:
        image = batch_of(scene, batch)
        for name, (path, backend) in engines.items():
            with ExitStack() as stack:
                engine = open_engine(path, backend, scene.threads)
                stack.callback(engine.close)
                raw = raw_session(path, backend, batch, scene.threads)
                outputs = [spec.name for spec in engine.network.outputs]
                ours, theirs = engine.network.run(image), [np.array(each) for each in raw(image)]
                largest = max(float(np.abs(ours[key] - one).max()) for key, one in zip(outputs, theirs, strict=True))
                if not largest <= SAME:
                    raise SystemExit(f"{name}, batch {batch}: edgex differs from the bare session by {largest:.3g}")
                rivals = {
                    "bare": Rival(partial(raw, image), batch),
                    "edgex": Rival(partial(engine.infer, image), batch),
                }
                table = table_of(rivals, times_of(rivals, rounds), "bare")
            about = {"engine": name, "batch": batch, "rounds": rounds, "largest_difference": largest}
            rows.append({**about, "contenders": table})
            print(f"{name:18} batch {batch}", table["edgex"]["over_base"], flush=True)
    return rows


def benchmark_app(path: Path, shape: tuple[int, ...], threads: int, seconds: int) -> dict[str, float]:
    """Run OpenVINO's benchmark_app for throughput; return pictures per second and streams.

    It chooses the streams itself where it may use all cores; with fewer `threads` it has to be told, and gets one each.
    """
    program = shutil.which("benchmark_app", path=f"{Path(sys.executable).parent}:{Path(sys.prefix) / 'bin'}")
    if program is None:
        raise FileNotFoundError("expected benchmark_app beside the interpreter, got none; run: pip install openvino")
    words = [program, "-m", str(path), "-t", str(seconds)]
    told = ["-hint", "none", "-nstreams", str(threads), "-nthreads", str(threads)]
    words += ["-hint", "throughput"] if threads == os.cpu_count() else told
    words += ["-infer_precision", "f32", "-shape", f"[{','.join(map(str, shape))}]"]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    answers = {name: re.search(pattern, done.stdout) for name, pattern in ANSWERS.items()}
    if done.returncode != 0 or answers["per_second"] is None:
        lines = (done.stdout + done.stderr).strip().splitlines() or [""]
        raise RuntimeError(f"expected benchmark_app to give its throughput, got: {lines[-1][:160]}")
    return {name: float(match[1]) for name, match in answers.items() if match is not None}


def edgex_throughput(scene: Scene, path: Path, streams: int, seconds: float) -> float:
    """Return pictures per second of `edgex bench --streams`, in a process of its own as benchmark_app is."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        words = [sys.executable, "-m", "edgex", "bench", str(path), "--backend", "openvino", "--json", str(report)]
        words += ["--streams", str(streams), "--threads", str(max(1, scene.threads // streams))]
        done = subprocess.run([*words, "--seconds", str(seconds)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise RuntimeError(f"expected edgex bench to give its throughput, got: {done.stderr.strip()[-160:]}")
        return read_report(report).runs[0].per_second


def measure_throughput(
    scene: Scene, engines: Mapping[str, tuple[Path, str]], seconds: int = APP_SECONDS, turns: int = APP_TURNS
) -> list[dict[str, Any]]:
    """Run benchmark_app and edgex's throughput mode in turns, with each engine of OpenVINO."""
    rows: list[dict[str, Any]] = []
    spec = scene.manifest.input
    for name, (path, backend) in engines.items():
        if backend != "openvino":
            continue
        theirs, ours, streams = [], [], 0
        for turn in range(turns):
            if turn % 2 and streams:  # who goes first takes turns, too
                ours.append(edgex_throughput(scene, path, streams, seconds))
            app = benchmark_app(path, (1, 3, spec.height, spec.width), scene.threads, seconds)
            theirs.append(app["per_second"])
            streams = int(app.get("streams", scene.threads))
            if not turn % 2:
                ours.append(edgex_throughput(scene, path, streams, seconds))
        rate = {"edgex": round(float(np.median(ours)), 2), "benchmark_app": round(float(np.median(theirs)), 2)}
        times = {key: quartiles([1000.0 / one for one in each]) for key, each in (("edgex", ours), ("app", theirs))}
        rows.append(
            {
                **{"engine": name, "streams": streams, "seconds": seconds, "turns": turns, "per_second": rate},
                **{"times": times, "ratio": ratio(ours, theirs)},
            }
        )
        print(f"{name:18} throughput", rate, flush=True)
    return rows
