"""How the CPU kernels are compiled: with whatever compiler there is, for these very sources, or not at all."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from edgex import native
from edgex.kernel_sources import kernel_sources, source_hash
from tests.kernels.builds import load_build

ROOT = Path(__file__).resolve().parent.parent.parent


@pytest.fixture(scope="module")
def build() -> ModuleType:
    return load_build()


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    return Path(shutil.copytree(ROOT / "kernels", tmp_path / "kernels"))


def reason(library: Path) -> str:
    """Return why a fresh process cannot use a library, or "None"."""
    code = "from edgex import native; print(native.reason_missing())"
    environment = os.environ | {native.ENVIRONMENT: str(library)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_this_checkout_s_library_is_of_these_sources() -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler, so no CPU kernels: apt-get install g++")
    assert native.reason_missing() is None, "run: python kernels/build.py edgex/_native.so"


def test_a_library_of_other_sources_is_refused(build: ModuleType, sources: Path, tmp_path: Path) -> None:
    before = source_hash(sources)
    assert before == source_hash(kernel_sources())
    with (sources / "pixel.h").open("a") as file:
        file.write("// another\n")
    assert source_hash(sources) != before
    build.compile_library(tmp_path / "other.so", folder=sources)
    assert "expected CPU kernels of the sources here, got older ones" in reason(tmp_path / "other.so")


def test_what_does_not_compile_says_where_and_leaves_no_file(build: ModuleType, sources: Path, tmp_path: Path) -> None:
    (sources / "composite.cpp").write_text("no C++")
    with pytest.raises(RuntimeError, match=r"to compile, got exit code 1: .*composite\.cpp:1"):
        build.compile_library(tmp_path / "broken.so", folder=sources)
    assert list(tmp_path.glob("*.so*")) == []


@pytest.mark.parametrize(
    ("compiler", "message"), [("/bin/false", "got exit code 1"), ("no-such-compiler", "install g")]
)
def test_a_compiler_that_fails_is_named(
    compiler: str, message: str, build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", compiler)
    with pytest.raises(RuntimeError, match=message):
        build.compile_library(tmp_path / "library.so")


def test_no_compiler_at_all_is_told(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CXX", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(RuntimeError, match="install g"):
        build.compile_library(tmp_path / "library.so")


def test_clang_compiles_it_too(build: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if shutil.which("clang++") is None:
        pytest.skip("no clang++ to try")
    monkeypatch.setenv("CXX", "clang++")
    build.compile_library(tmp_path / "clang.so")
    assert reason(tmp_path / "clang.so") == "None"
