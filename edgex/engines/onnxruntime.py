"""ONNX Runtime on the CPU: the engine that runs wherever edgex does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgex.bundle import check_manifest, check_masks, input_shape
from edgex.errors import ModelError, UsageError
from edgex.manifest import Manifest
from edgex.onnx_file import CLASS_LOGITS, IMAGE, MASK_LOGITS, OnnxFile, read_onnx
from edgex.types import FloatArray, Logits

MOST_THREADS = 256
SILENT = 4  # ONNX Runtime's "fatal": what goes wrong comes back as an exception, not as lines on stderr


def open(path: Path, threads: int | None = None) -> OnnxRuntimeEngine:
    """Load a bundle or an Explainer-only ONNX.

    Parameters
    ----------
    path : the ONNX file
    threads : CPU threads of one inference; None is one per physical core

    Raises
    ------
    UsageError
        If `threads` is not 1 to 256.
    ModelError
        If the file cannot be loaded, has no mask logits, or its manifest contradicts its graph.
    """
    if threads is not None and not 1 <= threads <= MOST_THREADS:
        raise UsageError(f"expected 1 to {MOST_THREADS} threads, got {threads}; give one a core, or leave it out")
    file = read_onnx(path)
    check_masks(file)
    shape = input_shape(file)
    manifest = file.manifest()
    if manifest is not None:
        check_manifest(file, manifest)
    return OnnxRuntimeEngine(file, manifest, shape, _session(path, threads))


class OnnxRuntimeEngine:
    """A model in ONNX Runtime. Threads may share it.

    Attributes
    ----------
    backend : "onnxruntime"
    path : the file that was opened
    manifest : what the file says of itself, or None
    input_shape : [N or None, 3, H, W]
    """

    backend = "onnxruntime"

    def __init__(
        self, file: OnnxFile, manifest: Manifest | None, shape: tuple[int | None, int, int, int], session: Any
    ) -> None:
        self.path = file.path
        self.manifest = manifest
        self.input_shape = shape
        self._session: Any | None = session
        self._names = [name for name in (MASK_LOGITS, CLASS_LOGITS) if file.output(name) is not None]

    def infer(self, image: FloatArray) -> Logits:
        """Infer a batch, float32 [N, 3, H, W], normalised.

        Raises
        ------
        UsageError
            If `image` has another shape or dtype.
        ModelError
            If ONNX Runtime cannot, or what it gives is not logits.
        """
        import onnxruntime

        if self._session is None:
            raise ModelError(f"expected an open engine, got one that is closed; load {self.path} again")
        self._check_input(image)
        options = onnxruntime.RunOptions()
        options.log_severity_level = SILENT
        try:
            mask_logits, *rest = self._session.run(self._names, {IMAGE: np.ascontiguousarray(image)}, options)
        except Exception as error:  # ONNX Runtime has a dozen classes for this, under no common base but Exception
            raise _cannot(self.path, "infer", error) from error
        class_logits = rest[0] if rest else None
        self._check_output(mask_logits, class_logits, len(image))
        return Logits(mask_logits, class_logits)

    def close(self) -> None:
        """Give the session's memory back."""
        self._session = None

    def _check_input(self, image: FloatArray) -> None:
        batch, *rest = self.input_shape
        counts = len(image) > 0 if batch is None else len(image) == batch
        if image.dtype != np.float32 or image.ndim != 4 or list(image.shape[1:]) != rest or not counts:
            expected = f"[{'N' if batch is None else batch}, {', '.join(map(str, rest))}]"
            raise UsageError(f"expected float32 {expected}, got {image.dtype} {list(image.shape)}; preprocess it first")

    def _check_output(self, mask_logits: FloatArray, class_logits: FloatArray | None, batch: int) -> None:
        classes = mask_logits.shape[1] if mask_logits.ndim == 4 else -1
        labels = classes if self.manifest is None else len(self.manifest.labels)
        if mask_logits.ndim != 4 or len(mask_logits) != batch or mask_logits.size == 0 or classes != labels:
            got = list(mask_logits.shape)
            raise ModelError(
                f"expected mask_logits [{batch}, {max(labels, 1)}, h, w] of {self.path}, got {got}; export it again"
            )
        if class_logits is not None and class_logits.shape != (batch, classes):
            got = list(class_logits.shape)
            raise ModelError(f"expected class_logits [{batch}, {classes}] of {self.path}, got {got}; export it again")
        for name, logits in ((MASK_LOGITS, mask_logits), (CLASS_LOGITS, class_logits)):
            if logits is not None and not np.isfinite(logits).reshape(batch, -1).any(axis=1).all():
                raise ModelError(
                    f"expected finite {name} of {self.path}, got NaN or infinity only; its weights are broken or "
                    "overflow in half precision: export it again"
                )


def _session(path: Path, threads: int | None) -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = SILENT
    options.intra_op_num_threads = threads or 0  # 0: one per physical core
    options.inter_op_num_threads = 1  # one picture is one chain of operators
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # see infer
        raise _cannot(path, "load", error) from error


def _cannot(path: Path, verb: str, error: Exception) -> ModelError:
    cause = " ".join(str(error).split())[:300].rstrip(" .;:")
    return ModelError(f"expected ONNX Runtime to {verb} {path}, got: {cause}; export the model again")
