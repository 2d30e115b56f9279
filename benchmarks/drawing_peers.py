"""What others do for the same pixels, each in its shortest form, to be timed beside edgex's kernels.

Each function here prepares its inputs once, outside the time, and returns what is timed: a call that gives a picture
or tensor. All of them get the number of threads that edgex gets (`set_threads`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from edgex.manifest import InputSpec
from edgex.types import Drawing, FloatArray, Image

Call = Callable[[], Any]


def set_threads(threads: int) -> None:
    """Give OpenCV and torch as many threads as edgex."""
    cv2.setNumThreads(threads)
    try:
        import torch
    except ImportError:
        return
    torch.set_num_threads(threads)


def opencv_heat(image: Image, logits: FloatArray, drawing: Drawing) -> Call:
    """Small mask to 8 bits, resize, color map, addWeighted: three calls, one class, no exact arithmetic."""
    small = np.round(255.0 / (1.0 + np.exp(-logits[drawing.classes[0]]))).astype(np.uint8)
    size = (image.shape[1], image.shape[0])

    def call() -> Image:
        colored = cv2.applyColorMap(cv2.resize(small, size, interpolation=cv2.INTER_LINEAR), cv2.COLORMAP_INFERNO)
        return np.asarray(cv2.addWeighted(image, 1.0 - drawing.opacity, colored, drawing.opacity, 0.0), np.uint8)

    return call


def torch_overlay(image: Image, logits: FloatArray, drawing: Drawing) -> Call:
    """interpolate, maximum over the classes (where there are several), sigmoid, blend, to uint8."""
    import torch

    pixels, shown = torch.from_numpy(image), torch.from_numpy(logits[list(drawing.classes)])[None]
    colors = torch.tensor(drawing.colors, dtype=torch.float32)

    @torch.inference_mode()
    def call() -> Image:
        large = torch.nn.functional.interpolate(shown, image.shape[:2], mode="bilinear", align_corners=False)[0]
        if len(large) == 1:
            best, color = large[0], colors[0]
        else:
            best, winner = large.max(dim=0)
            color = colors[winner]
        weight = (best.sigmoid() * drawing.opacity)[..., None]
        return np.asarray((pixels + weight * (color - pixels) + 0.5).clamp(0, 255).to(torch.uint8).numpy())

    return call


def supervision_annotator(image: Image, masks: NDArray[np.bool_], drawing: Drawing) -> Call:
    """Supervision's MaskAnnotator on ready boolean masks [K, H, W]; it draws into the scene that it gets."""
    import supervision

    found = supervision.Detections(
        xyxy=np.tile(np.array([0.0, 0.0, image.shape[1], image.shape[0]]), (len(masks), 1)),
        mask=masks,
        class_id=np.arange(len(masks)),
    )
    palette = supervision.ColorPalette(
        [supervision.Color(r=red, g=green, b=blue) for blue, green, red in drawing.colors]
    )
    annotator = supervision.MaskAnnotator(color=palette, opacity=drawing.opacity)
    scene = image.copy()
    return lambda: annotator.annotate(scene=scene, detections=found)


def torchvision_drawing(image: Image, masks: NDArray[np.bool_], drawing: Drawing) -> Call:
    """Torchvision's draw_segmentation_masks on ready boolean masks [K, H, W]; planes in, planes out."""
    import torch

    from training.torchvision_shim import torchvision

    planes = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    ready, colors = torch.from_numpy(masks), list(drawing.colors)
    draw = torchvision.utils.draw_segmentation_masks
    return lambda: draw(planes, ready, alpha=drawing.opacity, colors=colors).numpy().transpose(1, 2, 0)


def opencv_input(image: Image, spec: InputSpec) -> Call:
    """cv2.resize (INTER_AREA), cvtColor, normalise, transpose, as most code does it."""
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)

    def call() -> FloatArray:
        small = cv2.resize(image, (spec.width, spec.height), interpolation=cv2.INTER_AREA)
        ordered = cv2.cvtColor(small, cv2.COLOR_BGR2RGB).astype(np.float32) / 255.0
        return np.ascontiguousarray(((ordered - mean) / std).transpose(2, 0, 1)[None])

    return call


def parallel_copy(source: NDArray[np.uint8], target: NDArray[np.uint8]) -> Call:
    """Copy by all threads: torch's copy_, or NumPy's, by one thread, where there is no torch."""
    try:
        import torch
    except ImportError:
        return lambda: np.copyto(target, source)
    from_, to = torch.from_numpy(source), torch.from_numpy(target)
    return lambda: to.copy_(from_)


def prepared(makers: dict[str, Callable[[], Call]]) -> tuple[dict[str, Call], dict[str, str]]:
    """Prepare each peer; return the calls, and for each that is not installed why it is missing."""
    calls, missing = {}, {}
    for name, make in makers.items():
        try:
            calls[name] = make()
        except ImportError as error:
            missing[name] = f"not measured: {error}"
    return calls, missing


def shares_apart(one: Sequence[Any] | NDArray[Any], other: Sequence[Any] | NDArray[Any]) -> tuple[float, float]:
    """Return the share of values that differ by more than 1, and the mean difference."""
    distance = np.abs(np.asarray(one, np.float32) - np.asarray(other, np.float32))
    return float((distance > 1.0).mean()), float(distance.mean())
