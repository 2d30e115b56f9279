"""The only file that knows pycuda: is a GPU there, its primary context, streams, memory and kernels.

The primary context is the one that PyTorch, TensorRT and ONNX Runtime use too. It is pushed for each piece of work and
popped after it, so any thread may call, and finds its own context as it was.
"""

from __future__ import annotations

import ctypes
import importlib.util
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from edgex import cuda_modules
from edgex.cuda_lifetime import Gate, Held, never_free
from edgex.errors import EdgexError, MissingDependencyError
from edgex.nvidia import loads
from edgex.optional import require

_NON_BLOCKING = 1  # CU_STREAM_NON_BLOCKING: no waiting for the legacy default stream of others
_FORKED: tuple[Literal["gap"], str, str] = (
    "gap",
    "a process forked from one that had started CUDA",
    "start processes by spawn, or before CUDA",
)

_opening = threading.Lock()
_opened: Device | None = None
_started_in: int | None = None  # the process


def _renew() -> None:
    global _opening
    _opening = threading.Lock()  # a thread of the parent may have held it


os.register_at_fork(after_in_child=_renew)


def reason_missing() -> str | None:
    """Return why CUDA cannot be used here, in one sentence, or None where it can; makes no context."""
    return None if (absence := _absence()) is None else _sentence(absence)


def available() -> bool:
    """Tell whether a GPU, its driver and pycuda are there; makes no context."""
    return reason_missing() is None


def check() -> tuple[Literal["ok", "gap", "none"], str, str | None]:
    """Return state, finding and mend for `edgex doctor`; "none" where no GPU asks for anything. Compiles nothing."""
    if (absence := _absence()) is not None:
        return absence if absence[0] == "gap" else ("none", absence[1], None)
    raw = (driver := _driver()).Device(0)
    architecture = int("{}{}".format(*raw.compute_capability()))
    state, found, mend = cuda_modules.check(architecture, driver.get_driver_version() // 1000)
    return state, f"{raw.name()}, {found}", mend


def device() -> Device:
    """Return the first GPU, opened once per process. Raises EdgexError if there is none, or CUDA was forked."""
    global _opened
    with _opening:
        if (reason := reason_missing()) is not None:
            raise EdgexError(reason)
        if _opened is None:
            _opened = Device(_driver())
        return _opened


class Device:
    """One GPU, by `device()`: its name, architecture (87 for 8.7), and whether it shares the host's memory."""

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._process = os.getpid()
        self._lock = threading.Lock()
        self._gate = Gate()
        self._kernels: dict[str, Any] = {}
        self._modules: dict[str, Any] = {}
        with _mapped(driver):
            raw = driver.Device(0)
            self.name: str = raw.name()
            self.architecture = int("{}{}".format(*raw.compute_capability()))
            self.integrated = bool(raw.get_attribute(driver.device_attribute.INTEGRATED))
            self._context = raw.retain_primary_context()
        never_free(self)  # pycuda's destructors of modules and contexts fail outside the thread that made them

    def require_own_process(self) -> None:
        """Raise EdgexError in a forked child, where CUDA does not work; ask before taking a lock."""
        if os.getpid() != self._process:
            raise EdgexError(_sentence(_FORKED))

    @contextmanager
    def active(self) -> Iterator[Any]:
        """Make the primary context current in this thread; yields pycuda.driver, whose errors become EdgexError."""
        self.require_own_process()
        with self._gate.inside(), _mapped(self._driver):
            self._context.push()
            try:
                yield self._driver
            finally:
                self._driver.Context.pop()

    def allocate(self, owner: object, size: int) -> Held:
        """Return `size` bytes of the GPU's memory, whose raw as an integer is the address; freed with `owner`."""
        with self.active() as driver:
            return Held(owner, self.active, driver.mem_alloc(size))

    def pin(self, owner: object, size: int, mapped: bool) -> tuple[Held, int]:
        """Return `size` bytes of pinned memory as an uint8 array, and where kernels find it, 0 unless `mapped`."""
        with self.active() as driver:
            array = driver.pagelocked_empty(
                size, np.uint8, mem_flags=driver.host_alloc_flags.DEVICEMAP if mapped else 0
            )
            address = int(array.base.get_device_pointer()) if mapped else 0
            return Held(owner, self.active, array), address

    def kernel(self, name: str) -> Any:
        """Return a kernel such as composite_overlay_f32, whose module is compiled and loaded at the first call."""
        self.require_own_process()
        with self._lock:
            if name not in self._kernels:
                module = name.partition("_")[0]
                if module not in self._modules:
                    newest = self._driver.get_driver_version() // 1000  # 13000 is CUDA 13.0
                    compiled = cuda_modules.load(module, self.architecture, newest)
                    with self.active() as driver:
                        self._modules[module] = driver.module_from_buffer(compiled)
                with self.active():
                    self._kernels[name] = self._modules[module].get_function(name)
            return self._kernels[name]


class Event:
    """A point in a stream's work."""

    def __init__(self, gpu: Device) -> None:
        self._gpu = gpu
        with gpu.active() as driver:
            self.held = Held(self, gpu.active, driver.Event())

    def ms_since(self, earlier: Event) -> float:
        """Return the GPU's time between two events that streams have passed."""
        with self._gpu.active():
            return float(self.held.raw.time_since(earlier.held.raw))


class Stream:
    """Work that the GPU does in order, beside that of other streams."""

    def __init__(self, gpu: Device) -> None:
        self._gpu = gpu
        with gpu.active() as driver:
            self._held = Held(self, gpu.active, driver.Stream(_NON_BLOCKING))
        self.handle = int(self._held.raw.handle)  # the CUstream, as other libraries take it

    def synchronize(self) -> None:
        """Wait until all work is done; what failed in it is raised here as EdgexError."""
        with self._gpu.active():
            self._held.raw.synchronize()

    def record(self, event: Event) -> None:
        """Put the event behind the work given so far."""
        with self._gpu.active():
            event.held.raw.record(self._held.raw)

    def wait(self, event: Event) -> None:
        """Let the work given from now on wait for an event of another stream."""
        with self._gpu.active():
            self._held.raw.wait_for_event(event.held.raw)

    def upload(self, address: int, array: NDArray[Any]) -> None:
        """Copy a contiguous array to the GPU; it may not change before the stream has come past this."""
        with self._gpu.active() as driver:
            driver.memcpy_htod_async(address, array, self._held.raw)

    def download(self, array: NDArray[Any], address: int) -> None:
        """Copy from the GPU into a contiguous array, which is whole once the stream has come past this."""
        with self._gpu.active() as driver:
            driver.memcpy_dtoh_async(array, address, self._held.raw)

    def launch(self, kernel: str, call: ctypes.Structure, grid: tuple[int, ...], block: tuple[int, int, int]) -> None:
        """Start a kernel that takes one structure by value."""
        function = self._gpu.kernel(kernel)
        with self._gpu.active():
            function(np.void(bytes(call)), grid=grid, block=block, stream=self._held.raw)


@cache
def _driver() -> Any:
    """Return pycuda.driver, started. Raises what `require` raises, or pycuda's own errors."""
    global _started_in
    loads("libcurand.so.10")  # pycuda links it; NVIDIA's package puts it where no loader looks
    driver = require("pycuda.driver")
    _started_in = os.getpid()
    driver.init()
    return driver


def _absence() -> tuple[Literal["gap", "none"], str, str] | None:
    """Return the state for doctor, what is missing and what mends it, or None where CUDA can be used."""
    if _started_in not in (None, os.getpid()):
        return _FORKED
    if not loads("libcuda.so.1"):  # asked first: a pycuda that was linked without it ends the process
        return "none", "no NVIDIA driver (libcuda.so.1)", "install NVIDIA's driver, or work on the CPU"
    if importlib.util.find_spec("pycuda") is None:
        return "gap", "no pycuda", "run: pip install 'edgex[gpu]' (needs the CUDA toolkit)"
    try:
        driver = _driver()
        count = driver.Device.count()
    except MissingDependencyError as error:
        mend = "run: pip install --force-reinstall --no-cache-dir pycuda"
        return "gap", f"a pycuda that does not load ({error.__cause__})", mend
    except Exception as error:  # pycuda's Error, a class that only pycuda can name
        none = "no CUDA-capable device" in str(error)
        return "none" if none else "gap", f"an answer of its driver: {error}", "see nvidia-smi"
    return None if count else ("none", "a driver without a GPU", "see CUDA_VISIBLE_DEVICES")


def _sentence(absence: tuple[str, str, str]) -> str:
    return f"expected a GPU that CUDA can use, got {absence[1]}; {absence[2]}"


@contextmanager
def _mapped(driver: Any) -> Iterator[None]:
    """Raise pycuda's errors as EdgexError."""
    try:
        yield
    except driver.Error as error:
        lost = isinstance(error, driver.LaunchError)
        mend = "start the program again" if lost else "close other programs on it and see edgex doctor"
        raise EdgexError(f"expected the GPU to do its work, got: {error}; {mend}") from error
