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
from typing import Annotated, Any

import typer
import typer.core

from edgex.cli_bench import bench
from edgex.cli_build import build, calibrate, verify
from edgex.cli_run import run
from edgex.cli_shared import CODES, Debug, Json, Model, complain, plain, print_table
from edgex.errors import EdgexError


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


app.command(
    epilog="Example: edgex run --source clip.mp4 --top 2 --output overlay.mp4 --records seen.jsonl, "
    f"or: edgex run --camera 0 --serve 127.0.0.1:8000. {CODES}"
)(run)
app.command(epilog=f"Example: edgex calibrate model.onnx --data frames/. {CODES}")(calibrate)
app.command(
    epilog=f"Example: edgex build model.onnx --int8 --data frames/. Exit code 3: fidelity below budget. {CODES}"
)(build)
app.command(
    epilog="Example: edgex verify model.onnx model.int8.onnxruntime.onnx --data frames/ --picture worst.png. "
    f"Exit code 3: fidelity below budget. {CODES}"
)(verify)


app.command(
    epilog="Example: edgex bench model.onnx --backend onnxruntime,openvino --html report.html. "
    f"Exit code 4: slower than the baseline. {CODES}"
)(bench)


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
        if sys.stdout is not None:  # it is None where it was closed before we began
            sys.stdout.flush()
        return code if isinstance(code, int) else 0
    except BrokenPipeError:  # the reader of our output, such as `head`, has gone
        _forget_output()
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
        if isinstance(error, OSError) and error.filename is None:  # no file: what was printed found no place
            _forget_output()
            complain(f"expected to print what was found, got: {error.strerror}; print it elsewhere")
            return 1
        complain(f"unexpected {type(error).__name__}: {error}; run again with --debug and report it")
        return 1


def _forget_output() -> None:
    """Let what is left to print go nowhere, or Python complains about it when it ends."""
    with contextlib.suppress(OSError, AttributeError):  # it is no file, or closed
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


class _LogToErrorStream(logging.Handler):
    """Shows what the library logs as warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)

    def emit(self, record: logging.LogRecord) -> None:
        complain(f"{record.levelname.lower()}: {record.getMessage()}")
