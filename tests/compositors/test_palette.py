"""Class colours: stable, distinct, and apart for colour-blind eyes; and the heat table."""

from __future__ import annotations

from itertools import combinations, pairwise

import numpy as np

from edgex.compositors.heatmap import heat_table
from edgex.compositors.palette import class_color

# Linear RGB to linear RGB as a dichromat sees it: Viénot, Brettel, Mollon 1999, protanopia and deuteranopia.
DICHROMATS = {
    "protanopia": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deuteranopia": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
}


def lab(color: tuple[int, int, int], matrix: object = None) -> np.ndarray:
    """Return CIE L*a*b* (D65) of a BGR color, seen through `matrix`."""
    rgb = np.array(color[::-1]) / 255.0
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    if matrix is not None:
        linear = np.clip(np.array(matrix) @ linear, 0, 1)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear
    t = xyz / np.array([0.9505, 1.0, 1.089])
    f = np.where(t > 0.008856, np.cbrt(t), 7.787 * t + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def test_color_depends_on_the_index_alone() -> None:
    assert [class_color(i) for i in (2, 0, 2)] == [(115, 158, 0), (0, 159, 230), (115, 158, 0)]


def test_colors_differ_over_hundreds_of_classes() -> None:
    colors = [class_color(i) for i in range(300)]
    assert len(set(colors)) == 300
    assert all(0 <= level <= 255 for color in colors for level in color)


def test_neighbouring_classes_lie_apart() -> None:
    for i in range(60):
        assert np.linalg.norm(lab(class_color(i)) - lab(class_color(i + 1))) > 20, i


def test_first_seven_lie_apart_for_colour_blind_eyes() -> None:
    for name, matrix in DICHROMATS.items():
        for one, other in combinations(range(7), 2):
            distance = np.linalg.norm(lab(class_color(one), matrix) - lab(class_color(other), matrix))
            assert distance > 10, (name, one, other, distance)


def test_heat_table_grows_in_lightness() -> None:
    table = heat_table()
    assert table.shape == (256, 3)
    assert table.dtype == np.uint8
    lightness = [lab(tuple(int(v) for v in row))[0] for row in table]
    assert all(later > earlier - 0.5 for earlier, later in pairwise(lightness))
    assert lightness[0] < 1
    assert lightness[255] > 95
