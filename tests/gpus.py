"""What tests of the GPU stand on: the GPU, or a driver that has none and runs the emulated kernels in its place."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgex import cuda, cuda_modules
from edgex.nvidia import toolkits
from tests.kernels import emulated

ROOT = Path(__file__).resolve().parent.parent
STUB = "STUB_GPUS"  # set where the driver is tests/driver_stub.c


def require_gpu() -> cuda.Device:
    """Return the GPU, or skip."""
    sys.setdlopenflags(os.RTLD_LAZY)  # the stub has only those of the driver's functions that are called
    if (reason := cuda.reason_missing()) is not None:
        pytest.skip(reason)
    return cuda.device()


def stub_environment(folder: Path, gpus: int = 1, integrated: bool = False, pycuda: bool = True) -> dict[str, str]:
    """Build the driver without a GPU and return the environment in which a program finds it, or skip."""
    compiler = shutil.which("gcc")
    headers = [path for group in toolkits() for path in group if (path / "include/cuda.h").is_file()]
    if compiler is None or not headers:
        pytest.skip("building a driver without a GPU takes gcc and the header cuda.h of a CUDA toolkit")
    if pycuda and importlib.util.find_spec("pycuda") is None:
        pytest.skip("pycuda is not installed; run: pip install 'edgex[gpu]'")
    if pycuda and shutil.which("g++") is None:
        pytest.skip("emulating the CUDA kernels takes g++")
    source, library = ROOT / "tests/driver_stub.c", folder / "libcuda.so.1"
    command = [compiler, "-shared", "-fPIC", f"-I{headers[0] / 'include'}", str(source), "-o", str(library), "-ldl"]
    subprocess.run([*command, "-lpthread"], check=True, capture_output=True)
    modules = {
        f"STUB_{name.upper()}": emulated.library(ROOT / f"kernels/{name}.cu")._name
        for name in (cuda_modules.MODULES if pycuda and gpus else ())
    }
    return {
        **os.environ,
        **modules,
        STUB: str(gpus),
        "STUB_INTEGRATED": str(int(integrated)),
        "LD_LIBRARY_PATH": os.pathsep.join(filter(None, (str(folder), os.environ.get("LD_LIBRARY_PATH")))),
        "PYTHONPATH": str(ROOT),
    }


def run(program: str, environment: dict[str, str]) -> str:
    """Run a Python program, which must succeed, and return what it printed."""
    lazy = "import os, sys\nsys.setdlopenflags(os.RTLD_LAZY)\n"
    command = [sys.executable, "-W", "error::UserWarning", "-c", lazy + program]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()
