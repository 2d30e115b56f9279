"""The CPU twins on a 64-bit Arm processor, emulated: they write what they write here."""

from __future__ import annotations

import platform
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from tests.kernels.builds import KERNELS, load_build

DRIVER = Path(__file__).with_name("twin_driver.cpp")
ARM, EMULATOR = "aarch64-linux-gnu-g++", "qemu-aarch64"
NEEDED = "apt-get install g++ g++-aarch64-linux-gnu qemu-user"


def run(compiler: str, emulator: list[str], folder: Path) -> tuple[str, np.ndarray]:
    """Compile the twins with one set of instructions and the driver, and return what they ran on and what came out."""
    build = load_build()
    sources = [str(KERNELS / f"{name}.cpp") for name in (*build.ARITHMETIC, *build.AROUND)]
    defines = ["-DEDGEX_ISA=baseline", '-DEDGEX_SOURCE_HASH="none"', f"-I{KERNELS}"]
    program, written = folder / compiler, folder / f"{compiler}.bin"
    command = [compiler, *build.OPTIONS, *defines, *sources, str(DRIVER), "-static", "-pthread", "-o", str(program)]
    compiled = subprocess.run(command, capture_output=True, text=True)
    assert compiled.returncode == 0, compiled.stderr
    ran = subprocess.run([*emulator, str(program), str(written)], capture_output=True, text=True, timeout=300)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip(), np.fromfile(written, np.uint8).astype(np.int16)


@pytest.mark.slow
def test_neon_writes_what_this_processor_writes(tmp_path: Path) -> None:
    missing = [name for name in ("g++", ARM, EMULATOR) if shutil.which(name) is None]
    if missing or platform.machine() != "x86_64":
        pytest.skip(f"no {', '.join(missing) or 'x86-64'} to emulate Arm with: {NEEDED}")
    here, ours = run("g++", [], tmp_path)
    there, theirs = run(ARM, [EMULATOR], tmp_path)
    assert (here, there) == ("baseline", "neon")
    assert ours.size == theirs.size > 10**6
    # This processor's oldest instructions round a product before it is added to; Arm does not.
    assert (ours != theirs).mean() < 1e-4
    assert (np.abs(ours - theirs) > 1).mean() < 1e-5  # where two classes tie
