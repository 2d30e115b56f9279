"""How one frame becomes the input of any image model: a bundle says it itself, for another model options say it.

Nothing is guessed that a picture could silently be wrong by: what a file lacks and no option gives is asked for.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast, get_args

import numpy as np
from numpy.typing import NDArray

from edgex.bundle import LARGEST_SIDE
from edgex.errors import ModelError, UsageError
from edgex.input_options import InputOptions, Layout, parse_options
from edgex.manifest import InputSpec, Manifest
from edgex.onnx_file import Axis, OnnxFile, TensorSpec
from edgex.preprocess import preprocess
from edgex.types import Image, require_image

__all__ = ["ImageInput", "InputOptions", "image_input", "labels", "parse_options"]
Dtype = Literal["float32", "float16", "uint8"]
LEAST_OPSET = 11
RAW = {"mean": (0.0, 0.0, 0.0), "std": (1 / 255, 1 / 255, 1 / 255)}  # the input is the pixel itself
ASK_NORMALISATION = "give --mean and --std, --mean 0,0,0 --std 1,1,1 for pixels / 255"


@dataclass(frozen=True, slots=True)
class ImageInput:
    """The input of an image model, and how a frame becomes it.

    Attributes
    ----------
    name : of the graph's input
    dtype : "float32", "float16" or "uint8"; uint8 takes the pixels as they are
    layout : "NCHW" or "NHWC"
    batch : the fixed batch of the graph, or None where any goes
    spec : size, normalisation and colour order
    channels : 3, or 1 for a model that sees grey
    """

    name: str
    dtype: Dtype
    layout: Layout
    batch: int | None
    spec: InputSpec
    channels: int = 3

    def __post_init__(self) -> None:
        holds = (
            isinstance(self.name, str)
            and self.dtype in get_args(Dtype)
            and self.layout in get_args(Layout)
            and (self.batch is None or (type(self.batch) is int and self.batch > 0))
            and isinstance(self.spec, InputSpec)
            and self.channels in (1, 3)
        )
        if not holds:
            raise ModelError(f"expected the input of an image model, got {str(self)[:300]}; build the engine again")

    def tensor(self, image: Image) -> NDArray[Any]:
        """Turn one picture into the model's input.

        Parameters
        ----------
        image : uint8 [H, W, 3], BGR, any size

        Returns
        -------
        `dtype` [1, channels, height, width], or [1, height, width, channels] for "NHWC"
        """
        import cv2

        image = require_image(image)
        if self.channels == 1:  # three equal channels, so that the same arithmetic serves
            image = cast(Image, cv2.cvtColor(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), cv2.COLOR_GRAY2BGR))
        tensor: NDArray[Any] = preprocess(image, self.spec)[:, : self.channels]
        if self.layout == "NHWC":
            tensor = tensor.transpose(0, 2, 3, 1)
        if self.dtype == "uint8":
            tensor = np.rint(tensor).clip(0, 255)
        return np.ascontiguousarray(tensor, dtype=self.dtype)

    def fixed(self, batch: NDArray[Any]) -> NDArray[Any]:
        """Fill a batch up to the one that the graph fixes, with its last picture; any other passes as it is.

        Raises
        ------
        UsageError
            If there are more pictures than the graph takes.
        """
        if self.batch is None or len(batch) == self.batch:
            return batch
        if not 1 <= len(batch) <= self.batch:
            raise UsageError(f"expected 1 to {self.batch} pictures, got {len(batch)}; the model's batch is fixed")
        return np.concatenate([batch, np.repeat(batch[-1:], self.batch - len(batch), axis=0)])

    def to_json(self) -> dict[str, Any]:
        """Return it as plain JSON types."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, tree: Mapping[str, Any]) -> ImageInput:
        """Read what `to_json` wrote. Raises ModelError when it is something else."""
        try:
            spec = {**tree["spec"], "mean": tuple(tree["spec"]["mean"]), "std": tuple(tree["spec"]["std"])}
            return cls(**{**tree, "spec": InputSpec(**spec)})
        except (KeyError, TypeError, ValueError) as error:
            raise ModelError(f"expected the input of an image model, got {str(tree)[:200]}; build it again") from error


def image_input(file: OnnxFile, options: InputOptions | None = None) -> ImageInput:
    """Return how a frame becomes the input of a model: by its manifest, and by options where it has none.

    Raises
    ------
    ModelError
        If the model has not one image input, or its manifest contradicts its graph.
    UsageError
        If the model lacks what no option gives, or an option contradicts the model.
    """
    options = options or InputOptions()
    opset = next((file.opset[domain] for domain in ("", "ai.onnx") if domain in file.opset), LEAST_OPSET)
    if opset < LEAST_OPSET:
        raise ModelError(f"expected opset {LEAST_OPSET} or later in {file.path}, got {opset}; export the model again")
    spec, shape = _only_input(file)
    layout, channels = _layout(file, spec, shape, options)
    batch = shape[0] if isinstance(shape[0], int) and shape[0] > 0 else None
    manifest = file.manifest()
    sides = (shape[2], shape[3]) if layout == "NCHW" else (shape[1], shape[2])
    size = _size(file, spec, sides, manifest, options)
    input_spec = _normalisation(file, spec, size, manifest, options)
    return ImageInput(spec.name, cast(Dtype, spec.dtype), layout, batch, input_spec, channels)


def labels(file: OnnxFile, options: InputOptions | None = None) -> tuple[str, ...]:
    """Return the names of the classes, by the manifest or by options; none where neither says them.

    Raises
    ------
    UsageError
        If the option contradicts the manifest, or the scores of the graph.
    """
    manifest = file.manifest()
    given = None if options is None else options.labels
    if manifest is not None:
        if given not in (None, manifest.labels):
            _contradicts(file, "--labels", ",".join(given or ()), ",".join(manifest.labels))
        return manifest.labels
    scores = [spec for spec in file.outputs if spec.shape is not None and len(spec.shape) == 2]
    classes = scores[0].shape[1] if len(scores) == 1 and scores[0].shape is not None else None
    if given is not None and not _is_open(classes) and classes != len(given):
        raise UsageError(f"expected {classes} --labels for {scores[0]} of {file.path}, got {len(given)}; name each")
    return given or ()


def _only_input(file: OnnxFile) -> tuple[TensorSpec, tuple[Axis, ...]]:
    names = ", ".join(str(found) for found in file.inputs) or "no input"
    if len(file.inputs) != 1:
        raise ModelError(f"expected one image input in {file.path}, got {names}; edgex works on models of one input")
    spec = file.inputs[0]
    if spec.dtype not in get_args(Dtype):
        raise ModelError(f"expected pictures as {', '.join(get_args(Dtype))} in {file.path}, got {names}; export it so")
    shape = (None,) * 4 if spec.shape is None else spec.shape
    if len(shape) != 4:
        raise ModelError(f"expected [N, 3, H, W] or [N, H, W, 3] as input of {file.path}, got {names}; export it so")
    return spec, shape


def _layout(file: OnnxFile, spec: TensorSpec, shape: tuple[Axis, ...], options: InputOptions) -> tuple[Layout, int]:
    """Return where the channels stand and how many they are: the one axis of size 3, else of 1, else of any."""
    fits: list[Callable[[Axis], bool]] = [lambda axis: axis == 3, lambda axis: axis == 1, _is_open]
    for fit in fits:
        found = [layout for layout, axis in (("NCHW", shape[1]), ("NHWC", shape[3])) if fit(axis)]
        if options.layout is not None:
            found = [layout for layout in found if layout == options.layout]
        if len(found) > 1:
            raise UsageError(f"expected one channel axis in {file.path}, got {spec}; give --layout NCHW or NHWC")
        if found:
            return cast(Layout, found[0]), 1 if fit is fits[1] else 3
    if options.layout is not None:
        raise UsageError(
            f"expected 3 or 1 channels at the C of --layout {options.layout} in {file.path}, got {spec}; check it"
        )
    raise ModelError(f"expected an input of 3 channels, or of 1, in {file.path}, got {spec}; export it so")


def _size(
    file: OnnxFile, spec: TensorSpec, sides: tuple[Axis, Axis], manifest: Manifest | None, options: InputOptions
) -> tuple[int, int]:
    said = (manifest.input.height, manifest.input.width) if manifest else options.size
    if manifest and options.size not in (None, said):
        _contradicts(file, "--size", options.size, said)
    if said is None:
        if _is_open(sides[0]) or _is_open(sides[1]):
            raise UsageError(f"expected a fixed size in {file.path}, got {spec}; give --size, such as --size 224x224")
        said = cast("tuple[int, int]", sides)
    for side, axis in zip(said, sides, strict=True):
        if not _is_open(axis) and axis != side:
            got = f"got {said[0]} x {said[1]}"
            if manifest:
                raise ModelError(f"expected the size {spec} in {file.path}, {got} in its manifest; export it again")
            raise UsageError(f"expected a size that {spec} of {file.path} takes, {got}; leave --size out or mend it")
    if max(said) > LARGEST_SIDE:
        raise ModelError(f"expected at most {LARGEST_SIDE} pixels a side in {file.path}, got {spec}; export it smaller")
    return said


def _normalisation(
    file: OnnxFile, spec: TensorSpec, size: tuple[int, int], manifest: Manifest | None, options: InputOptions
) -> InputSpec:
    given = {name: value for name in ("mean", "std", "color") if (value := getattr(options, name)) is not None}
    raw = spec.dtype == "uint8"
    if manifest is not None:
        for name, value in given.items():
            if value != getattr(manifest.input, name):
                _contradicts(file, f"--{name}", value, getattr(manifest.input, name))
        if raw and not _is_raw(manifest.input):
            raise ModelError(
                f"expected mean 0 and std 1/255 for raw pixels, got others in {file.path}; export it again"
            )
        return manifest.input
    lacking = " and ".join(name for name in ("mean", "std") if name not in given)
    if raw and lacking != "mean and std":
        raise UsageError(f"expected raw pixels for {spec} of {file.path}, got --mean or --std; leave them out")
    if not raw and lacking:
        raise UsageError(f"expected mean and std of the pixels, got no {lacking} in {file.path}; {ASK_NORMALISATION}")
    return InputSpec(size[0], size[1], **{**(RAW if raw else {}), **given})


def _is_raw(spec: InputSpec) -> bool:
    return not any(spec.mean) and all(math.isclose(value * 255, 1, rel_tol=1e-3) for value in spec.std)


def _is_open(axis: Axis) -> bool:
    """Tell whether an axis takes any size; some exporters write that as 0 or -1."""
    return not isinstance(axis, int) or axis < 1


def _contradicts(file: OnnxFile, option: str, got: object, said: object) -> NoReturn:
    raise UsageError(f"expected {option} as the manifest of {file.path} says, {said}, got {got}; leave it out")
