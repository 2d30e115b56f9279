"""Settings over the WebSocket: what is taken, what is answered in one sentence, and that nothing of it is fatal."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from edgex.errors import UsageError
from edgex.view import LiveView, View
from edgex.web import settings
from tests.bundles import LABELS
from tests.web.feed import Viewer, plain_shot, viewer

GOOD = [
    ({"top": 1}, View(top=1)),
    ({"threshold": 0.25, "opacity": 1}, View(threshold=0.25, opacity=1)),
    ({"style": "cutout"}, View(style="cutout")),
    ({"hidden": ["red", "blue"]}, View(hidden=frozenset(("red", "blue")))),
    ({"hidden": []}, View()),
    ({"classes": ["green"]}, View(classes=("green",))),
    ({"classes": None}, View()),
]
BAD = [
    *["", "{", "[]", "{}", "3", "null", '"top"', "top=3", "[" * 4000, '{"top": 1e999}', "\0", '{"top": 3}x'],
    *['{"topp": 3}', '{"top": 0}', '{"top": 2.5}', '{"top": true}', '{"top": "3"}', '{"top": 4}', '{"top": -1}'],
    *['{"top": 99999999999999999999}', '{"top": null}', '{"style": "neon"}', '{"style": ["overlay"]}', '{"style": 1}'],
    *['{"opacity": 2}', '{"opacity": NaN}', '{"opacity": Infinity}', '{"opacity": "0.5"}', '{"opacity": null}'],
    *['{"threshold": -0.1}', '{"threshold": {}}', '{"hidden": "red"}', '{"hidden": ["purple"]}', '{"hidden": [1]}'],
    *['{"hidden": null}', '{"hidden": {"red": 1}}', '{"classes": []}', '{"classes": ["purple"]}', '{"classes": 3}'],
    *[
        '{"top": 1, "style": "neon"}',
        '{"__class__": 1}',
        '{"labels": []}',
        '{"hidden": [["red"]]}',
        '{"classes": [null]}',
    ],
]


@pytest.fixture(scope="module")
def running() -> Iterator[Viewer]:
    with viewer() as one:
        one.sink.write(plain_shot())
        yield one


@pytest.fixture
def opened(running: Viewer) -> Viewer:
    running.view.change(**{field.name: getattr(View(), field.name) for field in dataclasses.fields(View)})
    return running


@contextlib.contextmanager
def page(opened: Viewer) -> Iterator[ClientConnection]:
    with connect(f"ws://127.0.0.1:{opened.port}/ws", max_size=None, close_timeout=1) as socket:
        assert set(json.loads(socket.recv(timeout=10))) >= {"type", "version", "about", "classes", "styles", "view"}
        yield socket


def next_of(socket: ClientConnection, kind: str, **view: Any) -> dict[str, Any]:
    """Return the next message of a kind, whose view holds these fields."""
    for _ in range(1000):
        message: dict[str, Any] = json.loads(socket.recv(timeout=20))
        if message["type"] == kind and (kind != "state" or view.items() <= message["view"].items()):
            return message
    raise AssertionError("expected such a message within a thousand")


def closed_with(socket: ClientConnection) -> int | None:
    """Read to the end and return the close code."""
    with contextlib.suppress(ConnectionClosed):
        for _ in range(1000):
            socket.recv(timeout=20)
    return socket.close_code


@pytest.mark.parametrize(("fields", "expected"), GOOD)
def test_settings_change_the_view(fields: dict[str, Any], expected: View) -> None:
    live = LiveView(View(), LABELS)
    assert settings.apply(json.dumps(fields), live) == expected
    assert live.current == expected
    assert settings.apply(json.dumps(settings.describe(expected)).encode(), live) == expected


@pytest.mark.parametrize("message", BAD, ids=range(len(BAD)))
def test_what_is_no_setting_is_refused_in_one_sentence_and_changes_nothing(message: str) -> None:
    live = LiveView(View(), LABELS)
    with pytest.raises(UsageError, match=r"^expected .*, got ") as caught:
        settings.apply(message, live)
    assert "\n" not in str(caught.value)
    assert live.current == View()
    with pytest.raises(UsageError):
        settings.apply(message.encode(), live)


@pytest.mark.parametrize("message", [b"\xff\xfe\xfd", b"\x00" * 5000, "é" * 2100, '{"hidden": ["' + "x" * 4096 + '"]}'])
def test_what_is_too_large_or_no_text_is_refused(message: str | bytes) -> None:
    with pytest.raises(UsageError, match="expected settings"):
        settings.apply(message, LiveView(View(), LABELS))


def test_every_page_sees_what_one_changes(opened: Viewer) -> None:
    with page(opened) as first, page(opened) as second:
        first.send('{"style": "heat", "hidden": ["blue"]}')
        for socket in (first, second):
            assert next_of(socket, "state", style="heat")["view"]["hidden"] == ["blue"]
        second.send('{"top": 1}')
        assert next_of(first, "state", top=1)["view"]["style"] == "heat"
    assert opened.view.current == View(style="heat", top=1, hidden=frozenset(("blue",)))
    assert httpx.get(opened.base + "/api/state").json()["view"]["top"] == 1


def test_an_error_is_answered_to_its_sender_and_is_not_fatal(opened: Viewer) -> None:
    with page(opened) as socket:
        for message in ("nonsense", '{"style": "neon"}', b"\xff\x00", "x" * 20_000):
            socket.send(message)
            assert next_of(socket, "error")["message"].startswith("expected ")
        socket.send('{"hidden": ["rad"]}')
        assert "did you mean red?" in next_of(socket, "error")["message"]
        socket.send('{"top": 2}')
        next_of(socket, "state", top=2)


def test_a_huge_message_ends_its_own_connection_only(opened: Viewer) -> None:
    with page(opened) as other:
        with page(opened) as socket, contextlib.suppress(ConnectionClosed):
            socket.send("x" * 2_000_000)
            assert closed_with(socket) == 1009
        other.send('{"top": 1}')
        next_of(other, "state", top=1)


def test_a_flood_is_slowed_down_and_others_go_on(opened: Viewer) -> None:
    with page(opened) as flood, page(opened) as other:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(300):
                flood.send('{"opacity": 0.1}')
        other.send('{"style": "outline"}')
        next_of(other, "state", style="outline")
        assert httpx.get(opened.base + "/healthz", timeout=20).status_code == 200
        assert closed_with(flood) == 1008


def test_an_unknown_path_opens_no_websocket(opened: Viewer) -> None:
    with pytest.raises(Exception, match="403"):
        connect(f"ws://127.0.0.1:{opened.port}/other")
