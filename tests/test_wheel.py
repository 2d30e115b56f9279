"""The wheel, as somebody gets it: built, installed into an empty environment without a compiler or torch, and used."""

from __future__ import annotations

import email
import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import cv2
import numpy as np
import pytest

ROOT = Path(__file__).resolve().parent.parent
BUNDLE = ROOT / "edgex/models/shipped.onnx"
LIBRARY = "edgex/_native.so"
COMPOSES = """
from edgex import doctor, native
from edgex.compositors import open_compositor
(check,) = [check for check in doctor.examine().checks if check.name == "CPU kernels"]
print(open_compositor().name, check.state, native.reason_missing())
"""
PYTHONS = ("3.10", "3.11", "3.12", "3.13")
LIST_COMMANDS = """
import json, typer.main
from edgex.cli import app
print(json.dumps(sorted(typer.main.get_command(app).commands)))
"""
pytestmark = pytest.mark.slow


def call(*command: str | Path, cwd: Path, compiler: str | None = "/bin/false") -> str:
    """Run a command without this checkout on its path and, unless told, without a compiler; return what it prints."""
    hidden = ("PYTHONPATH", "PYTHONHOME", *(() if compiler else ("CC", "CXX")))
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    environment |= {"PIP_DISABLE_PIP_VERSION_CHECK": "1"} | ({"CC": compiler, "CXX": compiler} if compiler else {})
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    call(sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", folder, ROOT, cwd=folder)
    (built,) = folder.glob("edgex-*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the `bin` folder of an environment that holds the wheel and what it brings, nothing else."""
    folder = tmp_path_factory.mktemp("empty")
    call(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    binaries = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
    call(binaries / "python", "-m", "pip", "install", "--quiet", "--only-binary=:all:", wheel, cwd=folder)
    return binaries


def test_without_a_compiler_it_is_pure_python_and_holds_the_package_the_kernel_sources_and_the_licence(
    wheel: Path,
) -> None:
    assert wheel.name.endswith("-py3-none-any.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = [path for path in (ROOT / "edgex").rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    tracked.remove(ROOT / LIBRARY) if ROOT / LIBRARY in tracked else None
    assert LIBRARY not in names
    expected = {path.relative_to(ROOT).as_posix() for path in tracked}
    kernels = [path for path in (ROOT / "kernels").rglob("*") if path.is_file() and path.suffix != ".pyc"]
    expected |= {f"edgex/{path.relative_to(ROOT).as_posix()}" for path in kernels}
    assert kernels
    assert expected <= names
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"edgex"}


def test_its_version_is_the_package_s_and_its_licence_is_named(wheel: Path) -> None:
    import edgex

    archive = zipfile.ZipFile(wheel)
    (name,) = [name for name in archive.namelist() if name.endswith("dist-info/METADATA")]
    metadata = email.message_from_string(archive.read(name).decode())
    assert metadata["Version"] == edgex.__version__
    assert metadata["License-Expression"] == "Apache-2.0"


@pytest.mark.parametrize("python", PYTHONS)
def test_what_it_needs_can_be_installed_on(python: str, wheel: Path, tmp_path: Path) -> None:
    options = ["--quiet", "--dry-run", "--ignore-installed", "--only-binary=:all:", "--python-version", python]
    report = tmp_path / "report.json"
    target = ["--target", tmp_path / "target", "--report", report]
    call(sys.executable, "-m", "pip", "install", *options, *target, wheel, cwd=tmp_path)
    names = {each["metadata"]["name"].lower() for each in json.loads(report.read_text())["install"]}
    assert {"edgex", "onnxruntime", "opencv-python-headless"} <= names
    assert not names & {"torch", "torchvision", "tensorrt", "pycuda"}


def test_it_brings_no_torch(installed: Path, tmp_path: Path) -> None:
    program = "import importlib.util as u; print([n for n in ('torch', 'tensorrt', 'pycuda') if u.find_spec(n)])"
    assert call(installed / "python", "-c", program, cwd=tmp_path).strip() == "[]"


def test_every_command_explains_itself(installed: Path, tmp_path: Path) -> None:
    commands = json.loads(call(installed / "python", "-c", LIST_COMMANDS, cwd=tmp_path))
    assert "run" in commands
    for page in [[], *([command] for command in commands)]:
        assert "Usage" in call(installed / "edgex", *page, "--help", cwd=tmp_path)


@pytest.mark.skipif(not BUNDLE.is_file(), reason="the shipped bundle is not in this tree")
def test_the_shipped_bundle_explains_a_picture(installed: Path, tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (90, 160, 3), np.uint8)
    assert cv2.imwrite(str(tmp_path / "picture.png"), picture)
    files = ["--output", "out.png", "--records", "records.jsonl"]
    call(installed / "edgex", "run", "--source", "picture.png", "--top", "1", *files, cwd=tmp_path)
    composed = cv2.imread(str(tmp_path / "out.png"))
    assert composed is not None
    assert composed.shape == picture.shape
    (line,) = (tmp_path / "records.jsonl").read_text().splitlines()
    assert json.loads(line)["index"] == 0


def test_without_a_compiler_opencv_composes_and_the_doctor_says_so(installed: Path, tmp_path: Path) -> None:
    said = call(installed / "python", "-c", COMPOSES, cwd=tmp_path)
    assert said.startswith("opencv gap expected the compiled CPU kernels")
    assert "apt-get install g++" in said


def test_with_a_compiler_the_kernels_are_in_it(installed: Path, tmp_path: Path) -> None:
    if shutil.which("c++") is None and shutil.which("g++") is None:
        pytest.skip("no C++ compiler: apt-get install g++")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, ROOT]
    call(*command, cwd=tmp_path, compiler=None)
    (built,) = tmp_path.glob("edgex-*.whl")
    assert "-py3-none-" in built.name
    assert not built.name.endswith("-any.whl")
    assert LIBRARY in zipfile.ZipFile(built).namelist()
    # Beside the other installation, so that what both need is not fetched again.
    call(installed / "python", "-m", "pip", "install", "--quiet", "--no-deps", "--target", "here", built, cwd=tmp_path)
    assert call(installed / "python", "-c", COMPOSES, cwd=tmp_path / "here").strip() == "native ok None"
