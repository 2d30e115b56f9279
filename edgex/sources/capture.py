"""What a live source reads from, a Capture, and how patient it is with one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from edgex.errors import UsageError
from edgex.types import Image, is_number, is_whole

_LONGEST_WAIT_S = 86_400.0

Picture = Image | Callable[[], Image]  # or what makes it: a picture that nobody takes need not be converted


class Capture(Protocol):
    """Something open that gives pictures at its own pace; it is opened, read and closed by one thread.

    Attributes
    ----------
    fps : frame rate as the sender tells it, or None where it does not
    """

    @property
    def fps(self) -> float | None: ...

    def read(self) -> Picture | None:
        """Wait for the next picture, for a bounded time; None says that there will be no more.

        Raises
        ------
        SourceError
            If no picture came in time, or none can come any more; then it is closed and another one opened.
        """
        ...

    def close(self) -> None:
        """Give it back."""
        ...


@dataclass(frozen=True, slots=True)
class LiveOptions:
    """How patient a live source is.

    Attributes
    ----------
    stall_s : seconds without a picture after which the source counts as broken
    attempts : so many times in a row it is opened again in vain before the run ends with an error; None is endless.
        An opening is in vain also if pictures come for less than ten seconds.
    longest_pause_s : the longest pause between two attempts, in seconds
    transport : how RTSP carries the pictures: "tcp" (whole, through every firewall) or "udp" (sooner, with losses)
    """

    stall_s: float = 5.0
    attempts: int | None = None
    longest_pause_s: float = 30.0
    transport: Literal["tcp", "udp"] = "tcp"

    def __post_init__(self) -> None:
        if not is_number(self.stall_s) or not 0 < self.stall_s <= _LONGEST_WAIT_S:
            raise UsageError(f"expected a stall of more than 0 and at most 86400 s, got {self.stall_s}; take 5")
        if self.attempts is not None and (not is_whole(self.attempts) or self.attempts < 0):
            raise UsageError(f"expected 0 or more attempts, got {self.attempts}; leave it out to try for ever")
        if not is_number(self.longest_pause_s) or not 0 < self.longest_pause_s <= _LONGEST_WAIT_S:
            raise UsageError(f"expected a pause above 0 and at most 86400 s, got {self.longest_pause_s}; take 30")
        if self.transport not in ("tcp", "udp"):
            raise UsageError(f"expected the transport tcp or udp, got {self.transport!r}; choose one")
