"""What users would pick instead of the composite kernel: torch eager, torch.compile, and CuPy's arrays.

Each upsamples the logits, takes the largest, applies the sigmoid and blends, from and to uint8 on the GPU. Each one's
picture is compared with the oracle before it is timed, in the same rounds as the kernel, on sets beyond the cache.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.gpu.kernels_cases import Case, batch_logits
from benchmarks.gpu.kernels_timing import Enqueue
from benchmarks.gpu.steps import Missing
from benchmarks.scenes import SIDE
from edgex import cuda
from tests.compositors.parity import assert_parity

LEVELS, TIES = 1, 1e-4
Blend = Callable[[Any, Any], Any]  # pictures uint8 [N, H, W, 3], logits float32 [N, K, h, w] -> uint8 [N, H, W, 3]


class OtherPictureError(AssertionError):
    """A peer draws something else; libraries raise AssertionError for reasons of their own."""


def torch_blend(case: Case, device: str) -> Blend:
    """Return torch's overlay."""
    import torch

    drawing = case.drawing()
    colors = torch.tensor(drawing.colors, dtype=torch.float32, device=device)
    opacity, size = drawing.opacity, (case.height, case.width)

    def blend(images: Any, logits: Any) -> Any:
        large = torch.nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
        best, winner = large.max(dim=1)
        weight = (best.sigmoid() * opacity)[..., None]
        return (images + weight * (colors[winner] - images) + 0.5).clamp(0, 255).to(torch.uint8)

    return blend


def array_blend(case: Case, xp: Any) -> Blend:
    """Return the same in plain array code: of CuPy, or of NumPy."""
    drawing = case.drawing()
    colors = xp.asarray(drawing.colors, dtype=xp.float32)

    def places(count: int, target: int) -> tuple[Any, Any, Any]:
        place = xp.clip((xp.arange(target, dtype=xp.float32) + 0.5) * (count / target) - 0.5, 0, count - 1)
        lower = place.astype(xp.int32)
        return lower, xp.minimum(lower + 1, count - 1), place - lower

    (top, bottom, down), (left, right, across) = places(SIDE, case.height), places(SIDE, case.width)

    def blend(images: Any, logits: Any) -> Any:
        rows = logits[:, :, top] * (1 - down[:, None]) + logits[:, :, bottom] * down[:, None]
        large = rows[..., left] * (1 - across) + rows[..., right] * across
        weight = (drawing.opacity / (1 + xp.exp(-large.max(axis=1))))[..., None]
        mixed = images + weight * (colors[large.argmax(axis=1)] - images)
        return xp.clip(mixed + 0.5, 0, 255).astype(xp.uint8)

    return blend


def require_right(name: str, case: Case, blend: Callable[[Any, Any], Any]) -> None:
    """Raise OtherPictureError unless a peer's pictures are the oracle's; `blend` takes and returns NumPy's arrays."""
    random = np.random.default_rng()
    images = random.integers(0, 256, (case.batch, case.height, case.width, 3), np.uint8)
    logits = batch_logits(case)
    for image, plane, picture in zip(images, logits, np.asarray(blend(images, logits)), strict=True):
        try:
            assert_parity(picture, image, plane, case.drawing(), LEVELS)
        except AssertionError as error:
            raise OtherPictureError(f"{name} does not draw what the oracle draws: {error}") from None


def check_on_cpu(case: Case, found: dict[str, Any]) -> None:
    """Compare torch's and the array code's pictures with the oracle, without a GPU."""
    makers: dict[str, Callable[[], Blend]] = {"CuPy": lambda: array_blend(case, np)}
    if find_spec("torch") is None:
        found["missing"]["torch eager"] = "torch is not installed"
    else:
        makers["torch eager"] = lambda: _on_arrays(torch_blend(case, "cpu"), "cpu")
    for name, make in makers.items():
        try:
            require_right(name, case, make())
            found["peers"][name] = "its arithmetic, on the CPU, is the oracle's"
        except OtherPictureError as error:
            found["failures"].append(str(error))
    found["missing"]["torch.compile"] = "not compiled in a dry run"


def _on_arrays(blend: Blend, device: str) -> Blend:
    import torch

    return lambda images, logits: (
        blend(torch.from_numpy(images).to(device), torch.from_numpy(logits).to(device)).cpu().numpy()
    )


class TorchPeer:
    """Torch's overlay, eager or compiled, in the stream that it is timed in."""

    def __init__(self, compiled: bool) -> None:
        if find_spec("torch") is None:
            raise Missing("torch is not installed")
        import torch

        if not torch.cuda.is_available():
            raise Missing(f"torch {torch.__version__} finds no GPU")
        if compiled and not (find_spec("triton") and any(shutil.which(each) for each in ("gcc", "cc", "clang"))):
            raise Missing("torch.compile takes Triton and a C compiler")
        self._compiled = compiled

    def blend(self, case: Case) -> Blend:
        import torch

        blend = torch_blend(case, "cuda")
        if not self._compiled:
            return blend
        torch._dynamo.reset()  # every case has the same code object, and only so many versions of one are kept
        return torch.compile(blend, dynamic=False)

    def check(self, case: Case) -> None:
        """Raise OtherPictureError unless its pictures are the oracle's; compiled, it is checked as it is timed."""
        if not self._compiled:
            require_right("torch", case, _on_arrays(torch_blend(case, "cuda"), "cuda"))

    def works(self, case: Case, slots: int, stream: cuda.Stream) -> tuple[list[Enqueue], Callable[[], Enqueue | None]]:
        """Return a call for each set of memory, and what captures them all in a graph, None where that fails."""
        import torch

        outer, blend = torch.cuda.ExternalStream(stream.handle), self.blend(case)
        with torch.inference_mode(), torch.cuda.stream(outer):
            logits = torch.from_numpy(batch_logits(case)).cuda()
            shape = (case.batch, case.height, case.width, 3)
            sets = [
                (torch.randint(0, 256, shape, dtype=torch.uint8, device="cuda"), logits.clone()) for _ in range(slots)
            ]
            for each in sets[:3]:
                drawn = blend(*each)
            if self._compiled:  # the last of them beside the eager one, which was compared with the oracle
                eager = torch_blend(case, "cuda")(*sets[min(3, slots) - 1])
                apart = ((drawn.int() - eager.int()).abs() > LEVELS).float().mean().item()
                if apart > TIES:
                    raise OtherPictureError(f"torch.compile draws {apart:.1e} of the values as eager torch does not")
        torch.cuda.synchronize()

        def work(each: Any) -> Enqueue:
            def enqueue(_: cuda.Stream) -> None:
                with torch.inference_mode(), torch.cuda.stream(outer):
                    blend(*each)

            return enqueue

        def capture() -> Enqueue | None:
            graph = torch.cuda.CUDAGraph()
            try:
                with torch.inference_mode(), torch.cuda.graph(graph):
                    for each in sets:
                        blend(*each)
            except RuntimeError:
                return None

            def replay(_: cuda.Stream) -> None:
                with torch.cuda.stream(outer):
                    graph.replay()

            return replay

        return [work(each) for each in sets], capture

    def free(self) -> None:
        import torch

        torch.cuda.synchronize()
        torch.cuda.empty_cache()


class CupyPeer:
    """CuPy's array code in the stream that it is timed in; not captured in a graph."""

    def __init__(self) -> None:
        if find_spec("cupy") is None:
            raise Missing("CuPy is not installed")
        import cupy

        self._cupy = cupy

    def check(self, case: Case) -> None:
        cupy, blend = self._cupy, array_blend(case, self._cupy)
        require_right("CuPy", case, lambda *given: cupy.asnumpy(blend(*(cupy.asarray(each) for each in given))))

    def works(self, case: Case, slots: int, stream: cuda.Stream) -> tuple[list[Enqueue], Callable[[], Enqueue | None]]:
        cupy, blend = self._cupy, array_blend(case, self._cupy)
        outer, logits = cupy.cuda.ExternalStream(stream.handle), batch_logits(case)
        shape = (case.batch, case.height, case.width, 3)
        sets = [(cupy.random.randint(0, 256, shape, dtype=cupy.uint8), cupy.asarray(logits)) for _ in range(slots)]
        cupy.cuda.Device().synchronize()

        def work(each: Any) -> Enqueue:
            def enqueue(_: cuda.Stream) -> None:
                with outer:
                    blend(*each)

            return enqueue

        return [work(each) for each in sets], lambda: None

    def free(self) -> None:
        self._cupy.cuda.Device().synchronize()
        self._cupy.get_default_memory_pool().free_all_blocks()
