"""What the kernels are timed on: style, classes, sizes of picture and batch, and a case's launches in memory."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmarks.gpu.kernels_timing import Arena, Enqueue
from benchmarks.scenes import NETWORK, SIDE, drawing, mask_logits
from edgex import arguments, cuda
from edgex.compositors.cuda import CudaCompositor
from edgex.preprocess_cuda import CudaPreprocessor
from edgex.types import STYLES, Drawing

WORKS = (*STYLES, "masks")
SIZES = ((720, 1280), (1080, 1920), (2160, 3840))
COUNTS, BATCHES = (1, 3, 20), (1, 16)


class Case(NamedTuple):
    """A style, "masks" or "preprocess", its number of classes, rows and columns of a picture, pictures of a launch."""

    work: str
    count: int
    height: int
    width: int
    batch: int = 1

    @property
    def name(self) -> str:
        return f"{self.work} {self.count or ''}".strip()

    def shapes(self) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]:
        """Return what a launch's pictures, logits and results have in memory."""
        size, logits = (self.batch, self.height, self.width), (self.batch, self.count, SIDE, SIDE)
        if self.work == "preprocess":
            return (*size, 3), (0,), (self.batch, 3, NETWORK.height, NETWORK.width)
        masks = (self.batch, self.count, self.height, self.width)
        return ((0,), logits, masks) if self.work == "masks" else ((*size, 3), logits, (*size, 3))

    def sizes(self) -> tuple[int, int]:
        """Return the bytes that a launch reads and writes, each once; tables of colors, in the cache, are left out."""
        picture, logits, result = map(math.prod, self.shapes())
        return picture + 4 * logits, result * (4 if self.work == "preprocess" else 1)

    def drawing(self) -> Drawing:
        return drawing(self.work if self.work in STYLES else "overlay", max(1, self.count))


CASES = (
    *(Case(work, count, *size, batch) for work, count, size, batch in product(WORKS, COUNTS, SIZES, BATCHES)),
    *(Case("preprocess", 0, *size, batch) for size, batch in product(SIZES, BATCHES)),
)


def batch_logits(case: Case) -> NDArray[np.float32]:
    """Return smooth noise around 0, float32 [batch, count, 28, 28], other noise for each picture."""
    plain = mask_logits("random")[: case.count]
    return np.stack([np.roll(plain, number, axis=(1, 2)) for number in range(case.batch)])


def call_of(case: Case, half: bool = False) -> Any:
    """Return a case's call for pictures, logits and results that lie one behind the other, without addresses."""
    call: Any
    if case.work == "preprocess":
        call = arguments.preprocess(NETWORK, case.height, case.width, half)
    else:
        shape = (case.height, case.width, (max(1, case.count), SIDE, SIDE), half)
        masks = case.work == "masks"
        call = arguments.masks(case.count, *shape) if masks else arguments.composite(case.drawing(), *shape)
        plane = case.height * case.width
        call.picture_stride = 0 if masks else 3 * case.width
        call.picture_step = case.count * plane if masks else 3 * plane
        call.logits_step = case.count * SIDE * SIDE * (2 if half else 4)
    call.image_stride, call.image_step, call.pictures = 3 * case.width, 3 * case.width * case.height, case.batch
    return call


class Launches:
    """A case's launches, `works`, each on memory of its own.

    Parameters
    ----------
    gpu, arena : where; the arena's memory is the case's until it is cleared
    case : what
    slots : how many sets of memory
    images : uint8, the pictures of every set; None: noise
    logits : float32 or float16 of every set; None: smooth noise
    """

    def __init__(
        self,
        gpu: cuda.Device,
        arena: Arena,
        case: Case,
        slots: int,
        images: NDArray[np.uint8] | None = None,
        logits: NDArray[Any] | None = None,
        half: bool = False,
    ) -> None:
        preprocess = case.work == "preprocess"
        self.case = case
        self.launch: Callable[..., None] = (
            CudaPreprocessor(NETWORK, gpu=gpu) if preprocess else CudaCompositor(gpu)
        ).launch
        template = call_of(case, half)
        picture = math.prod(case.shapes()[0])
        self.result_bytes = case.sizes()[1] // (2 if preprocess and half else 1)
        if not preprocess:
            tables = arguments.colors(case.drawing()), arguments.heat_colors(), np.arange(case.count, dtype=np.int32)
            template.colors, template.heat, template.classes = (arena.put(each) for each in tables)
            logits = batch_logits(case) if logits is None else logits
        self.calls, self.results = [], []
        for _ in range(slots):
            call = type(template).from_buffer_copy(template)
            call.image = arena.noisy(picture) if images is None else arena.put(images)
            self.results.append(arena.take(self.result_bytes + 256))  # behind it lies what nobody may write
            setattr(call, "tensor" if preprocess else "picture", self.results[-1])
            if logits is not None:
                call.logits = arena.put(logits)
            self.calls.append(call)
        self.works = [_work(self.launch, call) for call in self.calls]


def _work(launch: Callable[..., None], call: Any) -> Enqueue:
    """Return one launch; it does not hold the Launches, which then go without the cycle collector."""
    return lambda stream: launch(call, stream)
