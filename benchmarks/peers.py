"""The same work side by side: what edgex does, and what a user would pick instead, in interleaved rounds of one run.

"A 1280 x 720 frame in, all classes explained, three drawn, a picture out" by edgex, by pytorch-grad-cam and captum for
the same classifier and classes, and by the paper's model in torch. Then edgex's engine mode beside the backends' own
sessions and benchmark_app, and its drawing beside supervision's and torchvision's. All outputs are checked first.

Usage: python -m benchmarks.peers [--rounds 15] [--engines FOLDER] [--only frame] [--output JSON]
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import drawing_peers
from benchmarks.peers_aims import judged
from benchmarks.peers_engines import measure_engines, measure_throughput
from benchmarks.peers_frame import edgex_rivals
from benchmarks.peers_overhead import measure_overhead
from benchmarks.peers_rounds import Rival, ratio, table_of, times_of, with_threads
from benchmarks.peers_scene import Scene, attempted, engines_of, int8_engines, numpy_composite, open_scene
from benchmarks.rounds import describe_machine, load_average
from edgex.compositors import open_compositor
from edgex.engines import open_engine
from edgex.engines.cpu import describe
from edgex.errors import EdgexError
from edgex.preprocess import preprocess

OUTPUT = Path(__file__).parent / "results" / "peers.json"
SECTIONS = ("frame", "engines", "throughput", "overhead", "drawing")
PACKAGES = ("onnxruntime", "openvino", "grad-cam", "captum", "onnx2torch", "matplotlib")
CLOSE = 5  # times as many rounds where a few percent are to be told apart, and a round takes 0.1 s
Engines = dict[str, tuple[Path, str]]


def measure_frame(scene: Scene, engines: Engines, rounds: int, compiled: bool) -> dict[str, Any]:
    """Check and time everyone who explains a whole frame.

    Parameters
    ----------
    scene : the work
    engines : of edgex
    rounds : of timing
    compiled : whether torch.compile has its turn; it takes a minute or two to compile
    """
    makers = _peers(scene, compiled)
    with ExitStack() as stack:
        rivals, checks = edgex_rivals(scene, engines, stack)
        made, missing = attempted(makers)
        for name, (rival, check) in made.items():
            rivals[name], checks[name] = rival, check
        print(f"timing {', '.join(rivals)}", flush=True)
        spent = times_of(with_threads(rivals, scene.set_threads), rounds)
    base, fastest = (
        min((name for name in spent if name.startswith(kind)), key=lambda name: sorted(spent[name])[rounds // 2])
        for kind in ("edgex, ", "edgex pipeline, ")
    )
    table = table_of(rivals, spent, base)
    for name, row in table.items():
        row["over_pipeline"] = ratio(spent[name], spent[fastest])
    return {"base": base, "pipeline": fastest, "contenders": table, "checks": checks, "missing": missing}


def _peers(scene: Scene, compiled: bool) -> dict[str, Callable[[], tuple[Rival, dict[str, Any]]]]:
    def attribution(name: str, *arguments: Any) -> tuple[Rival, dict[str, Any]]:
        from benchmarks import peers_attribution

        found: tuple[Rival, dict[str, Any]] = getattr(peers_attribution, name)(scene, *arguments)
        return found

    def torch(name: str, *arguments: Any) -> tuple[Rival, dict[str, Any]]:
        from benchmarks import peers_torch

        found: tuple[Rival, dict[str, Any]] = getattr(peers_torch, name)(scene, *arguments)
        return found

    return {
        "pytorch-grad-cam": partial(attribution, "grad_cam", False),
        "pytorch-grad-cam, thrifty": partial(attribution, "grad_cam", True),
        "captum": partial(attribution, "captum_grad_cam"),
        "shipped model, torch eager": partial(torch, "shipped_rival", False),
        "shipped model, torch eager, channels_last": partial(torch, "shipped_rival", True),
        "paper's model, torch eager": partial(torch, "paper_rival", False),
        "paper's model, torch eager, channels_last": partial(torch, "paper_rival", True),
        **({"paper's model, torch.compile": partial(torch, "paper_rival", False, True)} if compiled else {}),
    }


def measure_drawing(scene: Scene, rounds: int) -> dict[str, Any]:
    """Time the drawing of three masks alone; supervision and torchvision get ready boolean masks of full size."""
    engine = open_engine(scene.bundle, "onnxruntime", scene.threads)
    try:
        logits = engine.infer(preprocess(scene.image, scene.manifest.input)).mask_logits[0]
    finally:
        engine.close()
    image, drawing, compositor = scene.image, scene.drawing, open_compositor()
    ready = compositor.masks(logits, drawing.classes, *image.shape[:2]) >= 128
    found, missing = drawing_peers.prepared(
        {
            "edgex": lambda: partial(compositor.compose, image, logits, drawing),
            "NumPy and OpenCV": lambda: partial(numpy_composite, image, logits, drawing),
            "torch": partial(drawing_peers.torch_overlay, image, logits, drawing),
            "torchvision": partial(drawing_peers.torchvision_drawing, image, ready, drawing),
            "supervision": partial(drawing_peers.supervision_annotator, image, ready, drawing),
        }
    )
    ours = found["edgex"]()
    for name, call in found.items():
        picture, exact = call(), name not in ("torchvision", "supervision")  # those draw hard edges
        if picture.shape != ours.shape or (exact and drawing_peers.shares_apart(picture, ours)[0] > 1e-3):
            raise SystemExit(f"{name}: expected the picture that edgex draws, got another")
    rivals = with_threads({name: Rival(call) for name, call in found.items()}, scene.set_threads)
    return {
        "compositor": compositor.name,
        "contenders": table_of(rivals, times_of(rivals, rounds), "edgex"),
        "missing": missing,
    }


def measure(
    scene: Scene, engines: Engines, rounds: int, sections: tuple[str, ...] = SECTIONS, compiled: bool = True
) -> dict[str, Any]:
    """Measure the sections that are asked for, and hold them against the aims."""
    scene.set_threads()
    began, machine = time.perf_counter(), describe_machine(PACKAGES)
    report: dict[str, Any] = {
        "machine": {**machine, "cpu_features": describe()},
        "load_before": load_average(),
        "threads": scene.threads,
        "rounds": rounds,
        "frame": [scene.image.shape[1], scene.image.shape[0]],
        "drawn": list(scene.labels),
        "classes": len(scene.manifest.labels),
    }
    steps: dict[str, Callable[[], Any]] = {
        "frame": lambda: measure_frame(scene, engines, rounds, compiled),
        "engines": lambda: measure_engines(scene, engines, CLOSE * rounds),
        "throughput": lambda: measure_throughput(scene, engines),
        "overhead": measure_overhead,
        "drawing": lambda: measure_drawing(scene, rounds),
    }
    report |= {"sections": {}, "missing": {}}
    for section in sections:
        print(f"measuring {section}", flush=True)
        alone = {section: steps[section]}  # benchmark_app may be missing or fail
        found, missing = attempted(alone) if section == "throughput" else ({section: steps[section]()}, {})
        report["sections"] |= found
        report["missing"] |= missing
    report |= {"aims": judged(report), "load_after": load_average()}
    return {**report, "seconds": round(time.perf_counter() - began, 1)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=min(2, os.cpu_count() or 1))
    parser.add_argument("--engines", type=Path, help="folder of INT8 engines NAME.BACKEND.onnx; else they are built")
    parser.add_argument("--only", choices=SECTIONS, action="append", help="may be given several times")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out, which takes minutes")
    parser.add_argument("--output", type=Path, default=OUTPUT)
    given = parser.parse_args()
    try:
        scene = open_scene(threads=given.threads)
        int8, kept = int8_engines(scene, given.engines)
        report = measure(
            scene, engines_of(scene, int8), given.rounds, tuple(given.only or SECTIONS), not given.no_compile
        )
    except EdgexError as error:
        print(error, file=sys.stderr)
        raise SystemExit(error.exit_code) from error
    if kept is not None:
        kept.cleanup()
    given.output.parent.mkdir(parents=True, exist_ok=True)
    given.output.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    for each in report["aims"]:
        print(f"{'met' if each['met'] else 'missed'}: {each['what']}: {each['reached']} (aim {each['bound']})")
    print(f"{given.output.name} written after {report['seconds']:.0f} s")


if __name__ == "__main__":
    main()
