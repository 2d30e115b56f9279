"""Compositor on the GPU: kernels/composite.cu, in one stream, within one level of 255 of `reference.py`.

A frame is copied to pinned memory and from there to the GPU, where host and GPU share memory only the first. Only
the shown classes' logits travel; colors do when the drawing changes. Nothing is allocated once the buffers have grown.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from edgex import arguments, cuda
from edgex.compositors import require_mask_logits, require_size
from edgex.cuda_memory import Buffer, picture_of, pitch_of
from edgex.errors import UsageError
from edgex.types import STYLES, Drawing, Image, require_image

BLOCK, TILE_ROWS, TILE_BYTES = 128, 16, 512  # as kernels/composite.cu defines them
MOST_BLOCKS = 65535  # in y and z; the kernels walk on from there
NAMES = (*STYLES, "mask")  # by style code


def open() -> CudaCompositor:
    """Open the compositor on the GPU. Raises EdgexError where there is none, or nothing that compiles for it."""
    return CudaCompositor(cuda.device())


class CudaCompositor:
    """Compositor on a GPU; threads may share it, one works at a time.

    Parameters
    ----------
    gpu : where
    mapped : whether host and GPU share memory; None: as the GPU has it

    Attributes
    ----------
    heat : address of the heat table, for calls to `launch`; it lives as long as the compositor
    """

    name = "cuda"

    def __init__(self, gpu: cuda.Device, mapped: bool | None = None) -> None:
        self._gpu = gpu
        self._lock = threading.Lock()
        self._drawn: Drawing | None = None
        self._image, self._logits, self._classes, self._colors, self._heat = (Buffer(gpu, mapped) for _ in range(5))
        self._picture = Buffer(gpu, mapped)
        self.stream = cuda.Stream(gpu)
        gpu.kernel("composite_overlay_f32")  # what does not compile fails here, not at the first frame
        heat = arguments.heat_colors()
        host = self._heat.host(heat.shape, heat.dtype)
        host[...] = heat
        self.heat = self._heat.upload(self.stream, host)
        self.stream.synchronize()

    def compose(self, image: Image, mask_logits: NDArray[np.floating], drawing: Drawing) -> Image:
        """Return a new uint8 [H, W, 3] picture; `mask_logits` is float32 or float16 [C, h, w]."""
        require_image(image)
        require_mask_logits(mask_logits, drawing.classes)
        height, width = image.shape[:2]
        half = _is_half(mask_logits)
        call = arguments.composite(drawing, height, width, (len(drawing.classes), *mask_logits.shape[1:]), half)
        self._gpu.require_own_process()
        with self._lock:
            pitch = pitch_of(width)
            rows = self._image.host((height, pitch), np.uint8)
            picture_of(rows, width)[...] = image
            call.image, call.image_stride = self._image.upload(self.stream, rows), pitch
            picture = self._picture.host((height, pitch), np.uint8)
            call.picture, call.picture_stride = self._picture.address(picture.nbytes), pitch
            self._place(call, mask_logits, drawing.classes)
            if drawing != self._drawn:
                self._drawn = None  # unless all goes well
                table = arguments.colors(drawing)
                host = self._colors.host(table.shape, table.dtype)
                host[...] = table
                self._colors.upload(self.stream, host)
            call.colors, call.heat = self._colors.address(8), self.heat
            self.launch(call, self.stream)
            self._picture.download(self.stream, picture)
            self.stream.synchronize()
            self._drawn = drawing
            return picture_of(picture, width).copy()

    def masks(
        self, mask_logits: NDArray[np.floating], classes: Sequence[int], height: int, width: int
    ) -> NDArray[np.uint8]:
        """Return uint8 [K, height, width], round(255 * mask), one mask per class (no maximum between them)."""
        require_mask_logits(mask_logits, classes)
        require_size(height, width)
        half, shape = _is_half(mask_logits), (len(classes), height, width)
        if 0 in shape:
            return np.zeros(shape, np.uint8)
        call = arguments.masks(len(classes), height, width, (len(classes), *mask_logits.shape[1:]), half)
        self._gpu.require_own_process()
        with self._lock:
            planes = self._picture.host(shape, np.uint8)
            call.picture = self._picture.address(planes.nbytes)
            self._place(call, mask_logits, classes)
            self.launch(call, self.stream)
            self._picture.download(self.stream, planes)
            self.stream.synchronize()
            return planes.copy()

    def launch(self, call: arguments.Composite, stream: cuda.Stream) -> None:
        """Start a call whose addresses are the GPU's already, without a copy; who gave it keeps its memory alive."""
        bytes_of_row = call.width * (1 if call.style == arguments.MASK else 3)
        grid = (
            -(-bytes_of_row // TILE_BYTES),
            min(-(-call.height // TILE_ROWS), MOST_BLOCKS),
            min(call.pictures, MOST_BLOCKS),
        )
        stream.launch(f"composite_{NAMES[call.style]}_{'f16' if call.half else 'f32'}", call, grid, (BLOCK, 1, 1))

    def _place(self, call: arguments.Composite, mask_logits: NDArray[np.floating], classes: Sequence[int]) -> None:
        """Upload the logits of the shown classes, one behind the other."""
        host = self._logits.host((len(classes), *mask_logits.shape[1:]), mask_logits.dtype)
        for plane, index in zip(host, classes, strict=True):
            plane[...] = mask_logits[index]
        call.logits = self._logits.upload(self.stream, host)
        order = self._classes.host((len(classes),), np.int32)
        order[...] = np.arange(len(classes))
        call.classes = self._classes.upload(self.stream, order)


def _is_half(mask_logits: NDArray[np.floating]) -> bool:
    if mask_logits.dtype not in (np.float32, np.float16):
        raise UsageError(f"expected mask logits in float32 or float16, got {mask_logits.dtype}; convert them first")
    return bool(mask_logits.dtype == np.float16)
