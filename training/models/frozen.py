"""A trained network as everything after training gets it: frozen, with its labels, task and input."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from torch import nn

from edgex.errors import UsageError
from edgex.manifest import InputSpec, Task


@dataclass(frozen=True, slots=True)
class LoadedNetwork:
    """A trained network and what it was trained for.

    Attributes
    ----------
    module : in eval mode, no parameter requires a gradient
    architecture : its name, or the file name of a foreign ONNX
    labels : names of the C classes
    task : "multi-label" or "single-label"
    input : how a picture becomes its input
    """

    module: nn.Module
    architecture: str
    labels: tuple[str, ...]
    task: Task
    input: InputSpec


@dataclass(frozen=True, slots=True)
class ForeignInput:
    """What an ONNX classifier without a manifest does not say of itself.

    Attributes
    ----------
    labels : file with one class name a line, in the order of the outputs
    task : "multi-label" or "single-label"
    mean, std : normalisation, RGB of 0 to 1
    size : height and width in pixels, or None for what the ONNX itself says
    """

    labels: Path | None = None
    task: Task = "single-label"
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    size: int | None = None

    def __post_init__(self) -> None:
        if self.task not in get_args(Task):
            raise UsageError(f"expected a task of {', '.join(get_args(Task))}, got {self.task!r}; choose one")
        if min(self.std) <= 0:
            raise UsageError(f"expected std above 0, got {self.std}; set --std")


def freeze(module: nn.Module) -> nn.Module:
    """Put a module in eval mode for good: no dropout, no moving batch-norm statistics, no gradients of parameters."""
    return module.eval().requires_grad_(False)
