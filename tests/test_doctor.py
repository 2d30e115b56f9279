"""The doctor: what it finds on this machine and on others, and that every gap has its mend."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import onnxruntime
import pytest

from edgex import doctor
from edgex.doctor import Check, Report, examine
from edgex.engines import BACKENDS
from edgex.explain import MODELS
from tests.bundles import write_bundle
from tests.commands import edgex


def by_name(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a tiny bundle in the place of the shipped one."""
    (tmp_path / "models").mkdir()
    monkeypatch.setattr("edgex.explain.MODELS", tmp_path / "models")
    return write_bundle(tmp_path / "models/shipped.onnx")


def test_every_gap_has_its_mend(tmp_path: Path) -> None:
    for root in (Path("/"), tmp_path):
        assert [check.name for check in examine(root).checks if check.state == "gap" and not check.mend] == []


def test_this_machine(shipped: Path) -> None:
    found = by_name(examine())
    assert found["backend onnxruntime"].state == "ok"
    assert found["backend onnxruntime"].found == onnxruntime.__version__
    assert "libx264" in found["video"].found
    assert "red, green, blue" in found["shipped bundle"].found
    assert examine().ready


@pytest.mark.parametrize("content", [None, b"", b"no model"])
def test_without_the_shipped_bundle_it_is_not_ready(shipped: Path, content: bytes | None) -> None:
    shipped.unlink()
    if content is not None:
        shipped.write_bytes(content)
    report = examine()
    assert by_name(report)["shipped bundle"].state == "gap"
    assert not report.ready
    assert edgex("doctor").code == 1


def test_the_folder_of_models_is_where_the_package_is() -> None:
    assert MODELS == Path(doctor.__file__).parent / "models"


CPUINFO = {
    "x86": (
        "model name\t: Intel(R) Core(TM) i5\nflags\t\t: fpu sse avx2 avx512f avx512_vnni\n",
        "Core(TM) i5",
        "avx512_vnni",
    ),
    "arm": ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", "", "asimd asimddp"),
    "none": ("", "", "no known vector features"),
}


@pytest.mark.parametrize("kind", CPUINFO)
def test_the_cpu_is_read(tmp_path: Path, kind: str) -> None:
    text, name, features = CPUINFO[kind]
    write(tmp_path / "proc/cpuinfo", text)
    check = by_name(examine(tmp_path))["CPU"]
    assert name in check.found
    assert features in check.found


@pytest.mark.parametrize(
    ("kib", "state"),
    [
        ("MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\n", "ok"),
        ("MemTotal: 8388608 kB\nMemAvailable: 1024 kB\n", "gap"),
        ("", "none"),
    ],
)
def test_the_memory_is_read(tmp_path: Path, kib: str, state: str) -> None:
    write(tmp_path / "proc/meminfo", kib)
    assert by_name(examine(tmp_path))["memory"].state == state


def test_cameras_are_named(tmp_path: Path) -> None:
    assert by_name(examine(tmp_path))["cameras"].state == "none"
    for number, name in ((10, "Loopback"), (2, "USB camera\n")):
        write(tmp_path / f"dev/video{number}", "")
        write(tmp_path / f"sys/class/video4linux/video{number}/name", name)
    check = by_name(examine(tmp_path))["cameras"]
    assert check.state == "ok"
    assert check.found.index("USB camera") < check.found.index("Loopback")


def test_a_camera_that_may_not_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "dev/video0", "")
    monkeypatch.setattr(doctor.os, "access", lambda path, mode: False)
    check = by_name(examine(tmp_path))["cameras"]
    assert (check.state, check.mend) == ("gap", "sudo usermod -aG video $USER, then log in again")


def test_a_gpu_without_a_driver(tmp_path: Path) -> None:
    assert by_name(examine(tmp_path))["NVIDIA GPU"].state == "none"
    write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/vendor", "0x10de\n")
    write(tmp_path / "sys/bus/pci/devices/0000:01:00.0/class", "0x030000\n")
    assert by_name(examine(tmp_path))["NVIDIA GPU"].state == "gap"


@pytest.mark.parametrize(
    ("script", "state"), [("echo 'NVIDIA H200, 580.1, 144 MiB'", "ok"), ("echo failed; exit 9", "gap")]
)
def test_a_gpu_with_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str, state: str) -> None:
    write(tmp_path / "dev/nvidia0", "")
    assert by_name(examine(tmp_path))["NVIDIA GPU"].state == "ok"
    program = tmp_path / "bin/nvidia-smi"
    write(program, f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert by_name(examine(tmp_path))["NVIDIA GPU"].state == state


def test_a_backend_that_is_not_installed_is_a_gap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda module: None)
    report = examine(tmp_path)
    check = by_name(report)["backend onnxruntime"]
    assert check.state == "gap"
    assert "pip install onnxruntime" in check.mend
    assert not report.ready


def test_every_backend_is_looked_for() -> None:
    assert set(BACKENDS) <= set(doctor.RUNTIMES)


def test_json_holds_every_check(shipped: Path) -> None:
    done = edgex("doctor", "--json")
    found = json.loads(done.out)
    assert (done.code, done.err, found["ready"]) == (0, "", True)
    assert [check["name"] for check in found["checks"]] == [check.name for check in examine().checks]


def test_the_table_shows_every_check(shipped: Path) -> None:
    done = edgex("doctor")
    assert done.code == 0
    assert [check.name for check in examine().checks if check.name not in done.out] == []
