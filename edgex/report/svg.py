"""Inline SVG that reads at every width: places along x are percent, heights are pixels, so that text never scales.

Curves lie in an SVG of their own that is stretched to the width, with strokes that keep theirs.
Colours are CSS variables and classes of report.css, so that light, dark and print need one drawing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

_WIDE = 1000  # units of the stretched drawing's width
_TICKS = 5


@dataclass(frozen=True, slots=True)
class Scale:
    """What of an axis stands where.

    Attributes
    ----------
    low, high : its ends, low < high; both above 0 where it is logarithmic
    log : whether equal ratios are equally far apart
    """

    low: float
    high: float
    log: bool = False

    def at(self, value: float) -> float:
        """Return where a value stands, from 0 to 1, ends clamped."""
        low, high = self.low, self.high
        if self.log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, self.low))
        return min(1.0, max(0.0, (value - low) / (high - low)))

    def ticks(self) -> list[float]:
        """Return round values within it."""
        return _log_ticks(self.low, self.high) if self.log else _linear_ticks(self.low, self.high)


def spanning(values: Iterable[float], from_zero: bool = True, log: bool = False) -> Scale:
    """Return a scale that holds all values with a little room above."""
    found = list(values)
    low, high = min(found), max(found)
    if log:
        low = low if low > 0 else max(high, 1e-6) / 1e4
        return Scale(low / 1.15, max(high, low) * 1.25, log=True)
    if from_zero and low >= 0:
        return Scale(0.0, high * 1.08 or 1.0)
    room = (high - low) * 0.08 or abs(high) * 0.05 or 1.0
    return Scale(low - room, high + room)


class Plot:
    """One plot: axes, then whatever is drawn into it.

    Parameters
    ----------
    title : what it shows, for who cannot see it
    x, y : scales
    height : of the area that is drawn into, in pixels
    """

    def __init__(self, title: str, x: Scale, y: Scale, height: int) -> None:
        self.x, self.y, self._title, self._height = x, y, title, height
        self._under: list[str] = []
        self._stretched: list[str] = []
        self._over: list[str] = []

    def axes(
        self,
        x_label: str,
        x_ticks: Sequence[tuple[float, str]] | None = None,
        y_ticks: Sequence[tuple[float, str]] | None = None,
    ) -> None:
        """Draw the grid with its numbers and the name of x; ticks are (value, text), or None for round values."""
        for value, text in y_ticks or [(value, _round_text(value)) for value in self.y.ticks()]:
            y = self._y(value)
            self._under.append(f'<line x1="0" x2="100%" y1="{y}" y2="{y}" class="grid"/>')
            self._under.append(f'<text x="-7" y="{y}" dy=".32em" class="tick end">{escape(text)}</text>')
        for value, text in x_ticks or [(value, _round_text(value)) for value in self.x.ticks()]:
            x = self._x(value)
            self._under.append(
                f'<text x="{x}%" y="{self._height + 16}" class="tick {_anchor(self.x.at(value))}">{escape(text)}</text>'
            )
        self._under.append(f'<line x1="0" x2="100%" y1="{self._height}" y2="{self._height}" class="axis"/>')
        self._under.append(f'<text x="100%" y="{self._height + 33}" class="label end">{escape(x_label)}</text>')

    def curve(self, points: Iterable[tuple[float, float | None]], classes: str) -> None:
        """Draw a line through points; None breaks it, and a point between two breaks is a dot."""
        lines: list[list[tuple[float, float]]] = [[]]
        for x, y in points:
            if y is None:
                lines.append([])
            else:
                lines[-1].append((x, y))
        path = "".join(
            f"{'L' if place else 'M'}{_short(self.x.at(x) * _WIDE)} {self._y(y)}"
            for line in lines
            if len(line) > 1
            for place, (x, y) in enumerate(line)
        )
        if path:
            self._stretched.append(f'<path d="{path}" class="line {classes}"/>')
        lone = [line[0] for line in lines if len(line) == 1]
        if lone:
            self.strokes(((x, y, y) for x, y in lone), f"dots {classes}")

    def strokes(self, spans: Iterable[tuple[float, float, float]], classes: str) -> None:
        """Draw upright strokes (x, low, high), or round dots where low is high."""
        path = []
        for x, low, high in spans:
            path.append(f"M{_short(self.x.at(x) * _WIDE)} {self._y(low)}V{self._y(high)}")
        self._stretched.append(f'<path d="{"".join(path)}" class="{classes}"/>')

    def band(
        self, left: float, right: float, classes: str, low: float | None = None, high: float | None = None
    ) -> None:
        """Fill a rectangle; without `low` and `high` over the whole height."""
        top = 0.0 if high is None else self._y(high)
        bottom = self._height if low is None else self._y(low)
        x, width = self._x(left), self._x(right) - self._x(left)
        self._under.append(
            f'<rect x="{_short(x)}%" y="{top}" width="{_short(max(width, 0.0))}%" height="{_short(bottom - top)}" '
            f'class="{classes}"/>'
        )

    def bar(self, left: float, right: float, low: float, high: float, classes: str, tip: str = "") -> None:
        """Fill a rectangle above the grid, told more of by `tip` where the mouse rests."""
        x, width = self._x(left), self._x(right) - self._x(left)
        top = self._y(high)
        self._over.append(
            f'<rect x="{_short(x)}%" y="{top}" width="{_short(width)}%" height="{_short(self._y(low) - top)}" '
            f'class="{classes}">{_tip(tip)}</rect>'
        )

    def upright(self, x: float, text: str, classes: str, row: int = 0) -> None:
        """Draw a line over the whole height, with a text at its top in one of several rows."""
        at, side = self._x(x), "end" if self.x.at(x) > 0.6 else "start"
        gap = -5 if side == "end" else 5
        self._over.append(f'<line x1="{at}%" x2="{at}%" y1="0" y2="{self._height}" class="{classes}"/>')
        self._over.append(
            f'<text x="{at}%" dx="{gap}" y="{11 + 14 * row}" class="mark {side} halo">{escape(text)}</text>'
        )

    def level(self, y: float, text: str, classes: str) -> None:
        """Draw a line over the whole width, with a text above its left end, where curves of percentiles lie low."""
        at = self._y(y)
        self._over.append(f'<line x1="0" x2="100%" y1="{at}" y2="{at}" class="{classes}"/>')
        self._over.append(f'<text x="0" dx="5" y="{_short(max(at - 5, 10))}" class="mark halo">{escape(text)}</text>')

    def dot(self, x: float, y: float, classes: str, tip: str = "", radius: float = 4) -> None:
        """Draw a dot that stays round."""
        self._over.append(
            f'<circle cx="{self._x(x)}%" cy="{self._y(y)}" r="{radius}" class="{classes}">{_tip(tip)}</circle>'
        )

    def note(self, x: float, y: float, text: str, anchor: str = "start", dx: int = 6, dy: int = -6) -> None:
        """Write a text beside a point."""
        place = f'x="{self._x(x)}%" y="{self._y(y)}" dx="{dx}" dy="{dy}"'
        self._over.append(f'<text {place} class="mark {anchor} halo">{escape(text)}</text>')

    def svg(self, foot: int = 40) -> str:
        """Return the drawing; `foot` pixels are left below for the numbers and the name of x."""
        size = f'width="100%" height="{self._height + foot}"'
        return (
            f'<svg class="plot" role="img" aria-label="{escape(self._title)}" {size}>'
            f"{''.join(self._under)}"
            f'<svg viewBox="0 0 {_WIDE} {self._height}" preserveAspectRatio="none" width="100%" '
            f'height="{self._height}" class="stretched">{"".join(self._stretched)}</svg>'
            f"{''.join(self._over)}</svg>"
        )

    def _x(self, value: float) -> float:
        return round(self.x.at(value) * 100, 2)

    def _y(self, value: float) -> float:
        return round((1 - self.y.at(value)) * self._height, 1)


def _anchor(place: float) -> str:
    return "start" if place < 0.04 else "end" if place > 0.96 else "middle"


def _tip(text: str) -> str:
    return f"<title>{escape(text)}</title>" if text else ""


def _round_text(value: float) -> str:
    return f"{value:,.10g}".replace(",", "\u2009")


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".")


def _linear_ticks(low: float, high: float) -> list[float]:
    rough = max((high - low) / _TICKS, 1e-300)  # a span may be too small to be parted
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= rough * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(each * step, 12) for each in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for factors in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 5, 7)):
        ticks = [factor * 10.0**decade for decade in decades for factor in factors]
        ticks = [tick for tick in ticks if low <= tick <= high]
        if len(ticks) >= 3:
            break
    return ticks if len(ticks) >= 2 else _linear_ticks(low, high)
