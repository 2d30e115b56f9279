"""The rate of a large FP16 matrix product on random numbers: by torch where it sees the GPU, else by cuBLAS itself."""

from __future__ import annotations

import ctypes
from importlib.util import find_spec
from typing import Any

import numpy as np

from benchmarks.gpu.kernels_timing import quartiles
from benchmarks.gpu.steps import Missing
from edgex import cuda
from edgex.nvidia import library_paths

SIZE, TURNS, WARM = 8192, 15, 3
CUDA_R_16F, COMPUTE_32F, DEFAULT = 2, 68, -1  # of cublas_api.h and library_types.h
LIBRARIES = ("libcublas.so.13", "libcublas.so.12")


def fp16_rate() -> dict[str, Any]:
    """Return by whom, the size of the square matrices, and TFLOP/s as quartiles. Raises Missing."""
    passed = []
    for by, measure in {"torch": _torch_ms, "cuBLAS": _cublas_ms}.items():
        try:
            ms = np.array(measure(SIZE))
        except Missing as missing:
            passed.append(str(missing))
            continue
        return {"by": by, "size": SIZE, "tflops": quartiles(2e-9 * SIZE**3 / ms), "passed_over": passed}
    raise Missing("; ".join(passed))


def _torch_ms(size: int) -> list[float]:
    if find_spec("torch") is None:
        raise Missing("torch is not installed")
    import torch

    if not torch.cuda.is_available():
        raise Missing(f"torch {torch.__version__} finds no GPU")
    one, other = (torch.randn(size, size, dtype=torch.float16, device="cuda") for _ in range(2))
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    ms = []
    for _ in range(WARM + TURNS):
        begin.record()
        torch.matmul(one, other)
        end.record()
        torch.cuda.synchronize()
        ms.append(float(begin.elapsed_time(end)))
    return ms[WARM:]


def _cublas_ms(size: int) -> list[float]:
    if (reason := cuda.reason_missing()) is not None:
        raise Missing(reason)
    gpu, library = cuda.device(), _cublas()
    stream, begin, end = cuda.Stream(gpu), cuda.Event(gpu), cuda.Event(gpu)
    owner, bytes_ = Stay(), 2 * size * size
    memory = [gpu.allocate(owner, bytes_) for _ in range(3)]
    noise = np.random.default_rng().normal(0.0, 1.0, (size, 1024)).astype(np.float16).repeat(size // 1024, axis=1)
    for each in memory[:2]:
        stream.upload(int(each.raw), noise)
    stream.synchronize()
    one, none, handle = ctypes.c_float(1.0), ctypes.c_float(0.0), ctypes.c_void_p()
    addresses = [ctypes.c_void_p(int(each.raw)) for each in memory]

    def require(name: str, *given: Any) -> None:
        if status := getattr(library, name)(*given):
            raise Missing(f"{name} of cuBLAS answers {status}")

    kind = (CUDA_R_16F, size)
    ms = []
    with gpu.active():
        require("cublasCreate_v2", ctypes.byref(handle))
        require("cublasSetStream_v2", handle, ctypes.c_void_p(stream.handle))
        given: tuple[Any, ...] = (
            handle,
            0,
            0,
            size,
            size,
            size,
            ctypes.byref(one),
            addresses[0],
            *kind,
        )  # column-major, as they are
        given += (addresses[1], *kind, ctypes.byref(none), addresses[2], *kind, COMPUTE_32F, DEFAULT)
        for _ in range(WARM + TURNS):
            stream.record(begin)
            require("cublasGemmEx", *given)
            stream.record(end)
            stream.synchronize()
            ms.append(end.ms_since(begin))
        require("cublasDestroy_v2", handle)
    return ms[WARM:]


class Stay:
    """What memory is held by."""


def _cublas() -> Any:
    for path in library_paths(LIBRARIES):
        try:
            return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    raise Missing(f"none of {', '.join(LIBRARIES)} is there")
