"""What the viewer tells of the run at this moment: one JSON document for the page and for `/api/state`."""

from __future__ import annotations

import asyncio
import json
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from edgex.types import STYLES, Color, Shot, SourceState
from edgex.view import LiveView
from edgex.web.metrics import Metrics
from edgex.web.newest import Newest
from edgex.web.settings import describe

VERSION = 1  # of the document; grows when a field goes or changes its meaning
TICK_S = 0.1
_RATE_S = 2.0  # the frame rate is that of so many last seconds
_STILL_S = 1.0  # while nothing changes, pages are told so often
_STALLED_S, _STALLED_INTERVALS = 10.0, 3.0  # whichever is longer
_SECOND_S = 60.0  # after the first frame nothing tells yet how often they come


class States:
    """Describes the run, counts its frames, and wakes the pages when there is news.

    Parameters
    ----------
    newest : where frames come from
    view : what is shown and how
    source_state : how the source stands
    about : what is the same during the whole run, such as model, backend and source
    colors : one per label of the view
    metrics : what counts every frame

    Attributes
    ----------
    serial : grows whenever there is news
    viewers : pictures streams that are open
    """

    def __init__(
        self,
        newest: Newest,
        view: LiveView,
        source_state: Callable[[], SourceState],
        about: Mapping[str, str],
        colors: Sequence[Color],
        metrics: Metrics,
    ) -> None:
        self.serial = 0
        self.viewers = 0
        self._newest = newest
        self._view = view
        self._source_state = source_state
        self._metrics = metrics
        self._start_s = time.monotonic()
        self._counts: deque[tuple[float, int]] = deque([(self._start_s, 0)])
        self._told: tuple[Any, ...] = ()
        self._told_s = 0.0
        self._news = (-1, "")
        self._closed = False
        self._fresh = asyncio.Event()
        self._fixed = {
            "version": VERSION,
            "about": dict(about),
            "classes": [
                {"label": label, "color": "#{2:02x}{1:02x}{0:02x}".format(*color)}
                for label, color in zip(view.labels, colors, strict=True)
            ],
            "styles": list(STYLES),
        }

    def tick(self) -> None:
        """Count the frames since the last call, and wake the pages if there is news; called every TICK_S seconds."""
        now_s = time.monotonic()
        self._metrics.count(self._newest.drain())
        self._counts.append((now_s, self._newest.count))
        while len(self._counts) > 2 and self._counts[1][0] < now_s - _RATE_S:
            self._counts.popleft()
        news = (self._newest.count, self._source_state(), self._view.current, self.viewers)
        if news != self._told or now_s - self._told_s > _STILL_S:
            self._told, self._told_s = news, now_s
            self.announce()

    def announce(self) -> None:
        """Wake the pages."""
        self.serial += 1
        self._fresh.set()
        self._fresh.clear()

    async def after(self, serial: int) -> int | None:
        """Wait for news since `serial` and return the newest serial; None when the viewer closes."""
        while self.serial <= serial and not self._closed:
            await self._fresh.wait()
        return None if self._closed else self.serial

    def close(self) -> None:
        """Wake everybody who waits, for the last time."""
        self._closed = True
        self.announce()

    def news(self) -> str:
        """Return the message with what changes from frame to frame, made once for all pages."""
        if self._news[0] != self.serial:
            self._news = (self.serial, text_of({"type": "state", **self.changing()}))
        return self._news[1]

    def whole(self) -> dict[str, Any]:
        """Return everything: what `/api/state` answers, described in docs/live.md."""
        return self._fixed | self.changing()

    def changing(self) -> dict[str, Any]:
        """Return what changes from frame to frame."""
        shot, source = self._newest.shot, self._source_state()
        return {
            "frames": self._newest.count,
            "fps": round(self._fps(), 2),
            "quiet_s": round(time.monotonic() - self._newest.at_s, 3),
            "uptime_s": round(time.monotonic() - self._start_s, 1),
            "viewers": self.viewers,
            "late": self._metrics.late,
            "source": {
                "connected": source.connected,
                "detail": source.detail,
                "dropped": source.dropped,
                "reconnects": source.reconnects,
            },
            "view": describe(self._view.current),
            "shown": [] if shot is None else [each.label for each in shot.shown],
            "scores": None if shot is None else _scores(shot),
            "record": None if shot is None else dict(shot.record),
        }

    def snapshot(self, shot: Shot) -> dict[str, Any]:
        """Return what a snapshot of this frame carries."""
        return {
            "version": VERSION,
            "about": self._fixed["about"],
            "view": describe(self._view.current),
            "labels": list(self._view.labels),
            "scores": _scores(shot),
            "record": dict(shot.record),
        }

    def health(self) -> tuple[int, dict[str, str]]:
        """Return an HTTP status and a word for it.

        503 only where a restart might help: no frame for 10 seconds, or three times as long as is usual between two,
        although the source says that pictures come. A source that is being opened again is no such case.
        """
        if not self._source_state().connected:
            return 200, {"status": "reconnecting"}
        if time.monotonic() - self._newest.at_s > self._patience_s():
            return 503, {"status": "stalled"}
        return 200, {"status": "ok" if self._newest.count else "starting"}

    def _patience_s(self) -> float:
        interval_s = self._newest.interval_s
        if interval_s is None:
            return _SECOND_S if self._newest.count else _STALLED_S
        return max(_STALLED_S, _STALLED_INTERVALS * interval_s)

    def _fps(self) -> float:
        (first_s, first), (last_s, last) = self._counts[0], self._counts[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else 0.0


def text_of(document: Mapping[str, Any]) -> str:
    """Return a document as compact JSON."""
    return json.dumps(document, ensure_ascii=True, allow_nan=False, separators=(",", ":"))


def _scores(shot: Shot) -> list[float] | None:
    return None if shot.scores is None else [round(float(score), 4) for score in shot.scores]
