"""The gate before every route: who may pass, and the headers that every answer carries."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from edgex.optional import require
from edgex.web.access import Access, Refusal
from edgex.web.connections import Connection, Connections

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",  # no page elsewhere can embed the picture, cookie or none
    "Permissions-Policy": "camera=(), microphone=(), geolocation=()",
    "Cache-Control": "no-store",
}
FORM_HEADERS = {"Referrer-Policy": "same-origin"}  # with no-referrer, a browser calls the form's Origin "null"
_RAW_HEADERS = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]
_REFUSED = Refusal(
    401, "expected the viewer's token, got none that holds; open the link that edgex printed, or sign in"
)
_METHOD = Refusal(405, "expected GET, got another method; the viewer takes settings over its WebSocket only")


class Gate:
    """Lets requests through to the routes, or answers them in one sentence.

    Parameters
    ----------
    app : the routes
    access : who may pass
    connections : those of the server
    public : paths that need no token
    front : path of the page; who may not see it gets the page to sign in instead
    sign_in : that page, HTML
    """

    def __init__(
        self, app: App, access: Access, connections: Connections, public: frozenset[str], front: str, sign_in: str
    ) -> None:
        self._app = app
        self._access = access
        self._connections = connections
        self._public = public
        self._front = front
        self._sign_in = sign_in
        self._gone: type[Exception] = require("starlette.requests").ClientDisconnect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = self._connections.of(scope["client"])
        if connection is None:
            return  # it went before it was answered
        connection.begin()
        try:
            refusal = await self._refusal(scope, connection)
            if refusal is None:
                await self._app(scope, receive, _with_headers(send))
            elif scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close", "code": 1008, "reason": refusal.sentence[:120]})
            else:
                await self._answer(refusal, scope, receive, _with_headers(send))
        except self._gone:
            pass  # it went while its request was read
        finally:
            connection.end()

    async def _refusal(self, scope: Scope, connection: Connection) -> Refusal | None:
        headers = require("starlette.datastructures").Headers(scope=scope)
        path, method = scope["path"], scope.get("method", "GET")
        posts = path == "/enter" and method == "POST"
        if method not in ("GET", "HEAD") and not posts:
            return _METHOD
        if (wrong := self._access.wrong_host(headers)) is not None:
            return wrong
        if (posts or scope["type"] == "websocket") and (wrong := self._access.wrong_origin(headers)) is not None:
            return wrong
        if path in self._public:
            return None
        if path.startswith("/enter/") or posts:
            return None
        if not await self._access.knows(headers, scope["client"][0]):
            return _REFUSED
        connection.passed = True
        return None

    async def _answer(self, refusal: Refusal, scope: Scope, receive: Receive, send: Send) -> None:
        responses = require("starlette.responses")
        headers = {"WWW-Authenticate": "Bearer"} if refusal.status == 401 else {}
        if refusal.status == 405:
            headers["Allow"] = "GET, HEAD"
        if refusal.status == 401 and scope["path"] == self._front:
            response = responses.HTMLResponse(self._sign_in, refusal.status, headers | FORM_HEADERS)
        else:
            response = responses.PlainTextResponse(refusal.sentence + "\n", refusal.status, headers)
        await response(scope, receive, send)


def _with_headers(send: Send) -> Send:
    async def send_all(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            given = [*message.get("headers", ())]
            names = {name.lower() for name, _ in given}
            message["headers"] = [*given, *(header for header in _RAW_HEADERS if header[0] not in names)]
        await send(message)

    return send_all
