"""What benchmarks/peers.py works on: a real frame, three classes, a bundle's engines; and the checks of pictures."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

import edgex
from benchmarks.drawing_peers import set_threads
from edgex import native
from edgex.build import BuildOptions, build
from edgex.compositors.palette import class_color
from edgex.compositors.reference import ReferenceCompositor
from edgex.engines.choose import module_of
from edgex.explain import shipped_bundle, shipped_clip
from edgex.manifest import Manifest
from edgex.sources import open_source
from edgex.types import Drawing, FloatArray, Image
from edgex.view import OPACITY

HD = (720, 1280)  # rows, columns
SHOWN = 3
STEP = 20  # frames of the clip between two that are looked at
APART = 1e-3  # share of values more than a level from the oracle's that ties between classes may leave
BACKENDS = ("onnxruntime", "openvino")


@dataclass(frozen=True, slots=True)
class Scene:
    """The work: a frame in, all classes of a model explained, some drawn, a picture out.

    Attributes
    ----------
    image : uint8 [H, W, 3], BGR
    bundle : the FP32 model
    manifest : what it says of itself
    classes : indices of the classes that are drawn: the highest scores of this frame
    threads : that everyone gets
    """

    image: Image
    bundle: Path
    manifest: Manifest
    classes: tuple[int, ...]
    threads: int

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the classes that are drawn."""
        return tuple(self.manifest.labels[index] for index in self.classes)

    @property
    def drawing(self) -> Drawing:
        """How they are drawn."""
        return Drawing(self.classes, tuple(class_color(index) for index in self.classes), opacity=OPACITY)

    def set_threads(self) -> None:
        """Give OpenCV, torch and edgex's kernels their threads."""
        set_threads(self.threads)
        if native.available():
            native.set_threads(self.threads)


def open_scene(bundle: Path | None = None, size: tuple[int, int] = HD, threads: int = 2) -> Scene:
    """Return the scene of a bundle, None for the shipped one.

    Parameters
    ----------
    bundle : a model with a classifier
    size : height and width that the frame is scaled to; it is the one of the shipped clip with most classes in it: the
        third score is the highest
    threads : that everyone gets
    """
    path = bundle or shipped_bundle()
    with edgex.load(path, "onnxruntime", threads, "opencv") as explainer:
        found = []
        for image in clip_frames():
            scores = explainer.explain(image).scores
            assert scores is not None, "expected a bundle with a classifier"
            best = [int(index) for index in np.argsort(-scores, kind="stable")[:SHOWN]]
            found.append((float(scores[best[-1]]), tuple(best), image))
        _, classes, image = max(found, key=lambda each: each[0])
        scaled = np.asarray(cv2.resize(image, size[::-1], interpolation=cv2.INTER_LINEAR), np.uint8)
        return Scene(scaled, path, explainer.manifest, classes, threads)


@cache
def clip_frames() -> tuple[Image, ...]:
    """Return every STEPth frame of the shipped clip."""
    source = open_source(shipped_clip())
    try:
        return tuple(shot.image for shot in source if shot.index % STEP == 0)
    finally:
        source.close()


def engines_of(scene: Scene, int8: Mapping[str, Path]) -> dict[str, tuple[Path, str]]:
    """Return name -> (file, backend) of every engine that can run here: the bundle itself, and the INT8 files."""
    found = {}
    for backend in BACKENDS:
        if not module_of(backend).reason_missing():
            found[f"{backend} fp32"] = (scene.bundle, backend)
            if backend in int8:
                found[f"{backend} int8"] = (int8[backend], backend)
    return found


def int8_engines(scene: Scene, folder: Path | None) -> tuple[dict[str, Path], tempfile.TemporaryDirectory[str] | None]:
    """Return backend -> INT8 engine: those in `folder` (NAME.BACKEND.onnx), or else built into a temporary folder."""
    if folder is not None:
        return {backend: path for backend in BACKENDS for path in sorted(folder.glob(f"*.{backend}.onnx"))}, None
    kept = tempfile.TemporaryDirectory()
    built = {}
    for backend in BACKENDS:
        if not module_of(backend).reason_missing():
            print(f"building the INT8 engine of {backend}", flush=True)
            output = Path(kept.name) / f"model.{backend}.onnx"
            data = str(scene.bundle.parent / (scene.manifest.calibration or "calibration"))
            options = BuildOptions(
                scene.bundle, "int8", backend, data=data, output=output, frames=72, threads=scene.threads
            )
            built[backend] = build(options).path
    return built, kept


def numpy_composite(image: Image, mask_logits: FloatArray, drawing: Drawing) -> Image:
    """Draw as most code does: cv2.resize for each class, then NumPy's maximum, sigmoid and blend in float32.

    `mask_logits` is float32 [C, h, w]; only the classes drawn are enlarged.
    """
    height, width = image.shape[:2]
    large = np.stack([cv2.resize(mask_logits[index], (width, height)) for index in drawing.classes])
    color = np.array(drawing.colors, np.float32)[large.argmax(axis=0)]
    weight = (np.float32(drawing.opacity) / (1.0 + np.exp(-large.max(axis=0))))[..., None]
    return np.asarray(np.clip(image + weight * (color - image) + np.float32(0.5), 0, 255), np.uint8)


def require_composite(name: str, scene: Scene, picture: Any, mask_logits: FloatArray) -> dict[str, float]:
    """Raise SystemExit unless a picture is the oracle's within a level, ties left out; return how far it is from it."""
    return require_picture(name, picture, ReferenceCompositor().compose(scene.image, mask_logits, scene.drawing))


def require_picture(name: str, picture: Any, expected: Image) -> dict[str, float]:
    """Raise SystemExit unless a picture is `expected` within a level, but for a share of APART of its values."""
    if not isinstance(picture, np.ndarray) or picture.dtype != np.uint8 or picture.shape != expected.shape:
        raise SystemExit(f"{name}: expected a uint8 picture of {list(expected.shape)}, got {type(picture).__name__}")
    distance = np.abs(picture.astype(np.int16) - expected.astype(np.int16))
    share = float((distance > 1).mean())
    if share > APART:
        raise SystemExit(f"{name}: {share:.2%} of its values are more than a level from the oracle's picture")
    return {"apart": round(share, 6), "mean_levels": round(float(distance.mean()), 4)}


def correlation(one: NDArray[Any], other: NDArray[Any]) -> float | None:
    """Return Pearson's correlation of two maps of equal size, or None where one is flat."""
    first, second = np.asarray(one, np.float64).ravel(), np.asarray(other, np.float64).ravel()
    if first.std() == 0.0 or second.std() == 0.0:
        return None
    return round(float(np.corrcoef(first, second)[0, 1]), 4)


def attempted(makers: Mapping[str, Callable[[], Any]]) -> tuple[dict[str, Any], dict[str, str]]:
    """Prepare each peer; return what came of it, and for each that cannot run here why, in one line."""
    made, missing = {}, {}
    for name, make in makers.items():
        print(f"preparing {name}", flush=True)
        try:
            made[name] = make()
        except Exception as error:  # ImportError, and whatever a compiler raises where there is none
            lines = str(error).strip().splitlines() or [""]
            missing[name] = f"not measured: {type(error).__name__}: {lines[0][:160]}"
            print(f"{name}: {missing[name]}", flush=True)
    return made, missing
