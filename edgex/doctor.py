"""What this machine can do, and why not: `examine` looks, changes nothing, and names what mends each gap."""

from __future__ import annotations

import os
import platform
import re
import sys
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from edgex import __version__, doctor_combinations
from edgex.cores import usable_cores
from edgex.doctor_backends import Backend, backend_check, read_backends
from edgex.doctor_check import PIP, Check, State, read_text
from edgex.doctor_gpu import Gpu, JetPack, gpu_check, jetpack_check, read_gpus, read_jetpack
from edgex.engines import cpu
from edgex.engines.choose import TENSORRT
from edgex.errors import EdgexError

__all__ = ["Check", "Report", "State", "examine"]

_INSTALL_AGAIN = f"{PIP} install --force-reinstall FOLDER_OR_WHEEL_OF_EDGEX"
_INT8_X86 = ("avx512_vnni", "avx_vnni", "amx_int8")
_INT8_ARM = ("asimddp", "i8mm")


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


def examine(root: Path = Path("/"), folder: Path = Path()) -> Report:
    """Look at this machine.

    Parameters
    ----------
    root : where proc, dev, etc, sys and var are; another folder for tests
    folder : where engine files may lie that this machine would refuse
    """
    gpus, trouble = read_gpus(root)
    jetpack = read_jetpack(root)
    backends = read_backends()
    checks = (
        *(_python(), _system(root), _cpu(root), _memory(root)),
        *(backend_check(backend, bool(gpus), jetpack) for backend in backends),
        *(_encoder(), _bundle(), _clip(), _cpu_kernels(), _cameras(root), gpu_check(root, gpus, trouble)),
        *(*jetpack_check(jetpack), *_cuda_kernels(), *_combinations(backends, gpus, jetpack, folder)),
    )
    return Report(checks)


def _combinations(
    backends: Collection[Backend], gpus: tuple[Gpu, ...], jetpack: JetPack | None, folder: Path
) -> list[Check]:
    """Return a row for each combination of parts that is known to be bad and is found here."""
    known = doctor_combinations
    packages = known.read_packages()
    flavours = {each.name: each.version for each in backends if each.name in TENSORRT and each.version}
    alone = (
        known.pip_over_jetpack(packages, jetpack),
        known.int8_without_cores(flavours, gpus),
        known.driver_too_old(packages, gpus),
    )
    return [
        *(*known.same_files(packages), *known.installed_twice(packages), *known.gpu_too_old(flavours, gpus)),
        *(check for check in alone if check is not None),
        *known.plans_of_others(folder, flavours),
    ]


def _python() -> Check:
    found = f"edgex {__version__}, Python {platform.python_version()} at {sys.executable}"
    return Check("edgex", "ok", found, needed=True)


def _system(root: Path) -> Check:
    model = read_text(root / "proc/device-tree/model").strip("\0 \n")  # names a Jetson, Raspberry Pi and the like
    return Check("system", "ok", ", ".join(filter(None, (model, platform.system(), platform.release()))))


def _cpu(root: Path) -> Check:
    text = read_text(root / "proc/cpuinfo")
    name = re.search(r"^(?:model name|Hardware)\s*:\s*(.+)$", text, re.MULTILINE)
    flags = re.search(r"^(flags|Features)\s*:\s*(.+)$", text, re.MULTILINE)  # the word is x86's, or Arm's
    features = [feature for feature in cpu.FEATURES if flags and feature in flags[2].split()]
    called = name[1].strip() if name else platform.processor() or platform.machine()
    gain = int8_gain(features, flags[1] == "flags") if flags else ""
    found = f"{called}, {len(usable_cores())} usable cores, {' '.join(features) or 'no known vector features'}"
    return Check("CPU", "ok", "; ".join(filter(None, (found, gain))))


def int8_gain(features: Collection[str], x86: bool) -> str:
    """Return in a few words what INT8 gains on a CPU with these features, as Linux names them."""
    if x86:
        if has := [feature for feature in _INT8_X86 if feature in features]:
            return f"INT8 is fast ({' '.join(has)})"
        return "INT8 gains little (no VNNI), and its weights get 7 bits, as 8 would overflow"
    if has := [feature for feature in _INT8_ARM if feature in features]:
        return f"INT8 is fast ({' '.join(has)})"
    return "INT8 gains little (no dot product, asimddp)"


def _memory(root: Path) -> Check:
    sizes = {
        key: int(kib) / 2**20 for key, kib in re.findall(r"^(\w+):\s+(\d+) kB", read_text(root / "proc/meminfo"), re.M)
    }
    if "MemTotal" not in sizes:
        return Check("memory", "none", "not known")
    found = f"{sizes['MemTotal']:.1f} GiB, {sizes.get('MemAvailable', 0.0):.1f} GiB free"
    if sizes.get("MemAvailable", 1.0) < 0.7:  # what a run over 720p video may take
        return Check("memory", "gap", found, "close other programs: a run may take 0.7 GiB")
    return Check("memory", "ok", found)


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
    mend = f"{PIP} install --force-reinstall av"
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
        f"{path} ({read_text(root / 'sys/class/video4linux' / path.name / 'name').strip()})" for path in devices
    )
    if not devices:
        return Check("cameras", "none", "none at /dev/video*", "plug a camera in; edgex run --source FILE needs none")
    if not all(os.access(path, os.R_OK | os.W_OK) for path in devices):
        return Check("cameras", "gap", f"{names}: no permission", "sudo usermod -aG video $USER, then log in again")
    return Check("cameras", "ok", names)
