"""What benchmarks/gpu/engines.py and live.py run: models, engines of them as edgex builds them, or why not."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.gpu.child import without_places
from benchmarks.gpu.steps import Context, Missing
from benchmarks.precision_engines import reason_missing
from benchmarks.precision_models import SHIPPED, Model, open_model
from edgex.build import BuildOptions, Built, build
from edgex.build_manifest import Precision
from edgex.build_plan import PlanRequest
from edgex.calibrate import CalibrateOptions, calibrate
from edgex.engines.choose import TENSORRT
from edgex.errors import EdgexError, FidelityError
from edgex.fidelity import shortfalls
from edgex.verify import VerifyOptions, verify

PAPER = "deeplabv3_resnet50"  # the paper's Explainer
MODELS = (SHIPPED, PAPER)
PRECISIONS: tuple[Precision, ...] = ("fp32", "fp16", "int8")
BATCHES = (1, 8, 32)
CHECKED = 16  # frames that an engine is held against FP32 ONNX Runtime on
CALIBRATED = {SHIPPED: 32, PAPER: 16}  # frames; random weights need no more
GATE_S = 100.0  # that have to be left for the gate of INT8, which tries several placements
SHOWN = ("frames", "mask_iou_mean", "mask_iou_p5", "mask_difference_mean", "top1_agreement", "score_difference_mean")


def models(context: Context, names: Sequence[str] = MODELS) -> tuple[list[Model], dict[str, str]]:
    """Return the models that can be had here, and why others cannot."""
    found, missing = [], {}
    for name in names:
        if context.dry_run and name != SHIPPED:
            missing[name] = "a dry run exports no model"
            continue
        try:
            found.append(open_model(name, context.folder))
        except ImportError as error:
            missing[name] = f"it is exported by torch and torchvision: {_line(error)}"
        except Exception as error:  # of torch or its exporter; the shipped bundle needs neither
            missing[name] = f"{type(error).__name__}: {_line(error)}"
        context.say(f"{name}: {missing.get(name, 'there')}")
    return found, missing


def flavours(runs: bool = True) -> tuple[list[str], dict[str, str]]:
    """Return the flavours of TensorRT that build here and, where asked for, run here; and why others do not."""
    found, missing = [], {}
    for name in TENSORRT:
        builds, why = reason_missing(name)
        reason = builds or (why if runs else "")
        if reason:
            missing[name] = reason
        else:
            found.append(name)
    return found, missing


def calibration(context: Context, model: Model) -> Path:
    """Return the calibration of a model, made once from the shipped frames. Raises Missing in a dry run."""
    path = context.folder / f"{model.name}.calib.json"
    if not path.exists():
        if context.dry_run:
            raise Missing("a dry run calibrates nothing")
        made, _ = calibrate(CalibrateOptions(model.path, str(model.frames), frames=CALIBRATED.get(model.name, 16)))
        path.write_text(made.to_json(), encoding="utf-8")
    return path


def engine(
    context: Context,
    model: Model,
    flavour: str,
    precision: Precision,
    batches: tuple[int, int, int] = BATCHES,
    gate: bool = True,
) -> tuple[dict[str, Any], Path | None]:
    """Build one engine; return what is known of it, and its file unless it was refused.

    A trained model's engine has to pass edgex's gate. One that does not is built without, and the row says under
    "failure" what it was refused for. Random weights are held to nothing, and without `gate`, or where time is short,
    it is left out; the engine is compared with FP32 ONNX Runtime all the same.
    """
    row: dict[str, Any] = {"runtime": flavour, "model": model.name, "precision": precision}
    began = time.perf_counter()
    short = precision == "int8" and context.left_s() < GATE_S
    options = BuildOptions(
        model=model.path,
        precision=precision,
        backend=flavour,
        calibration=calibration(context, model) if precision == "int8" else None,
        data=str(model.frames),
        output=context.folder / f"{model.name}.{precision}.{flavour}.engine",
        checked=CHECKED,
        unchecked=not (gate and model.trained) or context.dry_run or short,
        plan=PlanRequest(batch=batches),
    )
    row["calibrate_s"] = round(time.perf_counter() - began, 2)
    try:
        built = _built(row, options)
    except EdgexError as error:
        return {**row, "refused": _line(error)}, None
    manifest = built.manifest
    row |= {"bytes": manifest.product_bytes, "warnings": list(without_places(manifest.warnings))}
    row |= {"achieved": {kind: dict(counts) for kind, counts in manifest.achieved.items()}}
    row["fidelity"] = figures(dict(manifest.fidelity)) if manifest.fidelity else None
    if row["fidelity"] is None and not context.dry_run:
        _compare(row, model, built.path)
    return row, built.path


def _compare(row: dict[str, Any], model: Model, path: Path) -> None:
    """Hold an engine that passed no gate against FP32 ONNX Runtime."""
    options = VerifyOptions(model.path, path, str(model.frames), frames=CHECKED, backend_a="onnxruntime")
    fidelity, _ = verify(options)
    row |= {"fidelity": figures({**fidelity.to_dict(), "simulated": False}), "gate": "left out"}
    if model.trained and (missed := shortfalls(fidelity)):
        row.setdefault("failure", "; ".join(missed))


def figures(fidelity: dict[str, Any]) -> dict[str, Any]:
    """Return those of the figures of edgex.fidelity that a page shows, and the outputs' relative errors."""
    shown = {name: fidelity.get(name) for name in (*SHOWN, "simulated")}
    outputs = fidelity.get("outputs") or {}
    return {**shown, "relative_error": {name: each["relative_error"] for name, each in outputs.items()}}


def _built(row: dict[str, Any], options: BuildOptions) -> Built:
    """Build and keep the time; again without the gate where it refuses."""
    began = time.perf_counter()
    try:
        built = build(options)
    except FidelityError as error:
        row["failure"] = _line(error)
        began = time.perf_counter()
        built = build(replace(options, unchecked=True))
    row["build_s"] = round(time.perf_counter() - began, 2)
    return built


def _line(error: BaseException) -> str:
    line: str = without_places(" ".join(str(error).split()))[:300]
    return line
