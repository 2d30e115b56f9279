"""The manifest: what a model file says of itself, as JSON in the ONNX metadata under `edgex.manifest`."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any, Literal, get_args
from unicodedata import category

from edgex.errors import ModelError
from edgex.types import is_number

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
        for name, side in (("height", self.height), ("width", self.width)):
            _check(is_number(side) and isinstance(side, int) and 1 <= side <= 8192, f"input.{name} of 1 to 8192", side)
        for name, values in (("mean", self.mean), ("std", self.std)):
            numbers = len(values) == 3 and all(is_number(value) and abs(value) < 1e6 for value in values)
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
    calibration : path of calibration frames relative to the model file, in its folder or below, or None
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
        schema_ok = is_number(self.schema) and self.schema == SCHEMA_VERSION
        _check(schema_ok, f"schema {SCHEMA_VERSION}", self.schema)
        labels_ok = isinstance(self.labels, tuple) and all(_is_text(label) and label.strip() for label in self.labels)
        _check(bool(self.labels) and labels_ok, "a list of labels that are non-empty strings", self.labels)
        _check(len(set(self.labels)) == len(self.labels), "labels that differ from one another", self.labels)
        _check(self.task in get_args(Task), "task multi-label or single-label", self.task)
        for name in ("explanandum", "explainer", "training_data", "licence", "calibration"):
            text = getattr(self, name)
            _check(text is None or _is_text(text), f"{name} a string or null", text)
        scores_ok = isinstance(self.evaluation, Mapping) and all(
            _is_text(name) and is_number(score) for name, score in self.evaluation.items()
        )
        _check(scores_ok, "evaluation that gives finite numbers to names", self.evaluation)
        beside = self.calibration is None or stays_below(self.calibration)
        _check(beside, "calibration a relative path without ..", self.calibration)

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
            spec = {**tree["input"], "mean": _row(tree["input"], "mean"), "std": _row(tree["input"], "std")}
            return cls(**{**tree, "labels": _row(tree, "labels"), "input": InputSpec(**spec)})
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise ModelError(
                f"expected the JSON of a manifest of schema {SCHEMA_VERSION}, got {type(error).__name__}: {error}; "
                "export the model again"
            ) from error


def stays_below(location: str) -> bool:
    """Tell whether a path that a model file names is relative and leads nowhere but into the model's own folder."""
    pure = PurePosixPath(location.replace("\\", "/"))
    outside = pure.is_absolute() or PureWindowsPath(location).drive or ".." in pure.parts
    return bool(location) and not outside


def _row(tree: Mapping[str, Any], name: str) -> tuple[Any, ...]:
    """Return a JSON list as a tuple; a string or an object is no list, though Python could walk over it."""
    _check(isinstance(tree[name], list), f"a list of {name}", tree[name])
    return tuple(tree[name])


def _is_text(value: object) -> bool:
    """Tell whether it is text that can be shown and stored: no control characters, no half of a surrogate pair."""
    return isinstance(value, str) and not any(category(letter) in ("Cc", "Cs") for letter in value)


def _check(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ModelError(f"expected a manifest with {expected}, got {str(got)[:200]}; export the model again")
