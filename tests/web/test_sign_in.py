"""Signing in with a real Chromium: the link, the form, a new token after a restart, and plain HTTP from elsewhere."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.web.conftest import CHROMIUM, ELSEWHERE
from tests.web.feed import plain_shot, viewer

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: sudo apt-get install chromium")


def test_a_link_lets_a_browser_in_and_the_form_does(open_page: Callable[..., Any], complaints: list[str]) -> None:
    with viewer(token="a-token-for-the-tests") as opened:
        opened.sink.write(plain_shot())
        page = open_page(opened.sink.url)
        page.locator("#classes li").first.wait_for()
        page.locator("#picture").wait_for()
        (cookie,) = page.context.cookies()
        assert cookie["httpOnly"]
        assert cookie["sameSite"] == "Strict"
        assert complaints == []
        other = open_page(opened.base)
        other.get_by_label("Token").fill("wrong-token")
        other.get_by_role("button").click()
        other.get_by_text("That is not the token").wait_for()
        other.get_by_label("Token").fill("a-token-for-the-tests")
        other.get_by_role("button").click()
        other.locator("#classes li").first.wait_for()
        assert [line for line in complaints if "401" not in line] == []  # Chromium logs that the page was one


def test_after_a_restart_with_another_token_the_page_asks_for_it(open_page: Callable[..., Any]) -> None:
    with viewer(token="the-token-of-before") as first:
        first.sink.write(plain_shot())
        port = first.port
        page = open_page(first.sink.url)
        page.locator("#classes li").first.wait_for()
    page.get_by_text("The viewer does not answer").wait_for()
    with viewer(token="the-token-of-now", port=port) as again:
        again.sink.write(plain_shot())
        page.get_by_label("Token").fill("the-token-of-now")
        page.get_by_role("button").click()
        page.locator("#classes li").first.wait_for()


def test_on_plain_http_from_elsewhere_the_browser_complains_of_nothing(
    open_page: Callable[..., Any], complaints: list[str]
) -> None:
    with viewer(token="a-token-for-the-tests") as opened:
        opened.sink.write(plain_shot())
        page = open_page(opened.sink.url.replace("127.0.0.1", ELSEWHERE))
        page.locator("#classes li").first.wait_for()
        assert ELSEWHERE in page.url
        assert complaints == []
