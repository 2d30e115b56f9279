"""The manifest: what a model file says of itself, as JSON in the ONNX metadata under `edgex.manifest`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from edgex.errors import ModelError

METADATA_KEY = "edgex.manifest"
SCHEMA_VERSION = 1
Task = Literal["multi-label", "single-label"]
ColorOrder = Literal["RGB", "BGR"]
Resize = Literal["area"]


@dataclass(frozen=True, slots=True)
class InputSpec:
    """How a frame becomes the network's input.

    Attributes
    ----------
    height, width : size of the network's input in pixels
    mean, std : per channel in `color` order; the input is (pixel / 255 - mean) / std
    color : channel order of the network's input
    resize : "area": each axis on its own, averaged over the source interval where it shrinks, bilinear with
        half-pixel centres where it grows; the aspect ratio is not kept
    """

    height: int
    width: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    color: ColorOrder = "RGB"
    resize: Resize = "area"

    def __post_init__(self) -> None:
        _check(isinstance(self.height, int) and 1 <= self.height <= 8192, "input.height of 1 to 8192", self.height)
        _check(isinstance(self.width, int) and 1 <= self.width <= 8192, "input.width of 1 to 8192", self.width)
        for name, values in (("mean", self.mean), ("std", self.std)):
            numbers = len(values) == 3 and all(isinstance(v, (int, float)) and v == v and abs(v) < 1e6 for v in values)
            _check(numbers, f"input.{name} of three finite numbers", values)
        _check(min(self.std) > 0, "input.std above 0", self.std)
        _check(self.color in get_args(ColorOrder), "input.color RGB or BGR", self.color)
        _check(self.resize in get_args(Resize), "input.resize area", self.resize)


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a bundle says of itself.

    Attributes
    ----------
    labels : names of the C classes, in the order of the outputs
    task : "multi-label" (sigmoid) or "single-label" (softmax)
    input : how a frame becomes the network's input
    explanandum, explainer : names of the two architectures
    training_data : name of the data that both were trained on
    evaluation : scores of the paper's protocol on the test split, name to number
    licence : SPDX expression of the weights
    calibration : path of calibration frames relative to the model file, or None
    schema : version of this layout
    """

    labels: tuple[str, ...]
    task: Task
    input: InputSpec
    explanandum: str | None = None
    explainer: str | None = None
    training_data: str | None = None
    evaluation: Mapping[str, float] = field(default_factory=dict)
    licence: str | None = None
    calibration: str | None = None
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check(self.schema == SCHEMA_VERSION, f"schema {SCHEMA_VERSION}", self.schema)
        labels_ok = all(isinstance(label, str) and label.strip() for label in self.labels)
        _check(bool(self.labels) and labels_ok, "labels that are non-empty strings", self.labels)
        _check(len(set(self.labels)) == len(self.labels), "labels that differ from one another", self.labels)
        _check(self.task in get_args(Task), "task multi-label or single-label", self.task)

    def to_json(self) -> str:
        """Return the manifest as one JSON object, keys in the order of the attributes."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read a manifest.

        Raises
        ------
        ModelError
            If `text` is not the JSON of a manifest of this schema.
        """
        try:
            tree: Any = json.loads(text)
            spec = {**tree["input"], "mean": tuple(tree["input"]["mean"]), "std": tuple(tree["input"]["std"])}
            return cls(**{**tree, "labels": tuple(tree["labels"]), "input": InputSpec(**spec)})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(
                f"expected the JSON of a manifest of schema {SCHEMA_VERSION}, got {type(error).__name__}: {error}; "
                "export the model again"
            ) from error


def _check(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ModelError(f"expected a manifest with {expected}, got {str(got)[:200]}; export the model again")
