"""A dataset that is a list of picture files with labels and no segmentation: image folders and CSVs share it."""

from __future__ import annotations

from pathlib import Path

from edgex.types import FloatArray
from training.datasets import Sample, read_image


class LabelledFiles:
    """Picture files, each with its target, float32 [C]; a loader fills the list and names `labels` and `task`."""

    def __init__(self) -> None:
        self._samples: list[tuple[Path, FloatArray]] = []

    def __len__(self) -> int:
        return len(self._samples)

    def path(self, index: int) -> Path:
        """Return the file of one picture."""
        return self._samples[index][0]

    def target(self, index: int) -> FloatArray:
        """Return the target of one picture, float32 [C]."""
        return self._samples[index][1].copy()

    def load(self, index: int) -> Sample:
        """Read one picture; there is no segmentation."""
        return Sample(read_image(self.path(index)), self.target(index), None, self.path(index))
