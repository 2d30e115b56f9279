"""Engines: a model loaded into a backend.

A backend is one file of this folder with a function `open(path: Path, threads: int | None) -> Engine`:

>>> engine = open_engine(Path("bundle.onnx"))                                  # doctest: +SKIP
>>> logits = engine.infer(np.zeros((1, 3, 224, 224), np.float32))              # doctest: +SKIP
>>> logits.mask_logits.shape                                                   # doctest: +SKIP
(1, 12, 28, 28)
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol

from edgex.errors import UsageError
from edgex.manifest import Manifest
from edgex.types import FloatArray, Logits

BACKENDS = ("onnxruntime",)


class Engine(Protocol):
    """A model loaded into a backend.

    Attributes
    ----------
    backend : name of the backend
    path : the file that was opened
    manifest : what the file says of itself, or None when it has no manifest
    input_shape : [N or None, 3, H, W]; None where the model takes any batch
    """

    @property
    def backend(self) -> str: ...
    @property
    def path(self) -> Path: ...
    @property
    def manifest(self) -> Manifest | None: ...
    @property
    def input_shape(self) -> tuple[int | None, int, int, int]: ...

    def infer(self, image: FloatArray) -> Logits:
        """Infer a batch, float32 [N, 3, H, W], normalised. Raises ModelError when the backend cannot."""
        ...

    def close(self) -> None:
        """Give the backend's memory back; the engine cannot be used after it."""
        ...


def open_engine(path: Path, backend: str = "auto", threads: int | None = None) -> Engine:
    """Load a model file into a backend.

    Parameters
    ----------
    path : a bundle, or an Explainer-only ONNX
    backend : one of BACKENDS, or "auto"; a backend named explicitly never falls back
    threads : CPU threads, or None for the backend's own choice

    Raises
    ------
    UsageError
        If the backend is not known.
    ModelError
        If the file cannot be loaded.
    """
    if backend == "auto":
        backend = BACKENDS[0]
    if backend not in BACKENDS:
        raise UsageError(f"expected a backend of auto, {', '.join(BACKENDS)}, got {backend!r}; choose one")
    engine: Engine = importlib.import_module(f"edgex.engines.{backend}").open(path, threads)
    return engine
