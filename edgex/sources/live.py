"""A live source: one thread reads a capture, the newest picture wins, and a capture that breaks is opened again."""

from __future__ import annotations

import logging
import math
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from edgex.errors import SourceError
from edgex.sources.address import masked
from edgex.sources.breaks import Breaks
from edgex.sources.capture import Capture, LiveOptions, Picture
from edgex.types import Frame, SourceState

_CLOSE_WAIT_S = 2.0  # a read that lasts longer is left to its own thread, which closes the capture when it returns
_log = logging.getLogger(__name__)


class LiveSource:
    """A source whose newest picture wins.

    The index counts the frames handed out, so a limit counts what is explained, not what the camera sent.
    Pictures that come before the first frame is asked for, while a model loads, do not count as dropped.

    Parameters
    ----------
    opener : opens the capture, at first and after each break; raises SourceError, in bounded time, when it cannot
    uri : what is opened; passwords in it are never shown
    options : how patient it is
    kind : "stream" or "camera", for messages
    notes : gives one sentence for each further thing that the user should know; asked whenever warnings are

    Raises
    ------
    SourceError
        If the first opening fails.
    """

    live = True
    frame_count = None
    files: tuple[Path, ...] = ()

    def __init__(
        self,
        opener: Callable[[], Capture],
        uri: str,
        options: LiveOptions | None = None,
        kind: str = "stream",
        notes: Callable[[], list[str]] = list,
    ) -> None:
        self.uri = masked(uri)
        self.skipped: list[str] = []
        self.fps: float | None = None  # none where the sender tells none: a guess would be a wrong deadline
        self._opener, self._notes = opener, notes
        self._options = options or LiveOptions()
        self._name = f"the {kind} {self.uri}"
        self._changed = threading.Condition()  # guards all that follows
        self._newest: tuple[Picture, int] | None = None
        self._state = SourceState(False, f"waiting for {self._name} to open")
        self._asked = self._opened = self._over = self._stopped = False
        self._failed: BaseException | None = None
        self._breaks = Breaks(self._name, self._options)  # of the thread alone, but for its last reason
        self._start_ns, self._start_time_ns = time.monotonic_ns(), time.time_ns()
        self._heard_ns = self._start_ns
        self._thread = threading.Thread(target=self._work, name=f"edgex-{kind}", daemon=True)
        self._thread.start()
        try:
            with self._changed:
                self._changed.wait_for(lambda: self._opened or self._over)
        except BaseException:  # interrupted: whatever opens yet is closed by the thread
            self.stop()
            raise
        if self._failed is not None:
            raise self._failed

    @property
    def state(self) -> SourceState:
        """How the source stands now; also a picture that is overdue makes it not connected."""
        with self._changed:
            silent_s = (time.monotonic_ns() - self._heard_ns) / 1e9
            overdue = self._state.connected and silent_s > self._options.stall_s and not self._over
            if not overdue:
                return self._state
            detail = f"{self._name} has given no picture for {silent_s:.0f} s"
            return SourceState(False, detail, self._state.dropped, self._state.reconnects)

    @property
    def warnings(self) -> list[str]:
        """One sentence for each thing the user should know; counts instead of lists, so they do not grow."""
        found = self._notes()
        count = self.state.reconnects
        if count:
            times = "once" if count == 1 else f"{count} times"
            found.append(f"{self._name} broke and was opened again {times}, at last because of: {self._breaks.last}")
        return found

    def __iter__(self) -> Iterator[Frame]:
        """Hand out the newest picture each time one is asked for, and wait where there is none yet.

        Raises
        ------
        SourceError
            If it broke and could not be opened again within the attempts allowed.
        """
        index = 0
        while (taken := self._take()) is not None:
            picture, arrived_ns = taken
            try:
                image = picture() if callable(picture) else picture
            except SourceError as error:  # damaged in a way that shows only now: the next one will do
                _log.debug("%s gave a picture that cannot be converted: %s", self._name, error)
                continue
            time_ns = self._start_time_ns + arrived_ns - self._start_ns  # never jumps when the clock is set
            yield Frame(image, index, time_ns, f"frame-{index:06d}", arrived_ns)
            index += 1

    def stop(self) -> None:
        """End a wait for the next frame, and the iteration with it; from any thread."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()

    def close(self) -> None:
        """Stop, and give the capture back; a read that does not return soon is left to end by itself."""
        self.stop()
        self._thread.join(_CLOSE_WAIT_S)

    def _take(self) -> tuple[Picture, int] | None:
        with self._changed:
            self._asked = True
            self._changed.wait_for(lambda: self._newest is not None or self._over or self._stopped)
            if self._stopped:
                return None
            if self._newest is None and self._failed is not None:
                raise self._failed
            taken, self._newest = self._newest, None
            return taken

    def _put(self, picture: Picture) -> None:
        now_ns = time.monotonic_ns()
        again = self._breaks.note_picture(now_ns)
        with self._changed:
            dropped = self._state.dropped + (self._newest is not None and self._asked)
            reconnects = self._state.reconnects + again
            self._newest, self._heard_ns = (picture, now_ns), now_ns
            self._state = SourceState(True, "", dropped, reconnects)
            self._changed.notify_all()

    def _tell(self, detail: str) -> None:
        with self._changed:
            self._state = SourceState(False, detail, self._state.dropped, self._state.reconnects)

    def _work(self) -> None:
        """Open, read and open again until stopped; each capture lives and dies in this thread."""
        try:
            capture: Capture | None = self._opener()
            while capture is not None:
                reason = self._read_until_it_breaks(capture)
                capture = None  # its buffers go before the next one's come
                if reason is not None:
                    capture = self._opened_again(reason)
        except BaseException as error:
            self._failed = error
        with self._changed:
            self._over = True
            self._state = SourceState(False, f"{self._name} has ended", self._state.dropped, self._state.reconnects)
            self._changed.notify_all()

    def _read_until_it_breaks(self, capture: Capture) -> str | None:
        """Read to the end, then close the capture; return why it broke, or None for an end that is none."""
        try:
            self._note_opening(capture)
            while not self._stopped:
                picture = capture.read()
                if picture is None:
                    return None
                self._put(picture)
            return None
        except SourceError as error:
            return _reason(error)  # the error itself would keep the capture, and its buffers, alive
        except Exception as error:
            return masked(self._breaks.note_fault(error))
        finally:
            capture.close()

    def _note_opening(self, capture: Capture) -> None:
        self.fps = capture.fps
        self._tell(f"waiting for the first picture of {self._name}")
        with self._changed:
            self._opened = True
            self._changed.notify_all()

    def _opened_again(self, reason: str) -> Capture | None:
        """Try with growing pauses until a capture opens, or return None when stopped."""
        self._breaks.note_break(reason)
        while not self._stopped:
            pause_s = self._breaks.next_pause_s(reason)
            again = f"{self._name} broke ({reason}); trying again {{}}, attempt {self._breaks.attempt}"
            self._tell(again.format(f"in {math.ceil(pause_s)} s"))
            with self._changed:
                self._changed.wait_for(lambda: self._stopped, pause_s)
            self._tell(again.format("now"))
            try:
                return None if self._stopped else self._opener()
            except SourceError as error:
                reason = _reason(error)
            except Exception as error:
                reason = masked(self._breaks.note_fault(error))
        return None


def _reason(error: SourceError) -> str:
    """Return what came, out of a sentence that says what was expected, what came and what to do."""
    match = re.search(r", got (.*?)(?:;|$)", str(error))
    return masked(match[1] if match else str(error))
