"""Memory that the host fills and the GPU reads, or the other way round; it only grows: a steady state allocates none.

Where host and GPU share one memory, as on a Jetson, it is one piece that both see and nothing is copied; elsewhere
it is pinned memory of the host and its copy on the GPU. Pictures that whoever makes frames puts into pinned memory
himself need no copy on the host either.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from edgex.cuda import Device, Stream
from edgex.cuda_lifetime import Held
from edgex.types import Image

PITCH = 16  # bytes: kernels read and write rows that begin at its multiples 16 bytes at a time
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


class Pinned:
    """Rows of a picture in pinned memory, which goes when the last array of it does, in whichever thread that is.

    Attributes
    ----------
    rows : uint8 [height, pitch], what the GPU copies
    address : where kernels find it, 0 unless host and GPU share memory
    """

    def __init__(self, gpu: Device, height: int, width: int, mapped: bool | None = None) -> None:
        pitch = pitch_of(width)
        self._held, self.address = gpu.pin(self, height * pitch, gpu.integrated if mapped is None else mapped)
        self.__array_interface__ = {**self._held.raw.__array_interface__, "shape": (height, pitch), "strides": None}

    @property
    def rows(self) -> NDArray[np.uint8]:
        return np.asarray(self)


def pinned_image(gpu: Device, height: int, width: int, mapped: bool | None = None) -> Image:
    """Return an uint8 [height, width, 3] picture in pinned memory, of any content; it lives as other arrays do."""
    return picture_of(Pinned(gpu, height, width, mapped).rows, width)


def pinned_of(image: Image) -> Pinned | None:
    """Return the memory of a picture that is the whole of what `pinned_image` gave, or None of any other."""
    base: Any = image
    while isinstance(base, np.ndarray):
        base = base.base
    if not isinstance(base, Pinned):
        return None
    whole = picture_of(base.rows, image.shape[1])
    same = whole.shape == image.shape and whole.strides == image.strides and whole.ctypes.data == image.ctypes.data
    return base if same and base.rows.shape[1] == pitch_of(image.shape[1]) else None


def picture_of(rows: NDArray[np.uint8], width: int) -> Image:
    """Return the picture [height, width, 3] in uint8 rows [height, pitch]."""
    return rows[:, : 3 * width].reshape(len(rows), width, 3)


def pitch_of(width: int) -> int:
    """Return the bytes from one row of a picture to the next."""
    return -(-3 * width // PITCH) * PITCH


def _whole(size: int) -> int:
    return max(1, -(-size // _STEP)) * _STEP
