"""What a compositor can be asked for, drawn at random: pictures, mask logits and drawings of every kind."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from edgex.compositors.palette import class_color
from edgex.types import STYLES, Drawing, FloatArray

NUMBERS = st.one_of(
    st.floats(-50, 50, width=32),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, 4.0, -1000.0, 1000.0]),  # ties and saturation
)
BROKEN = st.sampled_from([np.nan, np.inf, -np.inf])


@st.composite
def scenes(draw: st.DrawFn, numbers: st.SearchStrategy[float] = NUMBERS) -> tuple[Any, FloatArray, Drawing]:
    """Draw a picture of any strides, mask logits of any strides, and what to draw."""
    height, width = draw(st.integers(1, 40)), draw(st.integers(1, 40))
    classes, rows, columns = draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    size = classes * rows * columns
    values = draw(st.lists(numbers, min_size=size, max_size=size))
    logits = np.array(values, np.float32).reshape(classes, rows, columns)
    image = np.random.default_rng(draw(st.integers(0, 99))).integers(0, 256, (height, width, 3), dtype=np.uint8)
    view = draw(st.sampled_from(["plain", "strided", "mirrored", "turned"]))
    if view == "strided":
        image, logits = np.repeat(image, 2, axis=1)[:, ::2], np.repeat(logits, 2, axis=2)[:, :, ::2]
    elif view == "mirrored":
        image, logits = image[::-1, ::-1], logits[:, ::-1, ::-1]
    elif view == "turned":
        image, logits = image.transpose(1, 0, 2), logits.transpose(0, 2, 1)
    shown = draw(st.permutations(range(classes)))[: draw(st.integers(1, classes))]
    opacity = draw(st.sampled_from([0.0, 1.0, 0.6, 0.123]))
    style = draw(st.sampled_from(STYLES))
    return image, logits, Drawing(tuple(shown), tuple(class_color(i) for i in shown), style, opacity)
