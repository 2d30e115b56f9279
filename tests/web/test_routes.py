"""Every route of the viewer, asked by a real client."""

from __future__ import annotations

import json
import struct
import time
import zlib
from collections.abc import Iterator

import cv2
import httpx
import numpy as np
import pytest
from prometheus_client.parser import text_string_to_metric_families

from edgex.types import SourceState
from edgex.web import states
from tests.bundles import LABELS
from tests.web.feed import ABOUT, MONITOR, Viewer, plain_shot, until, viewer

PAGE = (
    "/",
    "/style.css",
    "/viewer.js",
    "/link.js",
    "/controls.js",
    "/picture.js",
    "/plot.js",
    "/snapshot.js",
    "/theme.js",
)


@pytest.fixture
def opened() -> Iterator[Viewer]:
    with viewer() as one:
        yield one


@pytest.fixture(scope="module")
def steady() -> Iterator[Viewer]:
    """One viewer for all tests that change nothing."""
    with viewer() as one:
        yield one


def get(opened: Viewer, path: str, **options: object) -> httpx.Response:
    return httpx.get(opened.base + path, timeout=20, **options)  # type: ignore[arg-type]


def decoded(content: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)


@pytest.mark.parametrize("path", [*PAGE, "/icon.svg"])
def test_the_page_s_files_come_with_their_types_and_a_strict_policy(steady: Viewer, path: str) -> None:
    answer = get(steady, path)
    kinds = {"css": "text/css", ".js": "text/javascript", "svg": "image/svg+xml"}
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kinds.get(path[-3:], "text/html"))
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers


def test_the_page_asks_no_other_host_and_holds_no_script_or_style(steady: Viewer) -> None:
    for path in PAGE:
        text = get(steady, path).text.replace("http://www.w3.org/2000/svg", "")
        assert "http://" not in text
        assert "https://" not in text
    page = get(steady, "/").text
    assert "<style" not in page
    assert " style=" not in page
    assert " onclick" not in page


@pytest.mark.parametrize(
    "path",
    [
        *["/../pyproject.toml", "/..%2f..%2fpyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd"],
        *["/page/index.html", "/style.css/", "/style.css%00.js", "/\\..\\x", "/index.html", "/enter.html", "/ws/.."],
        "/" + "a" * 4000,
    ],
)
def test_no_path_reaches_the_file_system(steady: Viewer, path: str) -> None:
    answer = httpx.Client().request("GET", steady.base, extensions={"target": path.encode()})
    assert answer.status_code == 404
    assert answer.text.startswith("expected a path of the viewer")


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "BREW"])
def test_other_methods_are_refused(steady: Viewer, method: str) -> None:
    answer = httpx.request(method, steady.base + "/api/state")
    assert answer.status_code == 405
    assert answer.headers["allow"] == "GET, HEAD"


def test_the_state_says_everything_in_one_document(opened: Viewer) -> None:
    assert get(opened, "/api/state").json()["record"] is None
    opened.sink.write(plain_shot(7, late=True))
    opened.state[0] = SourceState(False, "the camera is gone; tried again in 2 s", 5, 3)
    until(lambda: get(opened, "/api/state").json()["late"] == 1)
    state = get(opened, "/api/state").json()
    assert state["version"] == states.VERSION
    assert state["about"] == ABOUT
    assert [each["label"] for each in state["classes"]] == list(LABELS)
    assert state["classes"][0]["color"] == "#e69f00"  # class 0 is orange; RGB here, BGR in edgex
    assert state["frames"] == 1
    assert state["record"]["index"] == 7
    assert state["scores"] == [0.99, 0.01, 0.5]
    assert state["view"]["style"] == "overlay"
    source = {"connected": False, "detail": "the camera is gone; tried again in 2 s", "dropped": 5, "reconnects": 3}
    assert state["source"] == source


def test_one_picture_is_the_newest(opened: Viewer) -> None:
    opened.sink.write(plain_shot(0, np.zeros((40, 60, 3), np.uint8)))
    opened.sink.write(plain_shot(1, np.full((40, 60, 3), 200, np.uint8)))
    answer = get(opened, "/api/frame.jpg")
    assert answer.headers["content-type"] == "image/jpeg"
    assert decoded(answer.content).shape == (40, 60, 3)
    assert abs(decoded(answer.content).mean() - 200) < 3
    assert abs(decoded(get(opened, "/api/frame.jpg").content).mean() - 200) < 3  # again, though nothing new came
    opened.sink.write(plain_shot(2, np.full((40, 60, 3), 90, np.uint8)))
    assert abs(decoded(get(opened, "/api/frame.jpg").content).mean() - 90) < 3


def test_a_large_picture_is_made_smaller_but_its_snapshot_is_not() -> None:
    with viewer(longest_px=320) as opened:
        opened.sink.write(plain_shot(0, np.full((480, 640, 3), 90, np.uint8)))
        assert decoded(get(opened, "/api/frame.jpg").content).shape == (240, 320, 3)
        assert decoded(get(opened, "/api/snapshot.png").content).shape == (480, 640, 3)


def test_before_the_first_frame_there_is_no_snapshot(opened: Viewer) -> None:
    answer = get(opened, "/api/snapshot.png")
    assert answer.status_code == 503
    assert answer.text.startswith("expected a frame, got none")


def test_a_snapshot_is_a_png_that_holds_its_record(opened: Viewer) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (33, 47, 3), np.uint8)
    opened.sink.write(plain_shot(4, picture, name="façade 😀"))
    content = get(opened, "/api/snapshot.png").content
    np.testing.assert_array_equal(decoded(content), picture)
    chunks = dict(png_chunks(content))
    keyword, _, rest = chunks[b"iTXt"].partition(b"\0")
    assert keyword == b"edgex"
    assert rest[:4] == bytes(4)  # not compressed, no language, no translated keyword
    carried = json.loads(rest[4:])
    assert carried["record"]["index"] == 4
    assert carried["record"]["name"] == "façade 😀"
    assert carried["labels"] == list(LABELS)
    assert carried["about"] == ABOUT


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Walk the chunks of a PNG and check their sums."""
    assert content[:8] == b"\x89PNG\r\n\x1a\n"
    at, first = 8, True
    while at < len(content):
        (length,) = struct.unpack_from(">I", content, at)
        kind, body = content[at + 4 : at + 8], content[at + 8 : at + 8 + length]
        assert struct.unpack_from(">I", content, at + 8 + length)[0] == zlib.crc32(kind + body)
        assert not first or kind == b"IHDR"
        yield kind, body
        at, first = at + 12 + length, False


def test_the_health_tells_a_standstill_from_a_source_that_is_away(
    opened: Viewer, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert get(opened, "/healthz").json() == {"status": "starting"}
    opened.sink.write(plain_shot())
    assert get(opened, "/healthz").json() == {"status": "ok"}
    monkeypatch.setattr(states, "_STALLED_S", 0.1)
    time.sleep(0.2)
    assert get(opened, "/healthz").json() == {"status": "ok"}  # one frame does not tell how often they come
    for index in range(1, 40):
        opened.sink.write(plain_shot(index))
    time.sleep(0.2)
    stalled = get(opened, "/healthz")
    assert stalled.json() == {"status": "stalled"}
    assert stalled.status_code == 503
    opened.state[0] = SourceState(connected=False, detail="gone")
    assert get(opened, "/healthz").json() == {"status": "reconnecting"}
    assert get(opened, "/healthz").status_code == 200


def test_frames_that_come_seldom_are_no_standstill(opened: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    opened.sink.write(plain_shot())
    time.sleep(1.0)
    opened.sink.write(plain_shot(1))
    monkeypatch.setattr(states, "_STALLED_S", 0.01)
    time.sleep(0.1)
    assert get(opened, "/healthz").json() == {"status": "ok"}  # 3 seconds would be one
    monkeypatch.setattr(states, "_STALLED_INTERVALS", 0.05)
    assert get(opened, "/healthz").status_code == 503


def test_prometheus_reads_figures_of_every_frame(opened: Viewer) -> None:
    opened.state[0] = SourceState(True, "", 4, 2)
    for index in range(50):
        opened.sink.write(plain_shot(index, late=index < 3, monitor=MONITOR, flicker=0.25))
    families = {family.name: family for family in text_string_to_metric_families(get(opened, "/metrics").text)}
    values = {one.name: one.value for family in families.values() for one in family.samples if not one.labels}
    assert values["edgex_frames_total"] == 50
    assert values["edgex_frames_late_total"] == 3
    assert values["edgex_frames_dropped_total"] == 4
    assert values["edgex_source_reconnects_total"] == 2
    assert values["edgex_source_connected"] == 1
    assert values["edgex_faithfulness_kept"] == MONITOR["kept"]
    assert values["edgex_faithfulness_lost"] == MONITOR["lost"]
    assert values["edgex_flicker"] == 0.25
    assert values["edgex_viewers"] == 0
    assert values["edgex_frame_age_seconds_count"] == 50
    stages = {
        one.labels["stage"]: one.value for one in families["edgex_stage_seconds"].samples if one.name[-4:] == "_sum"
    }
    assert stages["infer"] == pytest.approx(50 * 0.004)
