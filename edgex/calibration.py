"""A calibration: the ranges of a model's tensors over real frames, as NAME.calib.json. It holds no graph."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgex.errors import ModelError
from edgex.image_input import ImageInput
from edgex.types import is_number, is_whole

SCHEMA_VERSION = 1
LARGEST_BYTES = 256 * 2**20
DIGITS = 7  # significant ones, as many as float32 holds


@dataclass(frozen=True, slots=True)
class Calibration:
    """What `calibrate` found.

    Attributes
    ----------
    model, model_sha256 : name and hash of the ONNX file whose tensors these are
    method : "entropy", "minmax" or "percentile", with its number where it has one
    frames, frames_sha256 : how many frames were seen, and the hash of their pixels
    source : folder, pattern or video that they came from
    seed : which frames of the source were drawn
    image : how a frame became the input
    onnxruntime : version that ran the model
    ranges : tensor to (low, high), low at most 0 and high at least 0
    means : tensor that a convolution reads to the mean of each of its channels
    sensitivity : what was measured of single nodes, by what was measured: node to error
    schema : version of this layout
    """

    model: str
    model_sha256: str
    method: str
    frames: int
    frames_sha256: str
    source: str
    seed: int
    image: ImageInput
    onnxruntime: str
    ranges: Mapping[str, tuple[float, float]]
    means: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    sensitivity: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    schema: int = SCHEMA_VERSION

    def __post_init__(self) -> None:
        _check(self.schema == SCHEMA_VERSION, f"schema {SCHEMA_VERSION}", self.schema)
        for name in ("model", "model_sha256", "method", "frames_sha256", "source", "onnxruntime"):
            _check(isinstance(getattr(self, name), str), f"{name} a string", getattr(self, name))
        _check(is_whole(self.frames) and self.frames > 0, "frames above 0", self.frames)
        _check(is_whole(self.seed), "a whole number as seed", self.seed)
        _check(bool(self.ranges), "ranges of at least one tensor", "none")
        for name, pair in self.ranges.items():
            numbers = len(pair) == 2 and all(is_number(value) for value in pair)
            _check(numbers and pair[0] <= 0 <= pair[1], f"a range around 0 for {name}", pair)
        for name, means in self.means.items():
            _check(all(is_number(value) for value in means), f"finite means for {name}", means)
        for name, errors in self.sensitivity.items():
            _check(all(is_number(value) for value in errors.values()), f"finite sensitivity in {name}", errors)

    def digest(self) -> str:
        """Return the sha256 of what decides how tensors are quantised: model, ranges and means."""
        text = json.dumps([self.model_sha256, sorted(self.ranges.items()), sorted(self.means.items())])
        return hashlib.sha256(text.encode()).hexdigest()

    def require_model(self, sha256: str, path: Path) -> None:
        """Raise ModelError unless this is the calibration of the model with that hash."""
        if sha256 != self.model_sha256:
            raise ModelError(
                f"expected a calibration of {path} ({sha256[:12]}), got one of {self.model} "
                f"({self.model_sha256[:12]}); run: edgex calibrate {path} --data PATH"
            )

    def to_json(self) -> str:
        """Return the calibration as JSON, one tensor a line; equal calibrations give equal text."""
        tree = {entry.name: getattr(self, entry.name) for entry in dataclasses.fields(self)}
        tree["image"] = self.image.to_json()
        rows = ",\n".join(f"{json.dumps(name)}: {_value(value)}" for name, value in tree.items())
        return f"{{\n{rows}\n}}\n"

    @classmethod
    def from_json(cls, text: str) -> Calibration:
        """Read a calibration. Raises ModelError if `text` is not one."""
        try:
            tree: Any = json.loads(text)
            return cls(
                **{
                    **tree,
                    "image": ImageInput.from_json(tree["image"]),
                    "ranges": {name: tuple(pair) for name, pair in tree["ranges"].items()},
                    "means": {name: tuple(means) for name, means in tree["means"].items()},
                }
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ModelError(
                f"expected the JSON of a calibration of schema {SCHEMA_VERSION}, got "
                f"{type(error).__name__}: {str(error)[:200]}; calibrate again"
            ) from error


def read_calibration(path: Path) -> Calibration:
    """Read a calibration file. Raises ModelError when there is none, or it is broken."""
    try:
        if path.stat().st_size > LARGEST_BYTES:
            raise ModelError(f"expected a calibration in {path}, got {path.stat().st_size} bytes; calibrate again")
        return Calibration.from_json(path.read_text(encoding="utf-8"))
    except ModelError as error:
        raise ModelError(f"{error} ({path})") from error
    except (OSError, ValueError) as error:
        raise ModelError(f"expected a readable calibration at {path}, got {error}; calibrate again") from error


def calibration_path(model: Path) -> Path:
    """Return where the calibration of a model stands unless another place is named."""
    return model.with_name(f"{model.stem}.calib.json")


def rounded(value: float) -> float:
    """Return a number with as many digits as are kept."""
    return float(f"{value:.{DIGITS}g}")


def _value(value: Any) -> str:
    """Return JSON; a mapping with one entry a line, so that two calibrations can be compared by eye."""
    if isinstance(value, Mapping) and value:
        rows = ",\n".join(f"  {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items())
        return f"{{\n{rows}\n }}"
    return json.dumps(value)


def _check(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise ModelError(f"expected a calibration with {expected}, got {str(got)[:200]}; calibrate again")
