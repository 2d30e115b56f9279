"""The legend: class, score and color of what is shown, over a translucent box at the top left of the picture."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from edgex.types import Image, ShownClass

_SMALLEST_PX, _COMFORTABLE_PX, _LARGEST_PX = 8, 10, 72  # height of a capital letter
_SHORTER_SIDE_PER_LETTER = 36  # 20 px on a 720p frame, 60 px on a 4K frame
_INK = (255, 255, 255)
_BOX_OPACITY = 0.55


@dataclass(frozen=True, slots=True)
class _Type:
    """How text is set: font scale, stroke and the measures in pixels."""

    scale: float
    stroke_px: int
    letter_px: int
    gap_px: int

    @property
    def line_px(self) -> int:
        return self.letter_px + 2 * self.gap_px


def draw_legend(picture: Image, shown: Sequence[ShownClass]) -> None:
    """Draw the legend into the picture.

    Lines that do not fit are left out, and a label that is too long is cut; a picture too small for one line stays
    as it is.

    Parameters
    ----------
    picture : uint8 [H, W, 3], BGR, changed in place
    shown : the classes, one line each
    """
    import cv2

    height, width = picture.shape[:2]
    type_ = _type(min(height, width))
    gap, letter = type_.gap_px, type_.letter_px
    room_px = width - 6 * gap - letter  # margin, padding, swatch, gap, text, padding, margin
    lines = shown[: max(0, (height - 4 * gap) // type_.line_px)]
    texts = [_fitting(each, type_, room_px) for each in lines]
    if not lines or room_px < 0:
        return
    box_height = len(lines) * type_.line_px + 2 * gap
    box_width = 3 * gap + letter + max(_width_px(text, type_) for text in texts)
    box = picture[gap : gap + box_height, gap : gap + box_width]
    box[:] = np.rint(box * (1 - _BOX_OPACITY)).astype(np.uint8)
    for line, (each, text) in enumerate(zip(lines, texts, strict=True)):
        top, left = 3 * gap + line * type_.line_px, 2 * gap
        cv2.rectangle(picture, (left, top), (left + letter - 1, top + letter - 1), each.color, cv2.FILLED)
        if text:
            origin = (left + letter + gap, top + letter)  # of the base line
            cv2.putText(
                picture, text, origin, cv2.FONT_HERSHEY_SIMPLEX, type_.scale, _INK, type_.stroke_px, cv2.LINE_AA
            )


def _type(shorter_side_px: int) -> _Type:
    import cv2

    comfortable_px = min(_COMFORTABLE_PX, shorter_side_px // 16)
    letter_px = min(_LARGEST_PX, max(_SMALLEST_PX, comfortable_px, shorter_side_px // _SHORTER_SIDE_PER_LETTER))
    height_at_1 = cv2.getTextSize("H", cv2.FONT_HERSHEY_SIMPLEX, 1.0, 1)[0][1]
    return _Type(letter_px / height_at_1, max(1, letter_px // 12), letter_px, max(1, letter_px // 3))


def _fitting(shown: ShownClass, type_: _Type, room_px: int) -> str:
    """Return label and score, the label cut until they fit; only the score, or nothing, where even that does not."""
    label = _drawable(shown.label)
    score = "" if shown.score is None else f"{shown.score:.2f}"
    for length in range(len(label), 0, -1):
        cut = label if length == len(label) else label[:length].rstrip() + "."
        text = f"{cut} {score}".rstrip()
        if _width_px(text, type_) <= room_px:
            return text
    return score if score and _width_px(score, type_) <= room_px else ""


def _width_px(text: str, type_: _Type) -> int:
    import cv2

    if not text:
        return 0
    return int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, type_.scale, type_.stroke_px)[0][0])


def _drawable(label: str) -> str:
    """Return the label with accents taken off and `?` for what the font of OpenCV 4 lacks."""
    import cv2

    plain = " ".join(label.split())
    if int(cv2.__version__.partition(".")[0]) >= 5:
        return plain
    decomposed = unicodedata.normalize("NFKD", plain)
    letters = [character for character in decomposed if not unicodedata.combining(character)]
    return "".join(character if character.isascii() else "?" for character in letters)
