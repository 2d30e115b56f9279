"""Where NVIDIA's libraries lie on this machine: of the driver, of a CUDA toolkit, of JetPack, of their Python packages.

Nothing here starts CUDA; a library is loaded at most, so that whatever links it finds it by name.
"""

from __future__ import annotations

import ctypes
import glob
import importlib.util
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

TOOLKITS = "/usr/local/cuda*"
_LIBRARIES = ("lib64", "lib", "targets/*/lib")  # of a toolkit
_PACKAGES = ("cu13", "cuda_nvrtc", "curand")  # folders of nvidia-*: for CUDA 13 all in one, for CUDA 12 one each


def toolkits() -> tuple[list[Path], list[Path]]:
    """Return folders of CUDA toolkits: those that CUDA_HOME and CUDA_PATH name, and the usual ones, newest first."""
    named = [Path(folder) for name in ("CUDA_HOME", "CUDA_PATH") if (folder := os.environ.get(name))]
    found = sorted(glob.glob(TOOLKITS), key=lambda path: [int(part) for part in re.findall(r"\d+", path)], reverse=True)
    usual = [path for path in found if path.endswith("/cuda")]  # the one that the system's owner chose
    return named, [Path(path) for path in (*usual, *(path for path in found if path not in usual))]


def library_paths(names: Sequence[str]) -> Iterator[str]:
    """Yield where a library may be, likeliest first; a bare name is looked up by the loader.

    The order: CUDA_HOME and CUDA_PATH, the loader's own places, toolkits under /usr/local, Python packages.

    Parameters
    ----------
    names : file names, the best first
    """
    named, usual = toolkits()
    yield from _within(named, names)
    yield from names
    yield from _within(usual, names)
    nvidia = importlib.util.find_spec("nvidia")  # a namespace: each package of NVIDIA's puts its folder there
    for site in (nvidia.submodule_search_locations or ()) if nvidia else ():
        for package in _PACKAGES:
            yield from (str(path) for name in names if (path := Path(site) / package / "lib" / name).is_file())


def loads(name: str) -> bool:
    """Load a library for all that ask for it by name later, and tell whether that worked."""
    for path in library_paths([name]):
        try:
            ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        return True
    return False


def _within(folders: Sequence[Path], names: Sequence[str]) -> Iterator[str]:
    for folder in folders:
        for place in _LIBRARIES:
            yield from (path for name in names for path in sorted(glob.glob(str(folder / place / name))))
