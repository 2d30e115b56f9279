"""Viewers for benchmarks/live.py and benchmarks/soak.py, in a process of their own: they read the picture stream.

Usage: python -m benchmarks.live_clients URL [--fast 1] [--slow 0]. It prints a line when all are connected, and, when
its input ends, how many pictures each of them got and the CPU time that reading took, as JSON.
"""

from __future__ import annotations

import argparse
import json
import selectors
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parent.parent
REQUEST = b"GET /stream.mjpg HTTP/1.1\r\nHost: %s\r\n\r\n"
PICTURE = b"Content-Type: image/jpeg"  # once a picture; a head that lies across two reads is looked for in both
SLOW_S = 1.0  # a slow viewer reads one byte each time
BACKLOG = 2048  # bytes of kernel memory of a slow viewer, so that the server feels it soon
CHUNK = 1 << 20
CONNECT_S = 30.0


@dataclass(slots=True)
class Viewer:
    """One connection, and the pictures that it got."""

    socket: socket.socket
    slow: bool
    pictures: int = 0
    read: int = 0  # bytes
    closed: bool = False
    tail: bytes = b""

    def take(self) -> None:
        """Read what is there: one byte, if it is slow."""
        try:
            got = self.socket.recv(1 if self.slow else CHUNK)
        except OSError:
            got = b""
        self.closed = not got
        self.read += len(got)
        seen = self.tail + got
        self.pictures += seen.count(PICTURE)
        self.tail = seen[-len(PICTURE) + 1 :]


def connected(url: str, slow: bool) -> Viewer:
    """Open a stream. Raises OSError where nobody listens."""
    place = urlsplit(url)
    connection = socket.socket()
    if slow:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BACKLOG)
    connection.settimeout(CONNECT_S)
    connection.connect((place.hostname, place.port))
    connection.sendall(REQUEST % place.netloc.encode())
    return Viewer(connection, slow)


def watch(viewers: list[Viewer]) -> None:
    """Read until standard input ends; the slow ones are looked at once a second."""
    with selectors.DefaultSelector() as ready:
        ready.register(sys.stdin, selectors.EVENT_READ)
        for viewer in viewers:
            if not viewer.slow:
                ready.register(viewer.socket, selectors.EVENT_READ, viewer)
        due_s = time.monotonic() + SLOW_S
        while True:
            for key, _ in ready.select(max(0.0, due_s - time.monotonic())):
                if key.data is None:
                    return
                key.data.take()
                if key.data.closed:
                    ready.unregister(key.data.socket)
            if time.monotonic() >= due_s:
                due_s += SLOW_S
                for viewer in viewers:
                    if viewer.slow and not viewer.closed:
                        viewer.take()


class Clients:
    """A running process of viewers.

    Parameters
    ----------
    url : of the viewer, "http://HOST:PORT/"
    fast, slow : how many read at once, and how many read a byte a second
    """

    def __init__(self, url: str, fast: int, slow: int = 0) -> None:
        command = [sys.executable, "-m", "benchmarks.live_clients", url, "--fast", str(fast), "--slow", str(slow)]
        pipe = subprocess.PIPE
        self._program = subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)
        assert self._program.stdout is not None
        if not self._program.stdout.readline():
            self._program.communicate()
            raise SystemExit(f"expected {fast + slow} viewers at {url}, got none that connects")

    def stop(self) -> dict[str, Any]:
        """End them; return what they got: pictures of the fast ones, of the slow ones, closed, cpu_s."""
        out, _ = self._program.communicate()
        if self._program.returncode != 0:
            raise SystemExit(f"expected viewers that read to the end, got the exit code {self._program.returncode}")
        found: dict[str, Any] = json.loads(out)
        return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url")
    parser.add_argument("--fast", type=int, default=1)
    parser.add_argument("--slow", type=int, default=0)
    given = parser.parse_args()
    viewers = [connected(given.url, number >= given.fast) for number in range(given.fast + given.slow)]
    print("connected", flush=True)
    before_s = time.process_time()
    watch(viewers)
    found = {
        "pictures": [viewer.pictures for viewer in viewers if not viewer.slow],
        "slow_bytes": [viewer.read for viewer in viewers if viewer.slow],
        "closed": sum(viewer.closed for viewer in viewers),
        "cpu_s": round(time.process_time() - before_s, 3),
    }
    for viewer in viewers:
        viewer.socket.close()
    print(json.dumps(found))


if __name__ == "__main__":
    main()
