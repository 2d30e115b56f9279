"""Preprocessing on the GPU: kernels/preprocess.cu, from a host's frame to a tensor that stays on the GPU."""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from edgex import arguments, cuda
from edgex.cuda_memory import Buffer, picture_of, pitch_of
from edgex.manifest import InputSpec
from edgex.types import Image, require_image

BLOCK, MOST_COLUMNS, SPAN = 128, 84, 655  # as kernels/preprocess.cu says: targets, and source columns, of a block
MOST_BLOCKS = 65535  # in y and z; the kernels walk on from there


class CudaPreprocessor:
    """Preprocessor on a GPU, for one kind of network input; threads may share it, one works at a time.

    Parameters
    ----------
    spec : size, colour order, mean and std of the network's input
    half : whether the tensor is float16 instead of float32
    gpu : where; None: the process's own
    mapped : whether host and GPU share memory; None: as the GPU has it
    """

    def __init__(
        self, spec: InputSpec, half: bool = False, gpu: cuda.Device | None = None, mapped: bool | None = None
    ) -> None:
        self._gpu = cuda.device() if gpu is None else gpu
        self._spec, self._half = spec, half
        self._lock = threading.Lock()
        self._image, self.tensor = Buffer(self._gpu, mapped), Buffer(self._gpu, mapped)
        self.shape = (1, 3, spec.height, spec.width)
        self.dtype = np.dtype(np.float16 if half else np.float32)
        self.stream = cuda.Stream(self._gpu)
        self._gpu.kernel("preprocess_f32")  # what does not compile fails here, not at the first frame

    def run(self, image: Image) -> int:
        """Turn a picture into the network's input.

        Parameters
        ----------
        image : uint8 [H, W, 3], BGR

        Returns
        -------
        address on the GPU of the contiguous [1, 3, spec.height, spec.width] tensor, which is whole once `stream` has
        come this far: later work in `stream` may read it at once, and the next call writes it anew
        """
        require_image(image)
        height, width = image.shape[:2]
        call = arguments.preprocess(self._spec, height, width, self._half)
        self._gpu.require_own_process()
        with self._lock:
            self.stream.synchronize()  # the last frame's copy still reads the pinned memory
            pitch = pitch_of(width)
            rows = self._image.host((height, pitch), np.uint8)
            picture_of(rows, width)[...] = image
            call.image, call.image_stride = self._image.upload(self.stream, rows), pitch
            call.tensor = self.tensor.address(3 * self._spec.height * self._spec.width * self.dtype.itemsize)
            self.launch(call, self.stream)
            return int(call.tensor)

    def launch(self, call: arguments.Preprocess, stream: cuda.Stream) -> None:
        """Start a call whose addresses are the GPU's already, without a copy; who gave it keeps its memory alive."""
        fits = MOST_COLUMNS if call.columns >= call.width else SPAN * call.columns // call.width
        columns = max(1, min(MOST_COLUMNS, fits))
        grid = (-(-call.columns // columns), min(call.rows, MOST_BLOCKS), min(call.pictures, MOST_BLOCKS))
        stream.launch(f"preprocess_{'f16' if call.half else 'f32'}", call, grid, (BLOCK, 1, 1))

    def download(self) -> NDArray[np.floating]:
        """Wait for the last `run` and return its tensor, float32 or float16 [1, 3, spec.height, spec.width]."""
        self._gpu.require_own_process()
        with self._lock:
            host = self.tensor.host(self.shape, self.dtype)
            self.tensor.download(self.stream, host)
            self.stream.synchronize()
            return host.copy()
