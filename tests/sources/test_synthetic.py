"""Synthetic pictures: the same ones by their index, as a file gives them or at the pace of a camera."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from edgex.errors import SourceError
from edgex.sources import open_source


def test_pictures_are_told_by_their_index_and_come_in_order() -> None:
    source = open_source("synthetic:64x48:5")
    frames = list(source)
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 4]
    assert [frame.name for frame in frames[:2]] == ["frame-000000", "frame-000001"]
    assert {frame.image.shape for frame in frames} == {(48, 64, 3)}
    assert (source.live, source.frame_count, source.fps, source.files) == (False, 5, 30.0, ())
    for frame, again in zip(frames, open_source("synthetic:64x48"), strict=False):
        np.testing.assert_array_equal(frame.image, again.image)
        assert frame.time_ns == again.time_ns


def test_something_coloured_moves() -> None:
    frames = list(open_source("synthetic:320x240:60"))
    red = [np.argwhere((frame.image == (0, 0, 255)).all(axis=2)).mean(axis=0) for frame in frames]
    assert np.abs(red[59] - red[0]).max() > 40
    later = next(itertools.islice(open_source("synthetic:320x240"), 300, None)).image
    assert not (later == (0, 0, 255)).all(axis=2).any(), "the second round has another colour"


def test_at_the_pace_of_a_camera_it_is_live_and_ends() -> None:
    source = open_source("synthetic:64x48@200:20")
    frames = list(source)
    assert source.live
    assert source.fps == 200.0
    assert 1 <= len(frames) <= 20
    assert len(frames) + source.state.dropped <= 20
    last = list(open_source("synthetic:64x48:20"))[-1]
    np.testing.assert_array_equal(frames[-1].image, last.image)
    taken_s = (frames[-1].arrived_ns - frames[0].arrived_ns) / 1e9
    assert taken_s >= (len(frames) - 2) / 200, "frames must not come faster than asked"


def test_stop_ends_the_endless() -> None:
    source = open_source("synthetic:8x8")
    for frame in source:
        if frame.index == 3:
            source.stop()
    assert frame.index == 3


def test_one_pixel_is_a_picture() -> None:
    assert next(iter(open_source("synthetic:1x1"))).image.shape == (1, 1, 3)


@pytest.mark.parametrize("rest", ["", "x", "0x5", "5", "5x5@", "5x5@0", "5x5:0", "5x5:-1", "99999x99999", "5x5@30:2:3"])
def test_another_address_is_told(rest: str) -> None:
    with pytest.raises(SourceError, match=r"expected synthetic:WxH, .*, got"):
        open_source(f"synthetic:{rest}")
