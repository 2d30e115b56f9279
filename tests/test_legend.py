"""The legend: drawn where there is room, inside the picture, and never in the way of a tiny one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.legend import draw_legend
from edgex.types import ShownClass

SHOWN = (
    ShownClass(0, "dog", 0.97, (0, 159, 230)),
    ShownClass(1, "Ünïcødé 犬", 0.5, (233, 180, 86)),
    ShownClass(2, "a very long name of a class, as ImageNet has them, with commas", None, (115, 158, 0)),
)


@pytest.mark.parametrize("size", [(64, 64), (224, 224), (480, 640), (720, 1280), (2160, 3840)])
def test_every_class_has_its_swatch_and_text(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 128, np.uint8)
    draw_legend(picture, SHOWN)
    for shown in SHOWN:
        assert (picture == shown.color).all(axis=2).sum() >= 25, shown
    assert (picture.min(axis=2) > 200).sum() > 50, "expected white letters"
    assert (picture.max(axis=2) < 70).sum() > 50, "expected a dark box"
    changed = (picture != 128).any(axis=2)
    assert changed.any(axis=0).nonzero()[0].max() < size[1] - 1
    assert not changed[size[0] * 3 // 4 :].any()


@given(st.integers(1, 90), st.integers(1, 130), st.integers(1, 12))
@settings(max_examples=60, deadline=None)
def test_it_never_fails(height: int, width: int, count: int) -> None:
    draw_legend(np.full((height, width, 3), 200, np.uint8), (SHOWN * 4)[:count])


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (8, 8)])
def test_a_picture_without_room_stays_as_it_is(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 128, np.uint8)
    draw_legend(picture, SHOWN)
    assert (picture == 128).all()


def test_no_class_draws_nothing() -> None:
    picture = np.full((64, 64, 3), 128, np.uint8)
    draw_legend(picture, ())
    assert (picture == 128).all()


def test_the_font_of_opencv_4_gets_letters_that_it_has(monkeypatch: pytest.MonkeyPatch) -> None:
    from edgex.legend import _drawable

    monkeypatch.setattr(cv2, "__version__", "4.10.0")
    assert _drawable("Ünïcödé  犬") == "Unicode ?"
    monkeypatch.setattr(cv2, "__version__", "5.0.0")
    assert _drawable("Ünïcödé  犬") == "Ünïcödé 犬"
