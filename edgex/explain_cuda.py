"""The GPU's FramePath, in one stream: the frame goes up once, the picture comes down once.

In between the logits come down, all in one small copy, for the host chooses by them which classes are drawn: that is
the one wait in between. Whoever smooths them on the host gives the masks back, another small copy.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from edgex import arguments, cuda
from edgex.compositors import require_mask_logits
from edgex.compositors.cuda import CudaCompositor
from edgex.cuda_arrays import Arrays, shapes_of
from edgex.cuda_memory import Buffer, picture_of, pinned_of, pitch_of
from edgex.engines.network import closed
from edgex.engines.tensorrt_lane import Lane
from edgex.errors import EdgexError, UsageError
from edgex.explain import Explainer, Explanation
from edgex.onnx_file import CLASS_LOGITS, IMAGE, MASK_LOGITS
from edgex.preprocess_cuda import CudaPreprocessor
from edgex.types import Drawing, FloatArray, Image, Logits, require_image
from edgex.view import View, drawing


def reason_missing(explainer: Explainer) -> str:
    """Return why frames cannot stay on the GPU between its parts, in one sentence; empty where they can."""
    if not hasattr(explainer.engine.network, "lane"):
        return f"expected an engine of TensorRT, got one of {explainer.engine.backend}; build it with edgex build"
    if not isinstance(explainer.compositor, CudaCompositor):
        return f"expected the compositor cuda, got {explainer.compositor.name}; see edgex doctor"
    batch = getattr(explainer.engine.network, "smallest", (1,))[0]
    if batch > 1:
        return f"expected an engine for one picture, got one for {batch} at least; build it with edgex build"
    return ""


class CudaPath:
    """One frame's way, see FramePath; the next one begins where it ends. Frames that overlap take a path each.

    Where `upload`, `infer` or `compose` fails, the frame is given up.
    A frame in memory of `pinned_image` is not copied on the host; it may not change until its picture is there.

    Parameters
    ----------
    explainer : with an engine on the GPU, for one picture, and the compositor "cuda"; to be closed after this
    gpu : where; None: the process's own
    mapped : whether host and GPU share memory; None: as the GPU has it

    Raises
    ------
    UsageError
        If `reason_missing` says so.
    """

    def __init__(self, explainer: Explainer, gpu: cuda.Device | None = None, mapped: bool | None = None) -> None:
        if reason := reason_missing(explainer):
            raise UsageError(reason)
        self._gpu = gpu or cuda.device()
        self._explainer, self._spec, self._lock = explainer, explainer.manifest.input, threading.Lock()
        self._compositor: Any = explainer.compositor
        self._preprocessor = CudaPreprocessor(self._spec, gpu=self._gpu, mapped=mapped)
        self._stream = cuda.Stream(self._gpu)
        self._image, self._tables, self._picture = (Buffer(self._gpu, mapped) for _ in range(3))
        self._state = "empty"  # uploaded, inferred
        self._frame: Image | None = None  # kept while the GPU may read it
        self._source = (0, 0)  # of it on the GPU: address, pitch
        self._drawn: Drawing | None = None  # whose tables are there
        self._arrays = Arrays(self._gpu, shapes_of(explainer.engine.network), mapped)
        network: Any = explainer.engine.network
        self._lane: Lane | None = (lane := network.lane(self._arrays.addresses, 1, self._stream))
        self.launches, self.plain_because = lane.launches, lane.plain_because

    def upload(self, image: Image) -> None:
        """Bring a frame to the GPU and make the network's input of it; returns before the GPU has done that.

        Parameters
        ----------
        image : uint8 [H, W, 3], BGR, of any size
        """
        require_image(image)
        call = arguments.preprocess(self._spec, image.shape[0], image.shape[1], half=False)
        with self._work():
            if self._state == "uploaded":
                self._stream.synchronize()  # that frame was given up, and may still be on its way
            self._state, self._frame = "empty", image
            call.image, call.image_stride = self._source = self._placed(image)
            call.tensor = self._arrays.addresses[IMAGE]
            self._preprocess(call)
            self._state = "uploaded"

    def infer(self, tensor: bool = False) -> tuple[Logits, FloatArray | None]:
        """Infer the frame that was uploaded and wait for its logits.

        Parameters
        ----------
        tensor : whether the network's input is wanted as well, float32 [1, 3, h, w]; it comes in the same copy

        Raises
        ------
        ModelError
            If the engine cannot, or what it gives is not logits.
        """
        with self._work() as lane:
            self._require("uploaded", "upload a frame")
            lane.launch()
            arrays, scores = self._arrays, CLASS_LOGITS in self._arrays.shapes
            arrays.download(self._stream, IMAGE if tensor else CLASS_LOGITS if scores else MASK_LOGITS)
            self._stream.synchronize()
            logits = Logits(arrays.host(MASK_LOGITS).copy(), arrays.host(CLASS_LOGITS).copy() if scores else None)
            self._explainer.engine.check_output(logits, 1)
            self._state = "inferred"
            return logits, arrays.host(IMAGE).copy() if tensor else None

    def compose(self, what: Drawing, mask_logits: FloatArray | None = None, out: Image | None = None) -> Image:
        """Draw on the frame that was inferred and wait for the picture.

        Parameters
        ----------
        what : what to draw
        mask_logits : float32 [C, h, w] to take the place of the inferred ones, such as smoothed ones
        out : picture of the frame's size that `pinned_image` gave, to be drawn into; None: a new array

        Returns
        -------
        uint8 [H, W, 3]
        """
        with self._work():
            self._require("inferred", "infer")
            assert self._frame is not None
            masks, (height, width) = self._arrays.host(MASK_LOGITS)[0], self._frame.shape[:2]
            require_mask_logits(masks if mask_logits is None else mask_logits, what.classes)
            call = arguments.composite(what, height, width, masks.shape, half=False)
            if mask_logits is not None:
                if mask_logits.shape != masks.shape:
                    got = list(mask_logits.shape)
                    raise UsageError(f"expected mask logits {list(masks.shape)}, got {got}; give those of all classes")
                masks[...] = mask_logits
                self._arrays.upload(self._stream, MASK_LOGITS)
            (call.image, call.image_stride), call.heat = self._source, self._compositor.heat
            call.logits = self._arrays.addresses[MASK_LOGITS]
            call.colors, call.classes = self._table(what)
            rows, call.picture, shared = self._target(height, width, out)
            call.picture_stride = rows.shape[1]
            self._draw(call)
            if not shared:
                self._fetch(rows, call.picture)
            self._stream.synchronize()
            self._drawn = what
            return picture_of(rows, width).copy() if out is None else out

    def explain(self, image: Image, view: View | None = None, out: Image | None = None) -> tuple[Image, Explanation]:
        """Do all three and choose in between what a View shows; where that is nothing, the picture is a plain copy."""
        self.upload(image)
        view = view or View()
        explanation = self._explainer.explanation(image, self.infer()[0])
        shown = explanation.shown(view.classes, view.top, view.threshold, view.hidden)
        if shown:
            return self.compose(drawing(shown, view.style, view.opacity, self._explainer.fill), out=out), explanation
        out = np.empty_like(image) if out is None else out
        np.copyto(out, image)
        return out, explanation

    def close(self) -> None:
        """Give the engine's part back; the path cannot be used after it."""
        with self._lock:
            if self._lane is not None:
                self._lane.close()  # waits for the stream
            self._lane = self._frame = None

    @contextlib.contextmanager
    def _work(self) -> Iterator[Lane]:
        """Hold the path; what fails leaves nothing under way in the stream."""
        self._gpu.require_own_process()
        with self._lock, self._gpu.active():
            if self._lane is None:
                raise closed(self._explainer.engine.path)
            try:
                yield self._lane
            except BaseException:
                self._state, self._drawn = "empty", None
                with contextlib.suppress(EdgexError):
                    self._stream.synchronize()
                raise

    def _require(self, state: str, mend: str) -> None:
        if self._state != state:
            raise UsageError(f"expected a frame that was {state}, got none; {mend} first")

    # The stages, one each: benchmarks/gpu/live.py leaves one out.

    def _placed(self, image: Image) -> tuple[int, int]:
        """Bring a frame to the GPU and return its address and pitch there."""
        pinned, pitch = pinned_of(image), pitch_of(image.shape[1])
        if pinned is None:
            rows = self._image.host((len(image), pitch), np.uint8)
            picture_of(rows, image.shape[1])[...] = image
            return self._image.upload(self._stream, rows), pitch
        if pinned.address:
            return pinned.address, pitch
        address = self._image.address(pinned.rows.nbytes)
        self._stream.upload(address, pinned.rows)
        return address, pitch

    def _preprocess(self, call: arguments.Preprocess) -> None:
        self._preprocessor.launch(call, self._stream)

    def _draw(self, call: arguments.Composite) -> None:
        self._compositor.launch(call, self._stream)

    def _fetch(self, rows: Any, address: int) -> None:
        self._stream.download(rows, address)

    def _target(self, height: int, width: int, out: Image | None) -> tuple[Any, int, bool]:
        """Return the host's rows of a picture, its address on the GPU, and whether that is the same memory."""
        if out is None:
            rows = self._picture.host((height, pitch_of(width)), np.uint8)
            return rows, self._picture.address(rows.nbytes), self._picture.mapped
        if (pinned := pinned_of(out)) is None or out.shape[:2] != (height, width):
            got = "another array" if pinned is None else f"{out.shape[0]} x {out.shape[1]}"
            raise UsageError(f"expected a picture of {height} x {width} by pinned_image, got {got}; make one for it")
        return pinned.rows, pinned.address or self._picture.address(pinned.rows.nbytes), bool(pinned.address)

    def _table(self, what: Drawing) -> tuple[int, int]:
        """Bring colors and classes to the GPU where they have changed, and return where they are."""
        colors, classes = arguments.colors(what), np.array(what.classes, np.int32)
        size = colors.nbytes + classes.nbytes
        if what != self._drawn:
            self._drawn = None
            host = self._tables.host((size,), np.uint8)
            host[: colors.nbytes], host[colors.nbytes :] = colors.view(np.uint8).ravel(), classes.view(np.uint8)
            self._tables.upload(self._stream, host)
        address = self._tables.address(size)
        return address, address + colors.nbytes
