"""Picture streams: many viewers, slow ones and stuck ones, limits, and an end that leaves nothing behind."""

from __future__ import annotations

import contextlib
import gc
import os
import socket
import threading
import time
from collections.abc import Iterator

import cv2
import httpx
import numpy as np
import psutil
import pytest

from edgex.web import connections
from edgex.web.newest import Newest
from tests.web.feed import Viewer, feeding, plain_shot, until, viewer

NOISE = np.random.default_rng(0).integers(0, 256, (360, 640, 3), np.uint8)  # does not compress: 200 KB a picture


@pytest.fixture
def opened() -> Iterator[Viewer]:
    with viewer() as one:
        yield one


class Watcher(threading.Thread):
    """Reads the stream; counts whole pictures and keeps the last."""

    def __init__(self, opened: Viewer) -> None:
        super().__init__(daemon=True)
        self.pictures = 0
        self.last = b""
        self._url = opened.base + "/stream.mjpg"
        self.enough = threading.Event()
        self.start()

    def run(self) -> None:
        with contextlib.suppress(httpx.HTTPError), httpx.stream("GET", self._url, timeout=30) as answer:
            buffered = b""
            for chunk in answer.iter_raw():
                buffered += chunk
                *whole, buffered = buffered.split(b"--edgex-picture\r\n")
                for part in whole:
                    if part:
                        head, _, self.last = part.partition(b"\r\n\r\n")
                        assert int(head.rpartition(b" ")[2]) == len(self.last) - 2  # the line's end behind it
                        self.pictures += 1
                if self.enough.is_set():
                    return


@contextlib.contextmanager
def raw(
    opened: Viewer, request: str = "GET /stream.mjpg HTTP/1.1\r\nHost: localhost\r\n\r\n"
) -> Iterator[socket.socket]:
    """A connection that reads nothing by itself, with a small buffer of its own."""
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.settimeout(20)
        client.connect(("127.0.0.1", opened.port))
        client.sendall(request.encode())
        yield client


def viewers_of(opened: Viewer) -> int:
    return int(httpx.get(opened.base + "/api/state", timeout=20).json()["viewers"])


def test_a_new_viewer_gets_the_last_picture_at_once_and_again_while_nothing_comes(opened: Viewer) -> None:
    opened.sink.write(plain_shot(0, np.full((40, 60, 3), 150, np.uint8)))
    watcher = Watcher(opened)
    until(lambda: watcher.pictures >= 3)
    watcher.enough.set()
    picture = cv2.imdecode(np.frombuffer(watcher.last, np.uint8), cv2.IMREAD_COLOR)
    assert abs(picture.mean() - 150) < 3


def test_the_stream_says_what_it_is(opened: Viewer) -> None:
    opened.sink.write(plain_shot())
    with httpx.stream("GET", opened.base + "/stream.mjpg", timeout=20) as answer:
        assert answer.headers["content-type"] == "multipart/x-mixed-replace; boundary=edgex-picture"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    assert httpx.head(opened.base + "/stream.mjpg").status_code == 200


def test_nothing_is_encoded_while_nobody_looks(opened: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *asked: encoded.append(1) or encode(*asked))
    with feeding(opened.sink, plain_shot, 100):
        until(lambda: opened.sink._newest.count > 30)
        assert encoded == []
        assert httpx.get(opened.base + "/api/frame.jpg").status_code == 200
        at_most = len(encoded) + 1  # one may have been on its way
        seen = opened.sink._newest.count
        until(lambda: opened.sink._newest.count > seen + 30)
        assert len(encoded) <= at_most


def test_twenty_viewers_share_one_encoding_and_a_slow_one_holds_nobody_up(
    opened: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []
    encode = cv2.imencode
    monkeypatch.setattr(cv2, "imencode", lambda *asked: encoded.append(1) or encode(*asked))
    with feeding(opened.sink, lambda index: plain_shot(index, NOISE), 30) as took, raw(opened) as slow:
        watchers = [Watcher(opened) for _ in range(19)]
        ended = threading.Event()

        def read_slowly() -> None:
            while not ended.wait(1.0):
                slow.recv(1)

        reader = threading.Thread(target=read_slowly)
        reader.start()
        until(lambda: all(watcher.pictures >= 20 for watcher in watchers), 60)
        assert viewers_of(opened) == 20
        held = max(
            each.transport.get_write_buffer_size() for each in list(opened.sink._server.connections._open.values())
        )
        assert held < 2 * len(watchers[0].last)  # of the slow one: a part of one picture, no queue of them
        ended.set()
        reader.join()
        for watcher in watchers:
            watcher.enough.set()
    assert sum(watcher.pictures for watcher in watchers) > 10 * len(encoded)
    assert sorted(took)[len(took) // 2] < 0.001  # the median: single ones wait for the processor, not for viewers
    until(lambda: viewers_of(opened) == 0)


def test_one_viewer_too_many_is_told_so() -> None:
    with viewer(viewers=2) as opened:
        opened.sink.write(plain_shot())
        with raw(opened), raw(opened):
            until(lambda: viewers_of(opened) == 2)
            answer = httpx.get(opened.base + "/stream.mjpg")
            assert answer.status_code == 503
            assert answer.text.startswith("expected at most 2 viewers")
        until(lambda: viewers_of(opened) == 0)
        Watcher(opened).enough.set()


def test_connections_beyond_the_bound_are_cut() -> None:
    with viewer(viewers=1) as opened, contextlib.ExitStack() as stack:
        idle = [stack.enter_context(raw(opened, "")) for _ in range(40)]
        cut = 0
        for one in idle:
            one.settimeout(0.2)
            with contextlib.suppress(TimeoutError, ConnectionError):
                one.recv(1)
                cut += 1
                continue
        until(lambda: len(opened.sink._server.connections) <= 19)


def test_a_connection_that_asks_nothing_or_byte_by_byte_is_cut(opened: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REQUEST_S", 0.5)
    with raw(opened, "") as idle, raw(opened, "GET / HTTP/1.1\r\n") as slow:
        with contextlib.suppress(ConnectionError):
            for letter in "X-Slow: " + "a" * 400:
                slow.sendall(letter.encode())
                time.sleep(0.05)
            pytest.fail("expected to be cut")
        with contextlib.suppress(ConnectionError):
            assert idle.recv(1) == b""


def test_a_client_that_stands_still_is_cut_in_the_end(opened: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STUCK_S", 3.0)
    with feeding(opened.sink, lambda index: plain_shot(index, NOISE), 30):
        watcher = Watcher(opened)
        until(lambda: watcher.pictures > 0)
        with raw(opened):
            until(lambda: viewers_of(opened) == 2)
            until(lambda: viewers_of(opened) == 1)
        seen = watcher.pictures
        until(lambda: watcher.pictures > seen + 10)
        watcher.enough.set()


@pytest.mark.parametrize(
    "request_",
    [
        "\x00\x01\x02\r\n\r\n",
        "GET / HTTP/9.9\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET /" + "a" * 99_999,
        "\r\n" * 500,
        "GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        "GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        "POST /enter HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nZZZ\r\n",
    ],
)
def test_garbage_does_no_harm(steady: Viewer, request_: str) -> None:
    with raw(steady, request_) as client, contextlib.suppress(ConnectionError):
        client.shutdown(socket.SHUT_WR)
        while client.recv(65536):
            pass
    assert httpx.get(steady.base + "/healthz").status_code == 200


@pytest.fixture(scope="module")
def steady() -> Iterator[Viewer]:
    with viewer() as one:
        yield one


def test_closing_while_viewers_hang_leaves_no_thread_and_no_socket() -> None:
    gc.collect()
    me, threads = psutil.Process(), threading.active_count()
    files = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else me.num_fds()
    with viewer() as opened, contextlib.ExitStack() as stack:
        port = opened.port
        with feeding(opened.sink, lambda index: plain_shot(index, NOISE), 30):
            for _ in range(5):
                stack.enter_context(raw(opened))
            watcher = Watcher(opened)
            until(lambda: watcher.pictures > 5 and viewers_of(opened) == 6)
            opened.sink.close()
            opened.sink.close()  # once more is as good
        watcher.join(20)
        assert not watcher.is_alive()
    until(lambda: threading.active_count() <= threads)
    gc.collect()
    assert me.num_fds() <= files
    with socket.socket() as again:
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        again.bind(("127.0.0.1", port))


def test_the_mailbox_keeps_the_newest_and_every_record() -> None:
    newest = Newest()
    for index in range(5000):
        newest.put(plain_shot(index))
    assert newest.count == 5000
    assert newest.shot is not None
    assert newest.shot.frame.index == 4999
    assert [record["index"] for record in newest.drain()] == list(range(5000 - 4096, 5000))  # bounded
    assert newest.drain() == []
    newest.close()
    assert newest.wanted(0) is None
