"""Combinations of parts that are known to be bad, each a pure function on facts: its row, or None where it is not met.

Sources: NVIDIA's support matrices and release notes of TensorRT 10.1 (7.0 has no INT8 tensor cores),
10.5 (drops 7.0), 11.4 (which plans it takes) and TensorRT-RTX 1.5; CUDA's release notes (13 needs driver 580); issues
of onnxruntime and the page of opencv-python on packages that write the same files.
"""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgex.build_manifest import BuildManifest, read_sidecar
from edgex.doctor_check import PIP, Check, numbers
from edgex.doctor_gpu import Gpu, JetPack
from edgex.engines.choose import ENGINE_SUFFIXES
from edgex.engines.tensorrt_api import HEADER_BYTES, TITLES, plan_origin
from edgex.errors import ModelError
from edgex.inspect_backends import plan_refused

# Packages that write the same files, and the one of them that edgex asks for.
_SAME_FILES = (
    (r"onnxruntime(-gpu|-openvino|-directml|-qnn|-migraphx|-rocm)?", "onnxruntime"),
    (r"opencv-(contrib-)?python(-headless)?", "opencv-python-headless"),
    (r"tensorrt-cu\d+-bindings", "tensorrt"),
    (r"tensorrt-rtx-cu\d+-bindings", "tensorrt-rtx-cu13"),
)
_OWN = r"numpy|onnx|onnxruntime|opencv-python-headless|av|openvino|pycuda|tensorrt.*"
_TENSORRT_FILES = r"tensorrt-(cu\d+-)?libs"  # NVIDIA's libraries as pip brings them
_LEAST_CAPABILITY = (((10, 5), (7, 5)), ((10, 0), (7, 0)))  # TensorRT from -> GPU from; newest first
_LEAST_OF_RTX = (7, 5)
_INT8_TENSOR_CORES = (7, 2)
_CUDA_13_DRIVER = 580
_MOST_PLANS = 100  # of a folder


@dataclass(frozen=True, slots=True)
class Package:
    """An installed Python package: its name as package indexes compare it, its version, the folder it lies in."""

    name: str
    version: str
    folder: str


def read_packages() -> tuple[Package, ...]:
    """Return the Python packages that this interpreter sees."""
    found = []
    for each in importlib.metadata.distributions():
        name = each.metadata["Name"] if each.metadata else None  # one that is broken has none
        if name:
            found.append(Package(re.sub(r"[-_.]+", "-", name).lower(), each.version or "", str(each.locate_file(""))))
    return tuple(found)


def same_files(packages: Iterable[Package]) -> list[Check]:
    """Return a row for each set of packages that overwrite one another's files."""
    checks = []
    for pattern, wanted in _SAME_FILES:
        rivals = sorted({each.name: each for each in packages if re.fullmatch(pattern, each.name)}.items())
        if len(rivals) > 1:
            found = " and ".join(f"{name} {each.version}" for name, each in rivals)
            names = " ".join(name for name, _ in rivals)
            mend = f"{PIP} uninstall -y {names} && {PIP} install --force-reinstall --no-cache-dir {wanted}"
            checks.append(
                Check(f"packages of {wanted}", "gap", f"{found} write the same files: what is loaded is chance", mend)
            )
    return checks


def installed_twice(packages: Iterable[Package]) -> list[Check]:
    """Return a row for each package of which one folder holds two versions: an installation that broke off."""
    versions: dict[tuple[str, str], set[str]] = {}
    for each in packages:
        if re.fullmatch(_OWN, each.name):
            versions.setdefault((each.name, each.folder), set()).add(each.version)
    return [
        Check(
            f"package {name}",
            "gap",
            f"{' and '.join(sorted(found))} at once in {folder}",
            f"{PIP} uninstall -y {name} && {PIP} uninstall -y {name} && {PIP} install {name}",
        )
        for (name, folder), found in versions.items()
        if len(found) > 1
    ]


def pip_over_jetpack(packages: Iterable[Package], jetpack: JetPack | None) -> Check | None:
    """Return a row where pip's TensorRT stands before that of JetPack, whose plans are of another version."""
    if jetpack is None:
        return None
    own = jetpack.installed or jetpack.tensorrt
    rivals = [each for each in packages if re.fullmatch(_TENSORRT_FILES, each.name)]
    if not rivals or (own and numbers(rivals[0].version)[:3] == numbers(own)[:3]):
        return None
    names = " ".join(sorted(each.name for each in packages if re.fullmatch(r"tensorrt(-cu\d+)?(-\w+)?", each.name)))
    found = f"{rivals[0].name} {rivals[0].version} of pip stands before JetPack's TensorRT {own}".rstrip()
    mend = f"{PIP} uninstall -y {names}, then use a virtual environment made with --system-site-packages"
    return Check("TensorRT over JetPack", "gap", found, mend)


def gpu_too_old(versions: Mapping[str, str], gpus: Sequence[Gpu]) -> list[Check]:
    """Return a row for each flavour of TensorRT that does not know the first GPU.

    Parameters
    ----------
    versions : flavour -> version that is installed
    gpus : of this machine; edgex uses the first
    """
    checks = []
    for flavour, version in versions.items():
        capability = gpus[0].capability if gpus else None
        known = [least for since, least in _LEAST_CAPABILITY if numbers(version) >= since]
        least = _LEAST_OF_RTX if flavour == "tensorrt-rtx" else known[0] if known else (0, 0)
        if capability is None or capability >= least:
            continue
        found = f"{TITLES[flavour]} {version} needs compute capability {_dotted(least)}, {gpus[0].name} has "
        older = flavour == "tensorrt" and capability >= _LEAST_CAPABILITY[-1][1]
        mend = f"{PIP} install 'tensorrt>=10.3,<10.5'" if older else "run on the CPU with --backend onnxruntime"
        checks.append(Check(f"GPU for {flavour}", "gap", found + _dotted(capability), mend))
    return checks


def int8_without_cores(flavours: Collection[str], gpus: Sequence[Gpu]) -> Check | None:
    """Return a row where the first GPU has no INT8 tensor cores, and Q/DQ makes it slower or is refused."""
    if not flavours or not gpus or gpus[0].capability is None or gpus[0].capability >= _INT8_TENSOR_CORES:
        return None
    found = (
        f"{gpus[0].name} (compute capability {_dotted(gpus[0].capability)}) has no INT8 tensor cores: Q/DQ is refused"
    )
    return Check("INT8 on the GPU", "gap", f"{found} or slower than FP16", "edgex build MODEL --fp16")


def driver_too_old(packages: Iterable[Package], gpus: Sequence[Gpu]) -> Check | None:
    """Return a row where packages for CUDA 13 meet a driver that does not know it."""
    driver = numbers(gpus[0].driver) if gpus else ()
    needing = sorted({each.name for each in packages if re.fullmatch(r"tensorrt(-rtx)?-cu13-libs", each.name)})
    if not needing or not driver or driver[0] >= _CUDA_13_DRIVER:
        return None
    found = f"{', '.join(needing)} needs driver {_CUDA_13_DRIVER} or later, got {gpus[0].driver}"
    names = [name.removesuffix("-libs") for name in needing]
    older = " ".join(name.replace("cu13", "cu12") for name in names)
    mend = f"sudo ubuntu-drivers install, or {PIP} uninstall -y {' '.join(names)} && {PIP} install {older}"
    return Check("driver for CUDA 13", "gap", found, mend)


def plans_of_others(folder: Path, versions: Mapping[str, str]) -> list[Check]:
    """Return a row for each engine file of a folder that the TensorRT here refuses for its version.

    Parameters
    ----------
    folder : where engine files may lie; the first 100 of them are looked at
    versions : flavour -> version that is installed; engines of others are passed over
    """
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix in ENGINE_SUFFIXES and path.is_file())
    except OSError:
        return []
    checks = []
    for path in paths[:_MOST_PLANS]:
        try:
            with path.open("rb") as file:
                origin = plan_origin(file.read(HEADER_BYTES))
        except OSError:
            continue
        if origin is None or origin[0] not in versions:
            continue
        built = _sidecar(path)
        compatible = built is not None and bool(built.options.get("version_compatible"))
        if reason := plan_refused(origin[1], versions[origin[0]], compatible):
            found, _, _ = reason.partition("; ")
            source, precision = ("MODEL.onnx", "int8") if built is None else (built.source, built.precision)
            mend = f"edgex build {source} --{precision} --backend {origin[0]}"
            checks.append(Check(f"engine {path.name}", "gap", found, mend))
    return checks


def _sidecar(path: Path) -> BuildManifest | None:
    try:
        return read_sidecar(path)
    except ModelError:  # `inspect` says it
        return None


def _dotted(pair: tuple[int, int]) -> str:
    return f"{pair[0]}.{pair[1]}"
