"""The machine's description: what figures hang on, read from files; what is not known is said, and who it is is not."""

from __future__ import annotations

import getpass
import json
import os
import platform
from pathlib import Path

import pytest

from edgex.machine import describe_machine
from edgex.machine_limits import cpu_quota, memory_limit_bytes
from edgex.report.fields import is_json
from tests.machines import CONTAINER, JETSON, LAPTOP, build, build_laptop


def test_a_laptop_is_described(tmp_path: Path) -> None:
    described = describe_machine(build_laptop(tmp_path))
    expected = {
        "cpu": "Intel(R) Core(TM) i7-1365U",
        "features": ["avx2", "avx_vnni"],
        "physical_cores": 1,
        "cpu_quota": 1.5,
        "cache_bytes": {"L1": 48 * 1024, "L2": 1280 * 1024, "L3": 12 * 1024**2},
        "clock_mhz": [400.0, 5200.0],
        "governor": "powersave",
        "turbo": True,
        "memory_gb": 16.5,
        "memory_limit_gb": 4.0,
        "virtual": False,
        "system": "Debian GNU/Linux 12 (bookworm)",
        "gpus": [],
    }
    assert {name: described[name] for name in expected} == expected
    assert described["packages"]["edgex"]
    assert described["packages"]["numpy"]
    assert "jetson" not in described


def test_a_jetson_is_described_with_its_board_and_power_mode(tmp_path: Path) -> None:
    described = describe_machine(build(tmp_path, JETSON))
    assert described["cpu"] == "NVIDIA Jetson Orin Nano Developer Kit"
    assert described["features"] == ["asimd", "asimdhp", "asimddp"]
    assert described["gpus"] == ["GPU of NVIDIA Jetson Orin Nano Developer Kit, compute capability 8.7"]
    assert described["jetson"] == {
        "model": "NVIDIA Jetson Orin Nano Developer Kit",
        "linux": "36.4.3",
        "jetpack": "6.1 or 6.2",
        "power_mode": "MAXN_SUPER",
    }


def test_what_a_machine_does_not_tell_is_none(tmp_path: Path) -> None:
    described = describe_machine(tmp_path)
    unknown = (
        "physical_cores",
        "cpu_quota",
        "clock_mhz",
        "governor",
        "turbo",
        "memory_gb",
        "memory_limit_gb",
        "virtual",
    )
    assert [described[name] for name in unknown] == [None] * len(unknown)
    assert described["cache_bytes"] == {}
    assert described["cpu"]


def test_a_container_of_version_1_is_limited_as_its_own_level_says(tmp_path: Path) -> None:
    build(tmp_path, CONTAINER)
    assert cpu_quota(tmp_path) == 2.0
    assert memory_limit_bytes(tmp_path) is None


def test_the_tightest_level_limits(tmp_path: Path) -> None:
    build(tmp_path, {**LAPTOP, "sys/fs/cgroup/user.slice/cpu.max": "50000 100000\n"})
    assert cpu_quota(tmp_path) == 0.5


def test_this_machine_is_described_in_plain_json_without_its_name_its_user_and_paths() -> None:
    described = describe_machine(packages=("pytest",))
    assert is_json(described)
    assert described["packages"]["pytest"] == pytest.__version__
    assert described["usable_cores"] >= 1
    text = json.dumps(described)
    private = {platform.node(), getpass.getuser() if "USER" in os.environ else "", str(Path.home()), os.getcwd()}
    words = {word for word in private if len(word) > 4}  # a shorter one may be part of any word
    assert [word for word in words if word in text] == []
    assert "secret-host" not in json.dumps(describe_machine(Path("/")))


def test_thread_variables_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert describe_machine()["environment"]["OMP_NUM_THREADS"] == "3"
