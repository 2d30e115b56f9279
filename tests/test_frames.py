"""Frames to calibrate with: spread, the same for a seed, one at a time, and never shared with what is held back."""

from __future__ import annotations

import hashlib
import random
import shutil
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgex.errors import EdgexError, SourceError, UsageError
from edgex.explain import shipped_clip
from edgex.frames import BLOCKS, Frames, _positions, _spread, read_frames
from edgex.sources import open_source
from tests.clips import moving_pictures, write_clip, write_picture


def flat(value: int) -> np.ndarray:
    return np.full((4, 6, 3), value, np.uint8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Forty pictures, 0.png to 39.png, each of one grey that is its number."""
    for index in range(40):
        write_picture(tmp_path / f"{index}.png", flat(index))
    return tmp_path


def drawn(frames: Frames) -> list[int]:
    return [frame.index for frame in frames]


def sha256(*pictures: np.ndarray) -> str:
    content = b"".join(repr(picture.shape).encode() + picture.tobytes() for picture in pictures)
    return hashlib.sha256(content).hexdigest()


def test_frames_of_a_folder_are_spread_evenly(folder: Path) -> None:
    frames = read_frames(folder, 8)
    assert (frames.available, frames.expected) == (40, 8)
    read = list(frames)
    assert [frame.index for frame in read] == [2, 7, 12, 17, 22, 27, 32, 37]
    assert [frame.name for frame in read] == [str(frame.index) for frame in read]
    assert all(int(frame.image[0, 0, 0]) == frame.index for frame in read)
    assert (frames.count, frames.skipped, frames.warnings) == (8, [], [])
    assert frames.digest == sha256(*(flat(frame.index) for frame in read))


def test_a_glob_takes_its_pictures_only(folder: Path) -> None:
    assert sorted(int(frame.name) for frame in read_frames(folder / "1?.png", 100)) == list(range(10, 20))


def test_one_picture_is_a_source(folder: Path) -> None:
    assert drawn(read_frames(folder / "5.png", 3)) == [0]


def test_frames_of_a_video_are_those_that_a_plain_read_gives() -> None:
    frames = read_frames(shipped_clip(), 5)
    read = {frame.index: frame for frame in frames}
    assert list(read) == [25, 75, 125, 175, 225]
    every = {frame.index: frame for frame in open_source(shipped_clip()) if frame.index in read}
    for index, frame in read.items():
        np.testing.assert_array_equal(frame.image, every[index].image)
        assert frame.time_ns == every[index].time_ns


@pytest.mark.parametrize("seed", [0, 1, 7])
def test_a_seed_gives_the_same_frames_each_time(folder: Path, seed: int) -> None:
    one, other = read_frames(folder, 8, seed), read_frames(folder, 8, seed)
    assert drawn(one) == drawn(one) == drawn(other)
    assert one.digest == other.digest


def test_seeds_differ_and_stay_in_their_stretch(folder: Path) -> None:
    rows = [drawn(read_frames(folder, 8, seed)) for seed in range(6)]
    assert len({tuple(row) for row in rows}) == 6
    for row in rows:
        assert [index // 5 for index in row] == list(range(8))


def test_the_same_pixels_in_another_shape_have_another_digest(tmp_path: Path) -> None:
    digests = []
    for height, width in ((2, 6), (6, 2), (3, 4)):
        frames = read_frames(write_picture(tmp_path / f"{height}.png", np.full((height, width, 3), 9, np.uint8)), 1)
        list(frames)
        digests.append(frames.digest)
    assert len(set(digests)) == 3


def test_the_digest_is_there_at_the_end_only(folder: Path) -> None:
    frames = read_frames(folder, 3)
    with pytest.raises(UsageError, match="got 0"):
        _ = frames.digest
    walk = iter(frames)
    next(walk)
    with pytest.raises(UsageError, match="got 1"):
        _ = frames.digest
    list(walk)
    assert len(frames.digest) == 64


@pytest.mark.parametrize("part", ["all", "calibration", "held-back"])
def test_asking_for_more_than_there_is_gives_all(folder: Path, part: Any) -> None:
    frames = read_frames(folder, 10_000, 3, part)
    assert frames.expected == frames.available
    assert len(set(drawn(frames))) == frames.count == frames.available


@settings(max_examples=150, deadline=None)
@given(
    length=st.integers(2, 200),
    counts=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    seeds=st.tuples(st.integers(0, 9), st.integers(0, 9)),
)
def test_what_is_held_back_never_calibrates(length: int, counts: tuple[int, int], seeds: tuple[int, int]) -> None:
    # by position alone: the pixels of 150 folders would tell no more
    parts = [_positions(length, "calibration"), _positions(length, "held-back")]
    assert sorted(parts[0] + parts[1]) == _positions(length, "all") == list(range(length))
    one, other = (set(_spread(p, c, random.Random(s))) for p, c, s in zip(parts, counts, seeds, strict=True))
    assert one
    assert other
    assert one.isdisjoint(other)
    assert (len(one), len(other)) == tuple(min(c, len(p)) for p, c in zip(parts, counts, strict=True))


def test_of_a_video_whole_blocks_are_held_back() -> None:
    held = drawn(read_frames(shipped_clip(), 1000, part="held-back"))
    kept = drawn(read_frames(shipped_clip(), 1000, part="calibration"))
    assert sorted(held + kept) == list(range(250))
    assert 0.2 < len(held) / 250 < 0.3
    neighbours = sum(index + 1 in set(kept) or index - 1 in set(kept) for index in held)
    assert neighbours == 2 * BLOCKS // 4  # the first and the last of each block


def test_one_picture_cannot_be_held_back_and_used(folder: Path) -> None:
    with pytest.raises(SourceError, match="two pictures or more"):
        read_frames(folder / "3.png", 4, part="held-back")


def test_another_picture_comes_for_a_broken_one(folder: Path) -> None:
    (folder / "7.png").write_bytes(b"no picture")
    (folder / "22.png").write_bytes(b"")
    frames = read_frames(folder, 8)
    indices = drawn(frames)
    assert len(set(indices)) == frames.count == 8
    assert {7, 22}.isdisjoint(indices)
    assert [("7.png" in told, "22.png" in told) for told in frames.skipped] == [(True, False), (False, True)]
    assert drawn(frames) == indices
    assert len(frames.skipped) == 2  # a second walk tells it anew, not twice


@pytest.mark.parametrize("part", ["calibration", "held-back"])
def test_the_one_for_a_broken_picture_is_of_the_same_part(folder: Path, part: Any) -> None:
    whole = set(drawn(read_frames(folder, 100, part=part)))
    broken = sorted(whole)[::2]
    for index in broken:
        (folder / f"{index}.png").write_bytes(b"no picture")
    assert set(drawn(read_frames(folder, 100, part=part))) == whole - set(broken)


def test_a_folder_of_broken_pictures_says_why_in_one_sentence(tmp_path: Path) -> None:
    for index in range(3):
        (tmp_path / f"{index}.jpg").write_bytes(b"\xff\xd8\xff no picture")
    with pytest.raises(SourceError, match=r"got none that can be read: .*0\.jpg") as refused:
        list(read_frames(tmp_path, 2))
    assert "\n" not in str(refused.value)


def test_a_picture_that_goes_meanwhile_is_passed_over(folder: Path) -> None:
    frames = read_frames(folder, 40)
    (folder / "11.png").unlink()
    assert len(drawn(frames)) == 39
    assert "11.png" in frames.skipped[0]


def test_a_video_that_does_not_say_its_length_is_counted(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mkv", moving_pictures(24))
    assert open_source(clip).frame_count is None
    frames = read_frames(clip, 4)
    assert frames.available == 24
    assert drawn(frames) == [3, 9, 15, 21]


@pytest.mark.parametrize(("count", "seed"), [(1, 0), (8, 0), (8, 5)])
def test_a_video_shorter_than_it_says_gives_what_it_has(tmp_path: Path, count: int, seed: int) -> None:
    clip = write_clip(tmp_path / "clip.mp4", moving_pictures(60))
    clip.write_bytes(clip.read_bytes()[: clip.stat().st_size // 3])
    there = sum(1 for _ in open_source(clip))
    assert open_source(clip).frame_count == 60
    assert count <= there < 30
    frames = read_frames(clip, count, seed)
    indices = drawn(frames)
    assert len(set(indices)) == frames.count == count
    assert max(indices) < there
    assert len(frames.warnings) == 1
    assert "ends early" in frames.warnings[0]
    parts = [set(drawn(read_frames(clip, 60, part=part))) for part in ("calibration", "held-back")]
    assert parts[0] | parts[1] == set(range(there))
    assert parts[0].isdisjoint(parts[1])


def test_a_video_of_which_nothing_can_be_read_is_one_sentence(tmp_path: Path) -> None:
    clip = shutil.copy(shipped_clip(), tmp_path / "clip.mp4")
    content = bytearray(Path(clip).read_bytes())
    start = content.index(b"mdat") + 4
    content[start:] = bytes(len(content) - start) if content.index(b"moov") < start else content[start:]
    Path(clip).write_bytes(content)
    with pytest.raises(SourceError) as refused:
        list(read_frames(clip, 4))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", ["folder", "video"])
def test_frames_come_one_at_a_time(folder: Path, kind: str) -> None:
    frames = read_frames(folder if kind == "folder" else shipped_clip(), 20)
    alive: list[weakref.ref[np.ndarray]] = []
    most = 0

    def images() -> Iterator[None]:
        for frame in frames:
            alive.append(weakref.ref(frame.image))
            del frame
            yield

    for _ in images():
        most = max(most, sum(one() is not None for one in alive))
    assert len(alive) == 20
    assert most <= 2  # the one that was just given and, until the next is read, the one before


@pytest.mark.parametrize(
    ("count", "seed", "part"),
    [(0, 0, "all"), (-1, 0, "all"), (2.5, 0, "all"), (True, 0, "all"), (3, -1, "all"), (3, "x", "all"), (3, 0, "some")],
)
def test_what_cannot_be_asked_for_is_refused(folder: Path, count: Any, seed: Any, part: Any) -> None:
    with pytest.raises(UsageError, match=r"expected a (count|seed|part)"):
        read_frames(folder, count, seed, part)


@pytest.mark.parametrize("name", ["nothing-here", "*.gif", "empty", "text.txt"])
def test_nothing_to_read_is_one_sentence(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.txt").write_text("no picture")
    with pytest.raises(EdgexError) as refused:
        read_frames(tmp_path / name, 4)
    assert "\n" not in str(refused.value)
