"""The server's thread: its event loop, uvicorn in it, and an end that leaves no thread and no socket."""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from collections.abc import Callable, Mapping, Sequence

from edgex.errors import SinkError
from edgex.optional import require
from edgex.types import Color, SourceState
from edgex.view import LiveView
from edgex.web.access import Access
from edgex.web.connections import Connections, protocol_class
from edgex.web.metrics import Metrics
from edgex.web.newest import Newest
from edgex.web.pictures import PictureOptions, Pictures
from edgex.web.priority import step_back
from edgex.web.quiet import quiet
from edgex.web.routes import Parts, routes
from edgex.web.states import TICK_S, States

_PER_VIEWER, _SPARE = 3, 16  # connections: picture, WebSocket and one more each, and some for machines
_REQUEST_BYTES = 16_384
_MESSAGE_BYTES = 65_536  # a larger one ends its WebSocket; one beyond the settings' own bound is answered
_START_S, _STOP_S = 30.0, 15.0

_log = logging.getLogger(__name__)


class Server:
    """Serves the viewer from a thread of its own; `start` returns when it answers.

    Parameters
    ----------
    listening : a bound socket, which the server closes
    newest : where frames come from
    view, source_state, about, colors : see `edgex.sinks.web.WebSink`
    access : who may look
    pictures : how pictures are made
    viewers : most picture streams at once

    Attributes
    ----------
    connections : those that are open
    """

    def __init__(
        self,
        listening: socket.socket,
        newest: Newest,
        view: LiveView,
        source_state: Callable[[], SourceState],
        about: Mapping[str, str],
        colors: Sequence[Color],
        access: Access,
        pictures: PictureOptions,
        viewers: int,
    ) -> None:
        self._listening = listening
        self._newest = newest
        self._view = view
        self._source_state = source_state
        self._about = about
        self._colors = colors
        self._access = access
        self._options = pictures
        self._viewers = viewers
        most = _PER_VIEWER * viewers + _SPARE
        self.connections = Connections(most, max(_SPARE, most // 4))
        self._uvicorn = require("uvicorn")
        self._stop: Callable[[], None] | None = None
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="edgex-web", daemon=True)

    def start(self) -> None:
        """Begin to serve. Raises SinkError when that fails."""
        self._thread.start()
        if not self._started.wait(_START_S):
            self.stop()
            raise SinkError(f"expected the viewer to serve within {_START_S:.0f} seconds, got no sign; start it again")
        self.check()

    def check(self) -> None:
        """Raise SinkError when the server has ended by an error."""
        if self._failure is not None:
            raise SinkError(f"expected the viewer to serve, got {self._failure!r}; start it again") from self._failure

    def stop(self) -> None:
        """Cut every connection and end both threads; may be called more than once."""
        self._newest.close()
        if self._stop is not None:
            self._stop()
        self._thread.join(_STOP_S)
        if self._thread.is_alive():
            _log.warning("the viewer's thread did not end within %d seconds", _STOP_S)

    def _run(self) -> None:
        step_back()
        try:
            with quiet():
                asyncio.run(self._serve())
        except BaseException as error:  # whatever it is, the pipeline's thread has to tell it
            self._failure = error
            _log.debug("the viewer ended", exc_info=True)
        finally:
            self._listening.close()
            self._newest.close()
            self._started.set()

    async def _serve(self) -> None:
        connections = self.connections
        metrics = Metrics(self._source_state, lambda: states.viewers)
        states = States(self._newest, self._view, self._source_state, self._about, self._colors, metrics)
        pictures = Pictures(self._newest, self._options)
        parts = Parts(self._newest, pictures, states, metrics, self._view, self._access, connections, self._viewers)
        config = self._uvicorn.Config(
            routes(parts),
            http=protocol_class(connections),
            loop="asyncio",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            ws_max_size=_MESSAGE_BYTES,
            ws_per_message_deflate=False,
            h11_max_incomplete_event_size=_REQUEST_BYTES,
            timeout_graceful_shutdown=5,
        )
        server = self._uvicorn.Server(config)
        loop, stopping = asyncio.get_running_loop(), asyncio.Event()
        self._stop = _from_outside(loop, stopping)
        serving = loop.create_task(server.serve(sockets=[self._listening]))
        ending = loop.create_task(stopping.wait())
        try:
            while not serving.done() and not server.started:
                await asyncio.sleep(0.005)
            self._started.set()
            while not serving.done() and not ending.done():
                states.tick()
                pictures.tick()
                connections.tick()
                await asyncio.wait({serving, ending}, timeout=TICK_S, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            pictures.close()
            states.close()
            server.should_exit = True
            connections.abort()
            await serving
            self._newest.close()
            await asyncio.to_thread(pictures.join)


def _from_outside(loop: asyncio.AbstractEventLoop, stopping: asyncio.Event) -> Callable[[], None]:
    def stop() -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(stopping.set)

    return stop
