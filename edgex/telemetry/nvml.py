"""Telemetry of NVIDIA GPUs through NVML, the driver's own library, by ctypes: no package is needed for it."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache, partial
from typing import Any

from edgex.telemetry.meters import Found, Gauge

LIBRARY = "libnvidia-ml.so.1"
HELD_BACK = "held back by heat or power"
_SM, _MEMORY = 1, 2  # kinds of clock
_GPU_SENSOR = 0
_NAME_BYTES = 96
# Reasons for a lower clock that are no choice of the user: power cap, hardware slowdown, heat (two kinds), power brake
_HELD = 0x4 | 0x8 | 0x20 | 0x40 | 0x80


class _Utilization(ctypes.Structure):
    _fields_ = (("gpu", ctypes.c_uint), ("memory", ctypes.c_uint))


class _Memory(ctypes.Structure):
    _fields_ = (("total", ctypes.c_ulonglong), ("free", ctypes.c_ulonglong), ("used", ctypes.c_ulonglong))


def find_gpus(library: str = LIBRARY) -> Found:
    """Return what NVML tells of each GPU; where there is no NVML, or it fails, that is said."""
    nvml = _start(library)
    if isinstance(nvml, str):
        return Found(missing=[f"GPU clock, power, temperature and throttling: {nvml}"])
    count = ctypes.c_uint()
    if nvml.nvmlDeviceGetCount_v2(ctypes.byref(count)) or not count.value:
        return Found(missing=["GPU clock, power, temperature and throttling: NVML names no GPU"])
    found = Found()
    for number in range(count.value):
        device = ctypes.c_void_p()
        if not nvml.nvmlDeviceGetHandleByIndex_v2(ctypes.c_uint(number), ctypes.byref(device)):
            found += _device(nvml, device, f"GPU {number}")
    return found


@cache
def _start(library: str) -> Any:
    """Return NVML, started once and for as long as this program runs, or in one sentence why not."""
    try:
        nvml = ctypes.CDLL(library)
    except OSError:
        return f"no {library}, which NVIDIA's driver brings"
    code = nvml.nvmlInit_v2()
    return f"NVML does not start (error {code})" if code else nvml


def _device(nvml: Any, device: ctypes.c_void_p, called: str) -> Found:
    gauges = (
        Gauge(f"{called} clock", "MHz", partial(_uint, nvml.nvmlDeviceGetClockInfo, device, _SM)),
        Gauge(f"{called} memory clock", "MHz", partial(_uint, nvml.nvmlDeviceGetClockInfo, device, _MEMORY)),
        Gauge(f"{called} power", "W", partial(_uint, nvml.nvmlDeviceGetPowerUsage, device, scale=1e-3)),
        Gauge(f"{called} temperature", "°C", partial(_uint, nvml.nvmlDeviceGetTemperature, device, _GPU_SENSOR)),
        Gauge(f"{called} busy", "%", partial(_busy, nvml, device)),
        Gauge(f"{called} memory in use", "MB", partial(_used_mb, nvml, device)),
        Gauge(f"{called} {HELD_BACK}", "1 = yes", partial(_held_back, nvml, device)),
    )
    found = Found()
    for gauge in gauges:
        if gauge.read() is None:
            found.missing.append(f"{gauge.name}: NVML does not tell it for this GPU")
        else:
            found.gauges.append(gauge)
    return found


def _uint(ask: Callable[..., int], device: ctypes.c_void_p, *which: int, scale: float = 1.0) -> float | None:
    value = ctypes.c_uint()
    words = [ctypes.c_uint(each) for each in which]
    return None if ask(device, *words, ctypes.byref(value)) else value.value * scale


def _busy(nvml: Any, device: ctypes.c_void_p) -> float | None:
    shares = _Utilization()
    return None if nvml.nvmlDeviceGetUtilizationRates(device, ctypes.byref(shares)) else float(shares.gpu)


def _used_mb(nvml: Any, device: ctypes.c_void_p) -> float | None:
    memory = _Memory()
    return None if nvml.nvmlDeviceGetMemoryInfo(device, ctypes.byref(memory)) else memory.used / 1e6


def _held_back(nvml: Any, device: ctypes.c_void_p) -> float | None:
    reasons = ctypes.c_ulonglong()
    failed = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device, ctypes.byref(reasons))
    return None if failed else float(bool(reasons.value & _HELD))
