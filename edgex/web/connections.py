"""Open connections: how many there may be, when they can take more, and which are cut: idle ones, strangers first."""

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
    passed : whether one of its requests brought what lets it in
    """

    transport: Any
    writable: asyncio.Event = field(default_factory=asyncio.Event)
    busy: int = 0
    passed: bool = False
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
    most : further ones are cut at once, unless a stranger's can go: one that has not passed the gate
    strangers : most of those from one address; the oldest goes for a new one, because a viewer who may look can have
        the same address, at the end of a tunnel
    """

    def __init__(self, most: int, strangers: int) -> None:
        self._most = most
        self._strangers = strangers
        self._open: dict[Any, Connection] = {}

    def of(self, client: tuple[str, int] | None) -> Connection | None:
        """Return the connection of a client's address and port; None when it is gone, or went before it had one."""
        return None if client is None else self._open.get(tuple(client))

    def __len__(self) -> int:
        return len(self._open)

    def add(self, transport: Any) -> Connection | None:
        """Take a new one in; None, and it is cut, where there are too many or the client has gone already."""
        self.tick()
        peer = transport.get_extra_info("peername")
        if peer is not None:
            self._make_room(peer[0])
        if peer is None or len(self._open) >= self._most:
            transport.abort()
            return None
        connection = Connection(transport)
        connection.writable.set()
        transport.set_write_buffer_limits(high=0)  # a client that reads slowly holds one picture, no queue of them
        self._open[tuple(peer[:2])] = connection
        return connection

    def tick(self) -> None:
        """Cut those that stand still, and forget those that are gone; called about once a second."""
        now_s = time.monotonic()
        for client, connection in list(self._open.items()):
            if connection.stands_still(now_s):
                connection.transport.abort()
            if connection.closed and not connection.transport.get_write_buffer_size():
                self._forget(client)

    def abort(self) -> None:
        """Cut all of them, and take none in any more."""
        self._most = 0
        for connection in list(self._open.values()):
            connection.transport.abort()
        self.tick()

    def _make_room(self, host: str) -> None:
        """Cut the oldest stranger where a new one from this address would be one too many."""
        strangers = [client for client, connection in self._open.items() if not connection.passed]  # oldest first
        near = [client for client in strangers if client[0] == host]
        if len(near) >= self._strangers:
            self._cut(near[0])
        elif strangers and len(self._open) >= self._most:
            self._cut(strangers[0])

    def _cut(self, client: Any) -> None:
        self._open[client].transport.abort()
        self._forget(client)

    def _forget(self, client: Any) -> None:
        self._open.pop(client).writable.set()  # nobody has to wait for it any more


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
