"""Engine: the contract of a bundle, held by whatever backend runs it, so that a backend need not know of masks."""

from __future__ import annotations

import numpy as np

from edgex.bundle import check_bundle
from edgex.engines.network import Network
from edgex.errors import ModelError, UsageError
from edgex.onnx_file import CLASS_LOGITS, MASK_LOGITS
from edgex.types import FloatArray, Logits


class Engine:
    """A bundle, or an Explainer alone, loaded into a backend. Threads may share it.

    Attributes
    ----------
    network : what infers
    backend : name of the backend
    path : the file that was opened
    manifest : what the file says of itself, or None when it has no manifest
    input_shape : [N or None, 3, H, W]; None where the model takes any batch
    streams : how many batches it infers at once; further threads wait

    Raises
    ------
    ModelError
        If the network has no mask logits, or the manifest contradicts it.
    """

    def __init__(self, network: Network) -> None:
        self.network = network
        self.backend = network.backend
        self.path = network.path
        self.manifest = network.manifest
        self.streams = network.streams
        self.input_shape = check_bundle(network.path, (network.input,), network.outputs, network.manifest)

    def infer(self, image: FloatArray) -> Logits:
        """Infer a batch, float32 [N, 3, H, W], normalised.

        Raises
        ------
        UsageError
            If `image` has another shape or dtype.
        ModelError
            If the backend cannot, or what it gives is not logits.
        """
        self._check_input(image)
        found = self.network.run(image)
        logits = Logits(found[MASK_LOGITS], found.get(CLASS_LOGITS))
        self.check_output(logits, len(image))
        return logits

    def check_output(self, logits: Logits, batch: int) -> None:
        """Raise ModelError unless these are logits of so many pictures, not all of them NaN or infinite."""
        mask_logits, class_logits = logits.mask_logits, logits.class_logits
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
        for name, values in ((MASK_LOGITS, mask_logits), (CLASS_LOGITS, class_logits)):
            if values is not None and not np.isfinite(values).reshape(batch, -1).any(axis=1).all():
                raise ModelError(
                    f"expected finite {name} of {self.path}, got NaN or infinity only; its weights are broken or "
                    "overflow in half precision: export it again"
                )

    def close(self) -> None:
        """Give the backend's memory back; the engine cannot be used after it."""
        self.network.close()

    def _check_input(self, image: FloatArray) -> None:
        batch, *rest = self.input_shape
        counts = len(image) > 0 if batch is None else len(image) == batch
        if image.dtype != np.float32 or image.ndim != 4 or list(image.shape[1:]) != rest or not counts:
            expected = f"[{'N' if batch is None else batch}, {', '.join(map(str, rest))}]"
            raise UsageError(f"expected float32 {expected}, got {image.dtype} {list(image.shape)}; preprocess it first")
