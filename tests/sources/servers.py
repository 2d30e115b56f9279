"""What live sources are tested against on loopback: GStreamer's RTSP server, a relay that harms, small HTTP servers."""

from __future__ import annotations

import contextlib
import functools
import http.server
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

PYTHON = Path("/usr/bin/python3")
PROGRAM = Path(__file__).with_name("rtsp_server.py")
PATIENCE_S = 30.0  # of a test, for what takes a second


def wait_until(true: Callable[[], bool], what: str) -> None:
    until_s = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < until_s, f"expected {what} within {PATIENCE_S:.0f} s"
        time.sleep(0.02)


@functools.cache
def why_no_rtsp_server() -> str:
    """Return what the RTSP server lacks here, or nothing."""
    if not PYTHON.exists():
        return f"no {PYTHON}"
    program = (
        "import gi; gi.require_version('Gst', '1.0'); gi.require_version('GstRtspServer', '1.0')\n"
        "from gi.repository import Gst, GstRtspServer; Gst.init(None)\n"
        "assert all(Gst.ElementFactory.find(name) for name in ('x264enc', 'rtph264pay')), 'no x264enc or rtph264pay'"
    )
    done = subprocess.run([PYTHON, "-c", program], capture_output=True, text=True, check=False)
    return (
        "" if done.returncode == 0 else f"no RTSP server: {done.stderr.strip().splitlines()[-1]}; run: scripts/packages"
    )


class RtspServer:
    """A running server; `port` stays the same when it is started again."""

    def __init__(self) -> None:
        self.port = 0
        self.start()

    @property
    def uri(self) -> str:
        return f"rtsp://127.0.0.1:{self.port}/test"

    def start(self) -> None:
        pipe = subprocess.PIPE
        self._program = subprocess.Popen([PYTHON, PROGRAM, str(self.port)], stdin=pipe, stdout=pipe, text=True)
        assert self._program.stdout is not None
        self.port = int(self._program.stdout.readline())

    def tell(self, line: str) -> None:
        assert self._program.stdin is not None
        self._program.stdin.write(f"{line}\n")
        self._program.stdin.flush()

    def kill(self) -> None:
        self._program.kill()
        self._program.communicate()


@contextlib.contextmanager
def rtsp_server() -> Iterator[RtspServer]:
    """Run a server, or skip the test where it cannot run."""
    if why_no_rtsp_server():
        pytest.skip(why_no_rtsp_server())
    server = RtspServer()
    try:
        yield server
    finally:
        server.kill()


class Relay:
    """Carries bytes between clients and a server on loopback, and puts `garbage` in between when asked."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.garbage: list[bytes] = []  # each is sent once, to the client
        self._open: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        for each in [self._listener, *self._open]:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._server_port))
                self._open += [client, server]
                for here, there, harms in ((client, server, False), (server, client, True)):
                    threading.Thread(target=self._carry, args=(here, there, harms), daemon=True).start()

    def _carry(self, here: socket.socket, there: socket.socket, harms: bool) -> None:
        with contextlib.suppress(OSError):
            while content := here.recv(4096):
                there.sendall(content)
                if harms and self.garbage:
                    there.sendall(self.garbage.pop())
            there.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def http_server(answer: Callable[[http.server.BaseHTTPRequestHandler], None]) -> Iterator[str]:
    """Run a web server that calls `answer` for each GET, and yield its address."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with contextlib.suppress(OSError):  # the client has gone
                answer(self)

        def log_message(self, *_: object) -> None:
            """Stay quiet."""

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.block_on_close = False
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
