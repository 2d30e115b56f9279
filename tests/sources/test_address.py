"""Passwords and tokens of addresses are never shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgex.sources.address import masked, masked_words, scheme_of

NOISE = st.text("/?#@:=%;,.!x1$~", max_size=6)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("rtsp://host:554/x", "rtsp://host:554/x"),
        ("rtsp://me:hush@host:554/x", "rtsp://***@host:554/x"),
        ("rtsp://hush@host/x", "rtsp://***@host/x"),
        ("rtsp://me:hu@sh@host/x", "rtsp://***@host/x"),
        ("rtsp://me:hu/sh@host/x", "rtsp://***@host/x"),
        ("http://host:80/@someone/live", "http://***@someone/live"),
        ("http://host/x?user=me&password=hush&size=2", "http://host/x?user=***&password=***&size=***"),
        ("http://host/x?access_token=hush", "http://host/x?access_token=***"),
        ("no rtsp://me:hush@a/b, no http://me:hush@c/d", "no rtsp://***@a/b, no http://***@c/d"),
        (
            'rtspsrc location=rtsp://me:hush@a/b user-pw="hush hush" ! x',
            "rtspsrc location=rtsp://***@a/b user-pw=*** ! x",
        ),
        ("rtsp://admin:12345/6@h/x", "rtsp://***@h/x"),
        ("rtsp://admin:1234?x@h/x", "rtsp://***@h/x"),
        ("rtsp://admin:hun/t@er2@h", "rtsp://***@h"),
        ("http://h/x?user=a&p=hush&sid=b", "http://h/x?user=***&p=***&sid=***"),
        ("got http://h/x?sig=hush; check it", "got http://h/x?sig=***; check it"),
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


@given(NOISE, NOISE, st.sampled_from(["h/x", "h:554/x?channel=1", "h/x?mail=a@b"]), st.sampled_from(["", "got "]))
def test_no_password_survives(before: str, after: str, place: str, sentence: str) -> None:
    assert "HUSH" not in masked(f"{sentence}rtsp://me:{before}HUSH{after}HUSH@{place}")


@given(NOISE, NOISE, st.sampled_from(["", "me:HUSH@"]), st.sampled_from(["", "got "]))
def test_no_value_of_a_query_survives(before: str, after: str, user: str, sentence: str) -> None:
    assert "HUSH" not in masked(f"{sentence}http://{user}h/x?a=1&p={before}HUSH{after}&HUSH&q=HUSH")


def test_a_secret_word_may_hold_spaces() -> None:
    words = ["rtspsrc", "location=rtsp://me:hu'sh@a/b", "user-pw=hush hush", "!", "x"]
    assert masked_words(words) == "rtspsrc location=rtsp://***@a/b user-pw=*** ! x"
