"""Class colours: the same class has the same colour in every frame, run and program."""

from __future__ import annotations

import colorsys

from edgex.types import Color

# Blue, green, red. Okabe and Ito's colours for colour-blind readers (jfly.uni-koeln.de/color), without black, which
# would read as shadow, and ordered so that the first few lie far apart.
COLORS: tuple[Color, ...] = (
    (0, 159, 230),  # orange
    (233, 180, 86),  # sky blue
    (115, 158, 0),  # bluish green
    (66, 228, 240),  # yellow
    (178, 114, 0),  # blue
    (0, 94, 213),  # vermilion
    (167, 121, 204),  # reddish purple
)
GOLDEN = 0.6180339887498949  # turns of hue between neighbours: no two of the first hundreds come near each other


def class_color(index: int) -> Color:
    """Return the color (blue, green, red) of class `index`, which depends on nothing else.

    The first seven are safe for colour-blind readers; beyond seven no set is, so hue walks by the golden ratio and
    lightness alternates.
    """
    if index < len(COLORS):
        return COLORS[index]
    step = index - len(COLORS)
    lightness = (0.45, 0.65, 0.55)[step % 3]
    red, green, blue = colorsys.hls_to_rgb((0.05 + step * GOLDEN) % 1.0, lightness, 0.85)
    return round(255 * blue), round(255 * green), round(255 * red)
