"""What machines without the token can do to the viewer: fill neither its log nor its places."""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import sys
import threading
from collections.abc import Iterator

import httpx
import pytest

from edgex.web.connections import Connections
from edgex.web.quiet import quiet
from tests.web.feed import Viewer, plain_shot, until, viewer

TOKEN = "a-token-for-the-tests"
BEARER = {"Authorization": f"Bearer {TOKEN}"}
PLAIN = b"GET /api/state HTTP/1.1\r\nHost: localhost\r\n\r\n"
UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)
FORM = b"POST /enter HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\ntoken="


@pytest.fixture
def guarded() -> Iterator[Viewer]:
    with viewer(host="0.0.0.0", token=TOKEN) as opened:
        opened.sink.write(plain_shot())
        yield opened


def opened_from(address: str, port: int) -> socket.socket:
    """Return a connection that asks nothing."""
    return socket.create_connection(("127.0.0.1", port), 20, source_address=(address, 0))


def reset(port: int, request: bytes) -> None:
    """Ask, and go with a reset before the answer."""
    with opened_from("127.0.0.1", port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.sendall(request)


def state_of(opened: Viewer) -> int:
    return httpx.get(opened.base + "/api/state", headers=BEARER, timeout=20).status_code


def test_who_asks_and_goes_leaves_no_line_in_the_log(guarded: Viewer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        for _ in range(20):
            for request in (PLAIN, UPGRADE, FORM, b""):
                reset(guarded.port, request)
        assert state_of(guarded) == 200
        until(lambda: len(guarded.sink._server.connections) <= 2)
    ours = [record for record in caplog.records if record.name.startswith(("edgex", "uvicorn", "asyncio"))]
    assert [record.getMessage() for record in ours] == []
    guarded.sink._server.check()


def test_a_client_that_is_gone_has_no_connection() -> None:
    assert Connections(8, 2).of(None) is None


def test_what_the_server_logs_is_escaped_and_each_kind_of_error_told_once(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("uvicorn.error")
    with caplog.at_level(logging.DEBUG), quiet():
        for word in ("\x1b[2J", "second"):
            try:
                raise LookupError(word)
            except LookupError:
                log.exception("an application's error \x9b31m")
        other = threading.Thread(target=log.error, args=("of another server",))
        other.start()
        other.join()
    log.error("after the end")
    told = [record.getMessage() for record in caplog.records if record.name == "edgex.web.quiet"]
    assert not [line for line in told if "\x1b" in line or "\x9b" in line]
    assert "\\x1b[2J" in told[0]  # escaped
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "LookupError" in warnings[0]
    left = [record.getMessage() for record in caplog.records if record.name == "uvicorn.error"]
    assert left == ["of another server", "after the end"]


def test_one_machine_s_idle_connections_lock_nobody_out(guarded: Viewer) -> None:
    with contextlib.ExitStack() as stack:
        stream = stack.enter_context(opened_from("127.0.0.1", guarded.port))
        stream.sendall(
            b"GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %b\r\n\r\n" % TOKEN.encode()
        )
        assert stream.recv(12) == b"HTTP/1.1 200"
        for _ in range(150):
            stack.enter_context(opened_from("127.0.0.1", guarded.port))
        assert state_of(guarded) == 200  # from the same address
        assert len(guarded.sink._server.connections) <= 112 // 4 + 2
        stream.settimeout(0.2)
        with contextlib.suppress(TimeoutError):
            while chunk := stream.recv(65536):
                assert chunk
            pytest.fail("expected the stream of who may look to go on")


@pytest.mark.skipif(sys.platform != "linux", reason="needs many addresses of loopback, which Linux has")
def test_many_machines_idle_connections_lock_nobody_out(guarded: Viewer) -> None:
    with contextlib.ExitStack() as stack:
        for address in range(2, 8):
            for _ in range(25):
                stack.enter_context(opened_from(f"127.0.0.{address}", guarded.port))
        until(lambda: len(guarded.sink._server.connections) == 112)
        assert state_of(guarded) == 200
