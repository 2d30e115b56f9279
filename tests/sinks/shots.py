"""Finished frames for the tests of sinks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from edgex.types import Frame, Shot, ShownClass


def shot(index: int = 0, picture: np.ndarray | None = None, name: str | None = None, **fields: Any) -> Shot:
    """Return a finished frame; `labels` and `time_ns` may be given, masks are filled with 10, 20, ..."""
    picture = np.full((48, 64, 3), 40 + index, np.uint8) if picture is None else picture
    time_ns = fields.pop("time_ns", index * 100_000_000)
    labels = fields.pop("labels", ("red", "blue"))
    shown = tuple(ShownClass(i, label, 0.9, (0, 0, 255)) for i, label in enumerate(labels))
    masks = (
        np.stack([np.full(picture.shape[:2], 10 * (i + 1), np.uint8) for i in range(len(labels))]) if labels else None
    )
    frame = Frame(picture, index, time_ns, name or f"frame-{index:06d}")
    return Shot(frame, picture, shown, fields.pop("masks", masks), {"index": index, "name": frame.name})


def listing(folder: Path) -> list[str]:
    """Return every file and folder below `folder`, hidden ones included."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))
