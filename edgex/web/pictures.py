"""JPEG pictures for every viewer: encoded once, in a thread of its own, and only while somebody looks."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from edgex.types import Image
from edgex.web.newest import Newest
from edgex.web.priority import step_back

BOUNDARY = b"--edgex-picture\r\n"  # RFC 2046: two dashes more than in the Content-Type
STREAM_TYPE = "multipart/x-mixed-replace; boundary=edgex-picture"
_AGAIN_S = 2.0  # a picture is sent again after this: proxies and players give up on a silent stream

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class PictureOptions:
    """How pictures are made for the viewer.

    Attributes
    ----------
    quality : of the JPEG, 1 to 100
    fps : at most so many pictures a second
    longest_px : a larger picture is made smaller, to this side; snapshots keep their size
    """

    quality: int = 80
    fps: float = 30.0
    longest_px: int = 1920


@dataclass(frozen=True, slots=True)
class Picture:
    """One encoded picture.

    Attributes
    ----------
    number : of the finished frame, from 1
    part : one part of a multipart stream; the boundary ends it, because browsers show a picture only then
    start, end : where in `part` the JPEG lies
    """

    number: int
    part: bytes
    start: int
    end: int

    @property
    def jpeg(self) -> bytes:
        """The JPEG alone."""
        return self.part[self.start : self.end]


class Pictures:
    """Encodes the newest frame and wakes who waits for it; constructed in the event loop that it serves.

    Attributes
    ----------
    newest : where frames come from
    latest : the newest encoded picture, or None
    serial : grows whenever there is something to send: a new picture, or the same again after a silence
    """

    def __init__(self, newest: Newest, options: PictureOptions) -> None:
        self.newest = newest
        self.latest: Picture | None = None
        self.serial = 0
        self._options = options
        self._sent_s = 0.0
        self._closed = False
        self._fresh = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._encode_all, name="edgex-jpeg", daemon=True)
        self._thread.start()

    @contextlib.contextmanager
    def watched(self) -> Iterator[int]:
        """Have pictures encoded inside the with statement; gives the serial to begin to wait from."""
        is_newest = self.latest is not None and self.latest.number == self.newest.count
        serial = self.serial - 1 if is_newest else self.serial
        self.newest.look(+1)
        try:
            yield serial
        finally:
            self.newest.look(-1)

    async def after(self, serial: int) -> Picture | None:
        """Wait until there is something newer than `serial`; None when the viewer closes."""
        while self.serial <= serial and not self._closed:
            await self._fresh.wait()
        return None if self._closed else self.latest

    def tick(self) -> None:
        """Offer the last picture again if nothing new came for a while; called several times a second."""
        if self.latest is not None and time.monotonic() - self._sent_s > _AGAIN_S:
            self._offer()

    def close(self) -> None:
        """Wake everybody who waits, and let the thread end."""
        self._closed = True
        self._wake()

    def join(self) -> None:
        """Wait for the thread, which ends once the mailbox is closed; called after the event loop has ended."""
        self._thread.join()

    def _publish(self, picture: Picture) -> None:
        self.latest = picture
        self._offer()

    def _offer(self) -> None:
        self.serial += 1
        self._sent_s = time.monotonic()
        self._wake()

    def _wake(self) -> None:
        self._fresh.set()
        self._fresh.clear()

    def _encode_all(self) -> None:
        step_back()
        number = 0
        while (found := self.newest.wanted(number)) is not None:
            start_s = time.monotonic()
            shot, number = found
            part = _part(shot.picture, self._options)
            del shot, found  # the frame may go while this thread waits for the next
            if part is not None:
                with contextlib.suppress(RuntimeError):  # the loop has ended: nobody waits any more
                    self._loop.call_soon_threadsafe(self._publish, Picture(number, *part))
            self.newest.rest(start_s + 1 / self._options.fps - time.monotonic())


def _part(image: Image, options: PictureOptions) -> tuple[bytes, int, int] | None:
    import cv2

    try:
        whole, encoded = cv2.imencode(".jpg", _fitted(image, options), [cv2.IMWRITE_JPEG_QUALITY, options.quality])
    except cv2.error as error:
        whole, encoded = False, np.empty(0, np.uint8)
        _log.debug("OpenCV: %s", error)
    if not whole:
        _log.warning("a picture of shape %s could not be encoded as JPEG; the viewer goes on without it", image.shape)
        return None
    head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % encoded.size
    return b"".join((head, encoded.tobytes(), b"\r\n", BOUNDARY)), len(head), len(head) + encoded.size


def _fitted(image: Image, options: PictureOptions) -> Image:
    import cv2

    rows, columns = image.shape[:2]
    scale = options.longest_px / max(rows, columns)
    if scale >= 1.0:
        return image
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
