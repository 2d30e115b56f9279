"""How a number reads, the same in every form of a report."""

from __future__ import annotations

NONE = "–"


def shown(value: float | None, unit: str = "") -> str:
    """Return a number with three digits that count, "–" for None; thousands are parted by a thin space.

    >>> shown(4.8765), shown(0.01234), shown(123.4, "ms"), shown(None)
    ('4.88', '0.0123', '123 ms', '–')
    """
    if value is None:
        return NONE
    size = abs(value)
    if size >= 100 or isinstance(value, int):
        text = f"{value:,.0f}".replace(",", "\u2009")
    elif size >= 10:
        text = f"{value:.1f}"
    elif size >= 1:
        text = f"{value:.2f}"
    else:
        text = "0" if not value else f"{value:#.3g}" if size >= 1e-4 else f"{value:.1e}"
    return f"{text} {unit}" if unit else text


def signed(value: float | None) -> str:
    """Return a change with its sign, "–" for None."""
    return NONE if value is None else f"{value:+.1f}"


def noise(value: float | None) -> str:
    """Return the noise of a change with as many digits as the change has, "–" for None."""
    return NONE if value is None else f"{value:.1f}"


def printable(text: str) -> str:
    """Return text that every file can hold: what a file's name has of bytes that are no UTF-8 becomes "?"."""
    return text.encode("utf-8", "replace").decode()
