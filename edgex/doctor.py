"""What this machine can do, and why not: `examine` looks, changes nothing, and names what mends each gap."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from edgex import __version__
from edgex.engines import BACKENDS
from edgex.errors import EdgexError

State = Literal["ok", "gap", "none"]

RUNTIMES = {  # module -> distributions that bring it
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino", "onnxruntime-directml"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"),
    "tensorrt_rtx": ("tensorrt-rtx", "tensorrt-rtx-cu13", "tensorrt-rtx-cu12"),
}
CPU_FEATURES = ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8", "asimd", "asimddp", "i8mm")
_NVIDIA_PCI = "0x10de"
_INSTALL_AGAIN = f"{sys.executable} -m pip install --force-reinstall FOLDER_OR_WHEEL_OF_EDGEX"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes
    ----------
    name : what it is
    state : "ok"; "gap", where something that could be there is not; "none", where nothing is wrong and nothing there
    found : what was found
    mend : the command or act that closes the gap, or None
    needed : whether `edgex run` on a file cannot work without it
    """

    name: str
    state: State
    found: str
    mend: str | None = None
    needed: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """All checks, in the order in which they are shown."""

    checks: tuple[Check, ...]

    @property
    def ready(self) -> bool:
        """Whether `edgex run` works here."""
        return not any(check.needed and check.state == "gap" for check in self.checks)

    def rows(self) -> list[tuple[str, str, str]]:
        """Return name, mark and finding of each check, for a table."""
        marks = {"ok": "yes", "gap": "NO", "none": "-"}
        return [
            (check.name, marks[check.state], check.found + (f"\n→ {check.mend}" if check.mend else ""))
            for check in self.checks
        ]


def examine(root: Path = Path("/")) -> Report:
    """Look at this machine.

    Parameters
    ----------
    root : where proc, dev and sys are; another folder for tests
    """
    runtimes = [check for module in RUNTIMES if (check := _runtime(module)) is not None]
    shipped = (_bundle(), _clip())
    checks = (_python(), _system(root), _cpu(root), _memory(root), *runtimes, _encoder(), *shipped)
    return Report((*checks, _cpu_kernels(), _cameras(root), _gpu(root), *_cuda_kernels()))


def _python() -> Check:
    found = f"edgex {__version__}, Python {platform.python_version()} at {sys.executable}"
    return Check("edgex", "ok", found, needed=True)


def _system(root: Path) -> Check:
    model = _text(root / "proc/device-tree/model").strip("\0 \n")  # names a Jetson, Raspberry Pi and the like
    return Check("system", "ok", ", ".join(filter(None, (model, platform.system(), platform.release()))))


def _cpu(root: Path) -> Check:
    text = _text(root / "proc/cpuinfo")
    name = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)
    has = set(flags[1].split()) if flags else set()
    features = [feature for feature in CPU_FEATURES if feature in has]
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    called = name[1].strip() if name else platform.processor() or platform.machine()
    return Check("CPU", "ok", f"{called}, {usable} usable cores, {' '.join(features) or 'no known vector features'}")


def _memory(root: Path) -> Check:
    sizes = {
        key: int(kib) / 2**20 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", _text(root / "proc/meminfo"), re.M)
    }
    if "MemTotal" not in sizes:
        return Check("memory", "none", "not known")
    found = f"{sizes['MemTotal']:.1f} GiB, {sizes.get('MemAvailable', 0.0):.1f} GiB free"
    if sizes.get("MemAvailable", 1.0) < 0.7:  # what a run over 720p video may take
        return Check("memory", "gap", found, "close other programs: a run may take 0.7 GiB")
    return Check("memory", "ok", found)


def _runtime(module: str) -> Check | None:
    """Say whether a runtime is installed; one that is neither there nor a backend of this version is not mentioned."""
    used = module in BACKENDS
    if importlib.util.find_spec(module) is None:
        if not used:
            return None
        mend = f"{sys.executable} -m pip install {RUNTIMES[module][0]}"
        return Check(f"backend {module}", "gap", "not installed", mend, needed=module == BACKENDS[0])
    versions = [version for name in RUNTIMES[module] if (version := _version(name))]
    found = versions[0] if versions else "installed, version not known"
    if not used:
        return Check(f"runtime {module}", "none", f"{found}, not used by this version of edgex")
    return Check(f"backend {module}", "ok", found, needed=module == BACKENDS[0])


def _cpu_kernels() -> Check:
    from edgex import native

    if reason := native.reason_missing():
        found = f"OpenCV composes and preprocesses instead, which takes five to thirty times as long: {reason}"
        return Check("CPU kernels", "gap", found, f"apt-get install g++ && {_INSTALL_AGAIN}")
    return Check("CPU kernels", "ok", f"compiled, {native.instruction_set()}, up to {native.threads()} threads")


def _cuda_kernels() -> list[Check]:
    """Say whether the GPU's kernels can run; nothing where there is no GPU that asks for them."""
    from edgex import cuda

    state, found, mend = cuda.check()
    return [] if state == "none" else [Check("CUDA kernels", state, found, mend)]


def _encoder() -> Check:
    mend = f"{sys.executable} -m pip install --force-reinstall av"
    try:
        import av

        av.codec.Codec("libx264", "w")
    except ImportError as error:
        return Check("video", "gap", f"PyAV does not load: {error}", mend, needed=True)
    except ValueError:  # PyAV's error for a codec that was not compiled in
        return Check("video", "gap", f"PyAV {av.__version__} without libx264: browsers will not play the video", mend)
    return Check("video", "ok", f"PyAV {av.__version__} with the H.264 encoder libx264", needed=True)


def _bundle() -> Check:
    from edgex.explain import load, shipped_bundle

    try:
        with load() as explainer:
            labels = ", ".join(explainer.labels)
            found = f"{shipped_bundle()} on {explainer.engine.backend}: {len(explainer.labels)} classes ({labels})"
    except EdgexError as error:
        return Check("shipped bundle", "gap", str(error), _INSTALL_AGAIN, needed=True)
    return Check("shipped bundle", "ok", found, needed=True)


def _clip() -> Check:
    from edgex.explain import shipped_clip

    try:
        return Check("shipped clip", "ok", str(shipped_clip()))
    except EdgexError as error:
        return Check("shipped clip", "gap", str(error), _INSTALL_AGAIN)


def _cameras(root: Path) -> Check:
    devices = sorted((root / "dev").glob("video[0-9]*"), key=lambda path: (len(path.name), path.name))
    names = ", ".join(
        f"{path} ({_text(root / 'sys/class/video4linux' / path.name / 'name').strip()})" for path in devices
    )
    if not devices:
        return Check("cameras", "none", "none at /dev/video*", "plug a camera in; edgex run --source FILE needs none")
    if not all(os.access(path, os.R_OK | os.W_OK) for path in devices):
        return Check("cameras", "gap", f"{names}: no permission", "sudo usermod -aG video $USER, then log in again")
    return Check("cameras", "ok", names)


def _gpu(root: Path) -> Check:
    devices = [path.name for path in sorted((root / "dev").glob("nvidia[0-9]*"))]
    on_bus = [path for path in (root / "sys/bus/pci/devices").glob("*/vendor") if _text(path).strip() == _NVIDIA_PCI]
    displays = [path for path in on_bus if _text(path.with_name("class")).startswith("0x03")]
    program = shutil.which("nvidia-smi")
    if program and devices:
        query = [program, "--query-gpu=name,driver_version,memory.total", "--format=csv,noheader"]
        try:
            asked = subprocess.run(query, capture_output=True, text=True, timeout=10, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            return Check("NVIDIA GPU", "gap", f"nvidia-smi does not answer: {error}", "sudo reboot")
        if asked.returncode == 0:
            return Check("NVIDIA GPU", "ok", "; ".join(asked.stdout.split("\n")).strip("; "))
        return Check("NVIDIA GPU", "gap", (asked.stdout + asked.stderr).strip(), "sudo reboot")
    if devices or (root / "etc/nv_tegra_release").exists():
        return Check("NVIDIA GPU", "ok", f"{', '.join(devices) or 'Tegra'} (no nvidia-smi that could say more)")
    if displays:
        return Check("NVIDIA GPU", "gap", "there, without its driver", "sudo ubuntu-drivers install")
    return Check("NVIDIA GPU", "none", "none; the CPU is used")


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
