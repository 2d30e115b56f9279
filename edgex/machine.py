"""What this machine is, as far as figures hang on it: never its name, its user or a path.

What the system does not tell is None or left out; `root` is another folder than / for tests.
"""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from edgex import __version__
from edgex.cores import usable_cores
from edgex.doctor_check import read_text
from edgex.doctor_gpu import read_gpus, read_jetpack
from edgex.engines import cpu
from edgex.machine_limits import cpu_quota, memory_limit_bytes

PACKAGES = (  # versions that a figure may hang on
    *("numpy", "onnx", "onnxruntime", "onnxruntime-gpu", "openvino", "tensorrt", "tensorrt-rtx-cu13", "pycuda"),
    *("opencv-python-headless", "av"),
)
THREADS = ("OMP_NUM_THREADS", "OMP_WAIT_POLICY", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "KMP_AFFINITY")
_CPUS = "sys/devices/system/cpu"


def describe_machine(root: Path = Path("/"), packages: Iterable[str] = ()) -> dict[str, Any]:
    """Describe the machine in plain JSON.

    Parameters
    ----------
    root : where proc, sys, etc, dev and var are
    packages : more packages whose versions matter

    Returns
    -------
    cpu, architecture, features, cores (logical), physical_cores, usable_cores (of this program's affinity), cpu_quota
    (cores that the control group grants), cache_bytes, clock_mhz (lowest and highest), governor, turbo, memory_gb,
    memory_limit_gb (of the control group), virtual (whether a hypervisor is beneath), system, kernel, python, packages
    (edgex among them), environment (variables that set threads), gpus and, on a Jetson, jetson
    """
    text = read_text(root / "proc/cpuinfo")
    words = set(_first(r"^(?:flags|Features)\s*:\s*(.+)$", text).split())
    described: dict[str, Any] = {
        "cpu": _cpu_name(root, text),
        "architecture": platform.machine(),
        "features": [feature for feature in cpu.FEATURES if feature in words],
        "cores": os.cpu_count(),
        "physical_cores": _physical_cores(text),
        "usable_cores": len(usable_cores()),
        "cpu_quota": cpu_quota(root),
        "cache_bytes": _caches(root),
        "clock_mhz": _clocks_mhz(root),
        "governor": _one_of(root, "cpufreq/scaling_governor"),
        "turbo": _turbo(root),
        "memory_gb": _memory_gb(root),
        "memory_limit_gb": None if (limit := memory_limit_bytes(root)) is None else round(limit / 1e9, 2),
        "virtual": "hypervisor" in words if text else None,
        "system": _distribution(root),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "packages": {"edgex": __version__, **_versions((*PACKAGES, *packages))},
        "environment": {name: os.environ[name][:40] for name in THREADS if name in os.environ},
        "gpus": [str(gpu) for gpu in read_gpus(root)[0]],
    }
    if (jetson := _jetson(root)) is not None:
        described["jetson"] = jetson
    return described


def _first(pattern: str, text: str) -> str:
    found = re.search(pattern, text, re.MULTILINE)
    return found[1].strip() if found else ""


def _cpu_name(root: Path, text: str) -> str:
    board = read_text(root / "proc/device-tree/model").strip("\0 \n")  # Arm's cpuinfo mostly has no name
    named = _first(r"^(?:model name|Hardware|Model)\s*:\s*(.+)$", text)
    return named or board or platform.processor() or platform.machine()


def _physical_cores(text: str) -> int | None:
    pairs = set()
    for block in text.split("\n\n"):
        core = _first(r"^core id\s*:\s*(\d+)", block)
        if core:
            pairs.add((_first(r"^physical id\s*:\s*(\d+)", block), core))
    return len(pairs) or None


def _caches(root: Path) -> dict[str, int]:
    found = {}
    for index in sorted((root / _CPUS / "cpu0/cache").glob("index*")):
        kind, level, size = (read_text(index / name).strip() for name in ("type", "level", "size"))
        number = re.fullmatch(r"(\d+)([KM])", size)
        if kind != "Instruction" and level and number:
            found[f"L{level}"] = int(number[1]) * (1024 if number[2] == "K" else 1024**2)
    return found


def _one_of(root: Path, name: str) -> str | None:
    """Return what all usable cores say, "a, b" where they differ, or None where none says anything."""
    said = {read_text(root / _CPUS / f"cpu{core}" / name).strip() for core in usable_cores()} - {""}
    return ", ".join(sorted(said)) or None


def _clocks_mhz(root: Path) -> list[float] | None:
    low, high = (_one_of(root, f"cpufreq/cpuinfo_{end}_freq") for end in ("min", "max"))
    if not low or not high:
        return None
    lows, highs = ([int(each) for each in text.split(", ") if each.isdecimal()] for text in (low, high))
    return [min(lows) / 1000, max(highs) / 1000] if lows and highs else None


def _turbo(root: Path) -> bool | None:
    boost = read_text(root / _CPUS / "cpufreq/boost").strip()
    if boost in ("0", "1"):
        return boost == "1"
    off = read_text(root / _CPUS / "intel_pstate/no_turbo").strip()
    return off == "0" if off in ("0", "1") else None


def _memory_gb(root: Path) -> float | None:
    kib = _first(r"^MemTotal:\s+(\d+) kB", read_text(root / "proc/meminfo"))
    return round(int(kib) * 1024 / 1e9, 1) if kib else None


def _distribution(root: Path) -> str:
    name = _first(r'^PRETTY_NAME="?([^"\n]+)', read_text(root / "etc/os-release"))
    return name or platform.system()


def _versions(names: Iterable[str]) -> dict[str, str]:
    found = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:  # absent ones are left out
            continue
    return found


def _jetson(root: Path) -> dict[str, str] | None:
    jetpack = read_jetpack(root)
    if jetpack is None:
        return None
    number = _first(r"pmode:\s*0*(\d+)", read_text(root / "var/lib/nvpmodel/status"))
    modes = read_text(root / "etc/nvpmodel.conf")
    mode = _first(rf"^<\s*POWER_MODEL\s+ID=0*{number}\s+NAME=(\S+)", modes) if number else ""
    facts = {
        "model": read_text(root / "proc/device-tree/model").strip("\0 \n"),
        "linux": jetpack.linux,
        "jetpack": jetpack.release,
        "power_mode": mode or number,
    }
    return {name: fact for name, fact in facts.items() if fact}
