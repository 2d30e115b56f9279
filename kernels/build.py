"""Compiles the CPU kernels into one library, for `pip install` (as hatchling's build hook) and by hand.

    python kernels/build.py edgex/_native.so                for a checkout that is not installed
    python kernels/build.py out.so --sanitize               with AddressSanitizer and UndefinedBehaviorSanitizer

The library has a C interface and is loaded through ctypes, so it fits every Python. Each file of arithmetic is compiled
once per instruction set; which one runs is chosen on the machine that it runs on. Without a compiler the package is
built all the same, without the library. The compiler is CXX, else c++, g++ or clang++.
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import platform
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parent
LIBRARY = "edgex/_native.so"
# No number here is infinite or NaN after pixel.h's `taken`, and no error flag is read: so loops can be vectorised.
OPTIONS = [
    *("-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra", "-Wno-psabi"),
    *("-ffp-contract=fast", "-fno-math-errno", "-fno-trapping-math", "-ffinite-math-only", "-fno-signed-zeros"),
]
SANITIZE = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer", "-g"]
X86 = {
    "baseline": [],
    "avx2": ["-mavx2", "-mfma"],
    "avx512": ["-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mfma", "-mprefer-vector-width=512"],
}
ARITHMETIC = ("composite", "preprocess")
AROUND = ("library", "parallel")


def compiler() -> list[str]:
    """Return the command of the C++ compiler. Raises RuntimeError where there is none."""
    if named := os.environ.get("CXX"):
        return shlex.split(named)
    for name in ("c++", "g++", "clang++"):
        if shutil.which(name):
            return [name]
    raise RuntimeError("expected a C++ compiler as CXX, c++, g++ or clang++, got none; install g++")


def compile_library(destination: Path, options: Sequence[str] = (), folder: Path = FOLDER) -> None:
    """Compile the library and put it in place whole.

    Parameters
    ----------
    destination : file to write
    options : further options for compiling and linking
    folder : where the sources lie

    Raises
    ------
    RuntimeError
        If there is no compiler, or it fails; the message holds what it said.
    """
    command = [*compiler(), *OPTIONS, *options]
    is_x86 = platform.machine().lower() in ("x86_64", "amd64")
    sets = X86 if is_x86 else {"baseline": []}
    defines = [f'-DEDGEX_SOURCE_HASH="{_source_hash(folder)}"', *(["-DEDGEX_X86"] if is_x86 else [])]
    with tempfile.TemporaryDirectory() as scratch:
        jobs = {
            f"{name}-{kind}.o": [*command, *flags, f"-DEDGEX_ISA={kind}", "-c", str(folder / f"{name}.cpp")]
            for kind, flags in sets.items()
            for name in ARITHMETIC
        }
        jobs |= {f"{name}.o": [*command, *defines, "-c", str(folder / f"{name}.cpp")] for name in AROUND}
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(_call, ([*job, "-o", name] for name, job in jobs.items()), [scratch] * len(jobs)))
        _call([*command, "-shared", "-o", "library.so", *jobs, "-pthread"], scratch)
        whole = destination.with_name(f"{destination.name}.{os.getpid()}.part")
        shutil.copy(Path(scratch) / "library.so", whole)
        os.replace(whole, destination)


def _call(command: Sequence[str], folder: str) -> None:
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError as error:
        raise RuntimeError(f"expected a C++ compiler as {command[0]}, got: {error}; install g++") from error
    if done.returncode != 0:
        raise RuntimeError(f"expected {command[0]} to compile, got exit code {done.returncode}: {done.stderr[-2000:]}")


def _source_hash(folder: Path) -> str:
    """Return what edgex.kernel_sources.source_hash says, without importing the package, which needs NumPy."""
    beside = [FOLDER.parent / "edgex/kernel_sources.py", FOLDER.parent / "kernel_sources.py"]  # checkout, wheel
    spec = importlib.util.spec_from_file_location("kernel_sources", next(path for path in beside if path.is_file()))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.source_hash(folder))


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # by hand, or in a wheel: there is no hatchling, and no hook is needed
    pass
else:

    class KernelBuildHook(BuildHookInterface):  # type: ignore[type-arg]
        """Adds the library to the wheel; where it cannot be compiled, the wheel is pure Python."""

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:
            """Compile before the wheel is put together; an editable install finds the library in the checkout."""
            self.scratch = tempfile.TemporaryDirectory()
            inside = Path(self.root) / LIBRARY
            library = inside if version == "editable" else Path(self.scratch.name) / inside.name
            try:
                compile_library(library)
            except (RuntimeError, OSError) as error:
                self.app.display_warning(f"edgex is built without its CPU kernels and will be slower: {error}")
                return
            if version != "editable":
                build_data["force_include"][str(library)] = LIBRARY
                build_data["pure_python"] = False
                build_data["tag"] = f"py3-none-{sysconfig.get_platform().replace('-', '_').replace('.', '_')}".replace(
                    "universal2", platform.machine()
                )

        def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
            """Remove what was compiled; the wheel has it."""
            self.scratch.cleanup()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--sanitize", action="store_true", help="with AddressSanitizer and UndefinedBehaviorSanitizer")
    chosen = parser.parse_args()
    try:
        compile_library(chosen.destination, SANITIZE if chosen.sanitize else ())
    except RuntimeError as error:
        sys.exit(str(error))
