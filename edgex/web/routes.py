"""The routes: the page's files, the picture as stream and alone, the state, snapshots, settings, health and figures."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgex.errors import EdgexError, UsageError
from edgex.optional import require
from edgex.view import LiveView
from edgex.web import settings
from edgex.web.access import Access
from edgex.web.connections import Connections
from edgex.web.entry import Entry
from edgex.web.gate import App, Gate, Receive, Scope, Send
from edgex.web.metrics import Metrics
from edgex.web.newest import Newest
from edgex.web.pictures import BOUNDARY, STREAM_TYPE, Pictures
from edgex.web.rates import Bucket
from edgex.web.snapshot import png_with_record
from edgex.web.states import States, text_of

_PAGE = Path(__file__).parent / "page"
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
_FRONT, _SIGN_IN = "index.html", "enter.html"
_PICTURE_S = 10.0  # /api/frame.jpg waits so long for the first frame
_SNAPSHOTS = 4  # that wait for the one being encoded; more are turned away
_SETTINGS_PER_S, _SETTINGS_BURST = 20.0, 40.0
_PATIENCE = 40  # messages in a row that came too fast: a slider that is dragged never gets there


@dataclass(frozen=True, slots=True)
class Parts:
    """What the routes speak of; `viewers` is the most picture streams at once."""

    newest: Newest
    pictures: Pictures
    states: States
    metrics: Metrics
    view: LiveView
    access: Access
    connections: Connections
    viewers: int


def routes(parts: Parts) -> App:
    """Return the whole application, gate included. The page's files are read here, once: no request names a file."""
    routing, responses = require("starlette.routing"), require("starlette.responses")
    files = {path.name: path for path in sorted(_PAGE.iterdir()) if path.suffix in _TYPES}
    sign_in = files.pop(_SIGN_IN).read_text(encoding="utf-8")
    found = [_file("/" if name == _FRONT else f"/{name}", path) for name, path in files.items()]
    public = frozenset(route.path for route in found if route.path != "/") | {"/healthz"}
    entry = Entry(parts.access, sign_in)
    answers = _Answers(parts)

    async def missing(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await responses.PlainTextResponse("expected a path of the viewer, got another; open /\n", 404)(
            scope, receive, send
        )

    for path, endpoint in (
        ("/stream.mjpg", answers.stream),
        ("/api/frame.jpg", answers.picture),
        ("/api/snapshot.png", answers.snapshot),
        ("/api/state", answers.state),
        ("/healthz", answers.health),
        ("/metrics", answers.figures),
        ("/enter/{code}", entry.by_link),
    ):
        found.append(routing.Route(path, endpoint, methods=["GET"]))
    found.append(routing.Route("/enter", entry.by_form, methods=["POST"]))
    found.append(routing.WebSocketRoute("/ws", answers.page))
    router = routing.Router(found, redirect_slashes=False, default=missing)
    return Gate(router, parts.access, parts.connections, public, "/", sign_in)


def _file(route: str, path: Path) -> Any:
    responses, routing = require("starlette.responses"), require("starlette.routing")
    content = path.read_bytes()

    async def answer(request: Any) -> Any:
        return responses.Response(content, media_type=_TYPES[path.suffix])

    return routing.Route(route, answer, methods=["GET"])


class _Answers:
    """One method per route."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._responses = require("starlette.responses")
        self._disconnect: type[Exception] = require("starlette.websockets").WebSocketDisconnect
        self._snapshot = asyncio.Lock()
        self._snapshots = 0

    async def stream(self, request: Any) -> Any:
        """The picture, on and on: each viewer gets the newest one whenever it can take one."""
        if self._parts.states.viewers >= self._parts.viewers:
            most = self._parts.viewers
            return self._refused(503, f"expected at most {most} viewers, got one more; close one and try again")
        return _Stream(self._parts) if request.method == "GET" else self._responses.Response(media_type=STREAM_TYPE)

    async def picture(self, request: Any) -> Any:
        """The newest picture."""
        pictures = self._parts.pictures
        with pictures.watched() as serial:
            try:
                found = await asyncio.wait_for(pictures.after(serial), _PICTURE_S)
            except asyncio.TimeoutError:
                found = None
        if found is None:
            return self._refused(503, "expected a frame, got none so far; try again when the source gives pictures")
        return self._responses.Response(found.jpeg, media_type="image/jpeg")

    async def snapshot(self, request: Any) -> Any:
        """The newest frame in full resolution, as PNG with its record; one at a time, in another thread."""
        shot = self._parts.newest.shot
        if shot is None:
            return self._refused(503, "expected a frame, got none so far; try again when the source gives pictures")
        if self._snapshots > _SNAPSHOTS:
            return self._refused(429, "expected fewer snapshots at a time, got too many; try again in a moment")
        self._snapshots += 1
        try:
            async with self._snapshot:
                record = self._parts.states.snapshot(shot)
                png = await asyncio.to_thread(png_with_record, shot.picture, record)
        except EdgexError as error:
            return self._refused(500, str(error))
        finally:
            self._snapshots -= 1
        headers = {"Content-Disposition": f'inline; filename="edgex-{shot.frame.index:06d}.png"'}
        return self._responses.Response(png, media_type="image/png", headers=headers)

    async def state(self, request: Any) -> Any:
        """Everything that is known of the run at this moment."""
        return self._responses.Response(text_of(self._parts.states.whole()), media_type="application/json")

    async def health(self, request: Any) -> Any:
        """Whether frames come."""
        status, words = self._parts.states.health()
        return self._responses.JSONResponse(words, status)

    async def figures(self, request: Any) -> Any:
        """What Prometheus reads."""
        self._parts.metrics.count(self._parts.newest.drain())
        return self._responses.Response(self._parts.metrics.text(), headers=_typed(self._parts.metrics.content_type))

    async def page(self, socket: Any) -> None:
        """The page's connection: the state goes out, settings come in."""
        await socket.accept()
        telling = asyncio.create_task(self._tell(socket))
        allowed, waits = Bucket(_SETTINGS_PER_S, _SETTINGS_BURST), 0
        try:
            while (message := await socket.receive())["type"] == "websocket.receive":
                waits = waits + 1 if allowed.missing_s() > 0.0 else 0
                if waits > _PATIENCE:
                    await socket.close(1008, "expected fewer settings a second")
                    break
                await asyncio.sleep(allowed.missing_s())  # meanwhile nothing is read: who floods, waits
                allowed.take()
                try:
                    settings.apply(message.get("text") or message.get("bytes") or "", self._parts.view)
                    self._parts.states.announce()
                except UsageError as error:
                    await socket.send_text(text_of({"type": "error", "message": str(error)[:500]}))
        except (self._disconnect, RuntimeError):
            pass  # the page went while it was answered
        finally:
            telling.cancel()
            await asyncio.gather(telling, return_exceptions=True)

    async def _tell(self, socket: Any) -> None:
        states = self._parts.states
        connection = self._parts.connections.of(socket.scope["client"])
        await socket.send_text(text_of({"type": "state", **states.whole()}))
        serial: int | None = states.serial
        with contextlib.suppress(self._disconnect):
            while connection is not None and serial is not None and (serial := await states.after(serial)) is not None:
                await connection.writable.wait()
                await socket.send_text(states.news())

    def _refused(self, status: int, sentence: str) -> Any:
        return self._responses.PlainTextResponse(sentence + "\n", status)


class _Stream:
    """The picture stream as bare ASGI: one send per picture, of bytes that all viewers share."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = self._parts.connections.of(scope["client"])
        await send({"type": "http.response.start", "status": 200, "headers": _typed_raw(STREAM_TYPE)})
        await send({"type": "http.response.body", "body": BOUNDARY, "more_body": True})
        self._parts.states.viewers += 1
        try:
            with self._parts.pictures.watched() as serial:
                while connection is not None and not connection.closed:
                    picture = await self._parts.pictures.after(serial)
                    if picture is None:
                        break
                    serial = self._parts.pictures.serial
                    await send({"type": "http.response.body", "body": picture.part, "more_body": True})
                    await connection.writable.wait()
        finally:
            self._parts.states.viewers -= 1
        await send({"type": "http.response.body", "body": b"", "more_body": False})


def _typed(content_type: str) -> dict[str, str]:
    return {"Content-Type": content_type}


def _typed_raw(content_type: str) -> list[tuple[bytes, bytes]]:
    return [(b"content-type", content_type.encode())]
