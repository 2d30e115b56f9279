"""The doctor: what it finds on this machine and on others, and that every gap has its mend."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

from edgex import doctor
from edgex import doctor_combinations as known
from edgex.doctor import Check, Report, examine
from edgex.doctor_backends import Backend, backend_check
from edgex.doctor_combinations import Package
from edgex.doctor_gpu import Gpu, JetPack, gpu_check, jetpack_check, read_gpus, read_jetpack
from edgex.engines import BACKENDS
from edgex.explain import MODELS
from tests.bundles import write_bundle
from tests.commands import ROOT, edgex
from tests.engines.built import write_sidecar

PIP = f"{sys.executable} -m pip install"


def by_name(report: Report) -> dict[str, Check]:
    return {check.name: check for check in report.checks}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.fixture(autouse=True)
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
    assert found["backend onnxruntime"].found == f"{onnxruntime.__version__}, builds and runs fp32, int8"
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
        "avx512_vnni; INT8 is fast (avx512_vnni)",
    ),
    "old x86": (
        "model name\t: Core i3\nflags\t\t: fpu avx2\n",
        "Core i3",
        "avx2; INT8 gains little (no VNNI), and its",
    ),
    "arm": ("processor\t: 0\nFeatures\t: fp asimd asimddp\n", "", "asimd asimddp; INT8 is fast (asimddp)"),
    "old arm": ("processor\t: 0\nFeatures\t: fp asimd\n", "", "asimd; INT8 gains little (no dot product"),
    "none": ("", "", "no known vector features"),
}


@pytest.mark.parametrize("kind", CPUINFO)
def test_the_cpu_is_read_and_what_int8_gains_on_it(tmp_path: Path, kind: str) -> None:
    text, name, features = CPUINFO[kind]
    write(tmp_path / "proc/cpuinfo", text)
    check = by_name(examine(tmp_path))["CPU"]
    assert name in check.found
    assert features in check.found
    assert ("7 bits" in check.found) == (kind == "old x86")


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


def smi(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a program in the place of nvidia-smi, and a device file beside it."""
    write(folder / "dev/nvidia0", "")
    program = folder / "bin/nvidia-smi"
    write(program, f"#!/bin/sh\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")


OLD = 'case "$1" in *compute_cap*) echo no such field; exit 2;; esac; echo "Tesla T4, 450.1, 15 MiB"'
SMI = {
    "new": ("echo 'NVIDIA H200, 580.1, 9.0, 144 MiB'", "NVIDIA H200, driver 580.1, compute capability 9.0, 144 MiB"),
    "two": ("echo 'A, 1.2, 8.6, 1 MiB'; echo 'B, 1.2, 8.9, 2 MiB'", "capability 8.6, 1 MiB; B, driver 1.2, compute"),
    "old": (OLD, "Tesla T4, driver 450.1, 15 MiB"),
    "shared memory": ("echo 'NVIDIA GB10, 580.1, 12.1, [N/A]'", "NVIDIA GB10, driver 580.1, compute capability 12.1"),
}


@pytest.mark.parametrize("kind", SMI)
def test_a_gpu_with_a_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    script, found = SMI[kind]
    smi(tmp_path, script, monkeypatch)
    check = gpu_check(tmp_path, *read_gpus(tmp_path))
    assert check.state == "ok"
    assert found in check.found
    assert "[" not in check.found


def test_a_driver_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi(tmp_path, "echo it failed; exit 9", monkeypatch)
    check = gpu_check(tmp_path, *read_gpus(tmp_path))
    assert (check.state, check.found, check.mend) == ("gap", "it failed", "sudo reboot")


def test_a_gpu_without_nvidia_smi(tmp_path: Path) -> None:
    write(tmp_path / "dev/nvidia0", "")
    check = gpu_check(tmp_path, *read_gpus(tmp_path))
    assert (check.state, check.found) == ("ok", "GPU at /dev/nvidia0 (no nvidia-smi that could say more)")


TEGRA = "# R{} (release), REVISION: {}, GCID: 1, BOARD: generic, EABI: aarch64\n# KERNEL_VARIANT: oot\n"
DPKG = "Package: {}\nStatus: install ok {}\nVersion: {}\n\n"
INSTALLED = DPKG.format("nvidia-jetpack", "installed", "6.2.1+b38") + DPKG.format(
    "libnvinfer10", "installed", "10.3.0.30-1+cuda12.5"
)
JETSONS = {
    "packages": (("36", "4.4"), INSTALLED, "ok", "JetPack 6.2.1, Jetson Linux 36.4.4, TensorRT 10.3.0.30"),
    "by its Linux": (("36", "4.3"), "", "ok", "JetPack 6.1 or 6.2, Jetson Linux 36.4.3, TensorRT 10.3 (not installed)"),
    "removed": (
        ("38", "2.1"),
        DPKG.format("libnvinfer10", "config-files", "10.13.3.9-1"),
        "ok",
        "JetPack 7.0 or 7.1, Jetson Linux 38.2.1, TensorRT 10.13 (not installed)",
    ),
    "7.2": (("39", "2.0"), "", "ok", "JetPack 7.2, Jetson Linux 39.2.0, TensorRT 10.16"),
    "7.2.2": (("39", "2.2"), "", "ok", "JetPack 7.2.2 or later, Jetson Linux 39.2.2, TensorRT 11.4"),
    "too old": (("35", "4.1"), "", "gap", "JetPack 5.1, Jetson Linux 35.4.1, TensorRT 8.5"),
    "unknown": (("40", "1.0"), "", "ok", "a JetPack that edgex does not know, Jetson Linux 40.1.0"),
}


@pytest.mark.parametrize("kind", JETSONS)
def test_a_jetson_names_its_jetpack(tmp_path: Path, kind: str) -> None:
    release, packages, state, found = JETSONS[kind]
    write(tmp_path / "etc/nv_tegra_release", TEGRA.format(*release))
    write(tmp_path / "var/lib/dpkg/status", packages)
    (check,) = jetpack_check(read_jetpack(tmp_path))
    assert check.state == state
    assert check.found.startswith(found)


def test_a_jetson_s_gpu_is_known_by_the_board(tmp_path: Path) -> None:
    write(tmp_path / "etc/nv_tegra_release", TEGRA.format("36", "4.3"))
    write(tmp_path / "proc/device-tree/model", "NVIDIA Jetson Orin Nano Developer Kit\0")
    assert read_gpus(tmp_path)[0][0].capability == (8, 7)
    found = by_name(examine(tmp_path))
    assert found["JetPack"].state == "ok"
    assert found["NVIDIA GPU"].found.endswith("Orin Nano Developer Kit, compute capability 8.7")


def test_elsewhere_there_is_no_jetpack(tmp_path: Path) -> None:
    assert "JetPack" not in by_name(examine(tmp_path))


def test_without_onnxruntime_it_is_not_ready(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)  # to Python it is not there
    report = examine()
    check = by_name(report)["backend onnxruntime"]
    assert (check.state, check.found, check.mend) == ("gap", "not installed", f"{PIP} onnxruntime")
    assert not report.ready


@pytest.mark.parametrize("error", ["ImportError", "OSError", "AttributeError"])
def test_a_backend_that_does_not_load_is_a_gap(tmp_path: Path, error: str) -> None:
    write(tmp_path / "onnxruntime/__init__.py", f"raise {error}('libfoo.so: no such file')\n")
    code = (
        "from edgex.doctor_backends import backend_check, read_backends\n"
        "check = backend_check(read_backends()[0], False, None)\n"
        "print(check.state, check.found, check.mend, sep='|')"
    )
    here = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, env=here)
    state, found, mend = done.stdout.strip().split("|")
    assert (state, mend) == ("gap", f"{PIP} --force-reinstall onnxruntime")
    assert found == "installed, but libfoo.so: no such file"


def test_every_backend_has_its_row() -> None:
    names = [check.name for check in examine().checks]
    assert [name for name in names if name.startswith("backend ")] == [f"backend {name}" for name in BACKENDS]


ORIN = JetPack("36.4.3", "6.2", "10.3", "10.3.0.30")
NO_PYCUDA = "expected a GPU that CUDA can use, got no pycuda; run: pip install 'edgex[gpu]' (needs the CUDA toolkit)"
NO_DRIVER = "expected a GPU that CUDA can use, got no NVIDIA driver (libcuda.so.1); install NVIDIA's driver"
ALL = ("fp32", "fp16", "int8")
BACKEND_ROWS = {
    "runs": (Backend("tensorrt", "10.3.0", precisions=ALL), True, None, "ok", "builds and runs fp32, fp16, int8", None),
    "not installed, not needed": (Backend("openvino"), True, None, "none", "not installed", f"{PIP} 'edgex[openvino]'"),
    "RTX not installed": (Backend("tensorrt-rtx"), True, None, "none", "not installed", f"{PIP} 'edgex[rtx]'"),
    "onnxruntime not installed": (Backend("onnxruntime"), False, None, "gap", "not installed", f"{PIP} onnxruntime"),
    "GPU without pycuda": (
        Backend("tensorrt", "10.3.0", no_run=NO_PYCUDA, precisions=ALL),
        *(
            True,
            None,
            "gap",
            "builds fp32, fp16, int8, does not run here",
            f"{PIP} 'edgex[gpu]' (needs the CUDA toolkit)",
        ),
    ),
    "builder without GPU": (
        Backend("tensorrt-rtx", "1.7.1", no_run=NO_DRIVER, precisions=ALL),
        *(False, None, "ok", "does not run here: expected a GPU that CUDA can use, got no NVIDIA driver", None),
    ),
    "nothing without GPU": (
        Backend("tensorrt", "11.4", no_build=NO_DRIVER, no_run=NO_DRIVER),
        *(False, None, "none", "neither builds nor runs here", None),
    ),
    "does not load": (
        Backend("tensorrt-rtx", broken="expected the package tensorrt_rtx to load, got nothing"),
        *(True, None, "gap", "installed, but expected", f"{PIP} --force-reinstall 'edgex[rtx]'"),
    ),
    "JetPack's is not seen": (Backend("tensorrt"), True, ORIN, "gap", "JetPack's TensorRT 10.3.0.30", None),
    "JetPack's is not installed": (
        Backend("tensorrt"),
        *(True, JetPack("36.4.3", "6.2", "10.3"), "none", "JetPack brings it", "sudo apt-get install nvidia-jetpack"),
    ),
}


@pytest.mark.parametrize("case", BACKEND_ROWS)
def test_the_row_of_a_backend(case: str) -> None:
    backend, gpu, jetpack, state, found, mend = BACKEND_ROWS[case]
    check = backend_check(backend, gpu, jetpack)
    assert check.state == state
    assert found in check.found
    if mend is not None:
        assert check.mend == mend
    assert (check.mend is not None) or state != "gap"
    assert check.needed == (backend.name == "onnxruntime")


def packages(*pairs: str, folder: str = "site") -> list[Package]:
    return [Package(*pair.split("=="), folder) for pair in pairs]


def test_packages_that_write_the_same_files() -> None:
    fine = packages("onnxruntime==1.20", "opencv-python-headless==4.10", "onnxruntime-extensions==1", "numpy==2")
    assert known.same_files(fine) == []
    (check,) = known.same_files([*fine, *packages("onnxruntime-gpu==1.21")])
    assert "onnxruntime 1.20 and onnxruntime-gpu 1.21" in check.found
    assert "pip uninstall -y onnxruntime onnxruntime-gpu && " in str(check.mend)
    (check,) = known.same_files([*fine, *packages("opencv-contrib-python==5", "opencv-python==4")])
    assert str(check.mend).endswith("--no-cache-dir opencv-python-headless")
    assert len(known.same_files(packages("tensorrt-cu12-bindings==10.9", "tensorrt-cu13-bindings==11"))) == 1


def test_a_package_that_is_there_twice() -> None:
    assert known.installed_twice([*packages("numpy==2"), *packages("numpy==1", folder="of the system")]) == []
    assert known.installed_twice(packages("numpy==2", "numpy==2", "mine==1", "mine==2")) == []
    (check,) = known.installed_twice(packages("numpy==1.26", "numpy==2.1"))
    assert "1.26 and 2.1" in check.found


def test_the_packages_of_this_python() -> None:
    found = {each.name: each.version for each in known.read_packages()}
    assert found["onnxruntime"] == onnxruntime.__version__
    assert {name for name in found if name != name.lower() or "_" in name} == set()


def test_pip_s_tensorrt_over_jetpack_s() -> None:
    of_pip = packages("tensorrt==10.9.0", "tensorrt-cu12==10.9.0", "tensorrt-cu12-libs==10.9.0")
    check = known.pip_over_jetpack(of_pip, ORIN)
    assert check is not None
    assert "10.9.0 of pip stands before JetPack's TensorRT 10.3.0.30" in check.found
    assert "uninstall -y tensorrt tensorrt-cu12 tensorrt-cu12-libs," in str(check.mend)
    assert known.pip_over_jetpack(of_pip, None) is None
    assert known.pip_over_jetpack(packages("tensorrt==10.3.0"), ORIN) is None  # JetPack's own
    assert (
        known.pip_over_jetpack(packages("tensorrt-cu13-libs==11.4.1.2"), JetPack("39.2.2", "7.2.2", "11.4.1")) is None
    )


@pytest.mark.parametrize(
    ("flavour", "version", "capability", "needs"),
    [
        ("tensorrt", "11.4.1", (7, 0), "7.5"),
        ("tensorrt", "11.4.1", (7, 5), ""),
        ("tensorrt", "10.4.0", (7, 0), ""),
        ("tensorrt", "10.5.0", (7, 0), "7.5"),
        ("tensorrt", "10.3.0", (6, 1), "7.0"),
        ("tensorrt", "10.3.0", (8, 7), ""),
        ("tensorrt", "11.4.1", None, ""),
        ("tensorrt-rtx", "1.7.1", (7, 0), "7.5"),
        ("tensorrt-rtx", "1.7.1", (12, 0), ""),
    ],
)
def test_a_gpu_that_tensorrt_no_longer_knows(
    flavour: str, version: str, capability: tuple[int, int] | None, needs: str
) -> None:
    checks = known.gpu_too_old({flavour: version}, [Gpu("a GPU", capability=capability)])
    assert [f"needs compute capability {needs}, a GPU has" in check.found for check in checks] == [True] * bool(needs)
    assert known.gpu_too_old({flavour: version}, []) == []


def test_int8_on_a_gpu_without_int8_tensor_cores() -> None:
    check = known.int8_without_cores({"tensorrt"}, [Gpu("Tesla V100", capability=(7, 0))])
    assert check is not None
    assert (check.state, check.mend) == ("gap", "edgex build MODEL --fp16")
    assert known.int8_without_cores({"tensorrt"}, [Gpu("Xavier", capability=(7, 2))]) is None
    assert known.int8_without_cores(set(), [Gpu("Tesla V100", capability=(7, 0))]) is None
    assert known.int8_without_cores({"tensorrt"}, []) is None


def test_packages_for_a_newer_driver() -> None:
    of_13 = packages("tensorrt-rtx-cu13==1.7", "tensorrt-rtx-cu13-libs==1.7")
    check = known.driver_too_old(of_13, [Gpu("a GPU", "570.86.10")])
    assert check is not None
    assert "570.86.10" in check.found
    assert str(check.mend).endswith("install tensorrt-rtx-cu12")
    assert known.driver_too_old(of_13, [Gpu("a GPU", "580.65")]) is None
    assert known.driver_too_old(of_13, [Gpu("a GPU")]) is None
    assert known.driver_too_old(packages("tensorrt-cu12-libs==10"), [Gpu("a GPU", "570.1")]) is None


def test_engines_of_another_version(tmp_path: Path) -> None:
    header = b"ftrt" + bytes(20)
    (tmp_path / "newer.engine").write_bytes(header + bytes((11, 4, 1, 2)))
    (tmp_path / "own.plan").write_bytes(header + bytes((10, 3, 0, 30)))
    (tmp_path / "no.engine").write_bytes(b"garbage")
    (tmp_path / "folder.engine").mkdir()
    (tmp_path / "rtx.engine").write_bytes(b"vtrt" + header[4:] + bytes((1, 7, 1, 116)))
    (check,) = known.plans_of_others(tmp_path, {"tensorrt": "10.3.0.30"})
    assert (check.name, check.found) == (
        "engine newer.engine",
        "expected a plan that 10.3.0.30 takes, got one of 11.4.1.2",
    )
    assert check.mend == "edgex build MODEL.onnx --int8 --backend tensorrt"
    write_sidecar(tmp_path / "newer.engine", "tensorrt", precision="fp16", source="net.onnx")
    (check,) = known.plans_of_others(tmp_path, {"tensorrt": "10.3.0.30"})
    assert check.mend == "edgex build net.onnx --fp16 --backend tensorrt"
    assert known.plans_of_others(tmp_path, {}) == []
    assert known.plans_of_others(tmp_path / "none", {"tensorrt": "10.3"}) == []


def test_an_old_engine_in_the_working_folder_is_a_row(tmp_path: Path) -> None:
    pytest.importorskip("tensorrt_rtx")
    (tmp_path / "old.engine").write_bytes(b"vtrt" + bytes(20) + bytes((1, 0, 0, 1)))
    report = examine(folder=tmp_path)
    assert by_name(report)["engine old.engine"].state == "gap"
    assert report.ready


def test_json_holds_every_check(shipped: Path) -> None:
    done = edgex("doctor", "--json")
    found = json.loads(done.out)
    assert (done.code, done.err, found["ready"]) == (0, "", True)
    assert [check["name"] for check in found["checks"]] == [check.name for check in examine().checks]


def test_the_table_shows_every_check(shipped: Path) -> None:
    done = edgex("doctor")
    assert done.code == 0
    assert [check.name for check in examine().checks if check.name not in done.out] == []
