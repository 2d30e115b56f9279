"""What a TensorRT plan is built for: flavour, range of batches and sizes, limits; checked before anything is built."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from edgex.engines.tensorrt_api import Flavour, check_flavour
from edgex.errors import UsageError
from edgex.onnx_file import TensorSpec
from edgex.types import is_whole

Size = tuple[int, int]  # height, width
Shape = tuple[int, ...]
LEVELS = 5
_COLOURS = (1, 3, 4)


@dataclass(frozen=True, slots=True)
class PlanOptions:
    """How a plan is built.

    Attributes
    ----------
    flavour : "tensorrt" or "tensorrt-rtx"
    batch : smallest, most usual and largest batch of a model with a dynamic batch; None is 1, or as the model has it
    size : smallest, most usual and largest (height, width) of a model with a dynamic size, or None
    workspace_bytes : most memory that one layer may use while it runs, or None for TensorRT's own limit
    timing_cache : file of earlier measurements, read where it fits and written anew, or None
    version_compatible : whether later versions may run the plan too
    optimisation_level : 0 (quickest build) to 5, or None for TensorRT's own
    compute_capabilities : of tensorrt-rtx: GPUs that the plan is for, as ("sm86", "sm120") or ("current",); empty is
        TensorRT-RTX's own choice, 8.0 and later
    log_file : where all that TensorRT says is written to, or None
    """

    flavour: Flavour = "tensorrt"
    batch: tuple[int, int, int] | None = None
    size: tuple[Size, Size, Size] | None = None
    workspace_bytes: int | None = None
    timing_cache: Path | None = None
    version_compatible: bool = False
    optimisation_level: int | None = None
    compute_capabilities: tuple[str, ...] = ()
    log_file: Path | None = None

    def __post_init__(self) -> None:
        check_flavour(self.flavour)
        if self.batch is not None:
            _check(_ascends(self.batch), "a batch profile of three whole numbers from 1 up, none smaller", self.batch)
        if self.size is not None:
            pairs = len(self.size) == 3 and all(isinstance(pair, tuple) and len(pair) == 2 for pair in self.size)
            ascends = pairs and all(_ascends(sides) for sides in zip(*self.size, strict=True))
            _check(ascends, "a size profile of three (height, width) from 1 up, none smaller", self.size)
        limit = self.workspace_bytes
        _check(limit is None or (is_whole(limit) and limit > 0), "a workspace of at least 1 byte", limit)
        level = self.optimisation_level
        _check(level is None or (is_whole(level) and 0 <= level <= LEVELS), "an optimisation level of 0 to 5", level)
        names = self.compute_capabilities
        _check(
            not names or self.flavour == "tensorrt-rtx",
            "compute capabilities for tensorrt-rtx only, as tensorrt builds for the GPU at hand",
            names,
        )
        known = isinstance(names, tuple) and all(re.fullmatch(r"sm\d+|current", name) for name in names)
        _check(known and len(set(names)) == len(names), "compute capabilities such as sm89, each once", names)
        _check("current" not in names or len(names) == 1, "current, or other compute capabilities, not both", names)


def profile_shapes(spec: TensorSpec, options: PlanOptions) -> tuple[Shape, Shape, Shape] | None:
    """Return smallest, most usual and largest shape of an input, or None where nothing in it is dynamic.

    The first axis is the batch. Height and width may be dynamic too, in pictures [N, 3, H, W] or [N, H, W, 3].

    Raises
    ------
    UsageError
        If an axis is dynamic and no profile says how large, or the batch is fixed and another one is asked for.
    """
    axes = spec.shape or ()
    if axes and is_whole(axes[0]) and options.batch is not None and set(options.batch) != {axes[0]}:
        raise UsageError(f"expected the batch that {spec} has, got {options.batch}; leave the batch profile out")
    if all(is_whole(axis) for axis in axes):
        return None
    batch = options.batch or (1, 1, 1)
    channels_last = len(axes) == 4 and axes[3] in _COLOURS and axes[1] not in _COLOURS
    sides = (1, 2) if channels_last else (2, 3)
    rows: list[tuple[int, int, int]] = []
    for index, axis in enumerate(axes):
        if isinstance(axis, int):
            rows.append((axis, axis, axis))
        elif index == 0:
            rows.append(batch)
        elif len(axes) == 4 and index in sides and options.size is not None:
            smallest, usual, largest = (pair[sides.index(index)] for pair in options.size)
            rows.append((smallest, usual, largest))
        else:
            name = ("height", "width")[sides.index(index)] if len(axes) == 4 and index in sides else f"axis {index}"
            mend = "give a size profile (--size)" if name[0] != "a" else "export the model with a fixed one"
            named = f" ({axis})" if axis else ""
            raise UsageError(f"expected a profile for the dynamic {name}{named} of {spec}, got none; {mend}")
    smallest_shape, usual_shape, largest_shape = zip(*rows, strict=True)
    return smallest_shape, usual_shape, largest_shape


def _ascends(sizes: object) -> bool:
    return (
        isinstance(sizes, tuple)
        and len(sizes) == 3
        and all(map(is_whole, sizes))
        and 1 <= sizes[0] <= sizes[1] <= sizes[2]
    )


def _check(holds: bool, expected: str, got: object) -> None:
    if not holds:
        raise UsageError(f"expected {expected}, got {got}; choose others")
