"""Who may look: tokens, cookies, links that work once, hosts and origins."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from edgex.web.access import Access, is_loopback
from edgex.web.rates import Bucket, Buckets
from tests.web.feed import Viewer, plain_shot, viewer

TOKEN = "a-token-for-the-tests"
GUARDED = ("/api/state", "/api/frame.jpg", "/api/snapshot.png", "/stream.mjpg", "/metrics")
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def guarded() -> Iterator[Viewer]:
    with viewer(host="0.0.0.0", token=TOKEN) as opened:
        opened.sink.write(plain_shot())
        yield opened


@pytest.fixture(scope="module")
def steady() -> Iterator[Viewer]:
    with viewer() as opened:
        yield opened


def client(opened: Viewer, **headers: str) -> httpx.Client:
    return httpx.Client(base_url=f"http://127.0.0.1:{opened.port}", headers=headers, timeout=20)


def link_of(opened: Viewer) -> str:
    return "/" + opened.sink.link().split("/", 3)[3]


def status(asker: httpx.Client, path: str) -> int:
    with asker.stream("GET", path) as answer:
        return answer.status_code


def test_without_the_token_there_is_only_the_page_to_sign_in(guarded: Viewer) -> None:
    with client(guarded) as stranger:
        for path in GUARDED:
            answer = stranger.get(path)
            assert answer.status_code == 401
            assert answer.headers["www-authenticate"] == "Bearer"
            assert answer.text.startswith("expected the viewer's token")
        front = stranger.get("/")
        assert front.status_code == 401
        assert 'name="token"' in front.text
        assert stranger.get("/style.css").status_code == 200
        assert stranger.get("/healthz").status_code == 200
    with pytest.raises(InvalidStatus, match="403"):
        connect(f"ws://127.0.0.1:{guarded.port}/ws")


@pytest.mark.parametrize("header", ["Bearer wrong-token", "Bearer", "Basic " + TOKEN, TOKEN, "Bearer " + TOKEN + "x"])
def test_a_wrong_header_is_refused(guarded: Viewer, header: str) -> None:
    with client(guarded, Authorization=header) as stranger:
        assert stranger.get("/api/state").status_code == 401


def test_the_header_opens_everything(guarded: Viewer) -> None:
    with client(guarded, **BEARER) as program:
        assert [status(program, path) for path in ("/", *GUARDED)] == [200] * 6
    with connect(f"ws://127.0.0.1:{guarded.port}/ws", additional_headers=BEARER) as page:
        assert '"type":"state"' in page.recv(timeout=10)


def test_a_link_sets_the_cookie_and_works_once(guarded: Viewer) -> None:
    link = link_of(guarded)
    with client(guarded) as browser:
        assert browser.head(link).status_code == 503  # only looks: the link still holds
        assert browser.get(link, headers={"Sec-Purpose": "prefetch;prerender"}).status_code == 503
        answer = browser.get(link)
        cookie = answer.headers["set-cookie"]
        assert answer.status_code == 200
        assert 'content="0;url=/"' in answer.text
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert [status(browser, path) for path in ("/", *GUARDED)] == [200] * 6
        pairs = {"Cookie": "; ".join(f"{name}={value}" for name, value in browser.cookies.items())}
        with connect(f"ws://127.0.0.1:{guarded.port}/ws", additional_headers=pairs) as page:
            assert '"type":"state"' in page.recv(timeout=10)
    with client(guarded) as second:
        again = second.get(link)
        assert again.status_code == 401
        assert "was used already" in again.text
        assert not second.cookies
        assert second.get("/enter/anything").status_code == 401
        assert second.get(link_of(guarded)).status_code == 200  # a new link for another device


def test_a_wrong_cookie_is_refused(guarded: Viewer) -> None:
    name = f"edgex-{guarded.port}"
    for value in ("", "x", TOKEN, "é", '"\\'):
        with client(guarded, Cookie=f"{name}={value}".encode()) as stranger:  # type: ignore[arg-type]
            assert stranger.get("/api/state").status_code == 401


def test_the_form_takes_the_token_from_the_viewer_s_own_page_only(guarded: Viewer) -> None:
    with client(guarded) as browser:
        own = str(browser.base_url).rstrip("/")
        foreign = browser.post("/enter", data={"token": TOKEN}, headers={"Origin": "http://evil.example"})
        assert foreign.status_code == 403
        assert "a proxy has to pass Host on" in foreign.text
        proxied = {"Origin": "https://device.example", "Host": "device.example"}  # TLS ends there
        assert browser.post("/enter", data={"token": "no"}, headers=proxied).status_code == 401
        assert browser.post("/enter", data={"token": "no"}, headers={"Origin": own}).status_code == 401
        assert browser.post("/enter", content=b"token=" + b"x" * 5000).status_code == 400
        assert browser.post("/enter", content=b"\xff\xfe=%%%").status_code in (400, 401)
        assert browser.get("/api/state").status_code == 401
        assert browser.post("/enter", data={"token": TOKEN}, headers={"Origin": own}).status_code == 200
        assert browser.get("/api/state").status_code == 200


def test_guessing_is_slowed_down_and_refuses_nobody_who_knows(guarded: Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgex.web.access._WAIT_S", 0.3)
    with client(guarded) as stranger, client(guarded) as browser:
        browser.get(link_of(guarded))
        for guess in range(5):
            assert stranger.get("/api/state", headers={"Authorization": f"Bearer guess{guess}"}).status_code == 401
        start_s = time.monotonic()
        assert stranger.post("/enter", data={"token": "guess"}).status_code == 401
        assert stranger.get("/api/state", headers={"Authorization": "Bearer guess"}).status_code == 401
        assert time.monotonic() - start_s > 0.5  # both waited
        assert stranger.get("/enter/guess").status_code == 401
        monkeypatch.setattr("edgex.web.access._WAIT_S", 600.0)
        assert browser.get("/api/state").status_code == 200  # the cookie waits for nothing
        monkeypatch.setattr("edgex.web.access._WAIT_S", 0.0)
        assert stranger.get("/api/state", headers=BEARER).status_code == 200
        assert stranger.get(link_of(guarded)).status_code == 200
        assert stranger.post("/enter", data={"token": TOKEN}).status_code == 200


def test_a_cookie_outlives_a_restart_with_the_same_token_and_no_other() -> None:
    with viewer(host="0.0.0.0", token=TOKEN) as first, client(first) as browser:
        browser.get(link_of(first))
        cookie = browser.cookies[f"edgex-{first.port}"]
        port = first.port
    headers = {"Cookie": f"edgex-{port}={cookie}"}
    with viewer(host="0.0.0.0", token=TOKEN, port=port) as again, client(again, **headers) as browser:
        assert browser.get("/api/state").status_code == 200
    with viewer(host="0.0.0.0", port=port) as other, client(other, **headers) as browser:
        assert other.sink.token is not None
        assert len(other.sink.token) >= 24
        assert browser.get("/api/state").status_code == 401


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        *[(host, 200) for host in ("localhost", "localhost:9999", "127.0.0.1", "127.9.9.9:80", "[::1]:8000")],
        *[(host, 421) for host in ("evil.example", "evil.example:80", "127.0.0.1.evil.example", "[::2]")],
        *[(host, 400) for host in ("a b", "user@localhost", "localhost:port", "")],
    ],
)
def test_without_a_token_only_this_machine_s_names_are_answered(host: str, expected: int) -> None:
    refusal = Access(None, 8000).wrong_host({"host": host})
    assert (200 if refusal is None else refusal.status) == expected


def test_a_rebound_name_is_refused_by_the_server() -> None:
    with viewer() as opened, client(opened, Host="evil.example") as browser:
        assert browser.get("/").status_code == 421
        assert "open it as localhost, or start it with --token" in browser.get("/").text
        assert browser.get("/healthz").status_code == 421
        with (
            socket.create_connection(("127.0.0.1", opened.port)) as rebound,
            pytest.raises(InvalidStatus, match="403"),
        ):
            connect("ws://evil.example/ws", sock=rebound)


@pytest.mark.parametrize(
    ("origin", "passes"),
    [
        *[(origin, True) for origin in (None, "http://HOST", "https://HOST")],
        *[(origin, False) for origin in ("http://evil.example", "http://HOST.evil.example", "null", "file://HOST")],
        *[(origin, False) for origin in ("", "http://[")],
    ],
)
def test_a_page_of_another_origin_opens_no_websocket(steady: Viewer, origin: str | None, passes: bool) -> None:
    host = f"127.0.0.1:{steady.port}"
    headers = {} if origin is None else {"Origin": origin.replace("HOST", host)}
    if passes:
        with connect(f"ws://{host}/ws", additional_headers=headers) as page:
            assert '"type":"state"' in page.recv(timeout=10)
    else:
        with pytest.raises(InvalidStatus, match="403"):
            connect(f"ws://{host}/ws", additional_headers=headers)


def test_the_token_is_told_nowhere(guarded: Viewer, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), client(guarded, **BEARER) as program:
        answers = [program.get(path) for path in ("/", "/api/state", "/metrics")]
        program.get(f"/enter/{TOKEN}")
        program.post("/enter", data={"token": TOKEN})
    assert all(TOKEN not in answer.text + str(answer.headers) for answer in answers)
    ours = [record.getMessage() for record in caplog.records if record.name.startswith(("edgex", "uvicorn"))]
    assert not [line for line in ours if TOKEN in line]
    assert TOKEN not in guarded.sink.url


def test_only_so_many_links_wait_to_be_used() -> None:
    access = Access(TOKEN, 1)
    codes = [access.new_code() for _ in range(17)]
    assert access.use_code(codes[0]) is False
    assert access.use_code(codes[1]) is True
    assert access.use_code(codes[16]) is True


def test_buckets_refill_and_stay_few(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("edgex.web.rates.time.monotonic", lambda: now[0])
    bucket = Bucket(per_s=2.0, burst=3.0)
    assert [bucket.take() for _ in range(5)] == [True, True, True, False, False]
    assert bucket.missing_s() == pytest.approx(0.5)
    now[0] = 0.5
    assert bucket.take()
    now[0] = 100.0
    assert [bucket.take() for _ in range(4)] == [True, True, True, False]
    buckets = Buckets(1.0, 1.0, callers=3)
    assert buckets.of("first").take()
    for caller in "abc":
        buckets.of(caller)
    assert buckets.of("first").take()  # forgotten, so it begins anew
    assert len(buckets._buckets) == 3


def test_loopback_addresses_are_known() -> None:
    assert all(is_loopback(host) for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.1.2.3", "::1"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.4", "example.org", ""))
