"""Every CUDA kernel compiles for every supported GPU, without a warning, and keeps its values in registers."""

from __future__ import annotations

import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

KERNELS = Path(__file__).parents[2] / "kernels"
ARCHITECTURES = (75, 80, 87, 89, 90, 100, 110, 120)
STYLES = ("overlay", "heat", "cutout", "outline", "mask")
ENTRIES = {
    "composite": [f"composite_{style}_{kind}" for style in STYLES for kind in ("f32", "f16")],
    "preprocess": ["preprocess_f32", "preprocess_f16"],
}
FREE = re.compile(r"^\s*0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads$")


def report(source: Path, architecture: int, folder: Path) -> str:
    """Return what ptxas says about a file's kernels."""
    command = (
        "nvcc",
        "-cubin",
        f"-arch=sm_{architecture}",
        "-O3",
        "-std=c++17",
        "-Xptxas",
        "-v",
        "-Werror",
        "all-warnings",
    )
    output = folder / f"{source.stem}_{architecture}.cubin"
    done = subprocess.run((*command, f"-I{KERNELS}", "-o", str(output), str(source)), capture_output=True, text=True)
    assert done.returncode == 0, f"{source.name} for sm_{architecture}: {done.stderr}"
    return done.stderr


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("nvcc") is None, reason="needs nvcc, the CUDA compiler")
def test_no_spills_and_no_local_memory_anywhere(tmp_path: Path) -> None:
    jobs = [(source, each) for source in sorted(KERNELS.glob("*.cu")) for each in ARCHITECTURES]
    with ThreadPoolExecutor(2) as pool:
        reports = list(pool.map(lambda job: report(*job, tmp_path), jobs))
    assert jobs
    for (source, architecture), said in zip(jobs, reports, strict=True):
        kernels = re.findall(r"Compiling entry function '(\w+)'", said)
        frames = [line for line in said.splitlines() if "stack frame" in line]
        assert sorted(kernels) == sorted(ENTRIES[source.stem])
        assert len(frames) >= len(kernels)
        for line in frames:
            assert FREE.match(line), f"{source.name} for sm_{architecture}: {said}"
        assert "lmem" not in said, f"{source.name} for sm_{architecture}: {said}"
