"""The web viewer as a sink: where it binds, what it asks for, how it fails, and that it never holds the pipeline up."""

from __future__ import annotations

import socket
import sys
import threading
from typing import Any

import httpx
import pytest

from edgex.compositors.palette import class_color
from edgex.errors import MissingDependencyError, SinkError, UsageError
from edgex.sinks.web import ServeOptions, WebSink, parse_address
from edgex.types import SourceState
from edgex.view import LiveView, View
from tests.bundles import LABELS
from tests.sinks.shots import shot


def opened(**options: Any) -> WebSink:
    colors = [class_color(index) for index in range(len(LABELS))]
    return WebSink(ServeOptions(**({"port": 0} | options)), LiveView(View(), LABELS), SourceState, {}, colors)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8000", ("127.0.0.1", 8000)),
        ("0.0.0.0:80", ("0.0.0.0", 80)),
        ("localhost:0", ("localhost", 0)),
        ("[::1]:8000", ("::1", 8000)),
        ("my-jetson.local:65535", ("my-jetson.local", 65535)),
    ],
)
def test_an_address_is_read(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize(
    "text", ["", ":", ":8000", "host", "host:", "host:port", "::1:80", "h:65536", "h:-1", "h:٣", "[]:8"]
)
def test_what_is_no_address_is_refused_in_one_sentence(text: str) -> None:
    with pytest.raises(UsageError, match=r"^expected HOST:PORT, got "):
        parse_address(text)


def test_a_port_alone_behind_a_colon_is_told_what_to_write() -> None:
    with pytest.raises(
        UsageError, match=r"got ':9000'; give 0\.0\.0\.0:9000 for every machine or 9000 for this one alone$"
    ):
        parse_address(":9000")


@pytest.mark.parametrize("token", ["12345678 ", " 12345678", "1234 5678", "pässwörter", "12345678\n", "1234567\x7f"])
def test_a_token_that_no_form_or_header_carries_is_refused(token: str) -> None:
    with pytest.raises(UsageError, match=r"^expected a token of at least 8 .* of ASCII without spaces"):
        ServeOptions(token=token)


@pytest.mark.parametrize(
    "fields",
    [
        *[
            {"port": -1},
            {"port": 70000},
            {"port": "80"},
            {"token": "short"},
            {"token": "with\nline end"},
            {"viewers": 0},
        ],
        *[{"quality": 0}, {"quality": 101}, {"quality": 80.5}, {"fps": 0}, {"fps": 61}, {"fps": float("nan")}],
        *[{"longest_px": 3}, {"token": ""}],
    ],
)
def test_options_out_of_range_are_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=r"^expected "):
        ServeOptions(**fields)


def test_on_this_machine_s_own_address_no_token_is_needed() -> None:
    sink = opened()
    try:
        assert sink.token is None
        assert sink.url.startswith("http://127.0.0.1:")
        assert sink.link() == sink.url
        sink.write(shot())
        assert httpx.get(sink.url).status_code == 200
    finally:
        sink.close()


def test_a_token_that_is_given_counts_here_too() -> None:
    sink = opened(token="long-enough!~")
    try:
        assert sink.token == "long-enough!~"
        assert "/enter/" in sink.url
        assert httpx.get(sink.url.partition("/enter")[0] + "/api/state").status_code == 401
    finally:
        sink.close()


@pytest.mark.parametrize("host", ["0.0.0.0", "::"])
def test_where_others_reach_it_a_token_is_made(host: str) -> None:
    try:
        sink = opened(host=host)
    except SinkError as error:
        if host == "::":
            pytest.skip(f"no IPv6 here: {error}")
        raise
    try:
        assert sink.token is not None
        assert len(sink.token) >= 32
        assert sink.token not in sink.url
        assert "/enter/" in sink.url
        assert host not in sink.url  # but an address that others can open
        assert sink.link() != sink.link()
    finally:
        sink.abort()


def test_a_port_that_is_taken_is_told_at_once() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        threads = threading.active_count()
        with pytest.raises(SinkError, match=f"^expected to serve on 127.0.0.1:{port}, got: .*; choose another"):
            opened(port=port)
        assert threading.active_count() == threads


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.7"])
def test_an_address_that_is_not_this_machine_s_is_told(host: str) -> None:
    with pytest.raises(SinkError, match=r"^expected .*choose another"):
        opened(host=host)


def test_the_port_is_free_again_after_the_end() -> None:
    first = opened()
    port = int(first.url.rstrip("/").rpartition(":")[2])
    first.close()
    second = opened(port=port)
    second.write(shot())
    second.abort()
    second.close()


def test_a_server_that_failed_ends_the_run() -> None:
    sink = opened()
    sink._server._failure = RuntimeError("the loop broke")
    with pytest.raises(SinkError, match="the loop broke"):
        sink.write(shot())
    sink.abort()


def test_without_the_extra_the_command_that_installs_it_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'edgex\[serve\]'"):
        opened()
