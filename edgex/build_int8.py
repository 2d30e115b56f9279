"""From FP32 to INT8 for one backend: which calibration, which recipe, and the gate that every result passes."""

from __future__ import annotations

import contextlib
import dataclasses
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgex.build_options import FEWEST_CHECKED
from edgex.calibrate import CalibrateOptions, calibrate, model_digest
from edgex.calibration import Calibration, calibration_path, read_calibration
from edgex.engines import Network, cpu, open_network
from edgex.errors import EdgexError, SourceError, UsageError
from edgex.fidelity import Budget, Reference
from edgex.frames import read_frames
from edgex.gate import Passed, Trial, pass_gate
from edgex.image_input import ImageInput, InputOptions
from edgex.onnx_file import OnnxFile
from edgex.precision import RECIPES, Recipe, quantize
from edgex.product import write_text
from edgex.restore import blocks, restore
from edgex.staged import cannot_write
from edgex.types import Observe

PROBES = 8  # frames over which the effect of single blocks is measured
Tensors = list[tuple[str, Any]]  # name and network input, [1, ...], of each frame of the check


@dataclass(frozen=True, slots=True)
class Calibrated:
    """A calibration, and where it came from.

    Attributes
    ----------
    calibration : the ranges
    file : where it stands, or None for one that was made now
    data : frames of which a part is held back for the check, or None where they are gone
    warnings : one sentence each
    """

    calibration: Calibration
    file: Path | None
    data: str | None
    warnings: tuple[str, ...] = ()


def calibrated(
    file: OnnxFile, named: Path | None, data: str | None, frames: int, given: InputOptions, observe: Observe
) -> Calibrated:
    """Return the calibration that is named, or made from `data`, or stands beside the model, or comes with it.

    Raises
    ------
    UsageError
        If there is none of them: INT8 is never built from made-up data.
    ModelError
        If it is one of another model.
    """
    model = file.path
    beside = calibration_path(model)
    found = named or (beside if data is None and beside.is_file() else None)
    if found is not None:
        calibration = read_calibration(found)
        calibration.require_model(model_digest(file), model)
        return Calibrated(calibration, found, data or _still_there(calibration.source, shipped_frames(file)))
    data = data or shipped_frames(file)
    if data is None:
        raise UsageError(
            f"expected a calibration for INT8 of {model}, got none; run: edgex calibrate {model} --data FRAMES, or "
            "build with --data FRAMES"
        )
    calibration, warnings = calibrate(CalibrateOptions(model, data, frames=frames, input=given), observe)
    return Calibrated(calibration, None, data, warnings)


def shipped_frames(file: OnnxFile) -> str | None:
    """Return the folder of calibration frames that the model's manifest names, if it is there."""
    manifest = file.manifest()
    if manifest is None or manifest.calibration is None:
        return None
    folder = file.path.parent / manifest.calibration
    return str(folder) if folder.exists() else None


def frames_at_hand(file: OnnxFile) -> str | None:
    """Return frames to check on where none are named: of the calibration beside the model, or shipped with it."""
    beside = calibration_path(file.path)
    source = None
    with contextlib.suppress(EdgexError):  # one that is broken is told of where it is needed
        source = read_calibration(beside).source if beside.is_file() else None
    return _still_there(source, shipped_frames(file))


def checked_frames(data: str, count: int, image: ImageInput, observe: Observe) -> Tensors:
    """Return the network inputs of the frames that calibration never sees.

    Raises
    ------
    SourceError
        If there are too few to judge by.
    """
    frames = read_frames(data, count, part="held-back")
    tensors = []
    for done, frame in enumerate(frames, start=1):
        tensors.append((frame.name, image.tensor(frame.image)))
        observe("reading frames", done, frames.expected)
    if len(tensors) < FEWEST_CHECKED:
        raise SourceError(
            f"expected at least {4 * FEWEST_CHECKED} frames in {data!r}, a quarter of which is held back to check the "
            f"engine on, got {len(tensors)} to check on; add frames, or build with --unchecked"
        )
    return tensors


def passed(
    model: Any,
    found: Calibrated,
    backend: str,
    reference: Network,
    tensors: Tensors,
    budget: Budget,
    threads: int | None,
    observe: Observe,
) -> Passed:
    """Return an INT8 graph for a backend that is within the budget; see `edgex.gate`.

    A TensorRT graph is judged by what ONNX Runtime computes of it, Q/DQ by Q/DQ, since that needs no GPU.

    Parameters
    ----------
    model : prepared graph
    found : its calibration; the effects that are measured are kept in its file
    backend : for which one
    reference : the FP32 model
    tensors : frames of the check
    """
    recipe, runner = RECIPES[backend], "openvino" if backend == "openvino" else "onnxruntime"
    narrow = needs_narrow(recipe)
    key = f"{recipe.name}{' narrow' if narrow else ''} on {runner}"
    quantised = quantize(model, found.calibration, recipe, narrow)
    with tempfile.TemporaryDirectory(prefix="edgex-") as folder:
        trial = Trial(
            restored=lambda kept: restore(quantised, model, kept),
            opened=lambda graph: _opened(graph, Path(folder) / "candidate.onnx", runner, threads),
            blocks=blocks(model, found.calibration, recipe),
            kinds={node.name: node.op_type for node in model.graph.node},
            network=reference,
            inputs=[tensor for _, tensor in tensors[:: max(1, len(tensors) // PROBES)][:PROBES]],
            reference=Reference(reference, tensors, score_drop=False),  # the trial of the engine looks at that
            frames=len(tensors),
        )
        outcome = pass_gate(trial, budget, observe, _known(found.calibration, key, trial))
    if outcome.effects and found.file is not None:
        _remember(found.file, found.calibration, key, outcome)
    return outcome


def needs_narrow(recipe: Recipe) -> bool:
    """Tell whether weights get 7 bits: x86 without VNNI adds products of uint8 and int8 in 16 bits, which saturate."""
    return recipe.activations == "uint8" and cpu.is_x86() and "vnni" not in cpu.describe()


def _opened(graph: Any, path: Path, backend: str, threads: int | None) -> Network:
    try:
        path.write_bytes(graph.SerializeToString())
    except OSError as error:
        raise cannot_write(path, error) from error
    return open_network(path, backend, threads)


def _known(calibration: Calibration, key: str, trial: Trial) -> dict[str, dict[str, float]] | None:
    """Return the effects that an earlier build measured of the same blocks, or None."""
    outputs = [spec.name for spec in trial.network.outputs]
    found = {name: dict(calibration.sensitivity.get(f"{key}: {name}", {})) for name in outputs}
    same = all(set(effects) == {block[0] for block in trial.blocks} for effects in found.values())
    return found if same else None


def _remember(file: Path, calibration: Calibration, key: str, outcome: Passed) -> None:
    """Keep the measured effects in the calibration's file, so that the next build need not measure them again."""
    measured = {
        f"{key}: {output}": {block: round(effect, 6) for block, effect in effects.items()}
        for output, effects in outcome.effects.items()
    }
    with contextlib.suppress(EdgexError):  # a read-only folder, a number that is none: the next build measures again
        there = read_calibration(file)  # another build may have written meanwhile
        if there.digest() == calibration.digest() and {**there.sensitivity, **measured} != there.sensitivity:
            write_text(file, dataclasses.replace(there, sensitivity={**there.sensitivity, **measured}).to_json())


def _still_there(*places: str | None) -> str | None:
    return next((place for place in places if place is not None and _readable(place)), None)


def _readable(place: str) -> bool:
    try:
        read_frames(place, 1)
    except EdgexError:
        return False
    return True
