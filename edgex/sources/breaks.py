"""The breaks of a live source: how long to pause after one, when there were too many, and what is logged of them."""

from __future__ import annotations

import logging
import random
import time

from edgex.errors import SourceError
from edgex.sources.capture import LiveOptions

_SHORTEST_PAUSE_S = 0.5
_LASTING_S = 10.0  # of pictures; a sender that breaks sooner, again and again, is no better than one that is gone
_LOG_PAUSE_S = 60.0  # a source that breaks all day must not fill the disk of a small device
_NS = 1_000_000_000
_log = logging.getLogger(__name__)


class Breaks:
    """Counts the breaks of one source; used by the thread that reads it.

    Parameters
    ----------
    name : of the source, for messages
    options : how patient it is
    """

    def __init__(self, name: str, options: LiveOptions) -> None:
        self.attempt = 0  # openings in vain, or for a short time, since pictures last came for long
        self.last = ""  # why it broke at last
        self._name, self._options = name, options
        self._first_ns: int | None = None  # when the first picture of this opening came
        self._brief = False  # whether pictures came after such an opening
        self._untold = 0
        self._quiet_until_s = 0.0
        self._told = False  # whether the log says that it is broken
        self._faults: set[type[Exception]] = set()

    def note_picture(self, now_ns: int) -> bool:
        """Take note of a picture; return whether it is the first one since a break."""
        if self._first_ns is None:
            self._first_ns = now_ns
            if self._told:
                _log.warning("%s gives pictures again", self._name)
                self._told = False
            return self.attempt > 0
        if self.attempt and now_ns - self._first_ns >= _LASTING_S * _NS:
            self.attempt, self._brief = 0, False
        return False

    def note_break(self, reason: str) -> None:
        """Take note that the source broke, and why."""
        self._brief |= self._first_ns is not None and self.attempt > 0
        self._first_ns = None
        self.last = reason
        self._untold += 1

    def note_fault(self, error: Exception) -> str:
        """Log an error that no capture should raise, once for each type, and return it in words."""
        words = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        if type(error) not in self._faults:
            self._faults.add(type(error))
            _log.error("reading %s raised %s, which counts as a break; please report it", self._name, words)
        return words

    def next_pause_s(self, reason: str) -> float:
        """Return how long to wait before the source is opened again, at random: devices must not come in step.

        Raises
        ------
        SourceError
            If it was opened in vain as often as is allowed.
        """
        self._tell(reason)
        if self._options.attempts is not None and self.attempt >= self._options.attempts:
            got = f"less than {_LASTING_S:g} s of them" if self._brief and self.attempt else "none"
            raise SourceError(
                f"expected pictures from {self._name}, which broke ({reason}), got {got} after {self.attempt} "
                "attempts to open it again; check its sender, or allow more attempts"
            )
        self.attempt += 1
        longest_s = min(self._options.longest_pause_s, _SHORTEST_PAUSE_S * 2 ** min(self.attempt, 20))
        return random.uniform(min(_SHORTEST_PAUSE_S, longest_s), longest_s)

    def _tell(self, reason: str) -> None:
        """Log the breaks that were not told yet, about once a minute at most."""
        if not self._untold or time.monotonic() < self._quiet_until_s:
            return
        more = f", as {self._untold - 1} times before since this was last told" if self._untold > 1 else ""
        _log.warning("%s broke (%s)%s; it is opened again", self._name, reason, more)
        self._quiet_until_s = time.monotonic() + _LOG_PAUSE_S
        self._untold, self._told = 0, True
