"""What `fuzz_loaders` calls, and with what: a folder of a model, its sidecar and its calibration, some of it broken."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
from onnx import helper, numpy_helper

from benchmarks.fuzz_bundles import Random, changed_json, changed_model, one_of
from edgex.build import BuildOptions, build
from edgex.build_manifest import read_sidecar, sidecar
from edgex.calibrate import CalibrateOptions, calibrate
from edgex.calibration import read_calibration
from edgex.engines import open_network
from edgex.engines.choose import TENSORRT, reason_passed_over
from edgex.errors import EdgexError
from edgex.inspect import inspect
from edgex.optional import require
from tests.bundles import patched_picture, write_bundle

FRAMES = 16
LARGEST_INPUT = 1 << 24  # values that a network is run with


def run_once(path: Path, backend: str) -> None:
    """Load a model and infer once; the input's open sizes are a batch of one and 32 pixels."""
    network = open_network(path, backend, threads=1)
    try:
        sides = [1 if place == 0 else 32 for place in range(4)]
        shape = sides if network.input.shape is None else network.input.shape
        found = [
            axis if isinstance(axis, int) and axis > 0 else sides[min(place, 3)] for place, axis in enumerate(shape)
        ]
        if np.prod(found, dtype=np.float64) <= LARGEST_INPUT:
            network.run(np.zeros(found, network.input.dtype))
    finally:
        network.close()


def look(path: Path) -> None:
    found = inspect(path)
    json.dumps(found.to_dict())
    found.rows()


def parse(path: Path) -> None:
    from edgex.engines.tensorrt_parse import parse_types

    parse_types(path, TENSORRT[1])


def built(path: Path, precision: Any, **options: Any) -> None:
    build(BuildOptions(path, precision, "onnxruntime", threads=1, output=path.parent / "out.onnx", **options))


def from_frames(path: Path) -> None:
    built(path, "int8", data=str(path.parent.parent / "frames"), frames=FRAMES, checked=4)


def ranges(path: Path) -> None:
    calibrate(CalibrateOptions(path, str(path.parent.parent / "frames"), frames=2, threads=1))


SUBJECTS: dict[str, Callable[[Path], object]] = {
    "inspect": look,
    "sidecar": read_sidecar,
    "calibration": lambda path: read_calibration(path.with_name("model.calib.json")),
    "auto": lambda path: run_once(path, "auto"),
    "onnxruntime": lambda path: run_once(path, "onnxruntime"),
    "openvino": lambda path: run_once(path, "openvino"),
    "tensorrt-rtx": parse,
    "calibrate": ranges,
    "fp32": lambda path: built(path, "fp32", unchecked=True),
    "fp16": lambda path: built(path, "fp16", unchecked=True),
    "int8": lambda path: built(path, "int8", unchecked=True),
    "int8 checked": from_frames,
}


def here() -> list[str]:
    """Return the subjects that this machine has."""
    lacking = {"openvino"} if reason_passed_over("openvino") else set()
    try:
        require("tensorrt_rtx")
    except EdgexError:
        lacking.add("tensorrt-rtx")
    return [name for name in SUBJECTS if name not in lacking]


def prepare(folder: Path) -> None:
    """Write frames, sound bundles, and the sidecar and calibration of one of them."""
    (folder / "frames").mkdir()
    for number in range(FRAMES):
        picture = patched_picture(32, 32 + number, ("red", "green", "blue")[number % 3])
        cv2.imwrite(str(folder / "frames" / f"{number:02}.png"), picture)
    (folder / "seeds").mkdir()
    plain = deepened(write_bundle(folder / "seeds" / "a.onnx"))
    deepened(write_bundle(folder / "seeds" / "b.onnx", half_weights=True, task="single-label"))
    write_bundle(folder / "seeds" / "c.onnx", batch=2, class_head=False)
    deepened(write_bundle(folder / "seeds" / "d.onnx", with_manifest=False, batch=1))
    found, _ = calibrate(CalibrateOptions(plain, str(folder / "frames"), frames=4))
    (folder / "calibration").write_text(found.to_json())
    product = build(BuildOptions(plain, "fp32", "onnxruntime", output=folder / "seeds" / "e.onnx", unchecked=True)).path
    sidecar(product).rename(folder / "sidecar")
    quantised = BuildOptions(plain, "int8", "onnxruntime", data=str(folder / "frames"), unchecked=True)
    sidecar(build(quantised).path).unlink()


def deepened(path: Path) -> Path:
    """Put two convolutions into a bundle before its own, the only one, which no build rounds to int8."""
    model, random = onnx.load(path), np.random.default_rng(0)
    own = next(place for place, node in enumerate(model.graph.node) if node.op_type == "Conv")
    model.graph.node[own].input[0] = "deep"
    for name, shape in (("first", (8, 3, 3, 3)), ("second", (3, 8, 3, 3))):
        model.graph.initializer.append(numpy_helper.from_array(random.normal(0, 0.3, shape).astype(np.float32), name))
    for place, (kind, inputs, output) in enumerate(
        (("Conv", ["small", "first"], "c"), ("Relu", ["c"], "r"), ("Conv", ["r", "second"], "deep"))
    ):
        more = {"pads": [1] * 4} if kind == "Conv" else {}
        model.graph.node.insert(own + place, helper.make_node(kind, inputs, [output], **more))
    onnx.save(model, path)
    return path


def draw_case(random: Random, folder: Path, case: Path) -> tuple[list[str], Path]:
    """Write one broken bundle into a new folder; return what is broken and the model's path."""
    seed = one_of(random, sorted((folder / "seeds").iterdir())).read_bytes()
    kinds, content = changed_model(random, seed) if random.random() < 0.85 else ([], seed)
    case.mkdir()
    model = case / ("model.engine" if random.random() < 0.06 else "model.onnx")
    model.write_bytes(content)
    (case / "weights.bin").write_bytes(random.bytes(60))
    (case / "link.bin").symlink_to(sys.executable)
    digest = hashlib.sha256(content if random.random() < 0.8 else seed).hexdigest()
    for name, path, often in (("sidecar", sidecar(model), 0.3), ("calibration", case / "model.calib.json", 0.6)):
        if random.random() < often or not kinds:
            text = re.sub(r'("(?:product|model)_sha256": ")\w+', rf"\g<1>{digest}", (folder / name).read_text())
            if random.random() < 0.5 or not kinds:
                text, _ = changed_json(random, text), kinds.append(name)
            path.write_bytes(text.encode("utf-8", "surrogatepass"))
    return kinds, model
