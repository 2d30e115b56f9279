"""Calibrate: run the FP32 model over real frames, one at a time, and keep the range of each tensor."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

from numpy.typing import NDArray

from edgex.calibration import Calibration, rounded
from edgex.errors import ModelError, UsageError
from edgex.frames import Frames, read_frames
from edgex.graph import float_tensors, prepare, weights
from edgex.image_input import ImageInput, InputOptions, image_input
from edgex.onnx_file import OnnxFile, read_onnx
from edgex.ranges import Method, TensorRange
from edgex.types import Observe

FEWEST_FRAMES = 32  # below it a warning: rare values are missed


@dataclass(frozen=True, slots=True)
class CalibrateOptions:
    """What to calibrate.

    Attributes
    ----------
    model : FP32 ONNX file
    data : folder, glob or video of frames like those that the device will see
    method : "minmax", "percentile" or "entropy"
    percentile : share of the values that "percentile" keeps, in percent
    frames : how many frames are used
    seed : which ones: 0 spreads them evenly
    threads : CPU threads, or None for one a core
    input : what the model does not say of its input
    held_back : leave the frames out that `build` will check the engine on
    """

    model: Path
    data: str
    method: Method = "percentile"
    percentile: float = 99.999
    frames: int = 256
    seed: int = 0
    threads: int | None = None
    input: InputOptions = field(default_factory=InputOptions)
    held_back: bool = True

    def __post_init__(self) -> None:
        if self.method not in get_args(Method):
            raise UsageError(f"expected a method of {', '.join(get_args(Method))}, got {self.method!r}; choose one")
        if not 50.0 < self.percentile <= 100.0:
            raise UsageError(f"expected a percentile above 50, up to 100, got {self.percentile}; 99.999 is usual")
        if self.frames < 1:
            raise UsageError(f"expected at least one frame, got {self.frames}; 256 are usual")


def calibrate(options: CalibrateOptions, observe: Observe | None = None) -> tuple[Calibration, tuple[str, ...]]:
    """Calibrate a model.

    Parameters
    ----------
    options : what and with what
    observe : is told the stage, frames done and frames in all

    Returns
    -------
    the calibration, and warnings, one sentence each

    Raises
    ------
    ModelError
        If the model cannot be read or run, or is quantised already.
    SourceError
        If there is no frame that can be read.
    UsageError
        If the model does not say how a frame becomes its input, nor do the options.
    """
    file = read_onnx(options.model)
    image = image_input(file, options.input)
    model = prepare(options.model)
    part = "calibration" if options.held_back else "all"
    frames = read_frames(options.data, options.frames, options.seed, part)  # type: ignore[arg-type]
    gathered = gather(model, image, frames, options.threads, observe)
    warnings = [*frames.skipped, *frames.warnings]
    if frames.count < FEWEST_FRAMES:
        warnings.append(
            f"expected at least {FEWEST_FRAMES} frames to calibrate with, got {frames.count}; rare values may be "
            "missed, add frames"
        )
    import onnxruntime

    label = f"percentile {options.percentile:g}" if options.method == "percentile" else options.method
    calibration = Calibration(
        model=options.model.name,
        model_sha256=model_digest(file),
        method=label,
        frames=frames.count,
        frames_sha256=frames.digest,
        source=options.data,
        seed=options.seed,
        image=image,
        onnxruntime=onnxruntime.__version__,
        ranges={name: _pair(seen.range(options.method, options.percentile)) for name, seen in gathered.items()},
        means={
            name: tuple(rounded(mean) for mean in means)
            for name, seen in gathered.items()
            if (means := seen.means()) is not None
        },
    )
    return calibration, tuple(warnings)


def model_digest(file: OnnxFile) -> str:
    """Return the sha256 of a model: its file, and the files of weights beside it."""
    import hashlib

    if not file.external:
        return file.sha256
    digest = hashlib.sha256(file.sha256.encode())
    for name in sorted(file.external):
        with (file.path.parent / name).open("rb") as weights_file:
            while chunk := weights_file.read(2**20):
                digest.update(chunk)
    return digest.hexdigest()


def gather(
    model: Any, image: ImageInput, frames: Frames, threads: int | None, observe: Observe | None
) -> dict[str, TensorRange]:
    """Run a prepared graph over frames and return what was seen of each float activation.

    Raises
    ------
    ModelError
        If ONNX Runtime cannot run it.
    """
    names = sorted(float_tensors(model))
    read_by_conv = {
        node.input[0] for node in model.graph.node if node.op_type == "Conv" and node.input[1] in weights(model)
    }
    session = _session(with_outputs(model, names), threads)
    fetched = [name for name in names if name != image.name]
    ranges = {name: TensorRange(channels=name in read_by_conv) for name in names}
    for done, frame in enumerate(frames):
        tensor = image.tensor(frame.image)
        for name, values in zip([image.name, *fetched], [tensor, *_run(session, fetched, image, tensor)], strict=True):
            if name in ranges:
                ranges[name].add(values)
        if observe is not None:
            observe("calibrating", done + 1, frames.expected)
    return {name: seen for name, seen in ranges.items() if seen.frames}


def with_outputs(model: Any, names: list[str]) -> Any:
    """Return a copy of a graph that gives the named tensors as outputs too."""
    from onnx import TensorProto, helper

    model = copy.deepcopy(model)
    there = {value.name for value in (*model.graph.output, *model.graph.input)}
    model.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names if name not in there
    )
    return model


def _session(model: Any, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = threads or 0
    options.enable_cpu_mem_arena = False  # it would keep the memory of the largest frame's every tensor twice
    try:
        return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime has no common base class
        raise _cannot(error) from error


def _run(session: Any, names: list[str], image: ImageInput, tensor: NDArray[Any]) -> list[NDArray[Any]]:
    import onnxruntime

    options = onnxruntime.RunOptions()
    options.log_severity_level = 4
    try:
        return list(session.run(names, {image.name: image.fixed(tensor)}, options))
    except Exception as error:  # see _session
        raise _cannot(error) from error


def _cannot(error: Exception) -> ModelError:
    cause = " ".join(str(error).split())[:300].rstrip(" .;:")
    return ModelError(f"expected ONNX Runtime to run the model, got: {cause}; export the model again")


def _pair(pair: tuple[float, float]) -> tuple[float, float]:
    return rounded(pair[0]), rounded(pair[1])
