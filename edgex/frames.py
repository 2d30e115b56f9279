"""Frames drawn from a folder, a glob or a video, to calibrate with and to hold an engine against.

They are spread evenly, come one at a time, and are the same for the same seed. What is held back for the check of an
engine never calibrates one, whatever the count and the seed.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from edgex.errors import SourceError, UsageError
from edgex.sources import is_picture, open_source
from edgex.types import Frame, is_whole

Part = Literal["all", "calibration", "held-back"]
NS_PER_PICTURE = 1_000_000_000  # pictures have no clock: one a second, as their source counts
PARTS: tuple[Part, ...] = get_args(Part)
# A frame of a video is nearly its neighbour, so blocks and not single frames are held back: an engine that is held
# against the neighbours of its calibration frames looks better than it is. The blocks come from the position in the
# source alone, hence two draws of different count and seed share no frame either.
BLOCKS = 16
_HELD_BACK_OF_EACH, _HELD_BACK = 4, 1  # the second of every four blocks: two frames are enough for one to be held back


class Frames:
    """Frames of a source, read anew each time that one walks over them.

    Attributes
    ----------
    uri, part, seed : what was asked for
    available : frames that the source has in this part, unreadable ones included, by the source's own word
    expected : frames that will come if all of them can be read: what was asked for, or all that there are
    skipped : one sentence for each picture that could not be read; another one is drawn in its place if there is one
    warnings : one sentence for everything else that the user should know, such as a video that ends early
    """

    def __init__(self, uri: str, count: int, seed: int, part: Part) -> None:
        self.uri, self.part, self.seed = uri, part, seed
        self.skipped: list[str] = []
        self.warnings: list[str] = []
        with closing(open_source(uri)) as source:
            is_video = not all(is_picture(path) for path in source.files)
            self._pictures = None if is_video else source.files
            length = source.frame_count or sum(1 for _ in source)  # many containers do not say it
        self._positions = _positions(length, part)
        self.available = len(self._positions)
        self.expected = min(count, self.available)
        self._count = self._seen = 0
        self._digest: str | None = None
        if self.available == 0:
            raise SourceError(f"expected two pictures or more in {uri!r}, one to be held back, got one; add some")

    @property
    def count(self) -> int:
        """Return how many frames the last walk has read so far."""
        return self._count

    @property
    def digest(self) -> str:
        """Return the SHA-256, as hex digits, over shape and pixels of the frames of the last walk.

        Raises
        ------
        UsageError
            If no walk has come to its end.
        """
        if self._digest is None:
            raise UsageError(f"expected all frames of {self.uri!r} to be read first, got {self._count}; read on")
        return self._digest

    def __iter__(self) -> Iterator[Frame]:
        """Read the frames.

        Raises
        ------
        SourceError
            If none can be read.
        """
        self._count, self._digest = 0, None
        self.skipped.clear()
        self.warnings.clear()
        sha256, chance = hashlib.sha256(), random.Random(self.seed)
        untried = self._positions
        while untried and self._count < self.expected:
            drawn = _spread(untried, self.expected - self._count, chance if self.seed else None)
            untried = sorted(set(untried).difference(drawn))
            for frame in self._read_video(drawn) if self._pictures is None else self._read(self._pictures, drawn):
                sha256.update(repr(frame.image.shape).encode())
                sha256.update(np.ascontiguousarray(frame.image).data)
                self._count += 1
                yield frame
            if self._pictures is None:  # where frames are missing, the video is shorter than it says
                untried = [position for position in untried if position < self._seen]
        if self._count == 0:
            raise self._nothing()
        self._digest = sha256.hexdigest()

    def _read(self, files: tuple[Path, ...], drawn: list[int]) -> Iterator[Frame]:
        from edgex.sources.images import read_image

        for position in drawn:
            try:
                image = read_image(files[position])
            except SourceError as error:
                self.skipped.append(str(error))
                continue
            yield Frame(image, position, position * NS_PER_PICTURE, files[position].stem)

    def _read_video(self, drawn: list[int]) -> Iterator[Frame]:
        wanted = iter(drawn)
        position = next(wanted, None)
        self._seen = 0
        with closing(open_source(self.uri)) as source:
            for frame in source:
                self._seen += 1
                if frame.index == position:
                    yield frame
                    position = next(wanted, None)
                    if position is None:
                        return
            self.warnings += [told for told in source.warnings if told not in self.warnings]

    def _nothing(self) -> SourceError:
        why = (*self.skipped, *self.warnings)
        told = f": {why[0]}" if why else "; name another source"
        return SourceError(f"expected frames in {self.uri!r}, got none that can be read{told}")


def read_frames(uri: str | Path, count: int, seed: int = 0, part: Part = "all") -> Frames:
    """Draw frames from a source.

    Parameters
    ----------
    uri : a picture, a folder of pictures, a glob of pictures or a video
    count : how many frames, at least 1; all of them where there are fewer
    seed : 0 takes the middle of `count` even stretches of the source, any other number a frame by chance in each
    part : "all", or "calibration" and "held-back", which share no frame: a quarter of the source is held back

    Raises
    ------
    UsageError
        If count, seed or part are none of these.
    SourceError
        If there is nothing to read there, or too little to hold something back.
    """
    if not is_whole(count) or count < 1:
        raise UsageError(f"expected a count of frames of at least 1, got {count!r}; ask for more")
    if not is_whole(seed) or seed < 0:
        raise UsageError(f"expected a seed of 0 or more, got {seed!r}; choose a whole number")
    if part not in PARTS:
        raise UsageError(f"expected a part of {', '.join(PARTS)}, got {part!r}; choose one")
    return Frames(str(uri), int(count), int(seed), part)


def _positions(length: int, part: Part) -> list[int]:
    """Return the positions of a source that belong to a part."""
    blocks = min(BLOCKS, length)
    held_back = [position * blocks // length % _HELD_BACK_OF_EACH == _HELD_BACK for position in range(length)]
    return [position for position in range(length) if part == "all" or held_back[position] == (part == "held-back")]


def _spread(positions: list[int], count: int, chance: random.Random | None) -> list[int]:
    """Return one position of each of `count` even stretches: its middle, or one by chance."""
    count = min(count, len(positions))
    drawn = []
    for stretch in range(count):
        start, stop = (edge * len(positions) // count for edge in (stretch, stretch + 1))
        share = 0.5 if chance is None else chance.random()  # of Python's generator only this is the same in any version
        drawn.append(positions[start + int(share * (stop - start))])
    return drawn
