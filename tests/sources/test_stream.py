"""Streams from real servers on loopback: broken, stalled, lossy, harmed, and recordings."""

from __future__ import annotations

import http.server
import itertools
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import psutil
import pytest

from edgex.errors import SourceError
from edgex.sources import LiveOptions, Source, open_source
from edgex.types import Frame
from tests.clips import moving_pictures, read_clip, write_clip
from tests.sources.servers import Relay, http_server, rtsp_server, wait_until

QUICK = LiveOptions(stall_s=1.0, longest_pause_s=0.5)
Request = http.server.BaseHTTPRequestHandler


def jpeg(value: int) -> bytes:
    picture = np.full((48, 64, 3), value, np.uint8)
    return bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def send_pictures(
    request: Request, count: int, pause_s: float, harm: Callable[[int, bytes], bytes] | None = None
) -> None:
    """Answer with MJPEG, as cameras do."""
    request.send_response(200)
    request.send_header("Content-Type", "multipart/x-mixed-replace; boundary=edge")
    request.end_headers()
    for index in range(count):
        picture = jpeg(index % 200)
        picture = harm(index, picture) if harm else picture
        head = f"--edge\r\nContent-Type: image/jpeg\r\nContent-Length: {len(picture)}\r\n\r\n"
        request.wfile.write(head.encode() + picture + b"\r\n")
        time.sleep(pause_s)


def send_file(path: Path) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        content = path.read_bytes()
        first = int(request.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        request.send_response(206 if "Range" in request.headers else 200)
        request.send_header("Accept-Ranges", "bytes")
        request.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        request.send_header("Content-Length", str(len(content) - first))
        request.end_headers()
        request.wfile.write(content[first:])

    return answer


def take(source: Source, count: int) -> list[Frame]:
    return list(itertools.islice(source, count))


def open_files() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_a_server_that_stalls_and_one_that_dies_are_noticed_and_found_again() -> None:
    with rtsp_server() as server:
        threads, files = threading.active_count(), open_files()
        source = open_source(server.uri.replace("//", "//me:hush@"), QUICK)
        assert [frame.image.shape for frame in take(source, 10)] == [(240, 320, 3)] * 10
        assert (source.fps, source.state.connected) == (30.0, True)
        server.tell("stall")
        wait_until(lambda: "no data for 1 s" in source.state.detail, "the stall to be noticed")
        server.tell("flow")
        assert len(take(source, 10)) == 10
        assert source.state.reconnects == 1
        server.kill()
        wait_until(lambda: "Connection refused" in source.state.detail, "the dead server to be noticed")
        assert "trying again" in source.state.detail
        assert "hush" not in source.state.detail
        server.start()
        assert len(take(source, 10)) == 10
        assert (source.state.connected, source.state.detail, source.state.reconnects) == (True, "", 2)
        source.close()
        assert "hush" not in " ".join((source.uri, *source.warnings))
        wait_until(lambda: threading.active_count() == threads and open_files() == files, "everything to be given back")


@pytest.mark.parametrize("transport", ["tcp", "udp"])
def test_packets_that_are_lost_do_not_end_it(transport) -> None:
    with rtsp_server() as server:
        source = open_source(server.uri, LiveOptions(stall_s=5.0, transport=transport))
        take(source, 5)
        server.tell("lose 0.1")
        assert len(take(source, 60)) == 60
        assert source.state.reconnects == 0
        source.close()


def test_garbage_in_between_does_not_end_it() -> None:
    noise = np.random.default_rng(0)
    with rtsp_server() as server:
        relay = Relay(server.port)
        source = open_source(server.uri.replace(str(server.port), str(relay.port)), QUICK)
        for _ in range(2):
            relay.garbage.append(noise.bytes(3000))
            wait_until(lambda: not relay.garbage, "the garbage to be sent")
            assert len(take(source, 5)) == 5
        source.close()
        relay.close()


def test_an_mjpeg_camera_is_read_and_a_slow_reader_gets_the_newest() -> None:
    with http_server(lambda request: send_pictures(request, 10_000, 0.01)) as address:
        source = open_source(address, QUICK)
        frames = iter(source)
        first = next(frames).image[0, 0, 0]
        wait_until(lambda: source.state.dropped >= 20, "pictures to be dropped")
        assert next(frames).image[0, 0, 0] >= first + 20
        assert next(frames).index == 2
        source.close()


def test_pictures_that_are_no_pictures_are_passed_over() -> None:
    def harm(index: int, picture: bytes) -> bytes:
        return os.urandom(len(picture)) if index % 5 == 4 else picture

    with http_server(lambda request: send_pictures(request, 10_000, 0.01, harm)) as address:
        source = open_source(address, QUICK)
        assert len(take(source, 40)) == 40
        source.close()


def test_fifty_breaks_leave_nothing_behind() -> None:
    with http_server(lambda request: send_pictures(request, 8, 0.0)) as address:
        source = open_source(address, LiveOptions(longest_pause_s=0.01))
        frames = iter(source)

        def break_until(count: int) -> tuple[int, int]:
            while source.state.reconnects < count:
                next(frames)
            wait_until(lambda: threading.active_count() < threads + 4, "old connections to end")
            return open_files(), psutil.Process().memory_info().rss

        threads = threading.active_count()
        files, memory = break_until(15)
        files_after, memory_after = break_until(65)
        source.close()
        assert files_after <= files + 4  # a connection is just opened or closed
        assert memory_after < memory + 20_000_000
        assert len(source.warnings) == 1


def test_a_recording_on_a_web_server_is_read_whole(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.mp4", moving_pictures(30))
    with http_server(send_file(path)) as address:
        source = open_source(f"{address}/a.mp4?token=hush", QUICK)
        frames = list(source)
        source.close()
    assert (source.live, source.frame_count, source.files, source.warnings) == (False, 30, (), [])
    assert source.uri == f"{address}/a.mp4?token=***"
    for frame, picture in zip(frames, read_clip(path), strict=True):
        np.testing.assert_array_equal(frame.image, picture)


def test_a_playlist_does_not_lead_to_files_of_this_machine(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "a.ts", moving_pictures(30))
    playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:3\n#EXTINF:3,\nfile://{path}\n#EXT-X-ENDLIST\n"
    (tmp_path / "a.m3u8").write_text(playlist)
    with http_server(send_file(tmp_path / "a.m3u8")) as address, pytest.raises(SourceError):
        take(open_source(f"{address}/a.m3u8", QUICK), 1)


def send_nothing(request: Request) -> None:
    request.send_response(200)
    request.end_headers()
    time.sleep(30)


def send_page(request: Request) -> None:
    page = b"<html>a page</html>" * 100
    request.send_response(200)
    request.send_header("Content-Length", str(len(page)))
    request.end_headers()
    request.wfile.write(page)


@pytest.mark.parametrize(
    ("answer", "match"),
    [
        (lambda request: request.send_error(401), "401 Unauthorized"),
        (lambda request: request.send_error(404), "404 Not Found"),
        (send_page, "Invalid data"),
    ],
)
def test_what_is_no_stream_is_told_without_its_password(answer: Callable[[Request], None], match: str) -> None:
    with http_server(answer) as address, pytest.raises(SourceError, match=match) as caught:
        open_source(address.replace("//", "//me:hush@"), QUICK)
    assert "check the address" in str(caught.value)
    assert "hush" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgex.sources.stream._OPEN_S", 1.0)
    with http_server(send_nothing) as address, pytest.raises(SourceError, match="no data for 1 s"):
        open_source(address, QUICK)


def test_nobody_listens() -> None:
    with http_server(send_page) as address:
        pass
    with pytest.raises(SourceError, match=r"Connection refused; check the address"):
        open_source(address)
    with pytest.raises(SourceError, match=r"expected an address of rtsp.*, got 'ftp://\*\*\*@a/b'"):
        open_source("ftp://me:hush@a/b")
