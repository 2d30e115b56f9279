"""The command line: parse, call one function, print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import typer.core

from edgex.cli_build import build, calibrate, verify
from edgex.cli_shared import CODES, Debug, Json, Model, Trust, complain, plain, print_table, progress
from edgex.errors import EdgexError, UsageError

if TYPE_CHECKING:
    from edgex.pipeline import Summary
    from edgex.types import Style


class _Group(typer.core.TyperGroup):
    """Says every error in one sentence on the error stream and ends with the right exit code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            complain("interrupted")
            return 128 + signal.SIGINT

    def main(self, *args: Any, **options: Any) -> Any:
        arguments = args[0] if args else options.get("args")
        words = sys.argv[1:] if arguments is None else arguments
        code = _guarded(
            lambda: super(_Group, self).main(*args, **{**options, "standalone_mode": False}), "--debug" in words
        )
        if options.get("standalone_mode", True):
            sys.exit(code)
        return code


app = typer.Typer(
    cls=_Group,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="See, live and on the device, which pixels make a classifier say what it says.",
    epilog="Example: edgex run --source clip.mp4 --output overlay.mp4",
)


def main() -> None:
    """Run the command line of this process."""
    if hasattr(sys.stdout, "reconfigure"):  # a name that the terminal cannot show is no reason to stop
        sys.stdout.reconfigure(errors="backslashreplace")
    app(prog_name="edgex")


@app.callback(invoke_without_command=True)
def edgex(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Debug = False,
) -> None:
    """Choose a command."""
    if version:
        from edgex import __version__

        print(f"edgex {__version__}")
    elif context.invoked_subcommand is None:
        print(context.get_help())


@app.command(epilog=f"Example: edgex run --source clip.mp4 --top 2 --output overlay.mp4 --records seen.jsonl. {CODES}")
def run(
    model: Model = None,
    source: Annotated[str | None, typer.Option(help="Picture, folder, quoted glob, or video.", metavar="PATH")] = None,
    camera: Annotated[int | None, typer.Option(help="Number of a camera, N in /dev/videoN.", min=0)] = None,
    classes: Annotated[str | None, typer.Option(help="Classes to show, with commas between.", metavar="A,B")] = None,
    top: Annotated[int, typer.Option(help="Show at most so many predicted classes.", min=1)] = 3,
    threshold: Annotated[float, typer.Option(help="Lowest score that is shown.", min=0.0, max=1.0)] = 0.5,
    style: Annotated[str, typer.Option(help="overlay, heat, cutout or outline.")] = "overlay",
    opacity: Annotated[float, typer.Option(help="Weight of the drawing.", min=0.0, max=1.0)] = 0.6,
    output: Annotated[Path | None, typer.Option(help="Video (.mp4), picture (.png) or folder to write.")] = None,
    save_masks: Annotated[Path | None, typer.Option(help="Folder for one 8-bit PNG per frame and class.")] = None,
    records: Annotated[Path | None, typer.Option(help="File for one JSON line per frame.")] = None,
    contact_sheet: Annotated[Path | None, typer.Option(help="Picture with a grid of frames.")] = None,
    limit: Annotated[int | None, typer.Option(help="Stop after so many frames.", min=1)] = None,
    threads: Annotated[int | None, typer.Option(help="CPU threads of the engine.", min=1)] = None,
    backend: Annotated[str, typer.Option(help="Backend that infers, or auto.")] = "auto",
    trust: Trust = False,
    as_json: Json = False,
    debug: Debug = False,
) -> int:
    """Explain pictures, a video or a camera: draw which pixels speak for the classes the classifier sees."""
    if (source is None) == (camera is None):
        raise UsageError("expected one of --source PATH and --camera N, got " + ("none" if source is None else "both"))
    from edgex.explain import load, resolve
    from edgex.pipeline import RunOptions
    from edgex.pipeline import run as run_pipeline
    from edgex.signals import stop_signals
    from edgex.sinks import open_sinks
    from edgex.sources import open_camera, open_source

    names = None if classes is None else tuple(name.strip() for name in classes.split(",") if name.strip())
    options = RunOptions(names, top, threshold, cast("Style", style), opacity, limit)
    with contextlib.ExitStack() as stack:
        frames = open_source(source) if source is not None else open_camera(cast(int, camera))
        stack.callback(frames.close)
        explainer = stack.enter_context(load(model, backend, threads, trust=trust))
        if names is not None:
            resolve(names, explainer.labels)
        stopped = stack.enter_context(stop_signals())
        where, read = (output, save_masks, records, contact_sheet), explainer.engine.path
        totals = [count for count in (frames.frame_count, limit) if count is not None]
        with progress() as show:
            sinks = open_sinks(*where, fps=frames.fps, frame_count=frames.frame_count, inputs=frames.files, model=read)
            summary = run_pipeline(
                frames,
                explainer,
                sinks,
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
        _print_summary(summary, products)
    return 128 + stopped[0] if stopped else 0


app.command(epilog=f"Example: edgex calibrate model.onnx --data frames/. {CODES}")(calibrate)
app.command(
    epilog=f"Example: edgex build model.onnx --int8 --data frames/. Exit code 3: fidelity below budget. {CODES}"
)(build)
app.command(
    epilog="Example: edgex verify model.onnx model.int8.onnxruntime.onnx --data frames/ --picture worst.png. "
    f"Exit code 3: fidelity below budget. {CODES}"
)(verify)


@app.command(epilog="Example: edgex inspect model.onnx --json")
def inspect(model: Model = None, as_json: Json = False, debug: Debug = False) -> None:
    """Show what is in a model file, and where it can run."""
    from edgex.explain import shipped_bundle
    from edgex.inspect import inspect as look

    found = look(shipped_bundle() if model is None else model)
    if as_json:
        print(json.dumps(found.to_dict()))
    else:
        print_table([(name, plain(text)) for name, text in found.rows()])


@app.command(epilog="Example: edgex doctor --json")
def doctor(as_json: Json = False, debug: Debug = False) -> int:
    """Show what this machine can do, and the command that mends what it cannot."""
    from edgex.doctor import examine

    report = examine()
    if as_json:
        print(json.dumps({"ready": report.ready, **dataclasses.asdict(report)}))
    else:
        print_table(report.rows())
    return 0 if report.ready else 1


def _guarded(command: Callable[[], Any], debug: bool) -> int:
    """Return the exit code of a command; say its error, if any, in one sentence."""
    logging.getLogger("edgex").handlers = [_LogToErrorStream()]
    try:
        code = command()
        sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except Exception as error:
        if debug:
            traceback.print_exc()
        if isinstance(error, EdgexError):
            complain(str(error))
            return error.exit_code
        if hasattr(error, "format_message"):  # what typer finds wrong with the words of the command
            page = " ".join(["edgex", *getattr(getattr(error, "ctx", None), "command_path", "").split()[1:]])
            complain(f"{error.format_message().rstrip('.')}; see: {page} --help")
            return 2
        complain(f"unexpected {type(error).__name__}: {error}; run again with --debug and report it")
        return 1


class _LogToErrorStream(logging.Handler):
    """Shows what the library logs as warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        complain(f"{record.levelname.lower()}: {record.getMessage()}")


def _print_summary(summary: Summary, products: dict[str, str]) -> None:
    stages = ", ".join(f"{name} {times.p50_ms:.1f}" for name, times in summary.stages.items())
    seen = ", ".join(f"{label} in {count}" for label, count in summary.classes.items()) or "none"
    rate = f"{summary.frames_per_second:.1f} frames per second" + f", {summary.skipped} skipped" * (summary.skipped > 0)
    print(f"{summary.frames} frames in {summary.seconds:.1f} s: {rate}")
    print(f"classes shown: {seen}")
    print(f"ms a frame (median): {stages}")
    for path in products.values():
        print(f"wrote {path}")
