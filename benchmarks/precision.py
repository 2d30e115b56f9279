"""What INT8 is worth: size, build time, latency, fidelity and masks of every engine that edgex builds here.

For the shipped bundle, the paper's DeepLabV3-ResNet50 and LR-ASPP, the last two with random weights: their times count,
their fidelity does not. All engines and the bare sessions below them are timed in the same interleaved rounds.
`benchmarks/precision_tables.py` turns the JSON into the tables of docs/precision.md.

Usage: python -m benchmarks.precision --scenes DIR [--models shipped] [--backends openvino] [--images 400] [--rounds 60]
       python -m benchmarks.precision --table      (prints the tables of the JSON, measures nothing)
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import precision_tables
from benchmarks.precision_engines import (
    PRECISIONS,
    Bare,
    backend_version,
    bare_openvino,
    bare_session,
    build_engine,
    calibrate_model,
    reason_missing,
    require_same,
    settle,
)
from benchmarks.precision_models import NAMES, Model, open_model
from benchmarks.precision_scores import HeldBack, Scenes, score
from benchmarks.rounds import Contender, describe_machine, interleave, load_average
from edgex.engines import BACKENDS, Network, open_engine, open_network
from edgex.engines.cpu import describe
from edgex.errors import EdgexError
from edgex.fidelity import Reference

DEFAULT = "openvino default"  # OpenVINO's own choice of precision for the FP32 file
UNTRAINED_IMAGES = 32  # that the outputs of random weights are compared on


@dataclass(frozen=True, slots=True)
class Options:
    """How to measure.

    Attributes
    ----------
    backends : of edgex.engines.BACKENDS
    scenes : dataset of labelled scenes, or None: then fidelity is measured on held-back calibration frames
    images : how many of them
    rounds : of timing
    threads : CPU threads of every engine and session
    """

    backends: tuple[str, ...] = BACKENDS
    scenes: str | None = None
    images: int = 400
    rounds: int = 60
    threads: int = 2


def measure_model(model: Model, options: Options, folder: Path) -> dict[str, Any]:
    """Build every engine of a model, then judge and time those that run here.

    Parameters
    ----------
    model : what to build from
    options : how to measure
    folder : where engines go
    """
    load = load_average()
    text, calibrated = calibrate_model(model, options.threads)
    rows: dict[str, dict[str, Any]] = {}
    files: dict[str, Path] = {}
    for backend in options.backends:
        missing, cannot_run = reason_missing(backend)
        if missing:
            rows[backend] = {"backend": backend, "precision": None, "refused": missing}
        for precision in () if missing else PRECISIONS:
            name = f"{backend} {precision}"
            print(f"{model.name}: building {name}", flush=True)
            rows[name], built = build_engine(model, backend, precision, text, folder, options.threads)
            rows[name] |= {"not_run": cannot_run} if cannot_run else {}
            if built is not None and not cannot_run:
                files[name] = built
    manifest = model.manifest()
    report: dict[str, Any] = {
        "trained": model.trained,
        "explainer": manifest.explainer,
        "explanandum": manifest.explanandum,
        "classes": len(manifest.labels),
        "height": manifest.input.height,
        "width": manifest.input.width,
        "bytes": model.path.stat().st_size,
        "calibration": calibrated,
        "engines": rows,
    }
    with ExitStack() as stack:
        engines = {name: open_engine(file, rows[name]["backend"], options.threads) for name, file in files.items()}
        bare = {
            name: bare_session(file, rows[name]["backend"], rows[name]["precision"], options.threads)
            for name, file in files.items()
        }
        for engine in engines.values():
            stack.callback(engine.close)
        floors = {name: session for name, session in bare.items() if session is not None}
        networks: dict[str, Any] = {name: engine.network for name, engine in engines.items()}
        if "openvino fp32" in files:
            networks[DEFAULT] = floors[DEFAULT] = bare_openvino(model.path, options.threads, None)
            computes_in = networks[DEFAULT].computes_in
            rows[DEFAULT] = {"backend": "openvino", "precision": "default", "computes_in": computes_in}
        report |= judge(model, options, networks, rows)
        report["latency"] = time_all(model, options, engines, floors)
    gc.collect()  # sessions of the next model find the memory free
    return {**report, "load_before": load, "load_after": load_average()}


def judge(model: Model, options: Options, networks: dict[str, Network], rows: dict[str, Any]) -> dict[str, Any]:
    """Measure fidelity and, on labelled scenes, the scores of masks; add both to the rows; say on what."""
    manifest = model.manifest()
    count = options.images if model.trained else min(options.images, UNTRAINED_IMAGES)
    scenes = None if options.scenes is None else Scenes(options.scenes, count, manifest.input)
    frames: Iterable[Any] = scenes or HeldBack(model.frames, count, manifest.input)
    reference = open_network(model.path, "onnxruntime", options.threads)
    try:
        measure = Reference(reference, frames, manifest.task)
        for name, network in networks.items():
            print(f"{model.name}: judging {name}", flush=True)
            figures = measure.compare(network).to_dict()
            rows[name]["fidelity"] = {key: value for key, value in figures.items() if key != "worst"}
            if scenes is not None and model.trained:
                rows[name]["scores"] = score(network, scenes, manifest)
        truth = {"reference_scores": score(reference, scenes, manifest)} if scenes is not None and model.trained else {}
    finally:
        reference.close()
    return {"judged_on": "scenes" if scenes else "held-back calibration frames", **truth}


def time_all(model: Model, options: Options, engines: dict[str, Any], floors: dict[str, Bare]) -> dict[str, Any]:
    """Time engines and bare sessions in one run of interleaved rounds, then each engine against its own floor alone."""
    manifest = model.manifest()
    _, tensor = next(iter(HeldBack(model.frames, 1, manifest.input)))
    calls = {name: partial(engine.infer, tensor) for name, engine in engines.items()}
    bare = {name if name == DEFAULT else f"{name} bare": partial(each.call, tensor) for name, each in floors.items()}
    same = {
        name: require_same(name, engines[name].network.run(tensor), floors[name].run(tensor))
        for name in engines
        if name in floors
    }
    print(f"{model.name}: timing {', '.join([*calls, *bare])}", flush=True)
    contenders = {name: Contender(call, settle) for name, call in {**calls, **bare}.items()}
    costs = {}
    for name in same:
        pair = {"bare": contenders[f"{name} bare"], "edgex": contenders[name]}
        costs[name] = interleave(pair, options.rounds)
    return {
        "contenders": interleave(contenders, options.rounds) if contenders else {},
        "own_cost": {
            name: {
                "percent": round(100.0 * (found["edgex"]["over_first"] - 1.0), 2),
                "edgex_ms": found["edgex"]["median_ms"],
                "bare_ms": found["bare"]["median_ms"],
            }
            for name, found in costs.items()
        },
        "largest_difference": same,
    }


def measure(models: Iterable[Model], options: Options, folder: Path, output: Path) -> dict[str, Any]:
    """Measure models one after the other; the JSON is written anew after each."""
    machine = describe_machine()
    machine["packages"] = {name: machine["packages"].get(name) for name in ("edgex", "numpy", "torch")}
    report: dict[str, Any] = {
        "machine": {**machine, "cpu_features": describe()},
        "backends": {name: backend_version(name) for name in options.backends},
        "threads": options.threads,
        "rounds": options.rounds,
        "images": options.images,
        "untrained_images": UNTRAINED_IMAGES,
        "models": {},
    }
    for model in models:
        report["models"][model.name] = measure_model(model, options, folder)
        report["limits"] = precision_tables.judged(report)
        output.parent.mkdir(parents=True, exist_ok=True)
        partly = output.with_suffix(".part")
        partly.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
        os.replace(partly, output)
        print(f"{model.name}: written to {output.name}", flush=True)
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--backends", nargs="+", choices=BACKENDS, default=list(BACKENDS))
    parser.add_argument("--scenes", help="dataset in VOC layout with ground truth for the shipped labels")
    parser.add_argument("--images", type=int, default=400, help="scenes that engines are judged on")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--output", type=Path, default=precision_tables.INPUT)
    parser.add_argument("--table", action="store_true", help="print the tables of --output and measure nothing")
    given = parser.parse_args()
    if given.table:
        report = json.loads(given.output.read_text(encoding="utf-8"))
    else:
        options = Options(tuple(given.backends), given.scenes, given.images, given.rounds, given.threads)
        with tempfile.TemporaryDirectory(prefix="edgex-precision-") as folder:
            try:
                models = (open_model(name, Path(folder)) for name in given.models)
                report = measure(models, options, Path(folder), given.output)
            except EdgexError as error:
                raise SystemExit(str(error)) from error
    print(*precision_tables.tables(report).values(), sep="\n\n")


if __name__ == "__main__":
    main()
