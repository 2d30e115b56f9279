"""Explainer: a model file, an engine and a compositor as one thing that explains pictures. `load` opens one."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from edgex.bundle import lacks_manifest
from edgex.compositors import Compositor, open_compositor
from edgex.compositors.palette import class_color
from edgex.engines import Engine, open_engine
from edgex.errors import ModelError
from edgex.manifest import Manifest
from edgex.preprocess import preprocess
from edgex.selection import THRESHOLD, TOP_K, resolve, scores_of, select
from edgex.types import IMAGENET_GREY, Color, FloatArray, Image, Logits, ShownClass, Style, require_image
from edgex.view import OPACITY, drawing, mean_color

__all__ = [
    "OPACITY",
    "THRESHOLD",
    "TOP_K",
    "Explainer",
    "Explanation",
    "load",
    "resolve",
    "scores_of",
    "select",
    "shipped_bundle",
    "shipped_clip",
]
MODELS = Path(__file__).parent / "models"


def shipped_bundle() -> Path:
    """Return the path of the bundle that edgex ships. Raises ModelError when it is not there."""
    return _shipped("shipped.onnx", "bundle", "name a model file")


def shipped_clip() -> Path:
    """Return the path of the clip that edgex ships. Raises ModelError when it is not there."""
    return _shipped("shipped.mp4", "clip", "name a source")


def load(
    path: str | Path | None = None,
    backend: str = "auto",
    threads: int | None = None,
    compositor: str = "auto",
    trust: bool = False,
    streams: int = 1,
) -> Explainer:
    """Load a model file.

    Parameters
    ----------
    path : a bundle, an Explainer-only ONNX, or an engine built from one; None is the shipped bundle
    backend : name of a backend, or "auto"; one named explicitly never falls back
    threads : CPU threads of one inference, or None for the backend's own choice
    compositor : name of a compositor, or "auto"
    trust : open an engine file although nothing says where it comes from, or that it is as it was built
    streams : inferences at once on a CPU, `threads` each; for the throughput of `pipeline.run` on files

    Raises
    ------
    ModelError
        If the file cannot be loaded, or has no manifest.
    UsageError
        If the backend or compositor is not known, the file was built for another backend, or `threads` or `streams`
        is below 1.
    MissingDependencyError
        If the backend is not installed.
    """
    blend = open_compositor(compositor)
    engine = open_engine(shipped_bundle() if path is None else Path(path), backend, threads, trust, streams)
    try:
        return Explainer(engine, blend)
    except BaseException:
        engine.close()
        raise


class Explainer:
    """A loaded model that explains pictures; after construction nothing in it changes, so threads may share it.

    Attributes
    ----------
    engine : what infers
    compositor : what blends
    manifest : what the model file says of itself
    labels : names of the C classes
    fill : color behind a cutout: what the classifier was trained to see where a mask hides the picture
    """

    def __init__(self, engine: Engine, compositor: Compositor) -> None:
        if engine.manifest is None:
            raise lacks_manifest(engine.path)
        self.engine = engine
        self.compositor = compositor
        self.manifest: Manifest = engine.manifest
        self.labels: tuple[str, ...] = self.manifest.labels
        self.fill = mean_color(self.manifest.input)

    def preprocess(self, image: Image) -> FloatArray:
        """Return the network's input, float32 [1, 3, H, W], for a uint8 [H, W, 3] BGR picture of any size."""
        return preprocess(image, self.manifest.input)

    def infer(self, tensor: FloatArray) -> Logits:
        """Infer one preprocessed picture, float32 [1, 3, H, W]. Raises ModelError when the engine cannot."""
        batch = self.engine.input_shape[0]
        if batch is not None and batch != len(tensor):  # a model of fixed batch: the picture fills it
            logits = self.engine.infer(np.repeat(tensor[:1], batch, axis=0))
            scores = logits.class_logits
            return Logits(logits.mask_logits[:1], None if scores is None else scores[:1])
        return self.engine.infer(tensor)

    def explanation(self, image: Image, logits: Logits) -> Explanation:
        """Return the explanation of `image` from what `infer` gave for it."""
        found = None if logits.class_logits is None else scores_of(logits.class_logits[0], self.manifest.task)
        return Explanation(image, self.labels, found, logits.mask_logits[0], self.compositor, self.fill)

    def explain(self, image: Image) -> Explanation:
        """Explain a uint8 [H, W, 3] BGR picture.

        Raises
        ------
        UsageError
            If `image` is anything else.
        ModelError
            If the engine cannot infer it.
        """
        return self.explanation(image, self.infer(self.preprocess(image)))

    def close(self) -> None:
        """Give the engine's memory back; the Explainer cannot be used after it."""
        self.engine.close()

    def __enter__(self) -> Explainer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, slots=True)
class Explanation:
    """Which pixels make the classifier say what it says, for one picture.

    Attributes
    ----------
    image : uint8 [H, W, 3], BGR, the picture explained
    labels : names of the C classes
    scores : float32 [C], probabilities 0 to 1, or None for a model without a classifier
    mask_logits : float32 [C, h, w], low resolution, before the sigmoid
    compositor : what `compose` blends with
    fill : color behind a cutout
    """

    image: Image
    labels: tuple[str, ...]
    scores: FloatArray | None
    mask_logits: FloatArray
    compositor: Compositor = field(repr=False, compare=False)
    fill: Color = IMAGENET_GREY

    def __post_init__(self) -> None:
        require_image(self.image)

    def top(self, k: int = TOP_K, threshold: float = THRESHOLD) -> list[tuple[str, float]]:
        """Return at most `k` (label, score) of at least `threshold`, highest first; UsageError without a classifier."""
        return [(shown.label, shown.score or 0.0) for shown in self.shown(None, k, threshold)]

    def shown(
        self,
        labels: Sequence[str] | None = None,
        k: int = TOP_K,
        threshold: float = THRESHOLD,
        hidden: Collection[str] = (),
    ) -> tuple[ShownClass, ...]:
        """Return the classes to show, highest score first: those named, or else the top `k` of at least `threshold`.

        Those in `hidden` are left out of either.

        Raises
        ------
        UnknownClassError
            If a name is not a label.
        UsageError
            If no class is named and the model has no classifier that could choose.
        """
        if labels is not None:
            chosen = resolve(labels, self.labels)
        else:  # as many more as are left out afterwards
            chosen = select(self.scores, self.labels, k + len(hidden), threshold)
        ranked = [i for i in self._ranked(chosen) if self.labels[i] not in hidden]
        ranked = ranked if labels is not None else ranked[:k]
        return tuple(ShownClass(i, self.labels[i], self._score(i), class_color(i)) for i in ranked)

    def mask(self, label: str) -> FloatArray:
        """Return one class's mask at the picture's size, float32 [H, W] in 0 to 1; UnknownClassError if unknown."""
        from edgex.compositors.opencv import mask

        (index,) = resolve([label], self.labels)
        return mask(self.mask_logits[index], *self.image.shape[:2])

    def masks(self, labels: Sequence[str]) -> NDArray[np.uint8]:
        """Return uint8 [K, H, W], round(255 * mask), one mask per label, in their order."""
        indices = resolve(labels, self.labels)
        return self.compositor.masks(self.mask_logits, indices, *self.image.shape[:2])

    def compose(self, labels: Sequence[str] | None = None, style: Style = "overlay", opacity: float = OPACITY) -> Image:
        """Blend masks onto the picture.

        Parameters
        ----------
        labels : classes to draw; None draws the top 3 that score at least 0.5
        style : "overlay", "heat", "cutout" or "outline"
        opacity : weight of the drawing over the picture, 0 to 1

        Returns
        -------
        uint8 [H, W, 3], a new picture; the picture itself where there is no class to draw
        """
        shown = self.shown(labels)
        if not shown:
            return self.image.copy()
        return self.compositor.compose(self.image, self.mask_logits, drawing(shown, style, opacity, self.fill))

    def _score(self, index: int) -> float | None:
        return None if self.scores is None else float(self.scores[index])

    def _ranked(self, indices: Sequence[int]) -> list[int]:
        scores = self.scores
        return list(indices) if scores is None else sorted(indices, key=lambda i: -float(scores[i]))


def _shipped(name: str, what: str, mend: str) -> Path:
    path = MODELS / name
    if not path.is_file():
        raise ModelError(f"expected the shipped {what} at {path}, got no file; {mend} or install edgex again")
    return path
