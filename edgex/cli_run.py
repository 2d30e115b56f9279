"""`edgex run`: parse, open the source, the model and the sinks, run, print."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from edgex.cli_shared import Debug, Json, Model, Trust, complain, progress
from edgex.cli_summary import print_summary
from edgex.errors import UsageError

if TYPE_CHECKING:
    from edgex.explain import Explainer
    from edgex.sinks.web import WebSink
    from edgex.sources import Source
    from edgex.types import Style
    from edgex.view import LiveView

_SOURCE = "Picture, folder, quoted glob, video, rtsp:// or http:// stream, GStreamer pipeline, or synthetic:WxH@FPS."
_LIVE, _SHOWN, _WRITTEN = "Live sources", "What is shown", "Where it goes"


def run(
    model: Model = None,
    source: Annotated[str | None, typer.Option(help=_SOURCE, metavar="URI")] = None,
    camera: Annotated[str | None, typer.Option(help="Camera, N or /dev/videoN.", metavar="N")] = None,
    camera_size: Annotated[
        str | None, typer.Option(help="Size to ask of the camera.", metavar="WxH", rich_help_panel=_LIVE)
    ] = None,
    camera_fps: Annotated[
        float | None, typer.Option(help="Frame rate to ask of the camera.", min=0.1, rich_help_panel=_LIVE)
    ] = None,
    camera_format: Annotated[
        str, typer.Option(help="Pixel format to ask of the camera, four letters.", rich_help_panel=_LIVE)
    ] = "MJPG",
    transport: Annotated[str, typer.Option(help="tcp or udp, for RTSP.", rich_help_panel=_LIVE)] = "tcp",
    stall_timeout: Annotated[
        float,
        typer.Option(help="Seconds without a picture after which a source is opened again.", rich_help_panel=_LIVE),
    ] = 5.0,
    reconnects: Annotated[
        int | None, typer.Option(help="Attempts to open it again; endless when left out.", min=0, rich_help_panel=_LIVE)
    ] = None,
    longest_pause: Annotated[
        float, typer.Option(help="Longest pause between two attempts, in seconds.", rich_help_panel=_LIVE)
    ] = 30.0,
    classes: Annotated[
        str | None, typer.Option(help="Classes to show, with commas between.", metavar="A,B", rich_help_panel=_SHOWN)
    ] = None,
    top: Annotated[
        int, typer.Option(help="Show at most so many predicted classes.", min=1, rich_help_panel=_SHOWN)
    ] = 3,
    threshold: Annotated[
        float, typer.Option(help="Lowest score that is shown.", min=0.0, max=1.0, rich_help_panel=_SHOWN)
    ] = 0.5,
    style: Annotated[str, typer.Option(help="overlay, heat, cutout or outline.", rich_help_panel=_SHOWN)] = "overlay",
    opacity: Annotated[
        float, typer.Option(help="Weight of the drawing.", min=0.0, max=1.0, rich_help_panel=_SHOWN)
    ] = 0.6,
    smooth: Annotated[
        float, typer.Option(help="Time constant in seconds of smoothing over frames.", min=0.0, rich_help_panel=_SHOWN)
    ] = 0.1,
    monitor: Annotated[
        int,
        typer.Option(
            help="Ask the classifier again about every Nth frame, masked: is the mask true?",
            min=0,
            metavar="N",
            rich_help_panel=_SHOWN,
        ),
    ] = 0,
    serve: Annotated[
        str | None,
        typer.Option(help="Show it live in browsers, at this address.", metavar="HOST:PORT", rich_help_panel=_WRITTEN),
    ] = None,
    token: Annotated[
        str | None,
        typer.Option(
            help="Token that viewers need; made and printed when left out, needed on no loopback address.",
            envvar="EDGEX_TOKEN",
            rich_help_panel=_WRITTEN,
        ),
    ] = None,
    display: Annotated[
        bool, typer.Option("--display", help="Open the viewer in this machine's browser.", rich_help_panel=_WRITTEN)
    ] = False,
    output: Annotated[
        Path | None, typer.Option(help="Video (.mp4), picture (.png) or folder to write.", rich_help_panel=_WRITTEN)
    ] = None,
    save_masks: Annotated[
        Path | None, typer.Option(help="Folder for one 8-bit PNG per frame and class.", rich_help_panel=_WRITTEN)
    ] = None,
    records: Annotated[
        Path | None, typer.Option(help="File for one JSON line per frame.", rich_help_panel=_WRITTEN)
    ] = None,
    contact_sheet: Annotated[
        Path | None, typer.Option(help="Picture with a grid of frames.", rich_help_panel=_WRITTEN)
    ] = None,
    limit: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1)] = None,
    max_fps: Annotated[float | None, typer.Option(help="Explain at most so many frames a second.", min=0.01)] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Age in ms beyond which a frame is late; a live frame's interval by default.")
    ] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the engine.", min=1)] = None,
    backend: Annotated[str, typer.Option(help="Backend that infers, or auto.")] = "auto",
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Explain pictures, a video, a stream or a camera: draw which pixels speak for the classes the classifier sees."""
    if (source is None) == (camera is None):
        raise UsageError("expected one of --source URI and --camera N, got " + ("none" if source is None else "both"))
    from edgex.engines.choose import cpu_share
    from edgex.explain import load
    from edgex.pipeline import RunOptions
    from edgex.pipeline import run as run_pipeline
    from edgex.signals import stop_signals
    from edgex.sinks import open_sinks
    from edgex.sources import open_camera, open_source
    from edgex.sources.camera import CameraOptions
    from edgex.sources.capture import LiveOptions
    from edgex.view import LiveView, View

    names = None if classes is None else tuple(name.strip() for name in classes.split(",") if name.strip())
    shown = View(names, top, threshold, cast("Style", style), opacity)
    options = RunOptions(limit, max_fps, smooth, monitor, deadline)
    live = LiveOptions(stall_timeout, reconnects, longest_pause, cast("Literal['tcp', 'udp']", transport))
    asked = CameraOptions(None if camera_size is None else _size(camera_size), camera_fps, camera_format)
    with contextlib.ExitStack() as stack:
        frames = open_source(source, live) if source is not None else open_camera(cast(str, camera), asked, live)
        stack.callback(frames.close)
        share = cpu_share(threads, frames.live)
        explainer = stack.enter_context(load(model, backend, share.threads, trust=trust, streams=share.streams))
        view = LiveView(shown, explainer.labels)
        stopped = stack.enter_context(stop_signals())
        viewer = _open_viewer(serve, token, display, view, frames, explainer)
        if viewer is not None:
            stack.callback(viewer.abort)
        where, read = (output, save_masks, records, contact_sheet), explainer.engine.path
        files = open_sinks(
            *where,
            fps=frames.fps,
            frame_count=frames.frame_count,
            live=frames.live,
            inputs=frames.files,
            model=read,
        )
        if frames.live and viewer is None and not files:
            complain("note: nothing is shown or kept; add --serve 127.0.0.1:8000, --display, --output or --records")
        totals = [count for count in (frames.frame_count, limit) if count is not None]
        with progress() as show:
            summary = run_pipeline(
                frames,
                explainer,
                [*([] if viewer is None else [viewer]), *files],
                view,
                options,
                stopped=lambda: bool(stopped),
                observe=lambda shot: show("explaining", shot.frame.index + 1, min(totals, default=None)),
            )
    for warning in summary.warnings:
        complain(f"warning: {warning}")
    written = {"output": output, "masks": save_masks, "records": records, "contact_sheet": contact_sheet}
    products = {name: str(path) for name, path in written.items() if path is not None and summary.frames}
    if as_json:
        print(json.dumps({**dataclasses.asdict(summary), "products": products}))
    else:
        print_summary(summary, products)
    return 0


def _size(text: str) -> tuple[int, int]:
    match = re.fullmatch(r"(\d{1,5})x(\d{1,5})", text)
    if match is None:
        raise UsageError(f"expected --camera-size as width x height, got {text!r}; write 1280x720")
    return int(match[1]), int(match[2])


def _open_viewer(
    serve: str | None, token: str | None, display: bool, view: LiveView, frames: Source, explainer: Explainer
) -> WebSink | None:
    """Open the viewer that is asked for, and say where it is."""
    if serve is None and not display:
        return None
    from edgex.compositors.palette import class_color
    from edgex.sinks.web import ServeOptions, WebSink, parse_address

    host, port = parse_address(serve or "127.0.0.1:0")
    about = {"model": explainer.engine.path.name, "backend": explainer.engine.backend, "source": frames.uri}
    colors = [class_color(index) for index in range(len(view.labels))]
    viewer = WebSink(ServeOptions(host, port, token), view, lambda: frames.state, about, colors)
    complain(f"watch at {viewer.url}")
    if viewer.token is not None and token is None:
        complain(f"the link works once; further devices need the token {viewer.token}")
    if display:
        _open_browser(viewer.link())
    return viewer


def _open_browser(address: str) -> None:
    """Open this machine's browser beside the run, with nothing of ours to read and none of our output to write to."""
    import subprocess
    import sys
    import webbrowser

    try:
        webbrowser.get()
    except webbrowser.Error:
        complain("warning: expected a browser on this machine, found none; open the address above elsewhere")
        return
    command = [sys.executable, "-m", "webbrowser", address]
    subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
