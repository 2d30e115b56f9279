"""Real pictures to measure with, kept in memory: their reading is no part of what is measured, unless it is said so."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.bench.options import without_folders
from edgex.errors import SourceError
from edgex.explain import shipped_clip
from edgex.frames import read_frames
from edgex.image_input import ImageInput
from edgex.sources import LiveOptions, open_source
from edgex.types import Image

COUNT = 16
_ATTEMPTS = 3  # to open a live source again that breaks
_INPUT_BYTES = 64 * 2**20  # of all prepared inputs together; two are prepared in any case


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures in memory.

    Attributes
    ----------
    images : at least one, uint8 [H, W, 3]
    about : what they are, in a few words
    warnings : what their source told, one sentence each
    """

    images: tuple[Image, ...]
    about: str
    warnings: tuple[str, ...] = ()


def read_pictures(uri: str | None) -> Pictures:
    """Read up to 16 pictures: of files evenly spread over all, of any other source the first that come.

    Parameters
    ----------
    uri : any source that `edgex run` takes; None is the shipped clip

    Raises
    ------
    SourceError
        If there is none that can be read.
    """
    named = str(shipped_clip()) if uri is None else uri
    with contextlib.closing(open_source(named, LiveOptions(attempts=_ATTEMPTS))) as source:
        files, masked = source.files, source.uri
        frames = () if files else tuple(itertools.islice(source, COUNT))
        warnings: Sequence[str] = (*source.skipped, *source.warnings)
    spread = "the first"
    if files:
        drawn = read_frames(named, COUNT)
        frames, spread = tuple(drawn), "evenly spread"
        warnings = (*drawn.skipped, *drawn.warnings)
    if not frames:
        raise SourceError(f"expected pictures from {masked}, got none; name another source")
    height, width = frames[0].image.shape[:2]
    called = Path(masked).name if files else without_folders(masked)
    about = f"{len(frames)} pictures of {called}, {spread}, {width} x {height}, in turn"
    return Pictures(tuple(frame.image for frame in frames), about, tuple(warnings))


def prepared(pictures: Pictures, image: ImageInput, batch: int) -> tuple[NDArray[Any], ...]:
    """Return inputs of `batch` pictures each, every one of other pictures as far as there are; see ImageInput."""
    tensors = [image.tensor(picture) for picture in pictures.images]
    each = tensors[0].nbytes * batch
    count = max(2, min(len(tensors), _INPUT_BYTES // each))
    return tuple(
        np.concatenate([tensors[(first + place) % len(tensors)] for place in range(batch)]) for first in range(count)
    )
