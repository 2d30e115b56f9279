"""What differs between the flavours and versions of TensorRT, and what both lack: modules, words, logs, plan headers.

`tensorrt` 10.3 to 11.x and `tensorrt_rtx` 1.x have one Python API; what only some of them have is asked for by name.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import IO, Any, Literal, NoReturn

from edgex import cuda
from edgex.cuda_lifetime import never_free
from edgex.errors import EdgexError, MissingDependencyError, UsageError
from edgex.nvidia import loads
from edgex.optional import require

Flavour = Literal["tensorrt", "tensorrt-rtx"]
MODULES = {"tensorrt": "tensorrt", "tensorrt-rtx": "tensorrt_rtx"}
TITLES = {"tensorrt": "TensorRT", "tensorrt-rtx": "TensorRT-RTX"}
HEADER_BYTES = 28
NO_GPU = "no GPU"
_MAGIC = {b"ftrt": "tensorrt", b"vtrt": "tensorrt-rtx"}
_DTYPES = {"FLOAT": "float32", "HALF": "float16", "BF16": "bfloat16"}  # the rest is named as NumPy or ONNX names it


def check_flavour(flavour: str) -> None:
    """Raise UsageError unless it is "tensorrt" or "tensorrt-rtx"."""
    if flavour not in MODULES:
        raise UsageError(f"expected a TensorRT flavour of {', '.join(MODULES)}, got {flavour!r}; choose one")


def load(flavour: str) -> Any:
    """Return the module of a flavour.

    Raises
    ------
    UsageError
        If there is no such flavour.
    MissingDependencyError
        If it is not installed, or does not load; the message says what to install.
    """
    check_flavour(flavour)
    try:
        return require(MODULES[flavour])
    except MissingDependencyError:
        raise
    except Exception as error:  # the wheels load NVIDIA's libraries themselves, and pass on whatever that raises
        raise MissingDependencyError(
            f"expected the package {MODULES[flavour]} to load, got {one_line(str(error))}; install it again"
        ) from error


def version(flavour: str) -> str:
    """Return the version that is installed. Raises MissingDependencyError where none is."""
    return str(load(flavour).__version__)


def reason_missing_build(flavour: str) -> str:
    """Return why plans of a flavour cannot be built here, in one sentence; empty where they can."""
    try:
        load(flavour)
    except MissingDependencyError as error:
        return str(error)
    if flavour == "tensorrt" and not loads("libcuda.so.1"):  # it times each kernel; TensorRT-RTX compiles later
        return "expected an NVIDIA GPU for TensorRT to build on, got no driver (libcuda.so.1); build on the device"
    return ""


def reason_missing_run(flavour: str) -> str:
    """Return why plans of a flavour cannot run here, in one sentence; empty where they can."""
    try:
        load(flavour)
    except MissingDependencyError as error:
        return str(error)
    return cuda.reason_missing() or ""


def device() -> str:
    """Return name and compute capability of the GPU, as "NVIDIA Orin, compute capability 8.7", or NO_GPU."""
    if not cuda.available():
        return "unknown GPU" if loads("libcuda.so.1") else NO_GPU  # without pycuda TensorRT can build, not run
    gpu = cuda.device()
    major, minor = divmod(gpu.architecture, 10)
    return f"{gpu.name}, compute capability {major}.{minor}"


def dtype_name(dtype: Any) -> str:
    """Return a trt.DataType as NumPy names it where NumPy has it: "float32", "int8", "bfloat16", "fp8"."""
    name: str = dtype.name
    return _DTYPES.get(name, name.lower())


def plan_origin(header: bytes) -> tuple[Flavour, str] | None:
    """Return flavour and version, such as "10.3.0.26", that the first 28 bytes of a plan name, or None."""
    flavour = _MAGIC.get(header[:4])
    if flavour is None or len(header) < HEADER_BYTES or header[4:8] != bytes(4):  # another layout of the header
        return None
    return flavour, ".".join(str(part) for part in header[24:28])  # type: ignore[return-value]


@dataclass(slots=True)
class Journal:
    """What TensorRT said while one piece of work was done; all of it goes to `file` too.

    Attributes
    ----------
    errors, warnings : messages, in order
    file : where every message is written to, verbose ones too, or None
    """

    errors: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    file: IO[str] | None = None

    def hear(self, severity: str, message: str) -> None:
        """Take one message; never raises, for there is C++ above that cannot be unwound."""
        if "ERROR" in severity:
            self.errors.append(message)
        elif severity == "WARNING":
            self.warnings.append(message)
        if self.file is not None:
            try:
                self.file.write(f"{severity}: {message}\n")
            except (OSError, ValueError) as error:
                self.file = None
                self.warnings.append(f"the log ends early: {error}")

    def cause(self) -> str:
        """Return what went wrong, in few words: the first error that is not about a driver that is not needed."""
        told = [error for error in self.errors if "cudaError" not in error] or self.errors
        return shortened(told[0]) if told else "no reason given"


_journals: dict[int, Journal] = {}  # by thread


@contextmanager
def listening(log_file: Path | None = None) -> Iterator[Journal]:
    """Collect what TensorRT says about the work of this thread, and of threads of its own meanwhile.

    Raises
    ------
    UsageError
        If the log file cannot be written.
    """
    me = threading.get_ident()
    outer = _journals.get(me)
    try:
        file = None if log_file is None else log_file.open("w", encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"expected a log file that can be written, got {error}; name another") from error
    journal = _journals[me] = Journal(file=file)
    try:
        yield journal
    finally:
        if outer is None:
            del _journals[me]
        else:
            _journals[me] = outer
        if file is not None:
            journal.file = None
            try:
                file.close()
            except OSError as error:  # a full disk
                journal.warnings.append(f"the log ends early: {error}")


@cache
def logger(flavour: str) -> Any:
    """Return the one logger of a flavour; TensorRT keeps the first that it gets, for the whole process."""
    trt = load(flavour)

    class Logger(trt.ILogger):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)

        def log(self, severity: Any, message: str) -> None:
            mine = _journals.get(threading.get_ident())
            for journal in [mine] if mine is not None else list(_journals.values()):
                journal.hear(severity.name, message)

    made = Logger()
    never_free(made)  # destructors of TensorRT's objects log, at the interpreter's end too
    return made


def typed_network(trt: Any, builder: Any) -> Any:
    """Return an empty strongly typed network; from TensorRT 11 on there is no other kind."""
    flag = getattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    return builder.create_network(0 if flag is None else 1 << int(flag))


def refuse(flavour: str, verb: str, journal: Journal) -> NoReturn:
    """Raise EdgexError for an object of TensorRT's that did not come to be."""
    raise EdgexError(f"expected {TITLES[flavour]} to {verb}, got: {journal.cause()}; see edgex doctor")


def shortened(message: str) -> str:
    """Return one of TensorRT's messages without source files, function names and error numbers."""
    message = message.split("\n[", 1)[0]  # what follows is about a missing driver
    message = re.sub(r"^\s*(\[[^\]]*\]\s*)?(\w+::\w+: )?(Error Code \d+: )?", "", message)
    message = re.sub(r"[\s.]*\bIn \w+ at [^\s()]+", "", message)
    if (inner := re.fullmatch(r"[A-Z][A-Za-z ]*? ?\(\s*(.+?)\)?", message, re.DOTALL)) is not None:
        message = inner[1]  # "API Usage Error (what it is about)"
    message = re.sub(r"Assertion failed: .*?\): (?=\w)|Assertion failed: |^\w+ && ", "", message)
    message = re.sub(r"\[[\w.]+:\d+: \w+\] ?", "", message)
    return one_line(message.strip('() "'))


def one_line(text: str) -> str:
    """Return at most 300 characters of a text, on one line, without a full stop."""
    return " ".join(text.split())[:300].rstrip(" .;:")
