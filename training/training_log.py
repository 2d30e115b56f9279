"""TensorBoard's log of a run: scalars and pictures. A full disk is one clear error here too."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from edgex.errors import EdgexError


class TrainingLog:
    """Writes into `folder`; with `folder` None (every process but the first) it writes nothing.

    Raises
    ------
    EdgexError
        When the log cannot be written.
    """

    def __init__(self, folder: Path | None, step: int) -> None:
        self._folder = folder
        self._writer: SummaryWriter | None = None
        if folder is not None:
            with self._written():  # what an interrupted run logged beyond its checkpoint is dropped from the curves
                self._writer = SummaryWriter(str(folder), purge_step=step + 1 if step else None)

    def scalars(self, group: str, figures: Mapping[str, float], step: int) -> None:
        """Log numbers under GROUP/NAME."""
        if self._writer is not None:
            with self._written():
                for name, value in figures.items():
                    self._writer.add_scalar(f"{group}/{name}", value, step)

    def picture(self, name: str, picture: Tensor | None, step: int) -> None:
        """Log float [3, H, W] in 0..1; None is passed over."""
        if self._writer is not None and picture is not None:
            with self._written():
                self._writer.add_image(name, picture.float().cpu(), step)

    def close(self) -> None:
        """Write what is still in memory."""
        if self._writer is not None:
            with self._written():
                self._writer.close()

    @contextmanager
    def _written(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise EdgexError(
                f"expected room for the log in {self._folder}, got {error.strerror or error}; "
                "free space, then go on with --resume (checkpoints are intact)"
            ) from error
