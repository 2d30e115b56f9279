"""Who may look: a token, a cookie that stands for it, links that work once, and which hosts and pages may ask."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import ipaddress
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from urllib.parse import urlsplit

from edgex.web.rates import Buckets

_TRIES, _TRIES_PER_S = 5, 0.2  # wrong tokens of one caller: five at once, then one in five seconds at full speed
_WAIT_S = 1.0  # for every further try, right or wrong: with the bound on strangers' connections, few guesses a second
_CODES = 16  # one-time links that wait to be used; a new one replaces the oldest
_HOST = re.compile(r"(\[[0-9a-fA-F:.]+\]|[\w.-]+)(:\d{1,5})?")


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is not answered.

    Attributes
    ----------
    status : HTTP status
    sentence : what was expected, what came, what to do
    """

    status: int
    sentence: str


class Access:
    """Decides about requests; what it keeps is bounded.

    Parameters
    ----------
    token : what a caller has to know, or None where only this machine reaches the viewer
    port : of the viewer; cookies are shared between the ports of a host, so it stands in their name
    """

    def __init__(self, token: str | None, port: int) -> None:
        self._token = token
        self.cookie_name = f"edgex-{port}"
        self._codes: list[str] = []
        self._wrong = Buckets(_TRIES_PER_S, _TRIES)

    @property
    def is_open(self) -> bool:
        """Whether nobody needs a token."""
        return self._token is None

    @property
    def cookie(self) -> str:
        """The cookie's value: it stands for the token, does not tell it, and outlives a restart with the same one."""
        return hmac.new((self._token or "").encode(), b"edgex viewer cookie", hashlib.sha256).hexdigest()

    def new_code(self) -> str:
        """Return the secret of a new one-time link."""
        code = secrets.token_urlsafe(16)
        self._codes = [*self._codes[1 - _CODES :], code]
        return code

    def use_code(self, code: str) -> bool:
        """Return whether a one-time link's secret holds, and make it void; it is too long to be guessed."""
        found = [known for known in self._codes if _equal(known, code)]
        if found:
            self._codes.remove(found[0])
        return bool(found)

    async def accepts(self, token: str, caller: str) -> bool:
        """Return whether a token is the right one.

        A caller with many wrong ones waits, but is not refused: at the end of a tunnel or a proxy, all viewers have one
        address.
        """
        if self._token is None:
            return True
        if self._wrong.of(caller).missing_s() > 0.0:
            await asyncio.sleep(_WAIT_S)
        right = _equal(self._token, token)
        if not right:
            self._wrong.of(caller).take()
        return right

    async def knows(self, headers: Mapping[str, str], caller: str) -> bool:
        """Return whether the request brings the cookie, or the token as `Authorization: Bearer`."""
        if self._token is None or _equal(self.cookie, _cookie(headers.get("cookie", ""), self.cookie_name)):
            return True
        scheme, _, given = headers.get("authorization", "").partition(" ")
        return scheme.lower() == "bearer" and await self.accepts(given.strip(), caller)

    def wrong_host(self, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse a Host that is no host, or, without a token, not this machine.

        A page elsewhere can have its own name resolve to 127.0.0.1 (DNS rebinding); its name still stands in Host.
        """
        host = headers.get("host", "")
        match = _HOST.fullmatch(host)
        if match is None:
            return Refusal(400, "expected a Host header with a name, got none; use another client")
        if self.is_open and not is_loopback(match[1].strip("[]")):
            return Refusal(
                421, f"expected localhost as host, got {match[1]}; open it as localhost, or start it with --token"
            )
        return None

    def wrong_origin(self, headers: Mapping[str, str]) -> Refusal | None:
        """Refuse what a page of another origin asks for; programs that are no browser send no Origin."""
        origin = headers.get("origin")
        if origin is None:
            return None
        try:
            parts = urlsplit(origin)
        except ValueError:
            parts = urlsplit("")
        if parts.scheme in ("http", "https") and parts.netloc.lower() == headers.get("host", "").lower():
            return None
        return Refusal(
            403,
            "expected a request of the viewer's own page, got one of another origin; "
            "open the viewer's own address (a proxy has to pass Host on)",
        )


def is_loopback(host: str) -> bool:
    """Tell whether a host name or address is this machine's own."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _equal(known: str, given: str) -> bool:
    return hmac.compare_digest(known.encode(), given.encode("utf-8", "surrogateescape"))


def _cookie(header: str, name: str) -> str:
    try:
        morsel = SimpleCookie(header).get(name)
    except CookieError:
        return ""
    return "" if morsel is None else morsel.value
