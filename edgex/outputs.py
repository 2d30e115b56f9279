"""Several sinks as one: when one of them fails, the others still keep what they have."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgex.types import Shot

if TYPE_CHECKING:
    from edgex.sinks import Sink


class Outputs:
    """The sinks of one run.

    Parameters
    ----------
    sinks : written in this order, by one thread at a time
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._open = list(sinks)
        self.wants_masks = any(sink.wants_masks for sink in sinks)

    def write(self, shot: Shot) -> None:
        """Hand a finished frame to each sink; one that fails is aborted, and its error raised."""
        for sink in self._open:
            try:
                sink.write(shot)
            except BaseException:
                self._open.remove(sink)
                sink.abort()
                raise

    def close(self) -> None:
        """Finish every sink; those that fail are aborted, and the error of the first is raised when all are done."""
        failure: Exception | None = None
        while self._open:
            sink = self._open.pop(0)
            try:
                sink.close()
            except Exception as error:
                sink.abort()
                failure = failure or error
        if failure is not None:
            raise failure

    def end(self, keep: bool) -> None:
        """Finish after an error elsewhere: with what was written until then, or, without `keep`, with nothing."""
        if keep:
            with contextlib.suppress(Exception):  # the run ends with its first error
                self.close()
        while self._open:
            self._open.pop(0).abort()
