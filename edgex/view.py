"""What is shown and how: a View, and a LiveView that a viewer changes while frames pass."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgex.errors import UsageError
from edgex.manifest import InputSpec
from edgex.selection import THRESHOLD, TOP_K, resolve
from edgex.types import IMAGENET_GREY, STYLES, Color, Drawing, ShownClass, Style, is_number, is_whole

OPACITY = 0.6


@dataclass(frozen=True, slots=True)
class View:
    """What is shown of a frame, and how.

    Attributes
    ----------
    classes : names of the classes to show in every frame, or None for those that the classifier predicts
    top, threshold : at most `top` predicted classes that score at least `threshold`
    style, opacity : how masks are drawn
    hidden : names of classes that are never shown
    """

    classes: tuple[str, ...] | None = None
    top: int = TOP_K
    threshold: float = THRESHOLD
    style: Style = "overlay"
    opacity: float = OPACITY
    hidden: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        if self.style not in STYLES:
            raise UsageError(f"expected a style of {', '.join(STYLES)}, got {self.style!r}; choose one")
        if not is_number(self.opacity) or not 0.0 <= self.opacity <= 1.0:
            raise UsageError(f"expected an opacity of 0 to 1, got {self.opacity}; choose one in between")
        if not is_number(self.threshold) or not 0.0 <= self.threshold <= 1.0:
            raise UsageError(f"expected a threshold of 0 to 1, got {self.threshold}; choose one in between")
        if not is_whole(self.top) or self.top < 1:
            raise UsageError(f"expected at least 1 class to show, got {self.top}; ask for 1 or more")


class LiveView:
    """A View that one thread changes while another reads it, frame by frame.

    Parameters
    ----------
    view : what is shown at first
    labels : names of the model's classes, to hold names against

    Raises
    ------
    UnknownClassError
        If `view` names a class that the model does not have.
    """

    def __init__(self, view: View, labels: Sequence[str]) -> None:
        self.labels = tuple(labels)
        self._lock = threading.Lock()
        self._view = self._checked(view)

    @property
    def current(self) -> View:
        """The View that holds for the next frame; never half changed."""
        return self._view

    def change(self, **fields: Any) -> View:
        """Replace some fields of the View, all of them or none, and return the new one.

        Raises
        ------
        UsageError
            If a field is out of its range.
        UnknownClassError
            If a name is not a label.
        """
        with self._lock:
            self._view = self._checked(dataclasses.replace(self._view, **fields))
            return self._view

    def _checked(self, view: View) -> View:
        if view.classes is not None:
            resolve(view.classes, self.labels)
        if view.hidden:
            resolve(sorted(view.hidden), self.labels)
        return view


def drawing(
    shown: Sequence[ShownClass], style: Style = "overlay", opacity: float = OPACITY, fill: Color = IMAGENET_GREY
) -> Drawing:
    """Return what a compositor needs to draw the classes shown (at least one)."""
    return Drawing(tuple(s.index for s in shown), tuple(s.color for s in shown), style, opacity, fill)


def mean_color(spec: InputSpec) -> Color:
    """Return the color that is 0 in the network's input, as BGR."""
    first, green, last = (min(255, max(0, round(255 * mean))) for mean in spec.mean)
    return (first, green, last) if spec.color == "BGR" else (last, green, first)
