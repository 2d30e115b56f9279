"""What a user says of a foreign model's input: --mean, --std, --size, --layout, --labels and --color."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from edgex.bundle import LARGEST_SIDE
from edgex.errors import UsageError
from edgex.manifest import ColorOrder

Layout = Literal["NCHW", "NHWC"]
Triple = tuple[float, float, float]
_LARGEST_LABELS = 16_000_000  # bytes of a file of labels
_LARGEST = {"mean": 2.0, "std": 10.0}  # beyond, the numbers are meant for pixels of 0 to 255


@dataclass(frozen=True, slots=True)
class InputOptions:
    """What a user says of a model that does not say it itself; None is not said.

    Attributes
    ----------
    mean, std : per channel, in the channel order of the input; the input is (pixel / 255 - mean) / std
    size : height and width of the input in pixels
    layout : "NCHW" or "NHWC"
    labels : names of the classes
    color : channel order of the input, "RGB" where it is not said
    """

    mean: Triple | None = None
    std: Triple | None = None
    size: tuple[int, int] | None = None
    layout: Layout | None = None
    labels: tuple[str, ...] | None = None
    color: ColorOrder | None = None

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is None:
                continue
            if len(values) != 3 or not all(abs(value) <= _LARGEST[name] for value in values):
                unit = "in units of pixel / 255: divide what is meant for pixels of 0 to 255 by 255"
                raise UsageError(f"expected three numbers for --{name}, got {_listed(values)}; they are {unit}")
            if name == "std" and min(values) <= 0:
                raise UsageError(
                    f"expected numbers above 0 for --std, got {_listed(values)}; give --std 1,1,1 for none"
                )
        if self.size is not None and not all(1 <= side <= LARGEST_SIDE for side in self.size):
            got = f"{self.size[0]}x{self.size[1]}"
            raise UsageError(f"expected sides of 1 to {LARGEST_SIDE} for --size, got {got}; choose one in between")
        for name, value, choices in (("layout", self.layout, Layout), ("color", self.color, ColorOrder)):
            if value is not None and value not in get_args(choices):
                raise UsageError(f"expected --{name} {' or '.join(get_args(choices))}, got {value!r}; choose one")
        if self.labels is not None:
            _check_labels(self.labels)


def parse_options(
    mean: str | None = None,
    std: str | None = None,
    size: str | None = None,
    layout: str | None = None,
    labels: str | None = None,
    color: str | None = None,
) -> InputOptions:
    """Read the texts of the options.

    Parameters
    ----------
    mean, std : three numbers, or one for all channels: "0.485,0.456,0.406", "0.5", "1/255"
    size : "224", or height x width: "480x640"
    layout, color : in upper or lower case
    labels : "cat,dog", or a file with one name a line

    Raises
    ------
    UsageError
        If a text is not what its option takes; the message names the option.
    """
    return InputOptions(
        mean=None if mean is None else _triple("mean", mean),
        std=None if std is None else _triple("std", std),
        size=None if size is None else _size(size),
        layout=None if layout is None else cast(Layout, layout.strip().upper()),
        labels=None if labels is None else _labels(labels),
        color=None if color is None else cast(ColorOrder, color.strip().upper()),
    )


def _triple(name: str, text: str) -> Triple:
    try:
        numbers = [_number(part) for part in text.split(",")]
    except (ValueError, ZeroDivisionError):
        numbers = []
    if len(numbers) not in (1, 3):
        raise UsageError(f"expected --{name} as three numbers, such as 0.485,0.456,0.406, got {text!r}; mend it")
    red, green, blue = numbers * 3 if len(numbers) == 1 else numbers
    return red, green, blue


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    return float(above) / float(below) if slash else float(above)


def _size(text: str) -> tuple[int, int]:
    sides = text.strip().lower().split("x")
    if len(sides) > 2 or not all(side.isascii() and side.isdigit() and len(side) < 10 for side in sides):
        raise UsageError(f"expected --size as 224, or height x width as 480x640, got {text!r}; mend it")
    return int(sides[0]), int(sides[-1])


def _labels(text: str) -> tuple[str, ...]:
    path = Path(text)
    try:
        if not path.is_file():
            if path.suffix or "/" in text.split(",")[0]:
                raise UsageError(
                    f"expected --labels as names or as a file of them, got {text!r}, where no file is; check the path"
                )
            return tuple(label.strip() for label in text.split(","))
        if path.stat().st_size > _LARGEST_LABELS:
            raise UsageError(
                f"expected --labels as a file with one name a line, got {text!r}, which is too large; check it"
            )
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or a NUL in the path
        raise UsageError(f"expected --labels as a readable file, got {text!r}: {error}; save it as UTF-8") from error
    return tuple(line.strip() for line in lines if line.strip())


def _check_labels(labels: tuple[str, ...]) -> None:
    if not labels or not all(label.strip() and label.isprintable() for label in labels):
        raise UsageError(f"expected names for --labels, got {_listed(labels)!r}; name each class")
    label, times = Counter(labels).most_common(1)[0]
    if times > 1:
        raise UsageError(f"expected --labels that differ from one another, got {label!r} {times} times; number them")


def _listed(values: tuple[object, ...]) -> str:
    return ",".join(str(value) for value in values)[:200]
