"""Open connections: how many there may be, when they can take more, and which are cut because they stand still."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from edgex.optional import require

REQUEST_S = 10.0  # for a request to arrive, from the opening or from the end of the one before
STUCK_S = 120.0  # without a byte taken, while there are bytes to send


@dataclass(slots=True)
class Connection:
    """One client's connection.

    Attributes
    ----------
    transport : of asyncio
    writable : is set while the client takes bytes as fast as they come
    busy : requests that are being answered
    """

    transport: Any
    writable: asyncio.Event = field(default_factory=asyncio.Event)
    busy: int = 0
    _moved_s: float = field(default_factory=time.monotonic)
    _left: int = 0

    @property
    def closed(self) -> bool:
        """Whether the client has gone or was cut."""
        return bool(self.transport.is_closing())

    def begin(self) -> None:
        """A request has arrived."""
        self.busy += 1

    def end(self) -> None:
        """It is answered, though its bytes may still be on their way."""
        self.busy -= 1
        self._moved_s = time.monotonic()

    def stands_still(self, now_s: float) -> bool:
        """Tell whether it is time to cut it."""
        left = self.transport.get_write_buffer_size()
        if left != self._left:
            self._left, self._moved_s = left, now_s
        if left:
            return now_s - self._moved_s > STUCK_S
        return not self.busy and now_s - self._moved_s > REQUEST_S


class Connections:
    """Every open connection, by the client's address and port.

    Parameters
    ----------
    most : further ones are closed at once
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: dict[Any, Connection] = {}

    def of(self, client: tuple[str, int]) -> Connection | None:
        """Return the connection of a client's address and port; None when it is gone."""
        return self._open.get(tuple(client))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, transport: Any) -> Connection | None:
        """Take a new one in; None, and it is cut, where there are too many."""
        self.tick()
        if len(self._open) >= self._most:
            transport.abort()
            return None
        connection = Connection(transport)
        connection.writable.set()
        transport.set_write_buffer_limits(high=0)  # a client that reads slowly holds one picture, no queue of them
        self._open[tuple(transport.get_extra_info("peername")[:2])] = connection
        return connection

    def tick(self) -> None:
        """Cut those that stand still, and forget those that are gone; called about once a second."""
        now_s = time.monotonic()
        for client, connection in list(self._open.items()):
            if connection.stands_still(now_s):
                connection.transport.abort()
            if connection.closed and not connection.transport.get_write_buffer_size():
                connection.writable.set()
                del self._open[client]

    def abort(self) -> None:
        """Cut all of them, and take none in any more."""
        self._most = 0
        for connection in list(self._open.values()):
            connection.transport.abort()
        self.tick()


def protocol_class(connections: Connections) -> Callable[..., Any]:
    """Return uvicorn's HTTP protocol, which enters its connections there and tells when they can take more."""
    base: Any = require("uvicorn.protocols.http.h11_impl").H11Protocol

    class Protocol(base):  # type: ignore[misc]
        _entered: Connection | None = None

        def connection_made(self, transport: Any) -> None:
            super().connection_made(transport)
            self._entered = connections.add(transport)

        def connection_lost(self, error: Exception | None) -> None:
            super().connection_lost(error)
            self.resume_writing()

        def pause_writing(self) -> None:
            super().pause_writing()
            if self._entered is not None:
                self._entered.writable.clear()

        def resume_writing(self) -> None:
            super().resume_writing()
            if self._entered is not None:
                self._entered.writable.set()

    return Protocol
