"""Pictures of an evaluation: the specificity matrix as a heat map, and the best and worst cases side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from edgex.errors import EdgexError
from edgex.preprocess import resize_area
from edgex.types import FloatArray, Image
from training.datasets import foreground
from training.methods import Method, merge
from training.metrics import Truth
from training.specificity import Specificity
from training.staged import staged
from training.transforms import TensorDataset

_CAPTION_PX = 22
_COLOR = np.array([40, 80, 255], np.float32)  # BGR; of a mask over its picture
_GROUND = 245  # grey value behind captions


def save_heat_map(path: Path, matrices: Sequence[Specificity]) -> None:
    """Draw one matrix per method, in percent: row = true class, column = class of the mask, the last one without mask.

    Raises
    ------
    EdgexError
        If the PNG cannot be written.
    """
    from matplotlib.figure import Figure  # not pyplot: no window, no global state

    classes = len(matrices[0].labels)
    side = 1.6 + 0.5 * (classes + 1)  # inches
    figure = Figure(figsize=(side * len(matrices) + 0.5, side), layout="constrained")
    for panel, matrix in zip(figure.subplots(1, len(matrices), squeeze=False)[0], matrices, strict=True):
        percent = 100 * np.column_stack([matrix.matrix, matrix.no_mask])  # [C, C + 1]; NaN cells stay white
        panel.imshow(percent, cmap="viridis", vmin=0, vmax=100)
        panel.axvline(classes - 0.5, color="white", linewidth=2)
        panel.set_xticks(range(classes + 1), [*matrix.labels, "no mask"], rotation=90)
        panel.set_yticks(range(classes), matrix.labels)
        panel.set_xlabel("mask of class")
        panel.set_ylabel("image of class")
        for row, column in zip(*np.nonzero(~np.isnan(percent)), strict=True):
            value = percent[row, column]
            color = "black" if value > 60 else "white"
            panel.text(column, row, f"{value:.0f}", ha="center", va="center", color=color, fontsize=8)
        ratio = matrix.summary()["own_over_other"]
        panel.set_title(f"{matrix.method}: own / other " + ("undefined" if ratio is None else f"{ratio:.1f}"))
    with staged(path) as part:
        figure.savefig(part, dpi=110, format="png")


def save_gallery(
    folder: Path,
    methods: Sequence[Method],
    tensors: TensorDataset,
    c_iou: Mapping[int, Mapping[str, float]],
    device: torch.device,
    count: int,
) -> list[Path]:
    """Draw the images with the highest and the lowest c_IoU of the first method, into best.png and worst.png.

    Parameters
    ----------
    folder : made if missing
    methods : one column each, masks of the true classes merged
    tensors : samples as TensorDataset gives them
    c_iou : dataset index to c_IoU of each method; nothing is drawn when it is empty
    device : where the methods compute
    count : images in each picture

    Returns
    -------
    The files written

    Raises
    ------
    EdgexError
        If a picture cannot be written.
    """
    ranked = sorted(c_iou, key=lambda index: (-c_iou[index][methods[0].name], index))
    written = []
    for name, indices in (("best", ranked[:count]), ("worst", ranked[::-1][:count])):
        if indices:
            rows = [_row(index, methods, tensors, c_iou[index], device) for index in indices]
            written.append(folder / f"{name}.png")
            with staged(written[-1]) as part:
                encoded, content = cv2.imencode(".png", np.concatenate(rows))
                if not encoded:
                    raise EdgexError(f"expected to encode {written[-1]} as PNG, got a refusal; draw fewer pictures")
                part.write_bytes(content.tobytes())
    return written


def _row(
    index: int, methods: Sequence[Method], tensors: TensorDataset, c_iou: Mapping[str, float], device: torch.device
) -> Image:
    sample = tensors[index]
    target = sample["target"][None].to(device) > 0
    image = resize_area(tensors.images.load(index).image, tensors.spec.height, tensors.spec.width)
    names = ", ".join(tensors.images.labels[c] for c in np.flatnonzero(sample["target"].numpy() > 0))
    cells = [_captioned(image, names), _captioned(_over(image, sample["segmentation"].numpy()), "ground truth")]
    for method in methods:
        mask = merge(method.masks(sample["image"][None].to(device), target), target)[0].cpu().numpy()
        cells.append(_captioned(_blend(image, mask), f"{method.name} {c_iou[method.name]:.2f}"))
    return np.concatenate(cells, axis=1)


def _over(image: Image, truth: Truth) -> Image:
    binary, valid = foreground(truth)
    drawn = _blend(image, binary.astype(np.float32))
    drawn[~valid] = 255
    return drawn


def _blend(image: Image, mask: FloatArray) -> Image:
    """Tint where the mask is 1, and fade to grey where it is 0; mask float [H, W]."""
    weight = mask[:, :, None]
    faded = 0.4 * image.mean(axis=2, keepdims=True) + 110
    tinted = 0.65 * image + 0.35 * _COLOR
    blended: Image = np.rint(weight * tinted + (1 - weight) * faded).clip(0, 255).astype(np.uint8)
    return blended


def _captioned(image: Image, text: str) -> Image:
    strip = np.full((_CAPTION_PX, image.shape[1], 3), _GROUND, np.uint8)
    legible = text.encode("ascii", "replace").decode()  # OpenCV's fonts are ASCII only
    cv2.putText(strip, legible, (3, _CAPTION_PX - 7), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (30, 30, 30), 1, cv2.LINE_AA)
    framed = np.concatenate([strip, image])
    return np.pad(framed, ((1, 1), (1, 1), (0, 0)), constant_values=_GROUND)
