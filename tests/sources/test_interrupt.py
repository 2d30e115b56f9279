"""Ctrl-C and stops are heard while a server is silent, and codecs that FFmpeg lacks are told."""

from __future__ import annotations

import signal
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgex.errors import SourceError
from edgex.sources import LiveOptions, open_source
from tests.clips import moving_pictures, write_clip
from tests.commands import start
from tests.sources.servers import http_server
from tests.sources.test_stream import QUICK, Request, send_file, send_pictures


def test_ctrl_c_ends_a_connection_that_says_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(60)
        address = f"http://127.0.0.1:{listener.getsockname()[1]}/x"
        program = start("run", "--source", address, "--stall-timeout", "3000")
        try:
            client, _ = listener.accept()
            with client:
                client.recv(4096)
                program.send_signal(signal.SIGINT)
                assert program.wait(30) == 130
        finally:
            program.kill()
            program.communicate()


def half_of(path: Path, released: threading.Event) -> Callable[[Request], None]:
    def answer(request: Request) -> None:
        content = path.read_bytes()
        request.send_response(200)
        request.send_header("Content-Length", str(len(content)))
        request.end_headers()
        request.wfile.write(content[: len(content) // 2])
        released.wait(60)

    return answer


def test_a_stop_ends_the_wait_for_a_recording(tmp_path: Path) -> None:
    released, waiting = threading.Event(), threading.Event()
    path = write_clip(tmp_path / "a.mp4", moving_pictures(200))
    with http_server(half_of(path, released)) as address:
        source = open_source(f"{address}/a.mp4", LiveOptions(stall_s=3000.0))

        def read() -> None:
            for _ in source:
                waiting.set()

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        assert waiting.wait(30)
        source.stop()
        reader.join(30)
        assert not reader.is_alive()
        source.close()
        assert source.warnings == []
        released.set()


def unknown_codec(path: Path) -> Path:
    content = write_clip(path).read_bytes()
    path.write_bytes(content.replace(b"V_MPEG4/ISO/AVC", b"V_XPEG4/ISO/AVC"))
    return path


def test_a_codec_that_ffmpeg_lacks_is_told(tmp_path: Path) -> None:
    path = unknown_codec(tmp_path / "a.mkv")
    with pytest.raises(SourceError, match="unknown codec; convert it"):
        open_source(path)
    with http_server(send_file(path)) as address, pytest.raises(SourceError, match="unknown codec; convert it"):
        open_source(f"{address}/a.mkv", QUICK)


def test_a_rate_that_ffmpeg_makes_up_is_none() -> None:
    with http_server(lambda request: send_pictures(request, 10_000, 0.02)) as address:
        source = open_source(address, QUICK)
        assert (source.live, source.fps) == (True, None)
        source.close()


def test_a_device_that_is_no_camera_is_told() -> None:
    with pytest.raises(SourceError, match="'/dev/null', a device or pipe that holds no file"):
        open_source("/dev/null")
