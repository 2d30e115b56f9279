"""The web viewer as a sink: frames go into a mailbox, and a page shows the newest to whoever may look."""

from __future__ import annotations

import re
import secrets
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from edgex.errors import SinkError, UsageError
from edgex.optional import require
from edgex.types import Color, Shot, SourceState, is_number, is_whole
from edgex.view import LiveView
from edgex.web.access import Access, is_loopback
from edgex.web.newest import Newest
from edgex.web.pictures import PictureOptions
from edgex.web.server import Server

_TOKEN = re.compile(r"[!-~]{8,}")
_SEND_BYTES = 512 * 1024  # of the kernel: two pictures; more would make what a slow viewer sees old
_OUTSIDE = ("192.0.2.1", 9)  # RFC 5737: an address for documentation; nothing is sent to it


@dataclass(frozen=True, slots=True)
class ServeOptions:
    """Where and to whom the viewer is served.

    Attributes
    ----------
    host : name or address to bind; "127.0.0.1" is reached from this machine only, "0.0.0.0" from every other
    port : 0 takes a free one
    token : what viewers have to know, 8 or more printable ASCII characters without spaces; on an address that other
        machines reach, None makes one
    viewers : at most so many at once
    quality, fps, longest_px : of the pictures: JPEG quality, at most so many a second, at most so large
    """

    host: str = "127.0.0.1"
    port: int = 8000
    token: str | None = None
    viewers: int = 32
    quality: int = 80
    fps: float = 30.0
    longest_px: int = 1920

    def __post_init__(self) -> None:
        if not is_whole(self.port) or not 0 <= self.port <= 65535:
            raise UsageError(f"expected a port of 0 to 65535, got {self.port}; choose one")
        if self.token is not None and _TOKEN.fullmatch(self.token) is None:  # what a form and a header both carry
            raise UsageError(
                "expected a token of at least 8 letters, digits and signs of ASCII without spaces, got another one; "
                "choose such a one, or give none and one is made"
            )
        if not is_whole(self.viewers) or self.viewers < 1:
            raise UsageError(f"expected at least 1 viewer, got {self.viewers}; allow 1 or more")
        if not is_whole(self.quality) or not 1 <= self.quality <= 100:
            raise UsageError(f"expected a JPEG quality of 1 to 100, got {self.quality}; 80 is a good one")
        if not is_number(self.fps) or not 0 < self.fps <= 60:
            raise UsageError(f"expected at most 60 pictures a second and more than none, got {self.fps}; 30 is smooth")
        if not is_whole(self.longest_px) or self.longest_px < 64:
            raise UsageError(f"expected pictures of at least 64 pixels, got {self.longest_px}; choose more")


def parse_address(address: str) -> tuple[str, int]:
    """Return host and port of "HOST:PORT", "[::1]:PORT" or "PORT" (this machine only).

    Raises
    ------
    UsageError
        If it is anything else.
    """
    host, separator, port = address.rpartition(":")
    host = host if separator else "127.0.0.1"
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    is_port = port.isascii() and port.isdigit() and int(port) <= 65535
    if not host or not is_port:
        example = port if is_port else "8000"
        raise UsageError(
            f"expected HOST:PORT, got {address!r}; "
            f"give 0.0.0.0:{example} for every machine or {example} for this one alone"
        )
    return host, int(port)


class WebSink:
    """Serves a page with the newest frame; binds at once and closes everything with the run.

    Parameters
    ----------
    options : where and to whom
    view : what is shown and how; pages change it
    source_state : how the source stands, asked from another thread
    about : what the page says of the run, such as model, backend and source
    colors : one per label of the view

    Attributes
    ----------
    token : what viewers have to know, or None
    url : where to open it; with a link that works once where a token is needed

    Raises
    ------
    SinkError
        If the address cannot be bound.
    MissingDependencyError
        If the extra "serve" is not installed.
    """

    wants_masks = False

    def __init__(
        self,
        options: ServeOptions,
        view: LiveView,
        source_state: Callable[[], SourceState],
        about: Mapping[str, str],
        colors: Sequence[Color],
    ) -> None:
        for module in ("starlette", "uvicorn", "websockets", "prometheus_client"):
            require(module)
        listening = _bound(options.host, options.port)
        address, port = listening.getsockname()[:2]
        is_local = is_loopback(address)
        self.token = options.token if is_local else options.token or secrets.token_urlsafe(24)
        self._access = Access(self.token, port)
        self._origin = f"http://{_reachable(address, options.host)}:{port}"
        self._newest = Newest()
        pictures = PictureOptions(options.quality, options.fps, options.longest_px)
        self._server = Server(
            listening, self._newest, view, source_state, about, colors, self._access, pictures, options.viewers
        )
        self._server.start()
        self.url = self.link()

    def link(self) -> str:
        """Return where to open the viewer, each time with a new link that works once, where a token is needed."""
        return f"{self._origin}/" if self.token is None else f"{self._origin}/enter/{self._access.new_code()}"

    def write(self, shot: Shot) -> None:
        """Show one frame, if it is still the newest when somebody looks. Raises SinkError if the server has failed."""
        self._server.check()
        self._newest.put(shot)

    def close(self) -> None:
        """Stop serving."""
        self._server.stop()

    def abort(self) -> None:
        """Stop serving."""
        self._server.stop()


def _bound(host: str, port: int) -> socket.socket:
    """Return a socket that listens there."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise SinkError(f"expected an address to serve on, got {host}: {error.strerror}; choose another") from error
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BYTES)  # taken over by each connection
        listening.bind(address)
        listening.listen(128)
        return listening
    except OSError as error:
        listening.close()
        raise SinkError(f"expected to serve on {host}:{port}, got: {error.strerror}; choose another port") from error


def _reachable(address: str, host: str) -> str:
    """Return the host as a URL names it; for every address of this machine, the one that others see."""
    if address not in ("0.0.0.0", "::"):
        name = address if is_loopback(address) else host
        return f"[{name}]" if ":" in name else name
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(_OUTSIDE)
            return str(probe.getsockname()[0])
        except OSError:
            return socket.gethostname()
