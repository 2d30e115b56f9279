"""Named arrays side by side in the GPU's memory, so that the first few of them come to the host in one copy."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from edgex.cuda import Device, Stream
from edgex.cuda_memory import Buffer
from edgex.engines.network import Network
from edgex.errors import ModelError
from edgex.onnx_file import CLASS_LOGITS, IMAGE, MASK_LOGITS
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


def shapes_of(network: Network) -> dict[str, tuple[int, ...]]:
    """Return the shapes of an engine's arrays for one picture, those that come to the host first.

    Raises ModelError where one is not float32, or has no fixed size.
    """
    found: dict[str, tuple[int, ...]] = {}
    for spec in (network.input, *network.outputs):
        _, *axes = spec.shape or (None, None)
        if spec.dtype != "float32" or not all(isinstance(axis, int) and axis > 0 for axis in axes):
            raise ModelError(f"expected float32 of fixed size from {network.path}, got {spec}; export it again")
        found[spec.name] = (1, *(int(axis) for axis in axes if axis is not None))
    first = [name for name in (MASK_LOGITS, CLASS_LOGITS, IMAGE) if name in found]
    return {name: found[name] for name in (*first, *(name for name in found if name not in first))}
