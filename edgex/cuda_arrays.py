"""Named arrays side by side in the GPU's memory, so that the first few of them come to the host in one copy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgex.cuda import Device, Stream
from edgex.cuda_memory import Buffer
from edgex.types import FloatArray

_ALIGNED = 256  # bytes: where each begins, as pieces of the driver's own do


class Arrays:
    """Arrays of float32, of fixed shapes.

    Parameters
    ----------
    gpu : where
    shapes : by name, in the order in which they lie
    mapped : whether host and GPU share memory; None: as the GPU has it

    Attributes
    ----------
    addresses : on the GPU, by name
    shapes : by name
    """

    def __init__(self, gpu: Device, shapes: Mapping[str, tuple[int, ...]], mapped: bool | None = None) -> None:
        self.shapes = dict(shapes)
        self._begins, self._ends, end = {}, {}, 0
        for name, shape in shapes.items():
            self._begins[name] = -(-end // _ALIGNED) * _ALIGNED
            self._ends[name] = end = self._begins[name] + 4 * math.prod(shape)
        self._buffer = Buffer(gpu, mapped)
        self._host = self._buffer.host((end,), np.uint8)
        base = self._buffer.address(end)
        self.addresses = {name: base + begin for name, begin in self._begins.items()}

    def host(self, name: str) -> FloatArray:
        """Return the host's view of one; what the GPU has is in it after `download` and the stream's end."""
        view: FloatArray = self._host[self._begins[name] : self._ends[name]].view(np.float32)
        return view.reshape(self.shapes[name])

    def upload(self, stream: Stream, name: str) -> None:
        """Bring what the caller filled into the host's view of one to the GPU."""
        if not self._buffer.mapped:
            stream.upload(self.addresses[name], self.host(name))

    def download(self, stream: Stream, last: str) -> None:
        """Bring all up to the one named to the host, in one copy."""
        self._buffer.download(stream, self._host[: self._ends[last]])
