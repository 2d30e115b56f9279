"""Memory that the host fills and the GPU reads, or the other way round; it only grows: a steady state allocates none.

Where host and GPU share one memory, as on a Jetson, it is one piece that both see and nothing is copied; elsewhere
it is pinned memory of the host and its copy on the GPU.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgex.cuda import Device, Stream
from edgex.cuda_lifetime import Held

_STEP = 4096  # sizes grow by whole pages, so that a slightly larger picture fits


class Buffer:
    """Bytes on the GPU with a view from the host.

    Parameters
    ----------
    gpu : where
    mapped : whether both see one piece; None: as the GPU has it
    """

    def __init__(self, gpu: Device, mapped: bool | None = None) -> None:
        self._gpu = gpu
        self.mapped = gpu.integrated if mapped is None else mapped
        self._host: Held | None = None
        self._device: Held | None = None
        self._host_size = self._device_size = 0
        self._address = 0

    def address(self, size: int) -> int:
        """Return where at least `size` bytes lie for kernels; growing loses what was there."""
        if self.mapped:
            self._grow_host(size)
        elif size > self._device_size:
            self._address, self._device_size = 0, 0
            if self._device is not None:
                self._device.free()
            self._device = self._gpu.allocate(self, _whole(size))
            self._address, self._device_size = int(self._device.raw), _whole(size)
        return self._address

    def host(self, shape: tuple[int, ...], dtype: DTypeLike) -> NDArray[Any]:
        """Return the host's view of the first bytes; valid until the next call that asks for more."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        self._grow_host(size)
        assert self._host is not None
        view: NDArray[Any] = self._host.raw[:size].view(dtype).reshape(shape)
        return view

    def upload(self, stream: Stream, array: NDArray[Any]) -> int:
        """Bring what `host` returned, and the caller filled, to the GPU; return its address there."""
        address = self.address(array.nbytes)
        if not self.mapped:
            stream.upload(address, array)
        return address

    def download(self, stream: Stream, array: NDArray[Any]) -> None:
        """Bring what kernels wrote into what `host` returned; whole once the stream has come past this."""
        if not self.mapped:
            stream.download(array, self.address(array.nbytes))

    def _grow_host(self, size: int) -> None:
        if size <= self._host_size and self._host is not None:
            return
        self._host_size = 0
        if self._host is not None:
            self._host.free()
        self._host, address = self._gpu.pin(self, _whole(size), self.mapped)
        self._host_size = _whole(size)
        if self.mapped:
            self._address = address


def _whole(size: int) -> int:
    return max(1, -(-size // _STEP)) * _STEP
