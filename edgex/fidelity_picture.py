"""`verify`: two models side by side, in figures and in one picture of the frames in which they differ most."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from edgex.compositors.palette import COLORS
from edgex.errors import SinkError, UsageError
from edgex.fidelity import Fidelity, Judged, Reference
from edgex.fidelity_figures import FrameFidelity, merged, upsampled
from edgex.manifest import Task
from edgex.onnx_file import MASK_LOGITS
from edgex.sinks import PICTURE_SUFFIXES
from edgex.staged import StagedFile, write_image
from edgex.types import Color, Frame, Image, ShownClass, require_image

if TYPE_CHECKING:
    from edgex.engines import Network
    from edgex.image_input import ImageInput

Mask = NDArray[Any]  # [H, W] at the picture's size: bool, or uint8 0 to 255, inside from 128 on
Row = tuple[Image, Mask, Mask, str]  # picture, mask of the reference, mask of the candidate, caption
PANEL_PX = 480  # longest side of a panel
GAP_PX = 6
HEADER_PX = 24  # one line of the legend
PAPER = 24  # grey level around the panels
OPACITY = 0.7
BOTH: Color = COLORS[3]
ONLY_REFERENCE: Color = COLORS[0]
ONLY_CANDIDATE: Color = COLORS[1]


def verify(
    a: Network,
    b: Network,
    frames: Iterable[Frame],
    image: ImageInput,
    task: Task | None = None,
    picture: Path | None = None,
    observe: Callable[[int], object] = lambda done: None,
) -> Fidelity:
    """Hold model `b` against model `a` over frames; draw the worst ones.

    Parameters
    ----------
    a, b : reference and candidate, on any backend
    frames : looked at one after the other, once
    image : how a frame becomes the input of both networks
    task : how class logits become probabilities; None is the task of the manifest of `a`
    picture : PNG (or JPEG, WebP, ...) to write, or None; it appears when it is whole, and not without any frame
    observe : called with the number of frames done, after each

    Raises
    ------
    ModelError
        If one of the two cannot infer, lacks an output, or gives NaN or infinity.
    UsageError
        If a picture is asked for and the models give no masks.
    SinkError
        If the picture cannot be written.
    """
    staged = None if picture is None else _stage(picture, a)
    frame: Frame

    def tensors() -> Iterator[tuple[str, NDArray[Any]]]:
        nonlocal frame
        for frame in frames:
            yield frame.name, image.tensor(frame.image)

    reference = Reference(a, tensors(), task, kept_bytes=0)
    tally = reference.tally()
    rows: dict[int, Row] = {}
    try:
        for done, judged in enumerate(reference.judge(b, tally), start=1):
            if staged and judged.frame in tally.worst:
                rows[judged.frame.index] = _row(frame.image, judged)
                rows = {each.index: rows[each.index] for each in tally.worst}
            observe(done)
        if staged and rows:
            sheet = worst_frames_picture([rows[each.index] for each in tally.worst])
            write_image(staged.path, sheet, staged.final)
            staged.commit()
    finally:
        if staged:
            staged.discard()  # nothing is there any more where it was committed
    return tally.fidelity()


def worst_frames_picture(frames: Sequence[Row]) -> Image:
    """Draw one row a frame: masks of the reference, of the candidate, and where the two differ.

    Parameters
    ----------
    frames : (picture uint8 [H, W, 3] BGR, mask of the reference [H, W], mask of the candidate [H, W], caption) each;
        masks are bool, or uint8 0 to 255, at least 128 being inside. Sizes may differ from frame to frame

    Returns
    -------
    uint8 [height, width, 3], BGR

    Raises
    ------
    UsageError
        If there is no frame, or a mask is not of its picture's size.
    """
    if not frames:
        raise UsageError("expected at least one frame to draw, got none; compare some frames first")
    rows = [_panels(*frame) for frame in frames]
    widths = [max(row[column].shape[1] for row in rows) for column in range(3)]
    sheet = np.full(
        (sum(row[0].shape[0] + GAP_PX for row in rows) + GAP_PX, sum(widths) + 4 * GAP_PX, 3), PAPER, np.uint8
    )
    top = GAP_PX
    for row in rows:
        left = GAP_PX
        for panel, width in zip(row, widths, strict=True):
            sheet[top : top + panel.shape[0], left : left + panel.shape[1]] = panel
            left += width + GAP_PX
        top += row[0].shape[0] + GAP_PX
    return sheet


def _stage(picture: Path, reference: Network) -> StagedFile:
    """Make sure, before frames are read, that there will be a picture and that it can be written."""
    if MASK_LOGITS not in {spec.name for spec in reference.outputs}:
        raise UsageError(f"expected an Explainer for a picture of masks, got {reference.path} without; leave it out")
    if picture.suffix.lower() not in PICTURE_SUFFIXES:
        raise SinkError(f"expected a picture ending in {', '.join(sorted(PICTURE_SUFFIXES))}, got {picture}; rename it")
    return StagedFile(picture)


def _row(image: Image, judged: Judged) -> Row:
    small = _thumbnail(image)
    size = small.shape[:2]
    masks = [_mask(logits, *size) for logits in (judged.reference, judged.candidate)]
    return small, masks[0], masks[1], caption(judged.frame)


def caption(frame: FrameFidelity) -> str:
    """Return what stands above a frame: its name, IoU and classes."""
    iou = "no mask" if frame.iou is None else f"IoU {frame.iou:.2f}"
    other = "" if frame.agrees is not False else ", other top class"
    return f"{frame.name}: {iou}{other}, {', '.join(frame.classes) or 'no class'}"


def _mask(logits: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
    if not len(logits):
        return np.zeros((height, width), np.uint8)
    return np.rint(255 * merged(upsampled(logits, height, width))).astype(np.uint8)


def _thumbnail(image: Image) -> Image:
    from edgex.preprocess import resize_area

    height, width = require_image(image).shape[:2]
    scale = PANEL_PX / max(height, width)
    return resize_area(image, max(1, round(height * scale)), max(1, round(width * scale)))


def _panels(image: Image, ours: Mask, theirs: Mask, text: str) -> tuple[Image, Image, Image]:
    for mask in (ours, theirs):
        if mask.shape != require_image(image).shape[:2] or mask.dtype not in (np.bool_, np.uint8):
            want = list(image.shape[:2])
            raise UsageError(
                f"expected masks of bool or uint8 {want}, got {mask.dtype} {list(mask.shape)}; resize them"
            )
    inside, other = (mask if mask.dtype == np.bool_ else mask >= 128 for mask in (ours, theirs))
    parts = ((BOTH, inside & other), (ONLY_REFERENCE, inside & ~other), (ONLY_CANDIDATE, other & ~inside))
    return (
        _panel(image, [(ONLY_REFERENCE, ours)], [f"reference, {text}"]),
        _panel(image, [(ONLY_CANDIDATE, theirs)], ["candidate"]),
        _panel(image, parts, ["both", "only reference", "only candidate"]),
    )


def _panel(image: Image, paints: Sequence[tuple[Color, Mask]], texts: Sequence[str]) -> Image:
    """Return the picture with each mask painted in its color, below a line that says what the colors are.

    The picture is grey: over an orange flower or a blue sky no colour of a mask could be told from the scene's.
    """
    import cv2

    from edgex.legend import draw_legend

    header = np.full((HEADER_PX, image.shape[1], 3), PAPER, np.uint8)
    for part, text, (color, _) in zip(np.array_split(header, len(texts), axis=1), texts, paints, strict=True):
        draw_legend(part, [ShownClass(0, text, None, color)])
    grey = cv2.cvtColor(np.ascontiguousarray(image), cv2.COLOR_BGR2GRAY)
    painted = np.repeat(grey[:, :, None], 3, axis=2).astype(np.float32)
    for color, mask in paints:
        weight = mask.astype(np.float32) * (OPACITY if mask.dtype == np.bool_ else OPACITY / 255)
        painted += weight[:, :, None] * (np.array(color, np.float32) - painted)
    return np.concatenate((header, np.rint(painted).astype(np.uint8)))
