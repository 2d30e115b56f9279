"""A GPU in this very process, for the order of calls and for lifetimes: memory is the host's, work waits in its stream.

Kernels are the .cu files behind tests/kernels/emulation.h. What is freed is overwritten, and stays readable.
"""

from __future__ import annotations

import ctypes
import threading
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from edgex import cuda
from edgex.cuda_lifetime import Held
from edgex.cuda_memory import pinned_image
from edgex.engines import open_network
from edgex.errors import EdgexError
from tests.kernels import emulated

POISON = 0xA5
EMULATION = threading.Lock()  # its threadIdx and its like are one for all threads


class Memory:
    """Memory of the GPU; as an integer it is its address."""

    def __init__(self, size: int) -> None:
        self.buffer = ctypes.create_string_buffer(bytes([POISON]) * size, size)

    def __int__(self) -> int:
        return ctypes.addressof(self.buffer)


class Stream:
    """Work that is done when somebody waits for it."""

    def __init__(self, gpu: StandIn) -> None:
        self._gpu, self.waiting = gpu, []  # type: ignore[var-annotated]
        gpu.streams.append(self)
        self.handle = len(gpu.streams)

    def put(self, name: str, work: Callable[[], object]) -> None:
        self._gpu.calls.append((self.handle, name))
        if name in self._gpu.broken:
            raise LookupError(f"{name} is broken")
        self.waiting.append(work)

    def synchronize(self) -> None:
        self._gpu.calls.append((self.handle, "wait"))
        waiting, self.waiting = self.waiting, []
        for work in waiting:
            work()


class StandIn:
    """The stand-in for edgex.cuda.Device.

    Attributes
    ----------
    calls : number of the stream and name of each call, in order
    broken : names of calls that fail
    live, allocations : pieces of memory now, and ever
    """

    architecture, name = 87, "stand-in"

    def __init__(self, integrated: bool = False) -> None:
        self.integrated = integrated
        self.calls: list[tuple[int, str]] = []
        self.broken: set[str] = set()
        self.streams: list[Stream] = []
        self.live = self.allocations = 0
        self._kept: list[Any] = []

    def require_own_process(self) -> None:
        pass

    @contextmanager
    def active(self) -> Iterator[Any]:
        try:
            yield SimpleNamespace(
                Stream=lambda flags: Stream(self), memcpy_htod_async=self._up, memcpy_dtoh_async=self._down
            )
        except LookupError as error:
            raise EdgexError(f"expected the GPU to do its work, got: {error}; see edgex doctor") from error

    def allocate(self, owner: object, size: int) -> Held:
        memory = Memory(size)
        self._follow(memory, memory.buffer)
        return Held(owner, self.active, memory)

    def pin(self, owner: object, size: int, mapped: bool) -> tuple[Held, int]:
        memory = Memory(size)
        array = np.ctypeslib.as_array(memory.buffer).view(np.uint8)
        base = array.base if isinstance(array.base, np.ndarray) else array
        self._follow(base, memory.buffer)
        return Held(owner, self.active, array), int(memory) if mapped else 0

    def kernel(self, name: str) -> Callable[..., None]:
        source = name.partition("_")[0]
        library = emulated.library(emulated.KERNELS / f"{source}.cu")

        def launch(call: np.void, grid: tuple[int, ...], block: tuple[int, ...], stream: Stream) -> None:
            given = ctypes.create_string_buffer(bytes(call))

            def work() -> None:
                emulate = getattr(library, f"emulate_{source}")
                with EMULATION:
                    error = emulate(getattr(library, name), given, (ctypes.c_uint * 3)(*grid), block[0], 1)
                assert not error, error

            stream.put(name, work)

        return launch

    def _up(self, to: int, source: np.ndarray[Any, Any], stream: Stream) -> None:
        stream.put("upload", lambda: ctypes.memmove(to, source.ctypes.data, source.nbytes))

    def _down(self, to: np.ndarray[Any, Any], source: int, stream: Stream) -> None:
        stream.put("download", lambda: ctypes.memmove(to.ctypes.data, source, to.nbytes))

    def _follow(self, thing: Any, buffer: Any) -> None:
        def end() -> None:
            self.live -= 1
            ctypes.memset(buffer, POISON, len(buffer))

        self.live, self.allocations = self.live + 1, self.allocations + 1
        self._kept.append(buffer)
        weakref.finalize(thing, end).atexit = False


class HostLane:
    """Infers on the CPU what lies on the GPU, as work of the stream where the GPU is a stand-in."""

    launches, plain_because = "plain", ""

    def __init__(self, network: HostNetwork, addresses: Mapping[str, int], batch: int, stream: cuda.Stream) -> None:
        self._network, self._addresses, self._stream = network, dict(addresses), stream
        self._shape = (batch, *(network.input.shape or ())[1:])
        self._sizes = {name: batch * size for name, size in network.sizes.items()}

    def launch(self) -> None:
        gpu = self._network.gpu
        if isinstance(gpu, StandIn):
            at = {
                name: np.ctypeslib.as_array((ctypes.c_float * size).from_address(self._addresses[name]))
                for name, size in (("image", int(np.prod(self._shape))), *self._sizes.items())
            }
            gpu.streams[self._stream.handle - 1].put("engine", lambda: self._infer(at))
            return
        host = {name: pinned(gpu, 4 * size) for name, size in self._sizes.items()}
        image = pinned(gpu, 4 * int(np.prod(self._shape)))
        self._stream.download(image, self._addresses["image"])
        self._stream.synchronize()
        at = {name: each.view(np.float32) for name, each in {**host, "image": image}.items()}
        self._infer(at)
        for name, each in host.items():
            self._stream.upload(self._addresses[name], each)
        self._stream.synchronize()

    def _infer(self, at: Mapping[str, np.ndarray[Any, Any]]) -> None:
        for name, values in self._network.run(at["image"].reshape(self._shape)).items():
            at[name][...] = self._network.spoil(values).ravel()

    def close(self) -> None:
        self._stream.synchronize()


def pinned(gpu: Any, size: int) -> np.ndarray[Any, Any]:
    flat = pinned_image(gpu, 1, -(-size // 48) * 16, mapped=False)
    return flat.reshape(-1)[:size]


class HostNetwork:
    """A network of ONNX Runtime that can be asked for lanes."""

    def __init__(self, path: Path, gpu: Any) -> None:
        self._network = open_network(path, "onnxruntime")
        self.gpu = gpu
        self.spoil: Callable[[np.ndarray[Any, Any]], np.ndarray[Any, Any]] = lambda values: values
        first = self._network.run(np.zeros((1, *(self.input.shape or ())[1:]), np.float32))
        self.sizes = {name: values.size for name, values in first.items()}

    def __getattr__(self, name: str) -> Any:
        return getattr(self._network, name)

    def lane(self, addresses: Mapping[str, int], batch: int, stream: cuda.Stream, graph: bool = True) -> HostLane:
        return HostLane(self, addresses, batch, stream)
