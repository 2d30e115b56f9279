"""The words that every part of edgex speaks: frames, logits, what is drawn and what came out."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeGuard, get_args

import numpy as np
from numpy.typing import NDArray

from edgex.errors import UsageError

Image = NDArray[np.uint8]  # [H, W, 3], BGR, as OpenCV gives it
FloatArray = NDArray[np.float32]
Color = tuple[int, int, int]  # blue, green, red; 0 to 255
Observe = Callable[[str, int, int], object]  # is told of progress: stage, done, in all
Style = Literal["overlay", "heat", "cutout", "outline"]
STYLES: tuple[Style, ...] = get_args(Style)
IMAGENET_GREY: Color = (104, 116, 124)  # the mean color of ImageNet


def require_image(image: Any) -> Image:
    """Return `image` if it is a picture that edgex can work on.

    Parameters
    ----------
    image : uint8 [H, W, 3], H and W at least 1, any strides

    Raises
    ------
    UsageError
        If it is anything else.
    """
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.shape[2:] != (3,) or image.size == 0:
        got = f"{image.dtype} {list(image.shape)}" if isinstance(image, np.ndarray) else type(image).__name__
        raise UsageError(f"expected a uint8 picture of shape [H, W, 3] (BGR), got {got}; convert it first")
    return image


def is_whole(value: Any) -> bool:
    """Tell whether `value` is a whole number, Python's or NumPy's; true and false are none."""
    return isinstance(value, (int, np.integer)) and not isinstance(value, bool)


def is_number(value: Any) -> TypeGuard[int | float]:
    """Tell whether `value` is one of Python's numbers that a float can hold; NaN is not, nor true."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def is_color(value: Any) -> bool:
    """Tell whether `value` is a Color."""
    return isinstance(value, tuple) and len(value) == 3 and all(is_whole(v) and 0 <= v <= 255 for v in value)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture of a source.

    Attributes
    ----------
    image : uint8 [H, W, 3], BGR
    index : position in the source, from 0
    time_ns : time stamp in the source's own clock (a video's presentation time, a camera's time of day)
    name : what the picture is called in file names, without suffix (a file's stem, or "frame-000012")
    arrived_ns : when it was read or arrived from the camera, by time.monotonic_ns; its age counts from here
    """

    image: Image
    index: int
    time_ns: int
    name: str
    arrived_ns: int = field(default_factory=time.monotonic_ns)

    def __post_init__(self) -> None:
        require_image(self.image)


@dataclass(frozen=True, slots=True)
class SourceState:
    """How a source stands at this moment.

    Attributes
    ----------
    connected : whether pictures come
    detail : while they do not, one sentence that says what is wrong and when it is tried again; else empty
    dropped : pictures of a live source that a newer one replaced before anybody took them
    reconnects : how often a stream was opened again after it broke
    """

    connected: bool = True
    detail: str = ""
    dropped: int = 0
    reconnects: int = 0


@dataclass(frozen=True, slots=True)
class Logits:
    """What an engine infers for a batch, before any sigmoid.

    Attributes
    ----------
    mask_logits : float32 [N, C, h, w], low resolution
    class_logits : float32 [N, C], or None for a model that holds only an Explainer
    """

    mask_logits: FloatArray
    class_logits: FloatArray | None


@dataclass(frozen=True, slots=True)
class Drawing:
    """What a compositor draws.

    Attributes
    ----------
    classes : indices into the C classes of the mask logits, in order of display, at least one
    colors : one color per class
    style : "overlay", "heat", "cutout" or "outline"
    opacity : weight of the drawing over the picture, 0 to 1
    fill : color behind a cutout; a model's own mean color is what its classifier was trained to see there
    """

    classes: tuple[int, ...]
    colors: tuple[Color, ...]
    style: Style = "overlay"
    opacity: float = 0.6
    fill: Color = IMAGENET_GREY

    def __post_init__(self) -> None:
        if not isinstance(self.classes, tuple) or not all(is_whole(index) for index in self.classes):
            raise UsageError(f"expected classes as a tuple of whole numbers, got {self.classes!r}; convert them first")
        if not self.classes:
            raise UsageError("expected at least one class to draw, got none; name one")
        if not isinstance(self.colors, tuple) or not all(is_color(color) for color in (*self.colors, self.fill)):
            got = f"{self.colors!r} and {self.fill!r}"
            raise UsageError(f"expected colors and fill as tuples of three whole numbers of 0 to 255, got {got}")
        if len(self.colors) != len(self.classes):
            raise UsageError(f"expected {len(self.classes)} colors, one a class, got {len(self.colors)}; give one each")
        if self.style not in STYLES:
            raise UsageError(f"expected a style of {', '.join(STYLES)}, got {self.style!r}; choose one")
        if not isinstance(self.opacity, (int, float, np.number)) or not 0.0 <= self.opacity <= 1.0:
            raise UsageError(f"expected an opacity of 0 to 1, got {self.opacity}; choose one in between")


@dataclass(frozen=True, slots=True)
class ShownClass:
    """One class as it is shown in one frame.

    Attributes
    ----------
    index : index into the model's labels
    label : its name
    score : probability that the classifier gives it, 0 to 1, or None for an Explainer without a classifier
    color : its color in the legend and overlay
    """

    index: int
    label: str
    score: float | None
    color: Color


@dataclass(frozen=True, slots=True)
class Shot:
    """One finished frame, as sinks get it.

    Attributes
    ----------
    frame : the frame as read
    picture : uint8 [H, W, 3], the composed frame, legend included
    shown : the classes shown, highest score first
    masks : uint8 [K, H, W], round(255 * mask) per shown class, or None when no sink asked for masks
    record : what one line of the records holds (JSON types only); see edgex/record.py
    scores : float32 [C], the probability of every class, shown or not, or None for a model without a classifier
    """

    frame: Frame
    picture: Image
    shown: tuple[ShownClass, ...]
    masks: NDArray[np.uint8] | None
    record: Mapping[str, Any] = field(default_factory=dict)
    scores: FloatArray | None = None
