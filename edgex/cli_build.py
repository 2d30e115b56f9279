"""The commands from a model to an engine: calibrate, build, verify. They parse, call one function, and print."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from edgex.cli_shared import Debug, Json, Trust, complain, plain, print_table, progress
from edgex.errors import UsageError

if TYPE_CHECKING:
    from edgex.build_manifest import BuildManifest, Precision
    from edgex.ranges import Method

Onnx = Annotated[Path, typer.Argument(help="FP32 ONNX file.", show_default=False)]
Threads = Annotated[int | None, typer.Option(help="CPU threads.", min=1)]
Mean = Annotated[str | None, typer.Option(help="Mean of a model without manifest: 0.485,0.456,0.406 or 0.5.")]
Std = Annotated[str | None, typer.Option(help="Standard deviation of a model without manifest, such as 1/255.")]
Size = Annotated[str | None, typer.Option(help="Input size of a model of any size: 224 or 480x640 (height first).")]
Layout = Annotated[str | None, typer.Option(help="NCHW or NHWC, where the shape does not say.")]
Labels = Annotated[str | None, typer.Option(help="Names of the classes: a,b,c or a file, one a line.")]
Color = Annotated[str | None, typer.Option(help="RGB or BGR, of a model without manifest.")]


def calibrate(
    model: Onnx,
    data: Annotated[str, typer.Option(help="Folder, quoted glob or video of frames as the device will see them.")],
    method: Annotated[str, typer.Option(help="percentile, minmax or entropy.")] = "percentile",
    percentile: Annotated[float, typer.Option(help="Percent of the values that percentile keeps.")] = 99.999,
    frames: Annotated[int, typer.Option(help="Use so many frames, evenly spread.", min=1)] = 256,
    seed: Annotated[int, typer.Option(help="Draw other frames.")] = 0,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="File to write; NAME.calib.json.")] = None,
    threads: Threads = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = None,
    labels: Labels = None,
    color: Color = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Run the model over real frames and write the range of each of its tensors, for INT8 on any backend."""
    from edgex.build_target import require_other
    from edgex.calibrate import CalibrateOptions
    from edgex.calibrate import calibrate as run
    from edgex.calibration import calibration_path
    from edgex.image_input import parse_options
    from edgex.product import require_writable, write_text

    path = output or calibration_path(model)
    require_other(path, model)
    require_writable(path)
    given = parse_options(mean, std, size, layout, labels, color)
    options = CalibrateOptions(model, data, cast("Method", method), percentile, frames, seed, threads, given)
    with progress() as show:
        calibration, warnings = run(options, show)
    write_text(path, calibration.to_json())
    for warning in warnings:
        complain(f"warning: {warning}")
    about = {"path": str(path), "frames": calibration.frames, "method": calibration.method}
    about |= {"tensors": len(calibration.ranges), "frames_sha256": calibration.frames_sha256}
    if as_json:
        print(json.dumps({**about, "warnings": warnings}))
    else:
        print(f"{about['tensors']} tensors over {about['frames']} frames, {about['method']}")
        print(f"wrote {path}")


def build(
    model: Onnx,
    fp32: Annotated[bool, typer.Option("--fp32", help="As the model is (the default).")] = False,
    fp16: Annotated[bool, typer.Option("--fp16", help="Half precision.")] = False,
    int8: Annotated[bool, typer.Option("--int8", help="8-bit integers, checked against the model.")] = False,
    backend: Annotated[str, typer.Option(help="onnxruntime, openvino, tensorrt, tensorrt-rtx, or auto.")] = "auto",
    calibration: Annotated[Path | None, typer.Option(help="What edgex calibrate wrote; NAME.calib.json.")] = None,
    data: Annotated[str | None, typer.Option(help="Folder, quoted glob or video to calibrate and check with.")] = None,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="Engine to write.")] = None,
    frames: Annotated[int, typer.Option(help="Calibrate with so many frames.", min=1)] = 256,
    checked: Annotated[int, typer.Option(help="Check the engine on so many held-back frames.", min=1)] = 64,
    min_iou: Annotated[float, typer.Option(help="Least mean mask IoU with the model.", min=0, max=1)] = 0.95,
    min_iou_p5: Annotated[float, typer.Option(help="Least 5th percentile of it.", min=0, max=1)] = 0.85,
    min_agreement: Annotated[float, typer.Option(help="Least share of equal top-1 classes.", min=0, max=1)] = 0.98,
    unchecked: Annotated[bool, typer.Option("--unchecked", help="Write the engine without the check.")] = False,
    threads: Threads = None,
    batch: Annotated[str | None, typer.Option(help="TensorRT: batch, or smallest,usual,largest.")] = None,
    plan_size: Annotated[str | None, typer.Option(help="TensorRT: sizes HxW, or smallest,usual,largest.")] = None,
    workspace: Annotated[int | None, typer.Option(help="TensorRT: MiB that a layer may work in.", min=1)] = None,
    timing_cache: Annotated[Path | None, typer.Option(help="TensorRT: file of earlier measurements.")] = None,
    version_compatible: Annotated[bool, typer.Option("--version-compatible", help="TensorRT: for later too.")] = False,
    optimisation_level: Annotated[int | None, typer.Option(help="TensorRT: 0, quick, to 5.", min=0, max=5)] = None,
    compute_capability: Annotated[str | None, typer.Option(help="TensorRT-RTX: GPUs, such as sm89,sm120.")] = None,
    log: Annotated[Path | None, typer.Option(help="TensorRT: file for all that it says.")] = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = None,
    labels: Labels = None,
    color: Color = None,
    as_json: Json = False,
    debug: Debug = False,
) -> None:
    """Build the engine of one backend from a model, and see that it still explains what the model explains."""
    if fp32 + fp16 + int8 > 1:
        raise UsageError("expected one of --fp32, --fp16 and --int8, got several; choose one")
    from edgex.build import BuildOptions
    from edgex.build import build as run
    from edgex.build_plan import PlanRequest, batch_profile, size_profile
    from edgex.fidelity import Budget
    from edgex.image_input import parse_options

    plan = PlanRequest(
        batch=batch_profile(batch),
        size=size_profile(plan_size),
        workspace_mb=workspace,
        timing_cache=timing_cache,
        version_compatible=version_compatible,
        optimisation_level=optimisation_level,
        compute_capabilities=tuple(compute_capability.split(",")) if compute_capability else (),
        log_file=log,
    )
    precision: Precision = "int8" if int8 else "fp16" if fp16 else "fp32"
    options = BuildOptions(
        model,
        precision,
        backend,
        calibration,
        data,
        output,
        frames=frames,
        checked=checked,
        budget=Budget(mask_iou_mean=min_iou, mask_iou_p5=min_iou_p5, top1_agreement=min_agreement),
        unchecked=unchecked,
        threads=threads,
        input=parse_options(mean, std, size, layout, labels, color),
        plan=plan,
    )
    with progress() as show:
        built = run(options, show)
    for warning in built.manifest.warnings:
        complain(f"warning: {warning}")
    if as_json:
        tree = {"path": str(built.path), "seconds": built.seconds, "advice": built.advice}
        print(json.dumps({**tree, "manifest": json.loads(built.manifest.to_json())}))
        return
    print_table([(name, plain(text)) for name, text in _build_rows(built.manifest)])
    if built.advice:
        complain(f"warning: {built.advice}")
    print(f"wrote {built.path} in {built.seconds:.0f} s")


def verify(
    a: Annotated[Path, typer.Argument(help="Reference: a model or an engine.", show_default=False)],
    b: Annotated[Path, typer.Argument(help="What is held against it.", show_default=False)],
    data: Annotated[str, typer.Option(help="Folder, quoted glob or video.")],
    frames: Annotated[int, typer.Option(help="Use so many frames, evenly spread.", min=1)] = 64,
    picture: Annotated[Path | None, typer.Option(help="PNG of the five worst frames, side by side.")] = None,
    backend_a: Annotated[str, typer.Option(help="Backend of the reference, or auto.")] = "auto",
    backend_b: Annotated[str, typer.Option(help="Backend of the other, or auto.")] = "auto",
    threads: Threads = None,
    mean: Mean = None,
    std: Std = None,
    size: Size = None,
    layout: Layout = None,
    labels: Labels = None,
    color: Color = None,
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Tell how well B explains what A explains, over real frames."""
    from edgex.fidelity import shortfalls
    from edgex.image_input import parse_options
    from edgex.verify import VerifyOptions
    from edgex.verify import verify as run

    given = parse_options(mean, std, size, layout, labels, color)
    options = VerifyOptions(a, b, data, frames, picture, backend_a, backend_b, threads, given, trust)
    with progress() as show:
        fidelity, warnings = run(options, show)
    for warning in warnings:
        complain(f"warning: {warning}")
    missed = shortfalls(fidelity)
    if as_json:
        print(json.dumps({**fidelity.to_dict(), "shortfalls": missed}))
    else:
        print_table([(name, plain(text)) for name, text in fidelity_rows(fidelity.to_dict())])
        if picture is not None and fidelity.frames:
            print(f"wrote {picture}")
    for sentence in missed:
        complain(sentence)
    return 3 if missed else 0


def fidelity_rows(tree: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the figures of a comparison as a table."""
    names = ("frames", "frames_with_mask", "mask_iou_mean", "mask_iou_p5", "mask_difference_mean", "top1_agreement")
    rows = [(name, tree.get(name)) for name in (*names, "score_difference_mean", "score_drop_mean")]
    rows += [(f"{name} error", output["relative_error"]) for name, output in tree.get("outputs", {}).items()]
    table = [(name.replace("_", " "), _figure(value)) for name, value in rows if value is not None]
    for worst in tree.get("worst", ()):
        if worst["iou"] is not None:
            table.append(("worst frame", f"{worst['name']}: IoU {worst['iou']:.3f} ({', '.join(worst['classes'])})"))
    return table


def _build_rows(manifest: BuildManifest) -> list[tuple[str, str]]:
    rows = [
        ("backend", f"{manifest.backend} {manifest.backend_version} on {manifest.device}"),
        ("precision", manifest.precision),
        ("size", f"{manifest.product_bytes / 2**20:.1f} MiB"),
        ("layers", plain({kind: dict(counts) for kind, counts in manifest.achieved.items()})),
    ]
    if manifest.fidelity is not None:
        rows += [row for row in fidelity_rows(dict(manifest.fidelity)) if row[0] != "worst frame"]
    if manifest.kept:
        rows.append(("kept", ", ".join(node.name for node in manifest.kept)))
    rows += [(f"{name} ms", f"{value:.2f}") for name, value in manifest.latency_ms.items()]
    return rows


def _figure(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)
