"""How a browser comes in: by a link that works once, or by typing the token; both set the cookie."""

from __future__ import annotations

import asyncio
from typing import Any
from urllib.parse import parse_qs

from edgex.optional import require
from edgex.web.access import Access
from edgex.web.gate import FORM_HEADERS

_LARGEST_BYTES = 1024  # of the form that brings the token
_FORM_S = 10.0
# The next request has to come from this page: after a redirect from elsewhere, SameSite=Strict holds the cookie back.
_INSIDE = (
    '<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url=/">'
    '<title>edgex</title><link rel="icon" href="/icon.svg" type="image/svg+xml">'
    '<link rel="stylesheet" href="/style.css"><p class="notice"><a href="/">Open the viewer</a></p>'
)
_VOID = "That link was used already, or is of another run: sign in with the token that edgex printed."
_WRONG = "That is not the token; look at what edgex printed when it started."


class Entry:
    """The two ways in.

    Parameters
    ----------
    access : who may pass
    sign_in : the page with the form, HTML; what went wrong is put where it says <!-- why -->
    """

    def __init__(self, access: Access, sign_in: str) -> None:
        self._access = access
        self._sign_in = sign_in
        self._responses = require("starlette.responses")

    async def by_link(self, request: Any) -> Any:
        """Answer `GET /enter/CODE`. A browser that only looks ahead, or asks for the head, uses no link up."""
        if request.method == "HEAD" or "prefetch" in request.headers.get("sec-purpose", ""):
            return self._responses.PlainTextResponse("open the link\n", 503)
        return self._answer(self._access.use_code(request.path_params["code"]), _VOID)

    async def by_form(self, request: Any) -> Any:
        """Answer `POST /enter` with the field `token`."""
        try:
            body = await asyncio.wait_for(_bounded(request), _FORM_S)
            fields = parse_qs(body.decode("utf-8"), max_num_fields=4)
        except (asyncio.TimeoutError, ValueError):
            return self._page(_WRONG, 400)
        token = fields.get("token", [""])[0].strip()
        return self._answer(await self._access.accepts(token, request.client.host), _WRONG)

    def _answer(self, allowed: bool, why: str) -> Any:
        if not allowed:
            return self._page(why, 401)
        response = self._responses.HTMLResponse(_INSIDE)
        if not self._access.is_open:
            response.set_cookie(
                self._access.cookie_name, self._access.cookie, max_age=30 * 86400, httponly=True, samesite="strict"
            )
        return response

    def _page(self, why: str, status: int) -> Any:
        page = self._sign_in.replace("<!-- why -->", why)
        return self._responses.HTMLResponse(page, status, FORM_HEADERS)


async def _bounded(request: Any) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > _LARGEST_BYTES:
            raise ValueError("expected a smaller form")
    return body
