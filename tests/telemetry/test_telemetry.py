"""Telemetry: what counts up is told by its increase while recorded, what is read over time, and what is not there."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from edgex.errors import UsageError
from edgex.report.parts import Counter, Series, Telemetry
from edgex.telemetry import Recorder
from edgex.telemetry.cpu import BUSY, FASTEST, OWN, PERIODS, STOLEN, THROTTLED
from edgex.telemetry.nvml import HELD_BACK, find_gpus
from edgex.telemetry.power import find_power
from edgex.telemetry.warnings import telemetry_warnings
from tests.machines import CONTAINER, CORE, CPU, JETSON, build, build_laptop

SLOW_S = 60.0  # a period that no test waits for: readings are those of entering and leaving


def value_of(telemetry: Telemetry, name: str) -> float:
    (found,) = (counter.value for counter in telemetry.counters if counter.name == name)
    return found


def values_of(telemetry: Telemetry, name: str) -> tuple[float | None, ...]:
    (found,) = (series.values for series in telemetry.series if series.name == name)
    return found


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 30
    while not holds() and time.monotonic() < end:
        time.sleep(0.005)
    assert holds()


def test_counters_tell_the_increase_and_gauges_what_was_read(tmp_path: Path) -> None:
    root = build_laptop(tmp_path)
    recorder = Recorder(SLOW_S, root=root)
    ticks = os.sysconf("SC_CLK_TCK")
    with recorder:
        build(
            root,
            {
                "proc/stat": f"cpu{CORE} {1000 + 2 * ticks} 50 200 9000 30 0 20 {10 + ticks} 0 0\n",
                "sys/class/powercap/intel-rapl:0/energy_uj": "12500000\n",
                "sys/class/thermal/thermal_zone0/temp": "84500\n",
                f"{CPU}/cpufreq/scaling_cur_freq": "3100000\n",
                f"{CPU}/thermal_throttle/core_throttle_count": "5\n",
                f"{CPU}/thermal_throttle/package_throttle_count": "4\n",
                "sys/fs/cgroup/user.slice/bench.scope/cpu.stat": "nr_throttled 6\nthrottled_usec 90000\n",
                "proc/self/statm": "90000 50000 9000 1 0 50000 0\n",
            },
        )
    told = recorder.telemetry()
    assert value_of(told, "CPU time of all programs on these cores") == pytest.approx(2.0)
    assert value_of(told, "CPU time taken by the hypervisor") == pytest.approx(1.0)
    assert value_of(told, "energy of package-0") == pytest.approx(7.5)
    assert value_of(told, THROTTLED) == 2
    assert value_of(told, PERIODS) == 4
    assert value_of(told, "CPU time withheld by the control group") == pytest.approx(0.06)
    assert values_of(told, FASTEST) == (3900.0, 3100.0)
    assert values_of(told, "temperature of x86_pkg_temp") == (61.0, 84.5)
    page_mb = os.sysconf("SC_PAGE_SIZE") / 1e6
    assert values_of(told, "memory of this program") == pytest.approx((45000 * page_mb, 50000 * page_mb), abs=1e-3)
    assert recorder.peak_memory_mb == pytest.approx(50000 * page_mb, abs=0.06)
    names = {series.name for series in told.series} | {counter.name for counter in told.counters}
    assert not names & {"temperature of off", "energy of core"}
    assert values_of(told, STOLEN)[0] is None


def test_what_happens_between_two_recordings_does_not_count(tmp_path: Path) -> None:
    root = build_laptop(tmp_path)
    energy = root / "sys/class/powercap/intel-rapl:0/energy_uj"
    recorder = Recorder(SLOW_S, root=root)
    for before, after in ((5, 7), (100, 103)):
        energy.write_text(f"{before}000000\n")
        with recorder:
            energy.write_text(f"{after}000000\n")
            time.sleep(0.15)  # over less than a tenth of a second no rate is told
    told = recorder.telemetry()
    assert value_of(told, "energy of package-0") == pytest.approx(5.0)
    assert [value is None for value in values_of(told, "power of package-0")] == [True, False, True, False]
    assert list(told.times_ms) == sorted(told.times_ms)


def test_the_peak_of_a_program_that_grew_between_readings_is_told(tmp_path: Path) -> None:
    root = build_laptop(tmp_path)
    recorder = Recorder(SLOW_S, root=root)
    with recorder:
        (root / "proc/self/status").write_text("VmHWM:\t  400000 kB\n")
    assert recorder.peak_memory_mb == pytest.approx(409.6)


def test_a_reading_that_fails_is_a_gap_and_ends_nothing(tmp_path: Path) -> None:
    root = build_laptop(tmp_path)
    recorder = Recorder(SLOW_S, root=root)
    with recorder:
        shutil.rmtree(root / "sys/class")
        (root / "proc/stat").unlink()
    told = recorder.telemetry()
    assert values_of(told, "temperature of x86_pkg_temp") == (61.0, None)
    assert values_of(told, "power of package-0") == (None, None)
    assert values_of(told, BUSY) == (None, None)


def test_a_machine_that_tells_nothing_is_quoted_on_each_thing(tmp_path: Path) -> None:
    with Recorder(SLOW_S, root=tmp_path) as recorder:
        pass
    told = recorder.telemetry()
    assert {series.name for series in told.series} <= {OWN} | {each.name for each in told.series if "GPU" in each.name}
    for word in ("CPU clock", "busy and stolen", "control group", "throttling", "CPU power", "temperatures", "memory"):
        assert any(word in each for each in told.not_available), word
    assert recorder.peak_memory_mb is None


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads every file")
def test_energy_that_only_root_may_read_is_told_as_such(tmp_path: Path) -> None:
    root = build_laptop(tmp_path)
    (root / "sys/class/powercap/intel-rapl:0/energy_uj").chmod(0)
    assert find_power(root).missing == ["power of package-0 (RAPL): it can be read by root only"]


def test_a_jetson_tells_its_rails_its_gpu_and_its_heat(tmp_path: Path) -> None:
    read = {gauge.name: gauge.read() for gauge in find_power(build(tmp_path, JETSON)).gauges}
    assert read == {
        "power of VDD_IN": pytest.approx(7.488),
        "power of POM_5V_IN": pytest.approx(3.21),
        "temperature of gpu-thermal": pytest.approx(55.25),
        "GPU clock": pytest.approx(612.0),
        "GPU busy": pytest.approx(73.4),
    }


def test_a_container_of_version_1_tells_what_was_withheld(tmp_path: Path) -> None:
    root = build(tmp_path, CONTAINER)
    with Recorder(SLOW_S, root=root) as recorder:
        (root / "sys/fs/cgroup/cpu/cpu.stat").write_text("nr_throttled 9\nthrottled_time 3000000000\n")
    told = recorder.telemetry()
    assert value_of(told, PERIODS) == 2
    assert value_of(told, "CPU time withheld by the control group") == pytest.approx(0.5)


def test_this_machine_is_read_again_and_again_by_a_thread_that_ends() -> None:
    origin_ns = time.perf_counter_ns()
    recorder = Recorder(0.01, origin_ns)
    with recorder:
        until(lambda: len(recorder._times_ms) >= 5)
        sum(range(200_000))
    told = recorder.telemetry()
    assert "edgex telemetry" not in {thread.name for thread in threading.enumerate()}
    assert all(0 <= before < after for before, after in zip(told.times_ms, told.times_ms[1:], strict=False))
    assert told.times_ms[-1] <= (time.perf_counter_ns() - origin_ns) / 1e6
    assert value_of(told, "CPU time of this program") > 0
    assert recorder.peak_memory_mb is not None
    assert recorder.peak_memory_mb > 10


def test_the_thread_ends_when_the_measurement_fails() -> None:
    def fail() -> None:
        with Recorder(0.01):
            raise RuntimeError("the model failed")

    with pytest.raises(RuntimeError, match="the model failed"):
        fail()
    assert "edgex telemetry" not in {thread.name for thread in threading.enumerate()}


def test_wrong_use_is_refused() -> None:
    with pytest.raises(UsageError, match="above 0"):
        Recorder(0.0)
    with Recorder(SLOW_S) as recorder, pytest.raises(UsageError, match="not recording"):
        recorder.__enter__()


def test_nvml_tells_of_each_gpu_and_says_what_one_does_not(tmp_path: Path) -> None:
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs a C compiler: sudo apt-get install gcc")
    library = tmp_path / "libnvml-stub.so"
    source = Path(__file__).with_name("nvml_stub.c")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", library, source], check=True)
    found = find_gpus(str(library))
    read = {gauge.name: gauge.read() for gauge in found.gauges}
    first = {
        "GPU 0 clock": 1980,
        "GPU 0 memory clock": 2619,
        "GPU 0 power": pytest.approx(118.25),
        "GPU 0 temperature": 41,
        "GPU 0 busy": 63,
        "GPU 0 memory in use": pytest.approx(600.0),
        f"GPU 0 {HELD_BACK}": 1.0,
    }
    assert {name: value for name, value in read.items() if name.startswith("GPU 0")} == first
    assert read[f"GPU 1 {HELD_BACK}"] == 0.0
    assert found.missing == ["GPU 1 power: NVML does not tell it for this GPU"]


def test_without_a_driver_the_gpu_is_told_as_missing() -> None:
    (missing,) = find_gpus("libnvidia-ml-that-is-not-there.so").missing
    assert "libnvidia-ml-that-is-not-there.so" in missing


def telemetry(series: dict[str, list[float | None]], counters: dict[str, float] | None = None) -> Telemetry:
    """Return telemetry of these series and counters."""
    length = len(next(iter(series.values()))) if series else 0
    return Telemetry(
        period_ms=250.0,
        times_ms=tuple(250.0 * place for place in range(length)),
        series=tuple(Series(name, "", tuple(values)) for name, values in series.items()),
        counters=tuple(Counter(name, "", value) for name, value in (counters or {}).items()),
        not_available=(),
    )


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (telemetry({STOLEN: [None, 5.0, 3.0]}), "hypervisor took 4.0 %"),
        (telemetry({BUSY: [None, 90.0], OWN: [None, 40.0]}), "other programs took 50 %"),
        (telemetry({}, {PERIODS: 7.0}), "withheld the CPU in 7 periods"),
        (telemetry({}, {THROTTLED: 2.0}), "throttled itself 2 times"),
        (telemetry({f"GPU 0 {HELD_BACK}": [0.0, 1.0, 1.0, None]}), "GPU 0 held back by heat or power in 2 of 3"),
        (telemetry({FASTEST: [1200.0, 3900.0, 3800.0, 3100.0]}), "fell from 3900 to 3100 MHz"),
    ],
)
def test_what_disturbed_a_measurement_is_a_warning(told: Telemetry, words: str) -> None:
    (warning,) = telemetry_warnings(told)
    assert words in warning


@pytest.mark.parametrize(
    "told",
    [
        telemetry({}),
        telemetry({STOLEN: [None, 0.5], BUSY: [None, 45.0], OWN: [None, 40.0]}, {PERIODS: 0.0, THROTTLED: 0.0}),
        telemetry({FASTEST: [400.0, 3900.0, 3890.0, None]}),  # that the clock rises when work begins is no fault
        telemetry({f"GPU 0 {HELD_BACK}": [0.0, 0.0], STOLEN: [None, None]}),
    ],
)
def test_a_quiet_machine_gives_no_warning(told: Telemetry) -> None:
    assert telemetry_warnings(told) == ()
