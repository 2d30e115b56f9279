"""Takes frames and keeps nothing: for measuring, and for runs of which only the summary matters."""

from __future__ import annotations

from edgex.types import Shot


class NullSink:
    """Keeps nothing."""

    wants_masks = False

    def write(self, shot: Shot) -> None:
        """Take one finished frame and let it go."""

    def close(self) -> None:
        """Finish; there is nothing to finish."""

    def abort(self) -> None:
        """Give up; there is nothing to remove."""
