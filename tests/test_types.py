"""The words of the package refuse what they cannot mean."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest

from edgex.errors import UsageError
from edgex.types import STYLES, Drawing, Frame, require_image

RED = (0, 0, 255)


@pytest.mark.parametrize("shape", [(1, 1, 3), (3, 5, 3)])
def test_pictures_pass_through(shape: tuple[int, ...]) -> None:
    image = np.zeros(shape, np.uint8)
    assert require_image(image) is image
    turned = image.transpose(1, 0, 2)[::-1]
    assert require_image(turned) is turned


@pytest.mark.parametrize(
    ("image", "got"),
    [
        (np.zeros((2, 2, 3), np.int8), r"int8 \[2, 2, 3\]"),
        (np.zeros((2, 2, 1), np.uint8), r"uint8 \[2, 2, 1\]"),
        (np.zeros((2, 2), np.uint8), r"uint8 \[2, 2\]"),
        (np.zeros((1, 2, 2, 3), np.uint8), r"uint8 \[1, 2, 2, 3\]"),
        (np.zeros((2, 0, 3), np.uint8), r"uint8 \[2, 0, 3\]"),
        ([[1]], "list"),
        (None, "NoneType"),
    ],
)
def test_anything_else_is_named(image: Any, got: str) -> None:
    with pytest.raises(UsageError, match=f"got {got}; convert it first"):
        require_image(image)
    with pytest.raises(UsageError):
        Frame(image, 0, 0, "x")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"classes": (), "colors": ()}, "at least one class"),
        ({"classes": (0, 1)}, "expected 2 colors"),
        ({"classes": [0]}, r"classes as a tuple of whole numbers, got \[0\]"),
        ({"classes": (0.5,)}, r"tuple of whole numbers, got \(0.5,\)"),
        ({"colors": ((0, 0, 256),)}, "three whole numbers of 0 to 255"),
        ({"colors": ((0, 0),)}, "three whole numbers of 0 to 255"),
        ({"fill": (0, -1, 0)}, "three whole numbers of 0 to 255"),
        ({"opacity": None}, "opacity of 0 to 1"),
        ({"style": "cubist"}, "overlay, heat, cutout, outline, got 'cubist'"),
        ({"opacity": 1.01}, "opacity of 0 to 1"),
        ({"opacity": -0.01}, "opacity of 0 to 1"),
        ({"opacity": float("nan")}, "opacity of 0 to 1"),
    ],
)
def test_drawing_is_checked(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Drawing(**{"classes": (0,), "colors": (RED,), **fields})


def test_drawing_takes_every_style_and_does_not_change() -> None:
    for style in STYLES:
        drawing = Drawing((0,), (RED,), style, 0.0)
        with pytest.raises(dataclasses.FrozenInstanceError):
            drawing.opacity = 1.0  # type: ignore[misc]
