"""What uvicorn and asyncio log in the viewer's thread: strangers can cause it, so none of it is shown as it comes."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator

_LOGGERS = ("uvicorn.error", "asyncio")
_log = logging.getLogger(__name__)


class _Quiet(logging.Filter):
    """Turns the records of one thread into debug records of this package, and names each kind of error once."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()
        self._format = logging.Formatter("%(name)s: %(message)s").format
        self._told: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        if record.thread != self._thread:
            return True
        # Escaped line by line: what a client sent may stand in it, and a terminal obeys control characters.
        lines = [ascii(line)[1:-1] for line in self._format(record).splitlines()]
        _log.debug("%s", "\n".join(lines))
        kind = record.exc_info[0] if record.exc_info else None
        if kind is not None and kind.__name__ not in self._told:
            self._told.add(kind.__name__)
            _log.warning(
                "the viewer met a %s and goes on; this is told once, and log level DEBUG shows each", kind.__name__
            )
        return False


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what is logged of this thread's server out of the terminal; what other threads log passes."""
    keeping = _Quiet()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(keeping)
    try:
        yield
    finally:
        for name in _LOGGERS:
            logging.getLogger(name).removeFilter(keeping)
