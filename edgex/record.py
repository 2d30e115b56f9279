"""The record: what one line of the records holds of one frame; JSON types only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgex.monitor import Faithfulness
from edgex.types import Frame, ShownClass

_HALF = 128  # round(255 * mask) reaches it where the mask reaches 0.5


def record_of(
    frame: Frame,
    shown: Sequence[ShownClass],
    masks: NDArray[np.uint8] | None,
    ms: Mapping[str, float],
    *,
    age_ms: float,
    late: bool,
    dropped: int,
    flicker: float | None = None,
    faith: Faithfulness | None = None,
) -> dict[str, Any]:
    """Return one line of the records.

    index, time_s, name : of the frame
    width, height : of the frame, in pixels
    classes : one entry per shown class, highest score first: label; score, 0 to 1 or null; and, where masks were
        asked for, area (fraction of the frame where the mask is at least 0.5) and box ([left, top, right, bottom] of
        that area in pixels, right and bottom exclusive, or null where there is none)
    ms : milliseconds per stage; writing is not among them, for it is not over yet
    age_ms : milliseconds from the frame's arrival until the sinks get it
    late : whether that is beyond the deadline
    dropped : pictures of a live source that were dropped so far
    flicker : mean |difference of masks| to the frame before where nothing moved, or null
    monitor : null, or what the classifier says of the masked frame: label, score, kept, lost
    """
    height, width = frame.image.shape[:2]
    classes: list[dict[str, Any]] = []
    for position, each in enumerate(shown):
        entry: dict[str, Any] = {"label": each.label, "score": None if each.score is None else round(each.score, 4)}
        if masks is not None:
            entry |= _extent(masks[position])
        classes.append(entry)
    return {
        "index": frame.index,
        "time_s": round(frame.time_ns / 1e9, 6),
        "name": frame.name,
        "width": width,
        "height": height,
        "classes": classes,
        "ms": {name: round(value, 3) for name, value in ms.items()},
        "age_ms": round(age_ms, 3),
        "late": late,
        "dropped": dropped,
        "flicker": None if flicker is None else round(flicker, 6),
        "monitor": None if faith is None else _judged(faith),
    }


def _judged(faith: Faithfulness) -> dict[str, Any]:
    return {
        "label": faith.label,
        "score": round(faith.score, 4),
        "kept": round(faith.kept, 4),
        "lost": round(faith.lost, 4),
    }


def _extent(mask: NDArray[np.uint8]) -> dict[str, Any]:
    inside = mask >= _HALF
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    if not rows.size:
        return {"area": 0.0, "box": None}
    box = [int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1]
    return {"area": round(float(np.count_nonzero(inside)) / inside.size, 6), "box": box}
