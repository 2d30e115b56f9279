"""The contract between the training loop and what is trained, and what the loop reports."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor, nn

Batch = dict[str, Tensor]  # what `training.transforms.TensorDataset` gives, stacked


class Objective(Protocol):
    """What is trained: the loss of a step and the figures of validation.

    Attributes
    ----------
    columns : names of the K figures that `measure` returns per image
    """

    @property
    def columns(self) -> tuple[str, ...]: ...

    def prepare(self, device: torch.device) -> None:
        """Move whatever else the loss needs to the device."""
        ...

    def train_mode(self, model: nn.Module) -> None:
        """Put the model in train mode, frozen parts excepted."""
        ...

    def terms(self, model: nn.Module, batch: Batch, draw: Tensor) -> dict[str, Tensor]:
        """Return [N] tensors, `loss` among them; `draw` is uniform [N, C]."""
        ...

    def measure(self, model: nn.Module, batch: Batch) -> Tensor:
        """Return float [N, K], NaN where an image has no such figure."""
        ...

    def summarise(self, table: Tensor) -> dict[str, float]:
        """Turn the figures of all images, float64 [V, K], into numbers, `loss` among them."""
        ...

    def pictures(self, model: nn.Module, batch: Batch) -> Tensor | None:
        """Return float [3, H, W] in 0..1 for TensorBoard, or None."""
        ...


@dataclass(frozen=True, slots=True)
class Progress:
    """What the loop tells after each step and each validation.

    Attributes
    ----------
    epoch, epochs : from 1
    step, steps : position in the epoch, of how many
    figures : running means of the losses, or the figures of validation
    validated : whether `figures` are those of validation
    seconds_left : estimate for the remaining steps of all epochs, or None
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    figures: Mapping[str, float]
    validated: bool
    seconds_left: float | None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How training ended.

    Attributes
    ----------
    best, last : the checkpoints; best is None before the first validation
    reason : "finished", "early stop", "time is up" or "interrupted"
    epochs, steps : done in all, resumed ones included
    figures : of the last validation
    losses : training loss of each step of this run
    """

    best: Path | None
    last: Path
    reason: str
    epochs: int
    steps: int
    figures: Mapping[str, float]
    losses: tuple[float, ...]
