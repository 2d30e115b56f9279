"""A frame's way through network and compositor: in the host's memory, or on the GPU from end to end."""

from __future__ import annotations

from typing import Protocol

from edgex.errors import UsageError
from edgex.explain import Explainer
from edgex.types import Drawing, FloatArray, Image, Logits


class FramePath(Protocol):
    """Takes one frame at a time: `upload`, `infer` and `compose` follow one another, each in whatever thread.

    Attributes
    ----------
    launches : how an engine on the GPU is started: "graph", "runtime" or "plain"; "" in the host's memory
    plain_because : why that is without a CUDA graph, or ""
    """

    launches: str
    plain_because: str

    def upload(self, image: Image) -> None:
        """Make the network's input of a frame, uint8 [H, W, 3], BGR; it may not change until its picture is there."""
        ...

    def infer(self, tensor: bool = False) -> tuple[Logits, FloatArray | None]:
        """Return the frame's logits and, where it is asked for, the network's input, float32 [1, 3, h, w]."""
        ...

    def compose(self, what: Drawing, mask_logits: FloatArray | None = None) -> Image:
        """Return a new picture with `what` drawn; `mask_logits` take the place of those inferred, such as smoothed."""
        ...

    def close(self) -> None:
        """Give back what it holds; the path cannot be used after it."""
        ...


class HostPath:
    """The way through the host's memory, whatever backend infers and whatever compositor draws. See FramePath."""

    launches = plain_because = ""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer
        self._image: Image | None = None
        self._tensor: FloatArray | None = None
        self._logits: Logits | None = None

    def upload(self, image: Image) -> None:
        """Preprocess. See FramePath."""
        self._image, self._tensor, self._logits = image, self._explainer.preprocess(image), None

    def infer(self, tensor: bool = False) -> tuple[Logits, FloatArray | None]:
        """Infer. See FramePath."""
        if self._tensor is None:
            raise UsageError("expected a frame that was uploaded, got none; upload a frame first")
        self._logits = self._explainer.infer(self._tensor)
        return self._logits, self._tensor if tensor else None

    def compose(self, what: Drawing, mask_logits: FloatArray | None = None) -> Image:
        """Draw. See FramePath."""
        if self._image is None or self._logits is None:
            raise UsageError("expected a frame that was inferred, got none; infer first")
        masks = self._logits.mask_logits[0] if mask_logits is None else mask_logits
        return self._explainer.compositor.compose(self._image, masks, what)

    def close(self) -> None:
        """Let go of the frame."""
        self._image = self._tensor = self._logits = None


def open_path(explainer: Explainer) -> FramePath:
    """Return the shortest way that there is for a loaded model. Raises EdgexError where the GPU has no room for it."""
    from edgex.explain_cuda import CudaPath, reason_missing

    return HostPath(explainer) if reason_missing(explainer) else CudaPath(explainer)
