"""The GPU, its driver and, on a Jetson, its JetPack: facts as files and nvidia-smi tell them, and their rows."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from edgex.doctor_check import Check, numbers, read_text

Capability = tuple[int, int]
LEAST_TENSORRT = (10, 3)
_NVIDIA_PCI = "0x10de"
_QUERIES = ("name,driver_version,compute_cap,memory.total", "name,driver_version,memory.total")  # old ones lack one
_JETSONS: tuple[tuple[str, Capability], ...] = (  # in the device tree's model name
    ("Thor", (11, 0)),
    ("Orin", (8, 7)),
    ("Xavier", (7, 2)),
    ("TX2", (6, 2)),
    ("TX1", (5, 3)),
    ("Nano", (5, 3)),
)
# First Jetson Linux release, newest first -> JetPack, TensorRT that comes with it, as NVIDIA's pages of each say.
_JETPACKS: tuple[tuple[tuple[int, ...], str, str], ...] = (
    ((39, 2, 2), "7.2.2 or later", "11.4"),
    ((39, 2), "7.2", "10.16"),
    ((38,), "7.0 or 7.1", "10.13"),
    ((36, 4), "6.1 or 6.2", "10.3"),
    ((36,), "6.0", "8.6"),
    ((35, 2), "5.1", "8.5"),
    ((35,), "5.0.2", "8.4"),
    ((34,), "5.0", "8.4"),
    ((32,), "4", "8.2 or earlier"),
)


@dataclass(frozen=True, slots=True)
class Gpu:
    """An NVIDIA GPU: its name, its driver's version, compute capability and memory, "" or None where not known."""

    name: str
    driver: str = ""
    capability: Capability | None = None
    memory: str = ""

    def __str__(self) -> str:
        capability = "" if self.capability is None else "compute capability {}.{}".format(*self.capability)
        driver = self.driver and f"driver {self.driver}"
        return ", ".join(filter(None, (self.name, driver, capability, self.memory)))


@dataclass(frozen=True, slots=True)
class JetPack:
    """The software of a Jetson: versions of Jetson Linux, of JetPack and of the TensorRT that it brings.

    `installed` is the version of TensorRT as its own packages say, "" where they are not installed.
    """

    linux: str
    release: str = ""
    tensorrt: str = ""
    installed: str = ""


def read_jetpack(root: Path) -> JetPack | None:
    """Return what etc/nv_tegra_release and the package database say, or None where this is no Jetson."""
    found = re.search(r"^# R(\d+) .*?REVISION: ([\d.]+)", read_text(root / "etc/nv_tegra_release"), re.MULTILINE)
    if found is None:
        return None
    linux = f"{found[1]}.{found[2]}"
    known = [row for row in _JETPACKS if numbers(linux) >= row[0] and numbers(linux)[0] == row[0][0]]
    release, tensorrt = known[0][1:] if known else ("", "")
    packages = _debian_packages(read_text(root / "var/lib/dpkg/status"), r"nvidia-jetpack|libnvinfer\d+")
    installed = next((version for name, version in packages.items() if name.startswith("libnvinfer")), "")
    own = re.match(r"[\d.]+", packages.get("nvidia-jetpack", ""))
    return JetPack(linux, own[0] if own else release, tensorrt, re.split(r"[-+]", installed)[0])


def read_gpus(root: Path) -> tuple[tuple[Gpu, ...], str]:
    """Return the GPUs that nvidia-smi or the device tree names, and what is wrong with nvidia-smi, or ""."""
    devices = [path.name for path in sorted((root / "dev").glob("nvidia[0-9]*"))]
    model = read_text(root / "proc/device-tree/model").strip("\0 \n")
    is_jetson = (root / "etc/nv_tegra_release").exists()
    capability = next((each for word, each in _JETSONS if word in model), None)
    board = (Gpu(f"GPU of {model}", capability=capability),) if is_jetson and capability else ()
    program = shutil.which("nvidia-smi")
    if not program or not devices:
        return board or tuple(Gpu(f"GPU at /dev/{name}") for name in devices), ""
    said = ""
    for query in _QUERIES:
        try:
            asked = subprocess.run(
                [program, f"--query-gpu={query}", "--format=csv,noheader"],
                capture_output=True,
                text=True,
                errors="replace",
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return (), f"nvidia-smi does not answer: {error}"
        if asked.returncode == 0:
            names = query.split(",")
            found = tuple(_gpu(line, names) for line in asked.stdout.splitlines() if line.strip())
            return found if all(gpu.capability for gpu in found) or not board else board, ""
        said = said or (asked.stdout + asked.stderr).strip() or f"nvidia-smi ends with {asked.returncode}"
    return (), said


def gpu_check(root: Path, gpus: tuple[Gpu, ...], trouble: str) -> Check:
    """Return the row of the GPUs that `read_gpus` found."""
    if trouble:
        return Check("NVIDIA GPU", "gap", trouble, "sudo reboot")
    if gpus:
        unknown = (
            " (no nvidia-smi that could say more)" if not any(gpu.driver or gpu.capability for gpu in gpus) else ""
        )
        return Check("NVIDIA GPU", "ok", "; ".join(map(str, gpus)) + unknown)
    if (root / "etc/nv_tegra_release").exists():
        return Check("NVIDIA GPU", "ok", "Tegra (no nvidia-smi that could say more)")
    on_bus = [
        path for path in (root / "sys/bus/pci/devices").glob("*/vendor") if read_text(path).strip() == _NVIDIA_PCI
    ]
    if any(read_text(path.with_name("class")).startswith("0x03") for path in on_bus):
        return Check("NVIDIA GPU", "gap", "there, without its driver", "sudo ubuntu-drivers install")
    return Check("NVIDIA GPU", "none", "none; the CPU is used")


def jetpack_check(jetpack: JetPack | None) -> list[Check]:
    """Return the row of a Jetson's software, none elsewhere; a gap where its TensorRT is older than edgex needs."""
    if jetpack is None:
        return []
    tensorrt = jetpack.installed or jetpack.tensorrt
    called = f"JetPack {jetpack.release}" if jetpack.release else "a JetPack that edgex does not know"
    found = f"{called}, Jetson Linux {jetpack.linux}" + f", TensorRT {tensorrt}" * bool(tensorrt)
    if tensorrt and numbers(tensorrt.partition(" ")[0]) < LEAST_TENSORRT:
        least = ".".join(map(str, LEAST_TENSORRT))
        mend = "install JetPack 6.1 or later where the board takes it, or run on the CPU with --backend onnxruntime"
        return [Check("JetPack", "gap", f"{found}; edgex needs TensorRT {least}", mend)]
    return [Check("JetPack", "ok", found if jetpack.installed else f"{found} (not installed)")]


def _gpu(line: str, names: list[str]) -> Gpu:
    cells = [cell.strip() for cell in line.split(",")]
    told = {name: cell for name, cell in zip(names, cells, strict=False) if cell and not cell.startswith("[")}
    capability = re.fullmatch(r"(\d+)\.(\d+)", told.get("compute_cap", ""))
    return Gpu(
        told.get("name", "an NVIDIA GPU"),
        told.get("driver_version", ""),
        (int(capability[1]), int(capability[2])) if capability else None,
        told.get("memory.total", ""),
    )


def _debian_packages(status: str, pattern: str) -> dict[str, str]:
    """Return name -> version of the installed packages whose whole name fits a pattern."""
    found = {}
    for entry in status.split("\n\n"):
        name = re.search(rf"^Package: ({pattern})$", entry, re.MULTILINE)
        version = re.search(r"^Version: (\S+)$", entry, re.MULTILINE)
        if name and version and re.search(r"^Status: .* installed$", entry, re.MULTILINE):
            found[name[1]] = version[1]
    return found
