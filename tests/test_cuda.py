"""What surrounds the CUDA kernels: that they compile, are kept, and that what is missing is named; no GPU is needed."""

from __future__ import annotations

import ctypes
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgex import arguments, cuda, cuda_compilers, cuda_modules
from edgex.cuda_compilers import Nvcc, Nvrtc, Target
from edgex.errors import EdgexError, MissingDependencyError
from tests.gpus import ROOT, run, stub_environment

STYLES = ("overlay", "heat", "cutout", "outline", "mask")
ENTRIES = {
    "composite": {f"composite_{style}_{kind}": arguments.Composite for style in STYLES for kind in ("f32", "f16")},
    "preprocess": {f"preprocess_{kind}": arguments.Preprocess for kind in ("f32", "f16")},
}
KERNEL = '#include "pixel.h"\nextern "C" __global__ void NAME(int* out) { out[threadIdx.x] = VALUE; }\n'


def found(kind: type) -> cuda_compilers.Compiler:
    """Return a compiler of this kind, or skip."""
    for compiler in cuda_compilers.compilers():
        if isinstance(compiler, kind):
            return compiler
    pytest.skip(f"no {kind.__name__.upper()} on this machine; run: {cuda_compilers.INSTALL[13]}")


@pytest.fixture(params=[Nvrtc, Nvcc])
def compiler(request: pytest.FixtureRequest) -> cuda_compilers.Compiler:
    return found(request.param)


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two small kernels in the place of ours, an empty cache beside it."""
    if not list(cuda_compilers.compilers()):
        pytest.skip(f"no CUDA compiler on this machine; run: {cuda_compilers.INSTALL[13]}")
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "pixel.h").write_text("#define VALUE 7\n")
    for name in cuda_modules.MODULES:
        (folder / f"{name}.cu").write_text(KERNEL.replace("NAME", f"{name}_f32"))
    monkeypatch.setattr(cuda_modules, "kernel_sources", lambda: folder)
    monkeypatch.setenv(cuda_modules.ENVIRONMENT, str(tmp_path / "cache"))
    return folder


def compiled_anew(caplog: pytest.LogCaptureFixture, architecture: int = 80) -> bool:
    """Load the small composite module and tell whether it was compiled."""
    caplog.clear()
    with caplog.at_level(logging.INFO, "edgex.cuda_modules"):
        loaded = cuda_modules.load("composite", architecture)
    assert loaded.startswith(b"\x7fELF")
    assert b"composite_f32" in loaded
    return any("compiling" in record.message for record in caplog.records)


def test_nvrtc_is_given_every_file_that_is_included() -> None:
    texts = cuda_modules.sources()
    included = {name for text in texts.values() for name in re.findall(r'#include "(.+)"', text)}
    assert included >= {"pixel.h", "device.cuh"}
    assert included <= set(cuda_compilers.headers(texts))


@pytest.mark.slow
@pytest.mark.parametrize("module", cuda_modules.MODULES)
def test_our_kernels_compile_with_each_compiler(compiler: cuda_compilers.Compiler, module: str) -> None:
    texts = cuda_modules.sources()
    cubin = compiler.compile(f"{module}.cu", texts, Target(87, binary=True))
    assert cubin.startswith(b"\x7fELF")
    assert [name for name in ENTRIES[module] if name.encode() not in cubin] == []
    ptx = compiler.compile(f"{module}.cu", texts, Target(80, binary=False)).decode().rstrip("\0")
    # An entry point's only parameter is the structure by value: its size is what pycuda packs.
    sizes = dict(re.findall(r"\.entry (\w+)\(\s*\.param \.align 8 \.b8 \w+_param_0\[(\d+)\]\s*\)", ptx))
    assert sizes == {name: str(ctypes.sizeof(structure)) for name, structure in ENTRIES[module].items()}


def test_the_grid_s_constants_are_the_kernels_own() -> None:
    from edgex import preprocess_cuda
    from edgex.compositors import cuda as compositor

    texts = cuda_modules.sources()
    defined = dict(re.findall(r"^#define (BLOCK|TILE_ROWS|TILE_BYTES) (\d+)$", texts["composite.cu"], re.M))
    ours = {name: str(getattr(compositor, name)) for name in ("BLOCK", "TILE_ROWS", "TILE_BYTES")}
    assert defined == ours
    assert re.findall(r"^#define BLOCK (\d+)$", texts["preprocess.cu"], re.M) == [str(preprocess_cuda.BLOCK)]
    rule = re.search(r"ceil\(columns / min\((\d+), max\(1, (\d+) columns / width\)\)\)", texts["preprocess.cu"])
    assert rule is not None
    assert rule.groups() == (str(preprocess_cuda.MOST_COLUMNS), str(preprocess_cuda.SPAN))


def test_a_kernel_is_compiled_once(small: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert compiled_anew(caplog)
    assert not compiled_anew(caplog)
    assert compiled_anew(caplog, architecture=90)
    assert len(list(cuda_modules.cache_folder().iterdir())) == 2


@pytest.mark.parametrize("name", ["composite.cu", "preprocess.cu", "pixel.h"])
def test_a_change_of_any_source_compiles_again(small: Path, caplog: pytest.LogCaptureFixture, name: str) -> None:
    assert compiled_anew(caplog)
    (small / name).write_text((small / name).read_text() + "\n")
    assert compiled_anew(caplog)
    assert not compiled_anew(caplog)


def test_another_compiler_s_work_is_not_taken(small: Path) -> None:
    texts = cuda_modules.sources()
    one = cuda_modules.find_compiler(80)
    other = type(
        "Other", (), {"name": f"{one.name}.1", "target": lambda self, architecture: one.target(architecture)}
    )()
    assert cuda_modules.name_of("composite", 80, one, texts) != cuda_modules.name_of("composite", 80, other, texts)


@pytest.mark.parametrize(
    "damage", [lambda b: b[:-1], lambda b: b[:40] + b"\0" + b[41:], lambda b: b"", lambda b: b[:32]]
)
def test_a_damaged_file_is_compiled_again(small: Path, caplog: pytest.LogCaptureFixture, damage: object) -> None:
    assert compiled_anew(caplog)
    (path,) = cuda_modules.cache_folder().iterdir()
    whole = path.read_bytes()
    assert whole[40] != 0
    path.write_bytes(damage(whole))  # type: ignore[operator]
    assert compiled_anew(caplog)
    assert any("damaged" in record.message for record in caplog.records)
    assert cuda_modules.read(path) is not None
    assert not compiled_anew(caplog)


def test_processes_that_compile_at_once_do_not_disturb_one_another(small: Path) -> None:
    program = (
        "import sys, pathlib\nfrom edgex import cuda_modules\n"
        "cuda_modules.kernel_sources = lambda: pathlib.Path(sys.argv[1])\n"
        "assert cuda_modules.load('composite', 80).startswith(b'\\x7fELF')"
    )
    command = [sys.executable, "-c", program, str(small)]
    started = [subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    assert [(one.communicate()[1], one.returncode) for one in started] == [("", 0)] * 3
    (path,) = cuda_modules.cache_folder().iterdir()  # no temporary file is left
    assert cuda_modules.read(path) is not None


def test_without_a_folder_for_it_the_kernel_is_compiled_all_the_same(
    small: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(cuda_modules.ENVIRONMENT, str(small / "pixel.h" / "cache"))  # below a file
    assert compiled_anew(caplog)
    assert any("cannot be kept" in record.message for record in caplog.records)


def test_where_kernels_are_kept(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (cuda_modules.ENVIRONMENT, "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert cuda_modules.cache_folder() == tmp_path / ".cache/edgex"
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")  # to be ignored, says its specification
    assert cuda_modules.cache_folder() == tmp_path / ".cache/edgex"
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "x"))
    assert cuda_modules.cache_folder() == tmp_path / "x/edgex"
    monkeypatch.setenv(cuda_modules.ENVIRONMENT, str(tmp_path / "own"))
    assert cuda_modules.cache_folder() == tmp_path / "own"


def test_what_does_not_compile_says_where(compiler: cuda_compilers.Compiler) -> None:
    with pytest.raises(EdgexError, match=r"to compile composite\.cu, got: .*undefined"):
        compiler.compile("composite.cu", {"composite.cu": "__global__ void f() { undefined(); }"}, Target(80, True))


@pytest.mark.parametrize(
    ("architecture", "target"),
    [(87, Target(87, True)), (88, Target(87, False)), (130, Target(90, False)), (75, Target(75, True)), (72, None)],
)
def test_a_gpu_newer_than_the_compiler_gets_ptx(architecture: int, target: Target | None) -> None:
    assert cuda_compilers._target(architecture, [75, 80, 87, 90]) == target


@pytest.mark.parametrize(("architecture", "newest"), [(35, None), (87, 7)])
def test_without_a_compiler_that_fits_the_mend_is_named(architecture: int, newest: int | None) -> None:
    with pytest.raises(MissingDependencyError, match=r"; run: .* -m pip install nvidia-cuda-nvrtc-cu12$"):
        cuda_modules.find_compiler(architecture, newest)
    state, finding, mend = cuda_modules.check(architecture, newest)
    assert (state, mend) == ("gap", cuda_compilers.INSTALL[12])
    assert finding.startswith("expected a CUDA compiler")


def test_missing_sources_are_named(tmp_path: Path) -> None:
    with pytest.raises(MissingDependencyError, match=r"expected composite\.cu in .*; install edgex again"):
        cuda_modules.sources(tmp_path)


def test_a_library_that_is_not_nvrtc_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "lib64").mkdir()
    (tmp_path / "lib64/libnvrtc.so.13").write_bytes(b"no library")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/nvcc").write_text("#!/bin/sh\necho something else\n")
    (tmp_path / "bin/nvcc").chmod(0o755)
    before = [compiler.name for compiler in cuda_compilers.compilers()]
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    assert next(cuda_compilers.library_paths(["libnvrtc.so.13"])) == str(tmp_path / "lib64/libnvrtc.so.13")
    assert next(cuda_compilers.nvcc_paths()) == str(tmp_path / "bin/nvcc")
    assert [compiler.name for compiler in cuda_compilers.compilers()] == before


def test_without_a_driver_the_reason_is_one_sentence() -> None:
    reason = cuda.reason_missing()
    if reason is None:
        pytest.skip("this machine has a GPU that works")
    assert reason.startswith("expected a GPU that CUDA can use, got ")
    assert not cuda.available()
    with pytest.raises(EdgexError, match=re.escape(reason)):
        cuda.device()
    state, finding, _ = cuda.check()
    assert state in ("none", "gap")
    assert finding in reason


REASON = "from edgex import cuda\nprint(cuda.reason_missing())\nprint(cuda.check()[0])"


def test_a_driver_without_pycuda(tmp_path: Path) -> None:
    hidden = (
        "import importlib.util as u\n"
        "find = u.find_spec\nu.find_spec = lambda name: name != 'pycuda' and find(name) or None\n"
    )
    said = run(hidden + REASON, stub_environment(tmp_path, pycuda=False))
    assert re.search(r"got no pycuda; run: pip install 'edgex\[gpu\]'.*\ngap$", said)


def test_a_driver_without_a_gpu(tmp_path: Path) -> None:
    said = run(REASON, stub_environment(tmp_path, gpus=0))
    assert re.search(r"cuInit failed: no CUDA-capable device.*\nnone$", said)


OPENED = """
import ctypes, gc, threading
import numpy as np
from edgex import cuda
from edgex.compositors.cuda import open as open_compositor
from edgex.errors import EdgexError
from edgex.types import Drawing
stub = ctypes.CDLL("libcuda.so.1")
random = np.random.default_rng(0)
image = random.integers(0, 256, (37, 53, 3), np.uint8)
logits = random.normal(0, 4, (5, 7, 9)).astype(np.float32)
drawing = Drawing((4, 1), ((1, 2, 3), (200, 100, 50)))
compositor = open_compositor()
first = compositor.compose(image, logits, drawing)
"""


@pytest.fixture
def opened(tmp_path: Path) -> dict[str, str]:
    return {
        **stub_environment(tmp_path),
        cuda_modules.ENVIRONMENT: os.environ.get("EDGEX_CACHE", str(tmp_path / "cache")),
    }


LIFE = """
count = stub.stub_allocations()
for _ in range(5):
    assert (compositor.compose(image, logits, drawing) == first).all()
    compositor.masks(logits, (1,), 30, 40)
assert stub.stub_allocations() == count, "a steady state allocates"
live, made = stub.stub_live(), []
def work():
    made.append(open_compositor())
    assert (made[-1].compose(image, logits, drawing) == first).all()
    assert stub.stub_depth() == 0
threads = [threading.Thread(target=work) for _ in range(3)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert stub.stub_live() == (len(made) + 1) * live
made.clear()
gc.collect()
assert (stub.stub_live(), stub.stub_depth()) == (live, 0), "freed in another thread than made"
try:
    compositor.compose(np.zeros((20000, 20000, 3), np.uint8), logits, drawing)
    raise AssertionError
except EdgexError as error:
    assert "out of memory; close other programs" in str(error), error
assert (compositor.compose(image, logits, drawing) == first).all()
"""
FORKED = """
compositor._lock.acquire()
if os.fork() == 0:
    for act in (lambda: compositor.compose(image, logits, drawing), cuda.device, open_compositor):
        try:
            act()
        except EdgexError as error:
            assert "forked" in str(error)
        else:
            os._exit(3)
    del compositor
    gc.collect()
    sys.exit(0)
assert os.wait()[1] == 0
"""
CUT_OFF = """
import time
def work():
    while True: compositor.compose(image, logits, drawing)
for _ in range(3): threading.Thread(target=work, daemon=True).start()
time.sleep(0.2)
"""


@pytest.mark.slow
@pytest.mark.parametrize("program", [LIFE, FORKED, CUT_OFF], ids=["memory", "fork", "daemon threads at the end"])
def test_pycuda_s_objects_live_and_die_where_they_may(opened: dict[str, str], program: str) -> None:
    run(OPENED + program, opened)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("integrated", "some"), [("0", "test"), ("1", "many_classes or preprocess_at or test_explain_cuda")]
)
def test_the_gpu_s_tests_pass_on_the_emulated_kernels(opened: dict[str, str], integrated: str, some: str) -> None:
    files = ["tests/compositors/test_cuda.py", "tests/test_explain_cuda.py"]
    tests = [*files, "-m", "gpu and not slow", "-k", f"({some}) and not real_plan"]
    command = [sys.executable, "-m", "pytest", "-q", "-rs", "-p", "no:cacheprovider", *tests]
    environment = {**opened, "STUB_INTEGRATED": integrated}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.returncode == 0, done.stdout[-5000:]
    assert "skipped" not in done.stdout
