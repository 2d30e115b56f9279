"""Passwords and tokens of addresses are never shown."""

from __future__ import annotations

import pytest

from edgex.sources.address import masked, scheme_of


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://host:554/x", "rtsp://host:554/x"),
        ("rtsp://me:hush@host:554/x", "rtsp://***@host:554/x"),
        ("rtsp://hush@host/x", "rtsp://***@host/x"),
        ("rtsp://me:hu@sh@host/x", "rtsp://***@host/x"),
        ("rtsp://me:hu/sh@host/x", "rtsp://***@host/x"),
        ("http://host:80/@someone/live", "http://host:80/@someone/live"),
        ("http://host/x?user=me&password=hush&size=2", "http://host/x?user=me&password=***&size=2"),
        ("http://host/x?access_token=hush", "http://host/x?access_token=***"),
        ("no rtsp://me:hush@a/b, no http://me:hush@c/d", "no rtsp://***@a/b, no http://***@c/d"),
        (
            'rtspsrc location=rtsp://me:hush@a/b user-pw="hush hush" ! x',
            "rtspsrc location=rtsp://***@a/b user-pw=*** ! x",
        ),
        ("a path/with@sign.mp4", "a path/with@sign.mp4"),
    ],
)
def test_what_is_secret_is_masked(text: str, shown: str) -> None:
    assert masked(text) == shown


@pytest.mark.parametrize(
    ("text", "scheme"), [("RTSP://a", "rtsp"), ("C:\\a", None), ("a/b://c", None), ("12:30.mp4", None), ("rtsp:", None)]
)
def test_an_address_has_a_scheme(text: str, scheme: str | None) -> None:
    assert scheme_of(text) == scheme
