"""The page in a real Chromium: what is switched there changes the picture, and it comes back when the server does."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgex.types import SourceState
from edgex.view import View
from tests.bundles import write_bundle
from tests.web.conftest import CHROMIUM
from tests.web.feed import ABOUT, LABELS, Viewer, live, plain_shot, until, viewer

pytest.importorskip("playwright", reason="needs Playwright: pip install playwright")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium: sudo apt-get install chromium")

PIXELS = """() => {
    const image = document.getElementById("picture"), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [image.naturalWidth, image.naturalHeight];
    if (!canvas.width) return null;
    const pen = canvas.getContext("2d", {willReadFrequently: true});
    try { pen.drawImage(image, 0, 0); } catch { return null; } // between two streams there is no picture
    const at = (x) => [...pen.getImageData(x * canvas.width, canvas.height / 2, 1, 1).data].slice(0, 3);
    return [at(0.1), at(0.5), at(0.9)];
}"""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    with live(write_bundle(tmp_path_factory.mktemp("web") / "tiny.onnx")) as opened:
        yield opened


@pytest.fixture
def running(served: Viewer) -> Viewer:
    served.view.change(**{field.name: getattr(View(), field.name) for field in dataclasses.fields(View)})
    served.state[0] = SourceState()
    return served


def pixels(page: Any) -> np.ndarray:
    """Return the picture's colours (red, green, blue) at the left, in the middle and at the right."""
    found: list[Any] = []
    until(lambda: found.append(page.evaluate(PIXELS)) or found[-1] is not None)
    return np.array(found[-1], int)


def wait_for(page: Any, holds: Callable[[np.ndarray], Any]) -> np.ndarray:
    """Wait until the picture is as it should be, and return its colours."""
    seen = pixels(page)
    end = time.monotonic() + 20
    while not holds(seen):
        assert time.monotonic() < end, f"expected other colours by now, got {seen.tolist()}"
        page.wait_for_timeout(50)
        seen = pixels(page)
    return seen


def until_true(page: Any, expression: str) -> None:
    """Wait until an expression holds in the page; Playwright's own waiting needs eval, which the policy forbids."""
    until(lambda: page.evaluate(expression) or page.wait_for_timeout(50))


def far(one: np.ndarray, other: tuple[int, int, int]) -> bool:
    return bool(np.abs(one - np.array(other)).max() > 40)


def test_a_class_that_is_switched_off_leaves_the_picture(
    running: Viewer, open_page: Callable[..., Any], complaints: list[str]
) -> None:
    page = open_page(running.sink.url)
    drawn = wait_for(page, lambda seen: far(seen[0], (255, 0, 0)) and far(seen[2], (0, 255, 0)))
    assert drawn[0][1] > 60  # orange over red
    page.get_by_role("switch", name="red").uncheck()
    wait_for(page, lambda seen: not far(seen[0], (255, 0, 0)) and far(seen[2], (0, 255, 0)))
    assert running.view.current.hidden == {"red"}
    page.get_by_role("switch", name="red").focus()
    page.keyboard.press("Space")  # the keyboard alone will do
    wait_for(page, lambda seen: far(seen[0], (255, 0, 0)))
    assert running.view.current.hidden == frozenset()
    assert complaints == []


SLOW_TO_SEND = """() => {
    const send = WebSocket.prototype.send;
    WebSocket.prototype.send = function (text) { setTimeout(() => send.call(this, text), 400); };
}"""
WATCHED = """() => new Promise((done) => {
    const seen = [], input = document.querySelector("#classes input"), start = performance.now();
    const look = () => {
        seen.push(input.checked);
        if (performance.now() - start < 300) requestAnimationFrame(look); else done(seen);
    };
    input.click();
    look();
})"""


def test_a_switch_is_not_put_back_by_a_state_of_before(running: Viewer, open_page: Callable[..., Any]) -> None:
    page = open_page(running.sink.url)
    wait_for(page, lambda seen: far(seen[0], (255, 0, 0)))
    page.evaluate(SLOW_TO_SEND)  # meanwhile the server says ten times a second that the class is on
    seen = page.evaluate(WATCHED)
    assert len(seen) > 3
    assert not any(seen)
    until(lambda: running.view.current.hidden == {LABELS[0]})


def test_style_threshold_and_opacity_change_the_picture(
    running: Viewer, open_page: Callable[..., Any], complaints: list[str]
) -> None:
    page = open_page(running.sink.url)
    wait_for(page, lambda seen: far(seen[0], (255, 0, 0)))
    page.get_by_text("cutout", exact=True).click()
    wait_for(page, lambda seen: not far(seen[0], (255, 0, 0)) and not far(seen[1], (124, 116, 104)))
    page.keyboard.press("1")
    wait_for(page, lambda seen: far(seen[0], (255, 0, 0)))
    page.locator("#opacity").fill("0")
    wait_for(page, lambda seen: not far(seen[0], (255, 0, 0)))
    page.locator("#opacity").fill("0.6")
    page.locator("#threshold").fill("1")
    wait_for(page, lambda seen: not far(seen[0], (255, 0, 0)))
    for _ in range(10):
        page.keyboard.press(",")
    wait_for(page, lambda seen: far(seen[0], (255, 0, 0)))
    page.get_by_text("My choice").click()
    until(lambda: page.wait_for_timeout(50) or running.view.current.classes is not None)
    page.get_by_text("Best by score").click()
    until(lambda: page.wait_for_timeout(50) or running.view.current.classes is None)
    assert complaints == []


def test_two_pages_show_the_same_settings(running: Viewer, open_page: Callable[..., Any]) -> None:
    one, other = open_page(running.sink.url), open_page(running.sink.url)
    one.get_by_text("outline", exact=True).click()
    until_true(other, "document.querySelector('#styles input[value=outline]').checked")
    other.keyboard.press("1")
    until_true(one, "document.querySelector('#styles input[value=overlay]').checked")


def test_figures_faithfulness_and_plots_are_there(
    running: Viewer, open_page: Callable[..., Any], complaints: list[str]
) -> None:
    page = open_page(running.sink.url)
    until_true(page, "Number(document.getElementById('fps').textContent) > 0")
    page.locator("#faith-figures").wait_for()
    assert page.locator("#kept").inner_text() == "91 %"
    assert page.locator("#lost").inner_text() == "82 %"
    assert page.locator("#age").inner_text() in ("12", "13")
    until_true(page, "document.querySelectorAll('#legend li').length === 5")  # drawn a moment later
    assert [text.strip() for text in page.locator("#classes .name").all_inner_texts()] == list(LABELS)
    assert page.locator(".swatch").first.evaluate("e => getComputedStyle(e).backgroundColor") == "rgb(230, 159, 0)"
    until_true(page, "document.querySelectorAll('#classes .shown').length === 2")
    painted = "document.getElementById('stages').getContext('2d').getImageData(0, 0, 9999, 999).data.some(v => v)"
    until_true(page, painted)
    assert ABOUT["model"] in page.locator("#about").inner_text()
    assert page.locator("#state").inner_text() == "Live"
    assert complaints == []


def test_a_snapshot_shows_its_record_and_can_be_saved(
    running: Viewer, open_page: Callable[..., Any], complaints: list[str], tmp_path: Path
) -> None:
    page = open_page(running.sink.url)
    page.locator("#classes li").first.wait_for()
    wait_for(page, lambda seen: True)
    page.keyboard.press("s")
    page.locator("#shot-dialog").wait_for()
    shown = json.loads(page.locator("#shot-record").inner_text())
    assert shown["record"]["name"].startswith("frame-")
    assert shown["labels"] == list(LABELS)
    with page.expect_download() as saving:
        page.locator("#shot-png").click()
    saving.value.save_as(tmp_path / "shot.png")
    content = (tmp_path / "shot.png").read_bytes()
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    assert shown["record"]["name"].encode() in content
    page.keyboard.press("Escape")
    page.locator("#shot-dialog").wait_for(state="hidden")
    assert complaints == []


def test_keys_help_and_theme(running: Viewer, open_page: Callable[..., Any], complaints: list[str]) -> None:
    page = open_page(running.sink.url, color_scheme="light")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.keyboard.press("t")
    dark = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == dark  # it is remembered, in no cookie
    assert page.context.cookies() == []
    page.keyboard.press("?")
    page.locator("#help-dialog").wait_for()
    page.locator("#keys-on").uncheck()
    page.keyboard.press("Escape")
    page.keyboard.press("t")
    assert page.evaluate(ground) == dark  # single keys are off
    assert complaints == []


@pytest.mark.parametrize("width", [360, 390, 768, 1280])
def test_nothing_is_cut_off_at_any_width(running: Viewer, open_page: Callable[..., Any], width: int) -> None:
    page = open_page(running.sink.url, viewport={"width": width, "height": 800})
    page.locator("#legend li").first.wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    unnamed = """[...document.querySelectorAll("button, input, a, canvas, img")].filter((e) => !(
        e.getAttribute("aria-label") || e.labels?.length || e.textContent.trim() || e.alt !== undefined
    )).map((e) => e.outerHTML)"""
    assert page.evaluate(unnamed) == []


def test_a_source_that_went_away_is_told(running: Viewer, open_page: Callable[..., Any]) -> None:
    page = open_page(running.sink.url)
    running.state[0] = SourceState(False, "the stream broke; tried again in 4 s", 0, 1)
    page.get_by_text("the stream broke; tried again in 4 s").wait_for()
    assert page.locator("#state").inner_text() == "Reconnecting"
    running.state[0] = SourceState(True, "", 7, 2)
    until_true(page, "document.getElementById('state').textContent.trim() === 'Live'")
    assert page.locator("#banner").is_hidden()
    assert page.locator("#dropped").inner_text() == "7"


def test_the_page_comes_back_when_the_server_does(bundle: Path, open_page: Callable[..., Any]) -> None:
    with live(bundle) as first:
        port = first.port
        page = open_page(first.sink.url)
        wait_for(page, lambda seen: far(seen[0], (255, 0, 0)))
    page.get_by_text("The viewer does not answer").wait_for()
    assert page.locator("#figure").evaluate("e => e.classList.contains('stale')")
    with viewer(port=port) as again:
        again.sink.write(plain_shot(0, np.full((60, 80, 3), (200, 30, 30), np.uint8)))
        until_true(page, "document.getElementById('banner').hidden")
        wait_for(page, lambda seen: not far(seen[1], (30, 30, 200)))  # its own picture, not the old one
        assert not page.locator("#figure").evaluate("e => e.classList.contains('stale')")
